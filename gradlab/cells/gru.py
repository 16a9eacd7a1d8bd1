"""The GRU, in its four conventions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from gradlab.arrays.checks import choice, float_array
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
from gradlab.cells.keep_gate import BIASES, KeepGate
from gradlab.errors import InputError
from gradlab.native.compiled import compiled
from gradlab.native.pool import empty
from gradlab.options import Option


class Local(NamedTuple):
    """J_t in factored form, ``(…, H, N)`` each."""

    keep: Array
    h_by_n: Array  # h_t by a_n
    h_by_z: Array  # h_t by a_z
    by_r: Array  # r times its operand (h_{t−1}, or W_n h_{t−1} + b_hn), by a_r
    r: Array


@dataclass(frozen=True, eq=False, repr=False)
class GRU(Cell):
    r"""The gated recurrent unit; reset gate before or after the product, update gate replacing or keeping.

    With ``a_r, a_z`` of ``W_xh x_t + W_hh h_{t−1} + b_h``, stacked ``r, z, n``, and w the new share::

        r = σ(a_r)    z = σ(a_z)    h_t = (1 − w) ⊙ h_{t−1} + w ⊙ n    n = tanh(a_n)
        reset="before":   a_n = W_xn x_t + b_n + W_n (r ⊙ h_{t−1})              (Cho et al. 2014, the default)
        reset="after":    a_n = W_xn x_t + b_n + r ⊙ (W_n h_{t−1} + b_hn)       (PyTorch, cuDNN)
        update="replace": w = z                                                  (the default)
        update="keep":    w = 1 − z                                              (PyTorch, cuDNN)

    With ``Z = diag((n − h_{t−1}) w')`` and ``N = diag(w n')`` the Jacobian is::

        before:  J_t = diag(1 − w) + Z W_z + N W_n ( diag(r) + diag(h_{t−1} r') W_r )
        after:   J_t = diag(1 − w) + Z W_z + N ( diag(r) W_n + diag((W_n h_{t−1} + b_hn) r') W_r )

    Not to be confused with: ``diag(1 − w)`` alone, the additive path; the other convention of z, under which the same
    weights are another network; the other reset, whose weights cannot be converted. The repr shows both options.

    Parameters
    ----------
    W_xh : ``(3H, D)``
    W_hh : ``(3H, H)``
    b_h : ``(3H,)``, zeros where not given
    b_hn : ``(H,)``, only with ``reset="after"``
    reset : "before" or "after"
    update : "replace" or "keep"

    References
    ----------
    Cho et al. 2014, eqs. 5-8; Chung et al. 2014; PyTorch's ``nn.GRU`` for "after" and "keep".
    """

    W_xh: Array
    W_hh: Array
    b_h: Array = None  # type: ignore[assignment]
    b_hn: Array | None = None
    reset: str = "before"
    update: str = "replace"

    name: ClassVar[str] = "gru"
    of_ufuncs: ClassVar[bool] = True
    gate_names: ClassVar[tuple[str, ...]] = ("r", "z", "n")
    candidate_names: ClassVar[tuple[str, ...]] = ("n",)
    additive_state: ClassVar[int | None] = 0
    block_names: ClassVar[tuple[str, ...]] = ("r", "z", "n")
    INIT_KEYS: ClassVar[Mapping[str, Option]] = {
        **INIT_KEYS,
        "chrono": Option(
            float, None, minimum=2.0, optional=True, meaning="T_max: the share kept has bias ln U(1, T_max − 1)"
        ),
    }
    OPTION_KEYS: ClassVar[Mapping[str, Option]] = {
        "reset": Option(str, "before", choices=("before", "after"), meaning="r before or after the product with W_n"),
        "update": Option(str, "replace", choices=("replace", "keep"), meaning="z is what is new, or what is kept"),
    }

    INTERVENTIONS: ClassVar[Mapping[str, Intervention]] = {
        "scale_by": scale_weights,
        "b_z": shift_keep_bias,
        "chrono": chrono_keep_bias,
    }

    def __post_init__(self) -> None:
        choice("reset", self.reset, ("before", "after"))
        choice("update", self.update, ("replace", "keep"))
        weights = checked_weights(self.W_xh, self.W_hh, self.b_h, 3)
        if self.reset == "after":
            H = weights["W_hh"].shape[1]
            given = np.zeros(H, weights["W_hh"].dtype) if self.b_hn is None else self.b_hn
            weights["b_hn"] = float_array("b_hn", given, (H,))
        elif self.b_hn is not None:
            raise InputError('b_hn belongs to reset="after"; with reset="before" add it to b_h')
        store_weights(self, weights)

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
        chrono: float | None = None,
        reset: str = "before",
        update: str = "replace",
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
        chrono : float, optional
            T_max in steps, above 2: adds a bias of ln U(1, T_max − 1) towards keeping to b_z (Tallec & Ollivier 2018).
        reset : str, default "before"
            Whether r acts "before" or "after" the product with W_n.
        update : str, default "replace"
            Whether z is the share of h that is new ("replace") or kept ("keep").
        rng : int, Generator, SeedSequence or None
            Seed or source of all draws; None draws another cell each time.
        dtype : str, default "float64"
            "float64" or "float32".

        Returns
        -------
        GRU
            The cell.

        Raises
        ------
        InputError
            for a value that is refused.
        """
        for_recurrent, for_input, for_chrono, for_bias = streams(rng, 4)
        W_hh = recurrent_weights(recurrent, hidden_size, 3, scale, for_recurrent)
        W_xh = input_weights(3 * hidden_size, input_size, input_scale, for_input, name=input, size=hidden_size)
        from_input, inner = biases(bias, hidden_size, 3, for_bias)
        apart = reset == "after"  # then the recurrence's bias of n stays behind the reset gate, as b_hn
        b_h = from_input + inner * (np.arange(3)[:, None] < (2 if apart else 3))
        if chrono is not None:
            b_h[1] += (1.0 if update == "keep" else -1.0) * chrono_bias(hidden_size, chrono, for_chrono)
        kind = checked_dtype(dtype)
        b_hn = inner[2].astype(kind) if apart else None
        return cls(W_xh.astype(kind), W_hh.astype(kind), b_h.ravel().astype(kind), b_hn, reset, update)

    @property
    def parameters(self) -> dict[str, Array]:
        return super().parameters | ({} if self.b_hn is None else {"b_hn": self.b_hn})

    def _rows(self, *blocks: int) -> Array:
        """Return the rows of W_hh that belong to neighbouring blocks, a view."""
        H = self.hidden_size
        return self.W_hh[blocks[0] * H : (blocks[-1] + 1) * H]

    def step(self, drive: Array, state: State, out: Out | None = None) -> tuple[State, Record]:
        (h,) = state
        H = self.hidden_size
        (h_out,), record = ((None,), self._room(drive, h)) if out is None else out
        a, gates, what = record["a"], record["gates"], h
        pushed = product(self.W_hh if self.b_hn is not None else self._rows(0, 1), h)
        if self.b_hn is not None:
            what = np.add(block(pushed, 2, H), self.b_hn[:, None], out=record["u"])
        r_z = (..., slice(2 * H), slice(None))
        *_, through_r = gru_gates(what, pushed[r_z], drive, out=(a[r_z], gates[r_z], None))
        if self.b_hn is None:
            through_r = product(self._rows(2), through_r)
        state_of = {"replace": gru_state_replace, "keep": gru_state_keep}[self.update]
        *_, mixed = state_of(h, through_r, drive, block(gates, 1, H), out=(block(a, 2, H), block(gates, 2, H), h_out))
        return (mixed,), record

    def _room(self, drive: Array, h: Array) -> Record:
        """Return uninitialised arrays for the record of a step."""
        like = h + block(drive, 0, self.hidden_size)
        room = {"a": stacked(like, 3), "gates": stacked(like, 3)}
        return room if self.b_hn is None else room | {"u": stacked(like, 1)}

    def linearise(self, record: Record, before: State, after: State) -> Local:
        gates = record["gates"]
        local = {"replace": gru_local_replace, "keep": gru_local_keep}[self.update]
        factors = local(before[0], record.get("u", before[0]), record["a"], gates)
        return Local._make([*factors, block(gates, 0, self.hidden_size)])

    def jvp(self, local: Any, tangent: State, out: State | None = None) -> State:
        (v,) = tangent
        H = self.hidden_size
        pushed = product(self._rows(0, 1) if self.b_hn is None else self.W_hh, v)
        r, z = block(pushed, 0, H), block(pushed, 1, H)
        if self.b_hn is None:
            n = product(self._rows(2), gru_jvp_reset(local.by_r, r, local.r, v))
        else:
            n = gru_jvp_reset(local.by_r, r, local.r, block(pushed, 2, H))
        return (gru_jvp(v, local.keep, z, local.h_by_z, n, local.h_by_n, out=(None,) if out is None else out),)

    def dense(self, local: Any) -> Array:
        H = self.hidden_size
        keep, h_by_n, h_by_z, by_r, r = local
        kept, W = np.ascontiguousarray(keep.T), self.W_hh.reshape(3, H, H)
        J = empty((len(kept), H, H), self.dtype)
        if self.b_hn is not None:
            factors = by_matrix(h_by_n * by_r, h_by_z, h_by_n * r)
            for some in in_cache(len(J), H * H):
                scaled_rows(factors[some], W, kept[some], out=J[some])
            return J
        at_r, reset, factors = by_matrix(by_r), np.ascontiguousarray(r.T), by_matrix(h_by_z, h_by_n)
        stretches = in_cache(len(J), H * H)
        z_and_n = np.empty((stretches[0].stop, 2, H, H), self.dtype)
        z_and_n[:, 0] = W[1]
        for some in stretches:
            through_r = scaled_rows(at_r[some], W[:1], reset[some])
            both = z_and_n[: len(through_r)]
            np.matmul(W[2], through_r, out=both[:, 1])
            scaled_rows(factors[some], both, kept[some], out=J[some])
        return J

    def vjp(self, local: Any, adjoint: State, out: tuple[State, Array] | None = None) -> tuple[State, Array]:
        (dh,) = adjoint
        (before,), pre_grad = ((None,), stacked(dh, 3)) if out is None else out
        if self.b_hn is None:
            r, z, n = in_blocks(pre_grad, 3)
            np.multiply(local.h_by_n, dh, out=n)
            np.multiply(local.h_by_z, dh, out=z)
            through_n = product(self._rows(2).T, n)
            np.multiply(local.by_r, through_n, out=r)
            before = product(self._rows(0, 1).T, pre_grad[..., : 2 * self.hidden_size, :], before)
            before += np.multiply(local.r, through_n, out=through_n)
            kept = local.keep * dh
        else:
            _, at_product, kept = gru_back_after(dh, *local, out=(pre_grad, stacked(dh, 3), None))
            before = product(self.W_hh.T, at_product, before)
        before += kept
        return (before,), pre_grad

    @property
    def keep_gate(self) -> KeepGate:
        if self.update == "keep":
            return KeepGate("z", "∏z", "b_z", block=1)
        less = tuple(-bias for bias in BIASES)
        return KeepGate("1 − z", "∏(1 − z)", "b_z", block=1, sign=-1.0, tries=less)

    def additive(self, local: Any) -> Array:
        return np.asarray(local.keep)

    def parameter_pairs(self, record: Record, before: State, pre_grad: Array, x: Array) -> dict[str, list[Pair]]:
        """Separate the rows of n from those of r and z, because the operand or the gradient of W_n differs."""
        H, h = self.hidden_size, before[0]
        r, r_z, n = block(record["gates"], 0, H), pre_grad[..., : 2 * H, :], block(pre_grad, 2, H)
        at_product, factor = (n, r * h) if self.b_hn is None else (r * n, h)
        pairs: dict[str, list[Pair]] = {
            "W_xh": [(r_z, x), (n, x)],
            "W_hh": [(r_z, h), (at_product, factor)],
            "b_h": [(r_z, None), (n, None)],
        }
        return pairs if self.b_hn is None else pairs | {"b_hn": [(at_product, None)]}


@compiled
def gru_gates(what: Array, pushed: Array, drive: Array, out: tuple[Array, Array, Array | None]) -> tuple[Array, ...]:
    """Operand of r, blocks r and z of W_hh h, drive → blocks r and z of a and of the gates, r times the operand."""
    a, gates, times = out
    np.add(pushed, drive[..., : a.shape[-2], :], out=a)
    logistic(a, out=gates)
    return a, gates, np.multiply(block(gates, 0, what.shape[-2]), what, out=times)


def _mixed(new: Array, old: Array, z: Array, out: Array | None) -> Array:
    """Return (1 − z) ⊙ old + z ⊙ new."""
    mixed = np.multiply(1.0 - z, old, out=out)
    mixed += z * new
    return mixed


def _candidate(through_r: Array, drive: Array, out: tuple[Array | None, ...]) -> tuple[Array, Array]:
    a_n = np.add(through_r, block(drive, 2, through_r.shape[-2]), out=out[0])
    return a_n, np.tanh(a_n, out=out[1])


@compiled
def gru_state_replace(
    h: Array, through_r: Array, drive: Array, z: Array, out: tuple[Array | None, ...] = (None,) * 3
) -> tuple[Array, ...]:
    """h before, output of r, drive, z → a_n, n, h = (1 − z) ⊙ h + z ⊙ n."""
    a_n, n = _candidate(through_r, drive, out)
    return a_n, n, _mixed(n, h, z, out[2])


@compiled
def gru_state_keep(
    h: Array, through_r: Array, drive: Array, z: Array, out: tuple[Array | None, ...] = (None,) * 3
) -> tuple[Array, ...]:
    """h before, output of r, drive, z → a_n, n, h = (1 − z) ⊙ n + z ⊙ h."""
    a_n, n = _candidate(through_r, drive, out)
    return a_n, n, _mixed(h, n, z, out[2])


@compiled
def gru_local_replace(before: Array, what: Array, a: Array, gates: Array) -> tuple[Array, ...]:
    """h before, operand of r, a, gates → keep, h by n, h by z, by r; w = z."""
    return _local(before, what, a, gates, keeps=False)


@compiled
def gru_local_keep(before: Array, what: Array, a: Array, gates: Array) -> tuple[Array, ...]:
    """h before, operand of r, a, gates → keep, h by n, h by z, by r; w = 1 − z."""
    return _local(before, what, a, gates, keeps=True)


def _local(before: Array, what: Array, a: Array, gates: Array, keeps: bool) -> tuple[Array, ...]:
    r, z, n = in_blocks(gates, 3)
    a_r, a_z, a_n = in_blocks(a, 3)
    not_r, not_z = complement(a_r, r), complement(a_z, z)
    new, keep, sign = (not_z, z, -1.0) if keeps else (z, not_z, 1.0)
    return (
        keep,
        new * tanh_derivative(a_n, n),
        sign * (n - before) * z * not_z,
        what * r * not_r,
    )


@compiled
def gru_jvp_reset(one_by: Array, one: Array, two_by: Array, two: Array) -> Array:
    """Tangents of r and of its operand, with their factors → the tangent of their product."""
    answer = one_by * one
    answer += two_by * two
    return np.asarray(answer)


@compiled
def gru_jvp(
    v: Array, keep: Array, z: Array, h_by_z: Array, n: Array, h_by_n: Array, out: tuple[Array | None, ...] = (None,)
) -> Array:
    """Tangents of h, a_z and a_n, each with its factor → the tangent of h one step later."""
    h = np.multiply(keep, v, out=out[0])
    h += h_by_z * z
    h += h_by_n * n
    return np.asarray(h)


@compiled
def gru_back_after(dh: Array, *local: Array, out: tuple[Array, Array, Array | None]) -> tuple[Array, Array, Array]:
    """δ, the factors → dL/da, the gradient at W_hh h (its block n behind r), δ of the step before through keep."""
    keep, h_by_n, h_by_z, by_r, r = local
    pre_grad, at_product, kept = out
    at_r, at_z, at_n = in_blocks(pre_grad, 3)
    np.multiply(h_by_n, dh, out=at_n)
    np.multiply(h_by_z, dh, out=at_z)
    np.multiply(by_r, at_n, out=at_r)
    at_product[...] = pre_grad
    block(at_product, 2, dh.shape[-2])[...] *= r
    return pre_grad, at_product, np.multiply(keep, dh, out=kept)
