"""Truncated backpropagation through time: the gradient of BPTT(k) against the full one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradlab.arrays.scaled import Array, common_exponent, ldexp
from gradlab.bptt import Columns, Tape, parameter_gradients
from gradlab.errors import InputError
from gradlab.formatting import markup
from gradlab.formatting.numbers import numeral, significant
from gradlab.jacobians.temporal import sources_back

#: Number of k that a repr lists.
SHOWN = 8


class Truncation(NamedTuple):
    """BPTT(k) against the full gradient of the batch-mean loss, one entry per lag k.

    Attributes
    ----------
    k : int array (n,)
        The lags, in steps.
    error : array (n,)
        ‖g_k − g‖/‖g‖ over all parameters of the cell; nan if g is exactly 0.
    cosine : array (n,)
        Cosine of the angle between g_k and g; nan if either is exactly 0.
    """

    k: NDArray[np.int64]
    error: NDArray[np.float64]
    cosine: NDArray[np.float64]

    def __repr__(self) -> str:
        return markup.plain(*self._shown())

    def _repr_html_(self) -> str:
        return markup.html(*self._shown())

    def _shown(self) -> tuple[str, list[tuple[str, object]]]:
        """Return a title and one row per k, or `SHOWN` evenly spaced rows if there are more."""
        rows: list[tuple[str, object]] = []
        for i in np.unique(np.linspace(0, len(self.k) - 1, SHOWN).round().astype(int)).tolist():
            rows.append((f"k {self.k[i]}", f"error {significant(self.error[i])}, cosine {numeral(self.cosine[i], 3)}"))
        return "Truncation: the gradient of BPTT(k) against the full one", rows


def truncation(tape: Tape, direct: Columns, lags: Sequence[int] | None = None) -> Truncation:
    """Return the error of the gradient of truncated BPTT for several lags.

    For each loss step t, BPTT(k) keeps the path through the last k steps, t − k + 1 … t, and drops the parts of the
    gradient at earlier steps. k = T is the full gradient. Each loss step is carried back separately, and each k sums
    those within it, so no difference of large numbers is taken.

    Parameters
    ----------
    tape : Tape
        The forward pass of one layer and direction.
    direct : Columns (T+1, H, B) or (T+1, S, B)
        The gradients that arrive from outside.
    lags : sequence of int, optional
        The k wanted, in steps; 1, 2, 4, … and T by default.

    Returns
    -------
    Truncation
        Error and cosine per lag, in ascending order if ``lags`` is not given.

    Raises
    ------
    InputError
        If a lag is not one of 1 … T.
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
    """Return the flat parameter gradients per lag and, last, without truncation, ``(n + 1, P)``; and exponents."""
    cuts = [*lags.tolist(), tape.steps]
    pre_grads: list[Array] = [np.empty(0)] * len(cuts)
    exponents = np.zeros((tape.steps, tape.x.shape[-1]), np.int64)
    for s, sources, exponent, step in sources_back(tape, direct):
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
    vectors, levels = zip(*(_flat_gradient(tape, grads, exponents) for grads in pre_grads), strict=True)
    return np.stack(vectors), np.array(levels)


def _flat_gradient(tape: Tape, pre_grad: Array, exponent: NDArray[np.int64]) -> tuple[Array, int]:
    """Return all parameter gradients as one vector, and its exponent."""
    pairs = tape.cell.parameter_pairs(tape.record, tape.cell.split(tape.states[:-1]), pre_grad, tape.x)
    gradients = parameter_gradients(pairs, exponent).values()
    highest = max(level for _, level in gradients)
    return np.concatenate([ldexp(m, np.asarray(e - highest)).ravel() for m, e in gradients]), highest
