"""The vanilla RNN."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from gradlab.arrays.checks import choice
from gradlab.arrays.scaled import Array
from gradlab.cells.activations import ACTIVATIONS
from gradlab.cells.base import (
    Cell,
    Intervention,
    Out,
    Record,
    State,
    Units,
    checked_dtype,
    checked_weights,
    product,
    rows_and_diagonal,
    store_weights,
)
from gradlab.cells.initialisers import Seed, biases, input_weights, recurrent_weights, streams
from gradlab.cells.interventions import clear_bias, redraw_weights, scale_weights
from gradlab.native.compiled import compiled
from gradlab.options import Option


class Local(NamedTuple):
    """J_t in factored form: diag(slope) W_hh."""

    slope: Array


@dataclass(frozen=True, eq=False, repr=False)
class RNN(Cell):
    r"""The vanilla (Elman) RNN, ``h_t = φ(a_t)``, ``a_t = W_xh x_t + W_hh h_{t−1} + b_h``.

    φ is tanh, relu, logistic or identity. By the chain rule ``∂a_t/∂h_{t−1} = W_hh``, hence

    ``J_t = ∂h_t/∂h_{t−1} = diag(φ'(a_t)) W_hh``,  ``dL/da_t = φ'(a_t) ⊙ dL/dh_t``,  ``δ_{t−1} = W_hhᵀ dL/da_t``.

    φ' is taken at the *pre-activation*: for tanh ``1 − h_t²``, not ``1 − tanh²(h_t)`` (a published slip). The product
    that carries a gradient from T to t is ``J_T … J_{t+1}``, rows the later state; its norm is neither a power of W's
    spectral radius nor of its largest singular value. A Jordan network feeds back y, not h: it is not this one.

    Parameters
    ----------
    W_xh : ``(H, D)``
    W_hh : ``(H, H)``, rows are outputs, as in ``W_hh @ h``
    b_h : ``(H,)``, zeros where not given
    activation : "tanh", "relu", "logistic" or "identity"

    References
    ----------
    Elman 1990; Pascanu, Mikolov & Bengio 2013, eqs. 2 and 5.

    Examples
    --------
    >>> cell = RNN.init(input_size=3, hidden_size=5, scale=0.9, rng=0)
    >>> cell
    RNN(input_size=3, hidden_size=5, activation='tanh', float64)
    """

    W_xh: Array
    W_hh: Array
    b_h: Array = None  # type: ignore[assignment]
    activation: str = "tanh"

    name: ClassVar[str] = "rnn"
    of_ufuncs: ClassVar[bool] = True
    vanilla: ClassVar[bool] = True
    block_names: ClassVar[tuple[str, ...]] = ("h",)
    INTERVENTIONS: ClassVar[Mapping[str, Intervention]] = {
        "scale_by": scale_weights,
        "recurrent": redraw_weights,
        "bias": clear_bias,
    }
    OPTION_KEYS: ClassVar[Mapping[str, Option]] = {
        "activation": Option(str, "tanh", choices=tuple(ACTIVATIONS), meaning="φ"),
    }

    def __post_init__(self) -> None:
        choice("activation", self.activation, ACTIVATIONS)
        store_weights(self, checked_weights(self.W_xh, self.W_hh, self.b_h, 1))

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
        activation: str = "tanh",
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
            Law of W_xh: "gaussian", N(0, input_scale²/D), or "uniform", U(±input_scale/√H).
        input_scale : float, default 1
            Factor of W_xh.
        bias : str, default "zero"
            Law of the biases: "zero", or "uniform", the sum of two draws of U(±1/√H).
        activation : str, default "tanh"
            φ: "tanh", "relu", "logistic" or "identity".
        rng : int, Generator, SeedSequence or None
            Seed or source of all draws; None draws another cell each time.
        dtype : str, default "float64"
            "float64" or "float32".

        Returns
        -------
        RNN
            The cell.

        Raises
        ------
        InputError
            for a value that is refused.
        """
        for_recurrent, for_input, for_bias = streams(rng, 3)
        W_hh = recurrent_weights(recurrent, hidden_size, 1, scale, for_recurrent)
        W_xh = input_weights(hidden_size, input_size, input_scale, for_input, name=input, size=hidden_size)
        b_h = biases(bias, hidden_size, 1, for_bias).sum(axis=0).ravel()
        kind = checked_dtype(dtype)
        return cls(W_xh.astype(kind), W_hh.astype(kind), b_h.astype(kind), activation)

    @property
    def label(self) -> str:
        return f"{self.activation} RNN"

    def units(self, record: Record, after: State) -> dict[str, Units]:
        """Return h, the one layer of units."""
        return {"h": (self.activation, after[0])}

    def step(self, drive: Array, state: State, out: Out | None = None) -> tuple[State, Record]:
        (h,), into = ((None,), None) if out is None else (out[0], out[1]["a"])
        pushed = product(self.W_hh, state[0])
        if self.activation == "tanh":
            a, h = rnn_tanh_step(pushed, drive, out=(into, h))
        else:
            a = np.add(pushed, drive, out=into)
            h = ACTIVATIONS[self.activation].value(a, out=h)
        return (h,), {"a": a}

    def linearise(self, record: Record, before: State, after: State) -> Local:
        return Local(ACTIVATIONS[self.activation].derivative(record["a"], after[0]))

    def jvp(self, local: Any, tangent: State, out: State | None = None) -> State:
        pushed = product(self.W_hh, tangent[0])
        return (np.multiply(local.slope, pushed, out=pushed if out is None else out[0]),)

    def dense(self, local: Any) -> Array:
        return rows_and_diagonal(self.W_hh, local.slope, np.zeros(len(self.W_hh), self.dtype))

    def log_abs_det(self, local: Any) -> Array:
        det = np.linalg.slogdet(self.W_hh.astype(np.float64))[1]
        return np.asarray(det + np.log(np.abs(local.slope), dtype=np.float64).sum(axis=-2))

    def frobenius_squared(self, local: Any) -> tuple[Array, Array]:
        square = (self.W_hh**2).sum(axis=1) @ local.slope**2
        return square, square

    def vjp(self, local: Any, adjoint: State, out: tuple[State, Array] | None = None) -> tuple[State, Array]:
        (before,), into = ((None,), None) if out is None else out
        pre_grad = np.multiply(local.slope, adjoint[0], out=into)
        return (product(self.W_hh.T, pre_grad, before),), pre_grad


@compiled
def rnn_tanh_step(pushed: Array, drive: Array, out: tuple[Array | None, ...] = (None, None)) -> tuple[Array, Array]:
    """W_hh h, drive → a, h."""
    a = np.add(pushed, drive, out=out[0])
    return a, np.tanh(a, out=out[1])
