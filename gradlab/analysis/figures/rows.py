"""From a study's frames the rows that a picture is drawn from: the longest runs, with what varies, thinned to print."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradlab.analysis.factors import arranged, combinations, longest, named
from gradlab.analysis.tables import Frames, NotRecorded, has_rates

#: What a row of ``steps`` or ``spectra`` belongs to.
OF = ["id", "layer", "direction"]
#: Points that all lines of a picture share, and the fewest for one line: smooth at print size, and small.
POINTS, FEWEST_POINTS = 1000, 20


def with_rates(frames: Frames) -> pd.DataFrame:
    """Return ``runs`` of a study whose hooks record rates.

    Raises
    ------
    NotRecorded
        Where they do not.
    """
    if not has_rates(frames["runs"]):
        raise NotRecorded('runs: no rates; hooks = ["gradients"] records them')
    return frames["runs"]


def joined(runs: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows of ``steps`` or ``spectra`` with what varies and the status of their runs, the longest ones."""
    names = list(dict.fromkeys([*OF, "status", "hidden", *combinations(runs)]))
    return rows.merge(arranged(longest(runs))[names].drop_duplicates(OF), on=OF)


def settings(table: pd.DataFrame, by: list[str]) -> pd.Series:
    """Return what varies in words, ``lstm, forget_bias 1``, as categories in the order in which they come."""
    words = {}
    for key, *values in table.drop_duplicates("id")[["id", *by]].itertuples(index=False):
        words[key] = ", ".join(named(*pair) for pair in zip(by, values, strict=True) if not pd.isna(pair[1]))
    return table["id"].map(words).astype(pd.CategoricalDtype(list(dict.fromkeys(words.values()))))


def drawn(walks: pd.DataFrame, by: list[str], along: str = "lag") -> pd.Series:
    """Return which rows are drawn: of each line the first lag, the last, and evenly many between."""
    lines = walks.groupby(by, observed=True, dropna=False)[along]
    count = max(POINTS // lines.ngroups, FEWEST_POINTS)
    return lines.transform(lambda lags: lags.isin(_evenly(np.unique(lags), count)).astype(bool))


def _evenly(lags: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    return np.asarray(lags[np.linspace(0, len(lags) - 1, count).round().astype(int)])
