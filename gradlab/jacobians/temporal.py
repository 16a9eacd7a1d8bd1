"""Who teaches whom: what each loss step says to each earlier state, and what truncation throws away.

All sources travel back together as columns of one product: at step s, one column for every loss step t ≥ s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradlab.arrays.checks import positive
from gradlab.arrays.scaled import LN2, common_exponent, ldexp, log_norm, normalise
from gradlab.bptt import Columns, Tape, parameter_gradients
from gradlab.cells.base import Cell, Pair
from gradlab.errors import InputError
from gradlab.formatting import markup
from gradlab.formatting.numbers import UNKNOWN, compact, numeral, plain
from gradlab.jacobians.propagator import _forward

Array = NDArray[Any]
#: Numbers that the directions of :func:`sensitivity` may hold, 256 MiB in float64; probes that are taken at least.
ROOM, FEWEST_PROBES = 2**25, 32
#: Rows of k that a repr shows.
SHOWN = 8


def _mean(logs: NDArray[np.float64]) -> str:
    """Return the mean of the logarithms that are of no zero, as text."""
    finite = logs[np.isfinite(logs)]
    return compact(float(finite.mean()), 3) if finite.size else UNKNOWN


def _two(value: float) -> str:
    """Return a number with two digits, however small."""
    return UNKNOWN if np.isnan(value) else plain(float(f"{value:.2g}"))


def temporal(tape: Tape, direct: Columns) -> NDArray[np.float64]:
    """Return ln‖∂L_t/∂s_s‖ of the joint state for every loss step t and every s ≤ t, ``(T, T+1, B)``, in nats.

    Row t − 1, column s; −inf where L_t says nothing to s (s > t included), nan beyond a sequence's own end. Of a layer
    below others, L_t stands for what arrives at h_t from above. The cost grows with T².
    """
    T, B = tape.steps, tape.x.shape[-1]
    logs = np.full((T, T + 1, B), -np.inf)
    with np.errstate(all="ignore"):
        for s, sources, exponent, _ in _sources_back(tape, direct):
            logs[max(s, 1) - 1 :, s] = log_norm(sources, exponent)[::-1]
    beyond = np.arange(T + 1)[:, None] > tape.ends
    return np.where(beyond[1:, None] | beyond, np.nan, logs)


def _sources_back(tape: Tape, direct: Columns) -> Iterator[tuple[int, Array, NDArray[np.int64], Any]]:
    """Yield for s = T … 0 the adjoints of loss steps t ≥ max(s, 1), latest first, ``(n, S, B)``, and exponents.

    The last entry is the local derivative of step s, None for s = 0.
    """
    cell, T, B = tape.cell, tape.steps, tape.x.shape[-1]
    sources = np.empty((T, cell.state_size, B), cell.dtype)
    exponent = np.zeros((T, B), np.int64)
    for stretch in reversed(tape.stretches()):
        local = tape.linearise(stretch)
        for s in range(stretch.stop, stretch.start, -1):
            count = T - s + 1
            sources[count - 1] = 0.0
            sources[count - 1, : direct.mantissa.shape[1]] = direct.mantissa[s]
            exponent[count - 1] = direct.exponent[s]
            step = type(local)(*(array[s - 1 - stretch.start] for array in local))
            yield s, sources[:count], exponent[:count], step
            before, _ = cell.vjp(step, cell.split(sources[:count]))
            for target, array in zip(cell.split(sources[:count]), before, strict=True):
                target[...] = array
            normalise(sources[:count], exponent[:count])
    yield 0, sources, exponent, None


class Sensitivity(NamedTuple):
    """ln‖∂s_t/∂s_s‖_F in nats, ``(T+1, T+1, B)``, row t, column s ≤ t (−inf above); its standard error, 0 if exact."""

    log_norm: NDArray[np.float64]
    stderr: NDArray[np.float64]
    probes: int

    def __repr__(self) -> str:
        return markup.plain(*self._shown())

    def _repr_html_(self) -> str:
        return markup.html(*self._shown())

    def _shown(self) -> tuple[str, list[tuple[str, object]]]:
        steps, _, B = self.log_norm.shape
        rows: list[tuple[str, object]] = [
            ("from s = 0", f"to t = {steps - 1}: {_mean(self.log_norm[-1, 0])} nats, mean over the sequences"),
            ("known", f"from {self.probes} random directions" if self.probes else "exactly, from all directions"),
        ]
        return f"Sensitivity: ln‖∂s_t/∂s_s‖_F in nats, T {steps - 1}, B {B}", rows


def sensitivity(tape: Tape, probes: int | None = None, *, rng: int = 0) -> Sensitivity:
    """Return ln‖∂s_t/∂s_s‖_F for all s ≤ t: exact from all S directions, or estimated from random ones.

    With m probes z ~ N(0, I), ‖P‖_F² = E‖Pz‖² is the mean of m squared norms; the standard error of its logarithm
    follows from their scatter, and is about √(1/2m) where one direction dominates.

    Parameters
    ----------
    probes : how many random directions, 0 for all S, exactly. Unless given, exact where the (T+1)·S²·B numbers of all
        directions fit 256 MiB, and otherwise from as many probes as do, at least 32; the answer says how many.

    Raises
    ------
    InputError
        for 1 probe, whose error is not known, or fewer than none.
    """
    T, S, B = tape.steps, tape.cell.state_size, tape.x.shape[-1]
    count = _probes_that_fit(T, S, B) if probes is None else probes
    if count == 0:
        start = np.broadcast_to(np.eye(S)[:, :, None], (S, S, B))
        return Sensitivity(_spread_forward(tape, start, _exact)[0], np.zeros((T + 1, T + 1, B)), 0)
    if positive("probes", count) < 2:
        raise InputError("probes must be at least 2, to know their error, or 0 for all directions; got 1")
    drawn = np.random.default_rng(rng).standard_normal((count, S, B))
    found, errors = _spread_forward(tape, drawn, _estimated)
    return Sensitivity(found, errors, count)


def _probes_that_fit(T: int, S: int, B: int) -> int:
    """Return 0 where all S directions fit :data:`ROOM`, else how many do, at least :data:`FEWEST_PROBES`."""
    fit = ROOM // ((T + 1) * S * B)
    return 0 if fit >= S else max(fit, FEWEST_PROBES)


def _exact(columns: Array) -> tuple[Array, Array]:
    """Return ln‖·‖_F of ``(n, K, S, B)`` and no error."""
    n, K, S, B = columns.shape
    logs = log_norm(columns.reshape(n, K * S, B), 0)
    return logs, np.zeros_like(logs)


def _estimated(columns: Array) -> tuple[Array, Array]:
    """Return half the ln of the mean squared norm of ``(n, K, S, B)`` over K, and its standard error."""
    logs = 2.0 * log_norm(columns, 0)
    peak = logs.max(axis=1, keepdims=True)
    square = np.exp(logs - np.where(np.isfinite(peak), peak, 0.0))
    mean = square.mean(axis=1)
    error = 0.5 * square.std(axis=1, ddof=1) / (np.sqrt(square.shape[1]) * np.where(mean > 0, mean, 1.0))
    return 0.5 * (peak[:, 0] + np.log(mean)), error


def _spread_forward(
    tape: Tape, start: Array, measure: Callable[[Array], tuple[Array, Array]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Carry ``start (K, S, B)`` forward from every s at once; return what ``measure`` says at every t ≥ s."""
    T, B = tape.steps, tape.x.shape[-1]
    logs, errors = np.full((T + 1, T + 1, B), -np.inf), np.zeros((T + 1, T + 1, B))
    columns = np.empty((T + 1, *start.shape), tape.cell.dtype)
    exponent = np.zeros((T + 1, B), np.int64)
    with np.errstate(all="ignore"):
        columns[0] = start
        logs[0, 0], errors[0, 0] = (part[0] for part in measure(columns[:1]))
        for t, J in enumerate(_forward(tape, 0, T), start=1):
            live = columns[:t]
            live[...] = np.einsum("bij,nkjb->nkib", J, live, optimize=True)
            exponent[:t] += _shift(live)
            columns[t] = start
            found, error = measure(columns[: t + 1])
            logs[t, : t + 1], errors[t, : t + 1] = found + exponent[: t + 1] * LN2, error
    beyond = np.arange(T + 1)[:, None] > tape.ends
    return np.where(beyond[:, None] | beyond, np.nan, logs), errors


def _shift(columns: Array) -> NDArray[np.int64]:
    """Bring ``(n, K, S, B)`` to peaks of about 1, in place, one power of two for each n and b; return those."""
    peak = np.abs(columns).max(axis=(1, 2))
    shift = np.where(np.isfinite(peak) & (peak > 0), np.frexp(peak)[1], 0)
    columns[...] = ldexp(columns, -shift[:, None, None, :])
    return shift


class Truncation(NamedTuple):
    """BPTT(k) against the full gradient of the batch-mean loss, one entry a lag ``k (n,)``.

    error : ‖g_k − g‖/‖g‖ over all recurrent parameters together.
    cosine : of the angle between g_k and g. Both are nan where g is exactly 0, the cosine where g_k is.
    """

    k: NDArray[np.int64]
    error: NDArray[np.float64]
    cosine: NDArray[np.float64]

    def __repr__(self) -> str:
        return markup.plain(*self._shown())

    def _repr_html_(self) -> str:
        return markup.html(*self._shown())

    def _shown(self) -> tuple[str, list[tuple[str, object]]]:
        """Return a title and a row for each k, of more than `SHOWN` evenly many."""
        rows: list[tuple[str, object]] = []
        for i in np.unique(np.linspace(0, len(self.k) - 1, SHOWN).round().astype(int)).tolist():
            rows.append((f"k {self.k[i]}", f"error {_two(self.error[i])}, cosine {numeral(self.cosine[i], 3)}"))
        return "Truncation: the gradient of BPTT(k) against the full one", rows


def truncation(tape: Tape, direct: Columns, lags: Sequence[int] | None = None) -> Truncation:
    """Return how far the gradient of truncated BPTT is from the full one.

    BPTT(k) keeps, of each loss step t, the path through the last k steps, t − k + 1 … t: its part of a parameter's
    gradient at steps further back is dropped. k = T is the full gradient. No difference of large numbers is taken: the
    sources travel back one by one, and each k sums those that are still within it.

    Parameters
    ----------
    lags : the k wanted; 1, 2, 4, … and T unless given.
    """
    T = tape.steps
    wanted = np.unique([*(2 ** np.arange(int(np.log2(T)) + 1)), T]) if lags is None else np.asarray(lags)
    if wanted.ndim != 1 or wanted.size == 0 or wanted.min() < 1 or wanted.max() > T:
        raise InputError(f"lags must be steps 1 … T = {T}, got {np.asarray(lags).tolist()!r}")
    with np.errstate(all="ignore"):
        mantissas, exponents = _truncated_gradients(tape, direct, wanted)
        gradients = ldexp(mantissas, (exponents - exponents.max())[:, None])
        error = np.linalg.norm(gradients[:-1] - gradients[-1], axis=-1) / np.linalg.norm(gradients[-1])
        unit = mantissas / np.linalg.norm(mantissas, axis=-1, keepdims=True)
        cosine = unit[:-1] @ unit[-1]
    return Truncation(wanted.astype(np.int64), error, np.clip(cosine, -1.0, 1.0))


def _truncated_gradients(tape: Tape, direct: Columns, lags: NDArray[np.int64]) -> tuple[Array, NDArray[np.int64]]:
    """Return the flat parameter gradients of each lag and, last, of no truncation: ``(n + 1, P)``, exponents."""
    cuts = [*lags.tolist(), tape.steps]
    pre_grads: list[Array] = [np.empty(0)] * len(cuts)
    exponents = np.zeros((tape.steps, tape.x.shape[-1]), np.int64)
    for s, sources, exponent, step in _sources_back(tape, direct):
        if step is None:
            break
        level, peak = common_exponent(sources, exponent, (0,))
        exponents[s - 1] = peak[0]
        newest_first = level[::-1]
        for place, k in enumerate(cuts):
            adjoint = newest_first[:k].sum(axis=0)
            _, at_step = tape.cell.vjp(step, tape.cell.split(adjoint))
            if not pre_grads[place].size:
                pre_grads[place] = np.zeros((tape.steps, *at_step.shape), at_step.dtype)
            pre_grads[place][s - 1] = at_step
    vectors, levels = zip(*(_flat(_parameter_gradients(tape, grads, exponents)) for grads in pre_grads), strict=True)
    return np.stack(vectors), np.array(levels)


def _parameter_gradients(tape: Tape, pre_grad: Array, exponent: NDArray[np.int64]) -> list[tuple[Array, int]]:
    before = tape.cell.split(tape.states[:-1])
    pairs: dict[str, list[Pair]] = tape.cell.parameter_pairs(tape.record, before, pre_grad, tape.x)
    return list(parameter_gradients(pairs, exponent).values())


def _flat(gradients: list[tuple[Array, int]]) -> tuple[Array, int]:
    """Return all parameters' gradients in one vector, with its exponent."""
    highest = max(exponent for _, exponent in gradients)
    return np.concatenate([ldexp(m, np.asarray(e - highest)).ravel() for m, e in gradients]), highest


class Paths(NamedTuple):
    """What travels back to s_t on the additive path alone, and on every path, ``(T+1, B)`` each, in nats.

    additive : ln‖a_t‖, where a_T is the total gradient of the additive state at the last loss step, dL/dc_T of an LSTM,
        dL/dh_T of a GRU, and a_{t−1} = D_t ⊙ a_t with D_t = f_t (LSTM) or 1 − w_t, what is kept (GRU).
    everything : ln‖dL/dc_t‖ or ln‖dL/dh_t‖, the total gradient, under the same loss.
    gates : ln of the norm of their difference, what travelled through a gate at least once.
    """

    additive: NDArray[np.float64]
    everything: NDArray[np.float64]
    gates: NDArray[np.float64]

    def __repr__(self) -> str:
        return markup.plain(*self._shown())

    def _repr_html_(self) -> str:
        return markup.html(*self._shown())

    def _shown(self) -> tuple[str, list[tuple[str, object]]]:
        T, B = len(self.additive) - 1, self.additive.shape[1]
        rows: list[tuple[str, object]] = [
            ("all paths", f"{_mean(self.everything[0])} nats at t = 0, mean over the sequences"),
            ("additive path alone", f"{_mean(self.additive[0])} nats"),
            ("through a gate", f"{_mean(self.gates[0])} nats"),
            ("additive share", f"{_two(float(self.share[0].mean()))} at t = 0"),
        ]
        return f"Paths: ln‖gradient‖ by path, T {T}, B {B}", rows

    @property
    def share(self) -> NDArray[np.float64]:
        """‖a‖/(‖a‖ + ‖rest‖), ``(T+1, B)``: 1 where all travels additively, 0 where all goes through gates."""
        with np.errstate(all="ignore"):
            return np.asarray(1.0 / (1.0 + np.exp(self.gates - self.additive)))


def paths(tape: Tape, adjoint: Columns) -> Paths:
    """Return how much of the adjoint of an LSTM's c or of a GRU's h travels on the additive path alone.

    ``∏f`` is not an LSTM's gradient and ``∏(1 − w)`` not a GRU's: they are one path among all. The path starts with
    the total gradient at each sequence's last loss step, dL/dc_T or dL/dh_T. At the extremes of g and b_f the share is
    1 (no recurrent weights) or next to nothing (large weights, which amplify what goes through the gates).

    Parameters
    ----------
    adjoint : δ of the last loss step's loss alone, ``(T+1, S, B)``, the one from which the rate is taken.

    Raises
    ------
    InputError
        for a cell without an additive path.
    """
    return PathWalk(tape.cell, tape.x.shape[-1]).take(tape, adjoint, whole=True)


class PathWalk:
    """What travels on the additive path, on its way back; the tape may come in pieces, the last one first."""

    def __init__(self, cell: Cell, batch: int) -> None:
        if cell.additive_state is None:
            raise InputError(f"paths are those of a gated cell with an additive state, got {cell!r}")
        self.cell, self.state = cell, cell.additive_state
        self._column, self._exponent = np.zeros((cell.hidden_size, batch), cell.dtype), np.zeros(batch, np.int64)
        self._begun = np.zeros(batch, bool)

    def take(self, tape: Tape, adjoint: Columns, *, whole: bool) -> Paths:
        """Return the norms at the states 1 … n of ``tape``, and at its state 0 too where it is the ``whole`` rest."""
        additive: list[Array] = []
        everything: list[Array] = []
        gates: list[Array] = []
        cell, column, exponent = self.cell, self._column, self._exponent
        live = np.asarray(adjoint.mantissa.any(axis=1))
        begins = ~self._begun & live.any(axis=0)
        start = np.where(begins, tape.steps - live[::-1].argmax(axis=0), -1)
        with np.errstate(all="ignore"):
            for stretch in reversed(tape.stretches()):
                local = tape.linearise(stretch)
                for t in range(stretch.stop, stretch.start, -1):
                    step = type(local)(*(array[t - 1 - stretch.start] for array in local))
                    total = cell.total(step, cell.split(adjoint.mantissa[t]))[self.state]
                    column = np.where(start == t, total, column)
                    exponent = np.where(start == t, adjoint.exponent[t], exponent)
                    _note(total, adjoint.exponent[t], column, exponent, additive, everything, gates)
                    column = cell.additive(step) * column
                    normalise(column, exponent)
            if whole:
                last = cell.split(adjoint.mantissa[0])[self.state]
                _note(last, adjoint.exponent[0], column, exponent, additive, everything, gates)
        self._column, self._exponent, self._begun = column, exponent, self._begun | begins
        return Paths(*(np.stack(logs[::-1]) for logs in (additive, everything, gates)))


def _note(
    whole: Array,
    whole_exponent: NDArray[np.int64],
    part: Array,
    part_exponent: NDArray[np.int64],
    additive: list[Any],
    everything: list[Any],
    gates: list[Any],
) -> None:
    rest = Columns(whole, whole_exponent).plus(Columns(-part, part_exponent))
    additive.append(log_norm(part, part_exponent))
    everything.append(log_norm(whole, whole_exponent))
    gates.append(rest.log_norm())
