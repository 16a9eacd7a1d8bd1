"""Rows of the table ``steps``: statistics over the sequences, for one quantity at every step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[Any]
#: Lags that a thinned table keeps per doubling of the lag.
PER_OCTAVE = 8


def thinned(steps: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of ``steps`` at logarithmically spaced lags, including lag 0 and the last lag."""
    last = int(steps["lag"].max())
    spaced = 2.0 ** (np.arange(PER_OCTAVE * np.log2(max(last, 1)) + 1) / PER_OCTAVE)
    return steps[steps["lag"].isin({0, last, *spaced.round().astype(int)})].reset_index(drop=True)


def step_rows(quantity: str, logs: NDArray[np.float64], t: Array, lag: Array, along: str = "") -> dict[str, Any]:
    """Return the columns of ``steps`` for one quantity, with statistics over the B sequences.

    There is one row per t, or one row per pair of t and lag if the sequences differ in length (see ``along``).

    Parameters
    ----------
    quantity : str
        Value of the column ``quantity``.
    logs : array (n, B)
        Natural logarithms, nats. −inf marks an exact zero, which is counted and left out of the statistics. Entries
        beyond a sequence's end are ignored.
    t, lag : array (n, B)
        Steps and lags of the entries. A negative lag marks an entry beyond the sequence's end.
    along : "", "lag" or "t"
        For sequences of unequal lengths: "lag" gives one row per lag, over the sequences that reach it, and "t" gives
        one row per t, over the sequences that run at t. The other column then holds the values of the longest
        sequence.

    Returns
    -------
    dict
        ``t``, ``lag``, ``quantity``, ``mean_log``, ``q05``, ``q50``, ``q95`` (nats) and ``zeros`` (sequences).
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
        "t": t[:, 0].copy(),  # a view would keep the whole array alive
        "lag": lag[:, 0].copy(),
        "quantity": quantity,
        "mean_log": mean,
        "q05": low,
        "q50": middle,
        "q95": high,
        "zeros": np.isneginf(logs).sum(axis=1),
    }


def _of_the_longest(t: Array, lag: Array, along: str) -> tuple[Array, Array]:
    """Return t and lag with the one that is not ``along`` replaced by its value in the longest sequence.

    In the reverse direction, t = lag + 1 in every sequence, so both stay unchanged.
    """
    end = (t + lag).max()
    if (t == lag + 1).all():
        return t, lag
    return (end - lag, lag) if along == "lag" else (t, end - t)


def _by_t_and_lag(t: Array, lag: Array, logs: Array, inside: Array) -> tuple[Array, Array, Array]:
    """Return t ``(m, 1)``, lag ``(m, 1)`` and logs ``(m, B)`` with one row per pair (t, lag).

    Sequences without this pair are nan. Pairs beyond the end of every sequence are dropped.
    """
    pairs, row = np.unique(np.stack([t.ravel(), lag.ravel()]), axis=1, return_inverse=True)
    spread = np.full((pairs.shape[1], logs.shape[1]), np.nan)
    spread[row.reshape(logs.shape), np.arange(logs.shape[1])] = logs
    real = np.bincount(row.ravel(), weights=inside.ravel()) > 0
    return pairs[0][real][:, None], pairs[1][real][:, None], spread[real]


def _quantiles(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the 5, 50 and 95 % quantiles of the finite numbers of each row, ``(3, n)``; nan for a row without any."""
    wanted = (0.05, 0.5, 0.95)
    finite = np.isfinite(logs)
    answer = np.full((3, len(logs)), np.nan)
    whole = finite.all(axis=1)
    if whole.any():
        answer[:, whole] = np.quantile(logs[whole], wanted, axis=1)
    for place in np.flatnonzero(finite.any(axis=1) & ~whole):
        answer[:, place] = np.quantile(logs[place, finite[place]], wanted)
    return answer
