"""Rows of the ``steps`` table: statistics over the sequences of one quantity at every step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[Any]
#: Lags that a thinned table keeps of each doubling of the lag; up to twice as many it keeps every one.
PER_OCTAVE = 8


def thinned(steps: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of ``steps`` at logarithmically spaced lags, the first and the last lag among them."""
    last = int(steps["lag"].max())
    spaced = 2.0 ** (np.arange(PER_OCTAVE * np.log2(max(last, 1)) + 1) / PER_OCTAVE)
    return steps[steps["lag"].isin({0, last, *spaced.round().astype(int)})].reset_index(drop=True)


def step_rows(quantity: str, logs: NDArray[np.float64], t: Array, lag: Array, along: str = "") -> dict[str, Any]:
    """Return columns of ``steps``, one row a t (of unequal lengths one a pair of t and lag), last axis sequences.

    Parameters
    ----------
    logs : ``(n, B)`` natural logarithms; −inf is an exact zero, counted and left out; nan lies beyond an end.
    t, lag : ``(n, B)`` true steps and lags; a negative lag lies beyond a sequence's end.
    along : "lag" or "t": of unequal lengths one row a lag, of the sequences that reach it, or one a t, of those that
        run then, for pictures over it; the other column is that of the longest sequence.
    """
    if (lag != lag[:, :1]).any() or (lag < 0).any():
        inside = lag >= 0
        if along:
            t, lag = _of_the_longest(t, lag, along)
        t, lag, logs = _by_t_and_lag(t, lag, np.where(inside, logs, np.nan), inside)
    low, middle, high = _quantiles(logs)
    finite = np.isfinite(logs)
    with np.errstate(all="ignore"):
        mean = np.where(finite, logs, 0.0).sum(axis=1) / finite.sum(axis=1)
    return {
        "t": t[:, 0].copy(),  # a view would keep all columns
        "lag": lag[:, 0].copy(),
        "quantity": quantity,
        "mean_log": mean,
        "q05": low,
        "q50": middle,
        "q95": high,
        "zeros": np.isneginf(logs).sum(axis=1),
    }


def _of_the_longest(t: Array, lag: Array, along: str) -> tuple[Array, Array]:
    """Return t and lag with one of the two as in the longest sequence; backward in time (t = lag + 1) they stay."""
    end = (t + lag).max()
    if (t == lag + 1).all():
        return t, lag
    return (end - lag, lag) if along == "lag" else (t, end - t)


def _by_t_and_lag(t: Array, lag: Array, logs: Array, inside: Array) -> tuple[Array, Array, Array]:
    """Return one row a pair (t, lag), nan for the sequences that are elsewhere; pairs beyond all ends are dropped."""
    pairs, row = np.unique(np.stack([t.ravel(), lag.ravel()]), axis=1, return_inverse=True)
    spread = np.full((pairs.shape[1], logs.shape[1]), np.nan)
    spread[row.reshape(logs.shape), np.arange(logs.shape[1])] = logs
    real = np.bincount(row.ravel(), weights=inside.ravel()) > 0
    return pairs[0][real][:, None], pairs[1][real][:, None], spread[real]


def _quantiles(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the 5, 50 and 95 % quantiles of each row's finite numbers, ``(3, n)``; nan where a row has none."""
    wanted = (0.05, 0.5, 0.95)
    finite = np.isfinite(logs)
    answer = np.full((3, len(logs)), np.nan)
    whole = finite.all(axis=1)
    if whole.any():
        answer[:, whole] = np.quantile(logs[whole], wanted, axis=1)
    for place in np.flatnonzero(finite.any(axis=1) & ~whole):
        answer[:, place] = np.quantile(logs[place, finite[place]], wanted)
    return answer
