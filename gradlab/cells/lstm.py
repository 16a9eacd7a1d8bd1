"""The LSTM with forget gate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from gradlab.arrays.checks import number
from gradlab.arrays.scaled import Array
from gradlab.cells.activations import complement, logistic, tanh_derivative
from gradlab.cells.base import (
    Cell,
    Intervention,
    Out,
    Record,
    State,
    block,
    by_matrix,
    checked_dtype,
    checked_weights,
    in_blocks,
    in_cache,
    product,
    scaled_rows,
    stacked,
    store_weights,
)
from gradlab.cells.initialisers import INIT_KEYS, Seed, biases, chrono_bias, input_weights, recurrent_weights, streams
from gradlab.cells.interventions import chrono_keep_bias, scale_weights, shift_keep_bias
from gradlab.cells.keep_gate import KeepGate
from gradlab.errors import InputError
from gradlab.native.compiled import compiled
from gradlab.native.pool import empty
from gradlab.options import Option


class Local(NamedTuple):
    """J_t in factored form, ``(…, H, N)`` each: derivatives of c_t or h_t by each gate's pre-activation."""

    c_by_i: Array
    c_by_f: Array
    c_by_g: Array
    h_by_o: Array
    h_by_c: Array
    f: Array


def _chrono_biases(cell: Cell, longest: Any) -> Mapping[str, Array]:
    """Replace b_f by chrono's and b_i by its negative, as ``init`` adds them."""
    bias, H = chrono_keep_bias(cell, longest)["b_h"], cell.hidden_size
    return {"b_h": np.concatenate([-bias[H : 2 * H], bias[H:]])}


@dataclass(frozen=True, eq=False, repr=False)
class LSTM(Cell):
    r"""The LSTM with input, forget and output gate and candidate g; no peepholes, no projection.

    With ``a = W_xh x_t + W_hh h_{t−1} + b_h``, stacked ``i, f, g, o``::

        i = σ(a_i)   f = σ(a_f)   g = tanh(a_g)   o = σ(a_o)
        c_t = f ⊙ c_{t−1} + i ⊙ g                 h_t = o ⊙ tanh(c_t)

    The state is the pair ``s = (h, c)``. With the diagonal matrices ``F = diag(f)``, ``E = diag(o ⊙ tanh'(c_t))`` and
    ``A = diag(g i') W_i + diag(c_{t−1} f') W_f + diag(i g') W_g`` and ``O = diag(tanh(c_t) o') W_o`` the joint
    Jacobian is::

        J_t = ∂(h_t, c_t)/∂(h_{t−1}, c_{t−1}) = [ E A + O   E F ]
                                                [   A        F  ]

    Not to be confused with: ``∂h_t/∂h_{t−1}`` alone (the h-block: it drops the cell path, and with it the carousel);
    ``F`` alone (∏f drops the path through the gates); the *adjoint* ``δ_c``, which holds h_t fixed, against the *total*
    ``dL/dc_t = δ_c + E δ_h``. A *small* f erases the cell state, a large one keeps it.

    Parameters
    ----------
    W_xh : ``(4H, D)``
    W_hh : ``(4H, H)``
    b_h : ``(4H,)``, zeros where not given (PyTorch's two biases are added)

    References
    ----------
    Hochreiter & Schmidhuber 1997; Gers, Schmidhuber & Cummins 2000 (forget gate).

    Examples
    --------
    >>> LSTM.init(input_size=3, hidden_size=5, forget_bias=1.0, rng=0).b_h[5:10]
    array([1., 1., 1., 1., 1.])
    """

    W_xh: Array
    W_hh: Array
    b_h: Array = None  # type: ignore[assignment]

    name: ClassVar[str] = "lstm"
    of_ufuncs: ClassVar[bool] = True
    state_names: ClassVar[tuple[str, ...]] = ("h", "c")
    gate_names: ClassVar[tuple[str, ...]] = ("i", "f", "g", "o")
    candidate_names: ClassVar[tuple[str, ...]] = ("g",)
    additive_state: ClassVar[int | None] = 1
    block_names: ClassVar[tuple[str, ...]] = ("i", "f", "g", "o")
    INIT_KEYS: ClassVar[Mapping[str, Option]] = {
        **INIT_KEYS,
        "forget_bias": Option(float, 0.0, meaning="b_f (LSTM)"),
        "chrono": Option(
            float, None, minimum=2.0, optional=True, meaning="T_max: b_f = ln U(1, T_max − 1), b_i = −b_f (LSTM, GRU)"
        ),
    }

    INTERVENTIONS: ClassVar[Mapping[str, Intervention]] = {
        "scale_by": scale_weights,
        "forget_bias": shift_keep_bias,
        "chrono": _chrono_biases,
    }

    def __post_init__(self) -> None:
        store_weights(self, checked_weights(self.W_xh, self.W_hh, self.b_h, 4))

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
        forget_bias: float = 0.0,
        chrono: float | None = None,
        rng: Seed = None,
        dtype: str = "float64",
    ) -> Self:
        """Draw the weights of each gate independently, and the biases, and return a cell.

        Parameters
        ----------
        input_size, hidden_size : int
            D and H.
        recurrent : str, default "gaussian"
            Law of each block of W_hh: a name in ``gradlab.cells.initialisers.RECURRENT``.
            ``gradlab list inits`` describes them.
        scale : float, default 1
            Factor of W_hh; the same ``rng`` gives the same draw at every scale.
        input : str, default "gaussian"
            Law of W_xh: "gaussian", N(0, input_scale²/D), or "uniform", U(±input_scale/√H).
        input_scale : float, default 1
            Factor of W_xh.
        bias : str, default "zero"
            Law of the biases: "zero", or "uniform", the sum of two draws of U(±1/√H).
        forget_bias : float, default 0
            Number that is added to the forget gate's bias b_f; a larger one keeps more.
        chrono : float, optional
            T_max in steps, above 2: adds ln U(1, T_max − 1) to b_f and its negative to b_i (Tallec & Ollivier 2018).
        rng : int, Generator, SeedSequence or None
            Seed or source of all draws; None draws another cell each time.
        dtype : str, default "float64"
            "float64" or "float32".

        Returns
        -------
        LSTM
            The cell.

        Raises
        ------
        InputError
            for a value that is refused, and for ``forget_bias`` together with ``chrono``.
        """
        for_recurrent, for_input, for_chrono, for_bias = streams(rng, 4)
        W_hh = recurrent_weights(recurrent, hidden_size, 4, scale, for_recurrent)
        W_xh = input_weights(4 * hidden_size, input_size, input_scale, for_input, name=input, size=hidden_size)
        b_h = biases(bias, hidden_size, 4, for_bias).sum(axis=0)
        b_h[1] += number("forget_bias", forget_bias)
        if chrono is not None:
            if forget_bias != 0.0:
                raise InputError(f"give forget_bias or chrono, not both; got {forget_bias} and {chrono}")
            memory = chrono_bias(hidden_size, chrono, for_chrono)
            b_h[1] += memory
            b_h[0] -= memory
        kind = checked_dtype(dtype)
        return cls(W_xh.astype(kind), W_hh.astype(kind), b_h.ravel().astype(kind))

    def step(self, drive: Array, state: State, out: Out | None = None) -> tuple[State, Record]:
        h, c = state
        into = (None,) * 4 if out is None else (out[1]["a"], out[1]["gates"], out[0][1], out[0][0])
        a, gates, c, h = lstm_step(c, product(self.W_hh, h), drive, out=into)
        return (h, c), {"a": a, "gates": gates}

    def teacher_force(self, drive: Array, states: Array) -> tuple[Record, Array]:
        """Compute all gates from h at once; only c is carried from step to step."""
        h, c = self.split(states)
        a, gates = _gates(product(self.W_hh, h[:-1]), drive)
        i, f, g, o = in_blocks(gates, 4)
        np.multiply(i, g, out=c[1:])
        for t in range(len(drive)):
            c[t + 1] += f[t] * c[t]
        return {"a": a, "gates": gates}, o * np.tanh(c[1:])

    def linearise(self, record: Record, before: State, after: State) -> Local:
        gates = record["gates"]
        factors = lstm_local(before[1], after[1], record["a"], gates)
        return Local._make([*factors, block(gates, 1, self.hidden_size)])

    def jvp(self, local: Any, tangent: State, out: State | None = None) -> State:
        v_h, v_c = tangent
        into = (np.empty_like(v_c), np.empty_like(v_c)) if out is None else out
        h, c = lstm_jvp(v_c, *local, product(self.W_hh, v_h), out=into)
        return h, c

    def dense(self, local: Any) -> Array:
        H = self.hidden_size
        *by_gate, h_by_o, h_by_c, f = local
        at_c, at_h = by_matrix(*by_gate), by_matrix(*(h_by_c * by for by in by_gate), h_by_o)
        W, nothing, unit = self.W_hh.reshape(4, H, H), np.zeros(H, self.dtype), np.arange(H)
        J = empty((len(at_c), 2 * H, 2 * H), self.dtype)
        for some in in_cache(len(J), 4 * H * H):
            scaled_rows(at_h[some], W, nothing, out=J[some, :H, :H])
            scaled_rows(at_c[some], W[:3], nothing, out=J[some, H:, :H])
            J[some, :, H:] = 0.0
        J[:, H + unit, H + unit] = f.T
        J[:, unit, H + unit] = (h_by_c * f).T
        return J

    def frobenius_squared(self, local: Any) -> tuple[Array, Array]:
        """Rows of A and of E A + O are sums of four rows of W, so the products of those rows suffice."""
        by_gate, (o, e, f) = np.stack(local[:3], axis=-3), local[3:]
        W = self.W_hh.reshape(4, self.hidden_size, -1)
        products = np.einsum("kif,lif->kli", W, W)[..., None]
        along = (products[:, :3] * by_gate[..., None, :, :, :]).sum(axis=-3)
        A, with_o = (by_gate * along[..., :3, :, :]).sum(axis=-3), along[..., 3, :, :]
        A_parts = sum(by_gate[..., k, :, :] ** 2 * products[k, k] for k in range(3))
        O, F = o**2 * products[3, 3], f**2 * (1.0 + e**2)
        square = (1.0 + e**2) * A + 2.0 * e * o * with_o + O + F
        return square.sum(axis=-2), ((1.0 + e**2) * A_parts + O + F).sum(axis=-2)

    def vjp(self, local: Any, adjoint: State, out: tuple[State, Array] | None = None) -> tuple[State, Array]:
        (h_out, c_out), into = ((None, None), stacked(adjoint[1], 4)) if out is None else out
        pre_grad, dc = lstm_back(*adjoint, *local, out=(into, c_out))
        return (product(self.W_hh.T, pre_grad, h_out), dc), pre_grad

    @property
    def keep_gate(self) -> KeepGate:
        return KeepGate("forget gate", "∏f", "forget_bias", block=1)

    def additive(self, local: Any) -> Array:
        return np.asarray(local.f)

    def total(self, local: Any, adjoint: State) -> State:
        dh, dc = adjoint
        return dh, dc + local.h_by_c * dh


def _gates(pushed: Array, drive: Array, a: Array | None = None, gates: Array | None = None) -> tuple[Array, Array]:
    """W_hh h, drive → a, gates, written into the arrays that are given."""
    a = np.add(pushed, drive, out=a)
    gates = np.empty_like(a) if gates is None else gates
    H = a.shape[-2] // 4
    logistic(a[..., : 2 * H, :], out=gates[..., : 2 * H, :])
    np.tanh(block(a, 2, H), out=block(gates, 2, H))
    logistic(block(a, 3, H), out=block(gates, 3, H))
    return a, gates


@compiled
def lstm_step(c: Array, pushed: Array, drive: Array, out: tuple[Array | None, ...] = (None,) * 4) -> tuple[Array, ...]:
    """c, W_hh h, drive → a, gates, c, h."""
    a, gates = _gates(pushed, drive, *out[:2])
    i, f, g, o = in_blocks(gates, 4)
    c = np.multiply(f, c, out=out[2])
    c += i * g
    return a, gates, c, np.multiply(o, np.tanh(c), out=out[3])


@compiled
def lstm_local(c_before: Array, c: Array, a: Array, gates: Array) -> tuple[Array, ...]:
    """c before, c, a, gates → c by i, c by f, c by g, h by o, h by c."""
    a_i, a_f, a_g, a_o = in_blocks(a, 4)
    i, f, g, o = in_blocks(gates, 4)
    tanh_c = np.tanh(c)
    return (
        g * i * complement(a_i, i),
        c_before * f * complement(a_f, f),
        i * tanh_derivative(a_g, g),
        tanh_c * o * complement(a_o, o),
        o * tanh_derivative(c, tanh_c),
    )


@compiled
def lstm_jvp(v_c: Array, *local: Array, out: tuple[Array, Array]) -> tuple[Array, Array]:
    """The tangent of c, the factors, W_hh times that of h → the tangents of h and c a step later."""
    c_by_i, c_by_f, c_by_g, h_by_o, h_by_c, f, pushed = local
    i, by_f, g, o = in_blocks(pushed, 4)
    h, c = out
    np.multiply(f, v_c, out=c)
    for by, change in ((c_by_i, i), (c_by_f, by_f), (c_by_g, g)):
        c += by * change
    np.multiply(h_by_c, c, out=h)
    h += h_by_o * o
    return h, c


@compiled
def lstm_back(dh: Array, dc: Array, *local: Array, out: tuple[Array, Array | None]) -> tuple[Array, Array]:
    """δ_h, δ_c, the factors → dL/da, δ_c of the step before through f."""
    c_by_i, c_by_f, c_by_g, h_by_o, h_by_c, f = local
    total = dc + h_by_c * dh
    at_i, at_f, at_g, at_o = in_blocks(out[0], 4)
    for by, change, at in ((c_by_i, total, at_i), (c_by_f, total, at_f), (c_by_g, total, at_g), (h_by_o, dh, at_o)):
        np.multiply(by, change, out=at)
    return out[0], np.multiply(f, total, out=out[1])
