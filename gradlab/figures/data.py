"""From a study's frames the rows that a picture is drawn from: the longest runs, with what varies, thinned to print."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradlab.errors import InputError
from gradlab.statistics.rates import across_seeds
from gradlab.tables.factors import SEED, SETTING, TRAINED, arranged, combinations, control, longest, named, ran
from gradlab.tables.tables import Frames, NotRecorded, has_rates

#: What a picture makes of logarithms, element by element.
Shown = Callable[[pd.Series], pd.Series]
#: Points that all lines of a picture share, and the fewest for one line: smooth at print size, and small.
POINTS, FEWEST_POINTS = 1000, 20


def of(rows: pd.DataFrame) -> list[str]:
    """Return the columns that say to which pass a row of ``runs``, ``steps`` or ``spectra`` belongs."""
    return [name for name in ("id", TRAINED, "layer", "direction") if name in rows]


def with_rates(frames: Frames) -> pd.DataFrame:
    """Return ``runs`` of a study whose hooks record rates.

    Raises
    ------
    NotRecorded
        Where they do not.
    InputError
        Where nothing has run yet.
    """
    if not has_rates(frames["runs"]):
        raise NotRecorded('runs: no rates; hooks = ["gradients"] records them')
    if ran(frames["runs"]).empty:
        raise InputError("runs: nothing has run yet")
    return frames["runs"]


def joined(runs: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows of ``steps`` or ``spectra`` with what varies and the status of their runs, the longest ones."""
    own = [name for name in of(runs) if name in rows]
    names = list(dict.fromkeys([*own, "status", "hidden", *combinations(runs), SEED]))
    kept = arranged(longest(runs))
    return rows.merge(kept[[name for name in names if name in kept]].drop_duplicates(own), on=own)


def theory_of(
    frames: Frames, table: pd.DataFrame, along: str | None, panels: tuple[str, ...], name: str = "theory"
) -> pd.DataFrame:
    """Return theory's lines in the columns and the types of ``table``; empty where it has none along ``along``.

    A line that does not depend on what the panels stand for is in each of them.
    """
    lines = frames.get(name, pd.DataFrame())
    if along not in lines or lines.empty:
        return pd.DataFrame()
    shared = [name for name in lines if name in table or name == "theory"]
    kinds = {name: kind for name, kind in table.dtypes.items() if isinstance(kind, pd.CategoricalDtype)}
    lines = lines[shared].astype({name: kind for name, kind in kinds.items() if name in shared})
    missing = [name for name in panels if name not in lines]
    return lines.merge(table[missing].drop_duplicates(), how="cross") if missing else lines


def averaged(rows: pd.DataFrame, by: list[str], name: str, shown: Shown = lambda logs: logs) -> pd.DataFrame:
    """Return the mean over the seeds of ``shown(mean_log)``, a column ``name``, with its 95 % interval.

    Of a single pass, which has no seed, it is the spread of its sequences, from their 5 to their 95 % quantile.
    """
    table = across_seeds(rows.assign(**{name: shown(rows["mean_log"])}), by, name)
    if SEED in rows:
        return table
    ends = {f"{name}_low": shown(rows["q05"]), f"{name}_high": shown(rows["q95"])}
    return table.drop(columns=list(ends)).merge(rows[by].assign(**ends), on=by)


def few(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs at the lowest, the middle and the highest value of the control, where it takes more than three.

    For pictures that give each combination a panel.
    """
    turned = control(runs)
    if turned is None:
        return runs
    column = arranged(runs)[turned]
    levels = column.cat.categories if isinstance(column.dtype, pd.CategoricalDtype) else np.unique(column.dropna())
    kept = levels[[0, (len(levels) - 1) // 2, -1]]
    return runs if len(levels) <= 3 else runs[column.isna() | column.isin(kept)]


def settings(table: pd.DataFrame, by: list[str]) -> pd.Series:
    """Return what varies in words, ``lstm, forget_bias 1``, as categories in the order of what varies."""
    passes = table.drop_duplicates(of(table)).sort_values(by, kind="stable")
    words = [
        ", ".join(named(*pair) for pair in zip(by, values, strict=True) if not pd.isna(pair[1]))
        for _, *values in passes[["id", *by]].itertuples(index=False)
    ]
    found = table[of(table)].merge(passes[of(table)].assign(**{SETTING: words}), on=of(table), how="left")[SETTING]
    return found.set_axis(table.index).astype(pd.CategoricalDtype(list(dict.fromkeys(words))))


def abreast(table: pd.DataFrame) -> int:
    """Return how many panels stand in a line, so that none parts the steps of a training, two to four of them."""
    steps = table[TRAINED].nunique() if TRAINED in table else 1
    return 4 if steps in (2, 4) else 3


def drawn(walks: pd.DataFrame, by: list[str], along: str = "lag") -> pd.Series:
    """Return which rows are drawn: of each line the first lag, the last, and evenly many between."""
    lines = walks.groupby(by, observed=True, dropna=False)[along]
    count = max(POINTS // lines.ngroups, FEWEST_POINTS)
    return lines.transform(lambda lags: lags.isin(_evenly(np.unique(lags), count)).astype(bool))


def _evenly(lags: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    return np.asarray(lags[np.linspace(0, len(lags) - 1, count).round().astype(int)])
