"""The MinimalRNN: a candidate from the input alone, and one gate that mixes it with the state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from gradlab.arrays.checks import float_array, number
from gradlab.arrays.scaled import Array
from gradlab.cells.activations import complement, logistic, tanh_derivative
from gradlab.cells.base import (
    Cell,
    Intervention,
    Out,
    Pair,
    Record,
    State,
    block,
    checked_dtype,
    checked_weights,
    in_blocks,
    product,
    rows_and_diagonal,
    rows_and_diagonal_product,
    rows_and_diagonal_squared,
    stacked,
    store_weights,
)
from gradlab.cells.initialisers import INIT_KEYS, Seed, biases, chrono_bias, input_weights, recurrent_weights, streams
from gradlab.cells.interventions import chrono_keep_bias, scale_weights, shift_keep_bias
from gradlab.cells.keep_gate import KeepGate
from gradlab.errors import InputError
from gradlab.options import Option


class Local(NamedTuple):
    """J_t and the candidate's derivatives in factored form, ``(…, H, N)`` each."""

    keep: Array
    h_by_u: Array  # h_t by a_u
    h_by_z: Array  # h_t by a_z, with u held fixed
    slope: Array  # z by a_z


@dataclass(frozen=True, eq=False, repr=False)
class MinimalRNN(Cell):
    r"""The MinimalRNN: candidate from the input alone, one update gate from the state and the candidate.

    With ``a_z = W_xh x_t + b_z`` and ``a_u = W_hh h_{t−1} + W_zh z_t + b_u``, biases stacked ``z, u``::

        z_t = tanh(a_z)      u_t = σ(a_u)      h_t = u_t ⊙ h_{t−1} + (1 − u_t) ⊙ z_t

    The candidate does not depend on the state, so the Jacobian has two terms only::

        J_t = diag(u_t) + diag((h_{t−1} − z_t) u') W_hh

    a_z acts on h_t in two ways: directly, and through a_u of the same step. The gradient ``dL/da_z`` is the total one::

        dL/da_u = (h_{t−1} − z_t) u' ⊙ δ_t      dL/da_z = z' ⊙ ((1 − u_t) ⊙ δ_t + W_zhᵀ dL/da_u)

    Not to be confused with: ``diag(u)`` alone, the additive path; a GRU, whose candidate sees the state; its update
    gate z, which is not this z. A *large* u keeps the state.

    Parameters
    ----------
    W_xh : ``(H, D)``, the paper's W_x of the candidate Φ(x) = tanh(W_x x + b_z)
    W_hh : ``(H, H)``, the paper's U_h
    W_zh : ``(H, H)``, the paper's U_z
    b_h : ``(2H,)``, b_z above b_u, zeros where not given

    References
    ----------
    M. Chen 2017, MinimalRNN: Toward More Interpretable and Trainable Recurrent Neural Networks, arXiv:1711.06788.

    Examples
    --------
    >>> MinimalRNN.init(input_size=3, hidden_size=5, update_bias=2.0, rng=0).b_h[5:]
    array([2., 2., 2., 2., 2.])
    """

    W_xh: Array
    W_hh: Array
    W_zh: Array
    b_h: Array = None  # type: ignore[assignment]

    name: ClassVar[str] = "minimal_rnn"
    of_ufuncs: ClassVar[bool] = True
    gate_names: ClassVar[tuple[str, ...]] = ("z", "u")
    candidate_names: ClassVar[tuple[str, ...]] = ("z",)
    block_names: ClassVar[tuple[str, ...]] = ("z", "u")
    parameter_names: ClassVar[tuple[str, ...]] = ("W_xh", "W_hh", "W_zh", "b_h")
    additive_state: ClassVar[int | None] = 0
    INIT_KEYS: ClassVar[Mapping[str, Option]] = {
        **INIT_KEYS,
        "update_bias": Option(float, 0.0, meaning="b_u: a larger one keeps more (MinimalRNN)"),
        "chrono": Option(
            float, None, minimum=2.0, optional=True, meaning="T_max: b_u = ln U(1, T_max − 1) (MinimalRNN)"
        ),
    }
    INTERVENTIONS: ClassVar[Mapping[str, Intervention]] = {
        "scale_by": scale_weights,
        "update_bias": shift_keep_bias,
        "chrono": chrono_keep_bias,
    }

    def __post_init__(self) -> None:
        weights = checked_weights(self.W_xh, self.W_hh, self.b_h, 1, bias_blocks=2)
        store_weights(self, weights | {"W_zh": float_array("W_zh", self.W_zh, weights["W_hh"].shape)})

    @classmethod
    @np.errstate(over="ignore")  # weights that overflow are refused by name
    def init(
        cls,
        input_size: int,
        hidden_size: int,
        *,
        recurrent: str = "gaussian",
        scale: float = 1.0,
        input: str = "gaussian",
        input_scale: float = 1.0,
        bias: str = "zero",
        update_bias: float = 0.0,
        chrono: float | None = None,
        rng: Seed = None,
        dtype: str = "float64",
    ) -> Self:
        """Draw the weights and biases and return a cell.

        Parameters
        ----------
        input_size, hidden_size : int
            D and H.
        recurrent : str, default "gaussian"
            Law of W_hh: a name in ``gradlab.cells.initialisers.RECURRENT``; ``gradlab list inits`` describes them.
        scale : float, default 1
            Factor of W_hh; the same ``rng`` gives the same draw at every scale.
        input : str, default "gaussian"
            Law of W_xh and W_zh: "gaussian", N(0, input_scale²/columns), or "uniform", U(±input_scale/√H).
        input_scale : float, default 1
            Factor of W_xh and W_zh.
        bias : str, default "zero"
            Law of the biases: "zero", or "uniform", the sum of two draws of U(±1/√H).
        update_bias : float, default 0
            Number that is added to the update gate's bias b_u; a larger one keeps more.
        chrono : float, optional
            T_max in steps, above 2: adds ln U(1, T_max − 1) to b_u (Tallec & Ollivier 2018).
        rng : int, Generator, SeedSequence or None
            Seed or source of all draws; None draws another cell each time.
        dtype : str, default "float64"
            "float64" or "float32".

        Returns
        -------
        MinimalRNN
            The cell.

        Raises
        ------
        InputError
            for a value that is refused, and for ``update_bias`` together with ``chrono``.
        """
        for_recurrent, for_input, for_candidate, for_chrono, for_bias = streams(rng, 5)
        W_hh = recurrent_weights(recurrent, hidden_size, 1, scale, for_recurrent)
        W_xh = input_weights(hidden_size, input_size, input_scale, for_input, name=input, size=hidden_size)
        W_zh = input_weights(hidden_size, hidden_size, input_scale, for_candidate, name=input, size=hidden_size)
        b_h = biases(bias, hidden_size, 2, for_bias).sum(axis=0)
        b_h[1] += number("update_bias", update_bias)
        if chrono is not None:
            if update_bias != 0.0:
                raise InputError(f"give update_bias or chrono, not both; got {update_bias} and {chrono}")
            b_h[1] += chrono_bias(hidden_size, chrono, for_chrono)
        kind = checked_dtype(dtype)
        return cls(W_xh.astype(kind), W_hh.astype(kind), W_zh.astype(kind), b_h.ravel().astype(kind))

    def input_vjp(self, pre_grad: Array) -> Array:
        return product(self.W_xh.T, block(pre_grad, 0, self.hidden_size))

    def step(self, drive: Array, state: State, out: Out | None = None) -> tuple[State, Record]:
        (h,) = state
        (h_out,), record = ((None,), self._room(drive, h)) if out is None else out
        a_z, a_u = in_blocks(record["a"], 2)
        z, u = in_blocks(record["gates"], 2)
        drive_z, drive_u = in_blocks(drive, 2)
        np.positive(drive_z, out=a_z)
        np.tanh(a_z, out=z)
        np.add(product(self.W_hh, h), drive_u, out=a_u)
        a_u += product(self.W_zh, z)
        logistic(a_u, out=u)
        after = np.multiply(u, h, out=h_out)
        after += (1.0 - u) * z
        return (after,), record

    def _room(self, drive: Array, h: Array) -> Record:
        """Return uninitialised arrays for the record of a step."""
        like = h + block(drive, 0, self.hidden_size)
        return {"a": stacked(like, 2), "gates": stacked(like, 2)}

    def linearise(self, record: Record, before: State, after: State) -> Local:
        a_z, a_u = in_blocks(record["a"], 2)
        z, u = in_blocks(record["gates"], 2)
        new, slope = complement(a_u, u), tanh_derivative(a_z, z)
        h_by_u = before[0] - z
        h_by_u *= u
        h_by_u *= new
        new *= slope
        return Local(u, h_by_u, new, slope)

    def jvp(self, local: Any, tangent: State, out: State | None = None) -> State:
        into = None if out is None else out[0]
        return (rows_and_diagonal_product(self.W_hh, local.h_by_u, local.keep, tangent[0], into),)

    def vjp(self, local: Any, adjoint: State, out: tuple[State, Array] | None = None) -> tuple[State, Array]:
        (dh,) = adjoint
        (before,), pre_grad = ((None,), stacked(dh, 2)) if out is None else out
        at_z, at_u = in_blocks(pre_grad, 2)
        np.multiply(local.h_by_u, dh, out=at_u)
        np.multiply(product(self.W_zh.T, at_u), local.slope, out=at_z)
        at_z += local.h_by_z * dh
        before = product(self.W_hh.T, at_u, before)
        before += local.keep * dh
        return (before,), pre_grad

    @property
    def keep_gate(self) -> KeepGate:
        return KeepGate("update gate", "∏u", "update_bias", block=1)

    def additive(self, local: Any) -> Array:
        return np.asarray(local.keep)

    def dense(self, local: Any) -> Array:
        return rows_and_diagonal(self.W_hh, local.h_by_u, np.ascontiguousarray(local.keep.T))

    def frobenius_squared(self, local: Any) -> tuple[Array, Array]:
        return rows_and_diagonal_squared(self.W_hh, local.h_by_u, local.keep)

    def parameter_pairs(self, record: Record, before: State, pre_grad: Array, x: Array) -> dict[str, list[Pair]]:
        at_z, at_u = in_blocks(pre_grad, 2)
        return {
            "W_xh": [(at_z, x)],
            "W_hh": [(at_u, before[0])],
            "W_zh": [(at_u, in_blocks(record["gates"], 2)[0])],
            "b_h": [(at_z, None), (at_u, None)],
        }
