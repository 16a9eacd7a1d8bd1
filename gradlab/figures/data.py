"""Selection of the rows that a picture shows: the longest runs, with the varying keys, thinned for print."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradlab.errors import InputError
from gradlab.statistics.rates import across_seeds
from gradlab.tables.factors import SEED, SETTING, TRAINED, arranged, combinations, control, longest, named, ran
from gradlab.tables.tables import Frames, NotRecorded, has_rates

#: An elementwise function that converts logarithms to the numbers shown.
Shown = Callable[[pd.Series], pd.Series]
#: Most points of all lines of a picture together, and fewest per line: smooth at print size, and small as a file.
POINTS, FEWEST_POINTS = 1000, 20


def of(rows: pd.DataFrame) -> list[str]:
    """Return the columns that identify the pass of a row of ``runs``, ``steps`` or ``spectra``."""
    return [name for name in ("id", TRAINED, "layer", "direction") if name in rows]


def with_rates(frames: Frames) -> pd.DataFrame:
    """Return ``runs`` if it has rates.

    Raises
    ------
    NotRecorded
        If no rates were recorded.
    InputError
        If nothing has run yet.
    """
    if not has_rates(frames["runs"]):
        raise NotRecorded('runs: no rates; hooks = ["gradients"] records them')
    if ran(frames["runs"]).empty:
        raise InputError("runs: nothing has run yet")
    return frames["runs"]


def joined(runs: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of ``steps`` or ``spectra`` of the longest runs, with the varying keys of their runs.

    Parameters
    ----------
    runs : DataFrame
        The table ``runs``.
    rows : DataFrame
        Rows of ``steps`` or ``spectra``.

    Returns
    -------
    DataFrame
        The rows with the columns status, hidden, seed and all that varies.
    """
    own = [name for name in of(runs) if name in rows]
    names = list(dict.fromkeys([*own, "status", "hidden", *combinations(runs), SEED]))
    kept = arranged(longest(runs))
    return rows.merge(kept[[name for name in names if name in kept]].drop_duplicates(own), on=own)


def theory_of(
    frames: Frames, table: pd.DataFrame, along: str | None, panels: tuple[str, ...], name: str = "theory"
) -> pd.DataFrame:
    """Return the lines of theory with the columns and types of ``table``.

    A line that does not depend on the columns ``panels`` is repeated in each panel.

    Parameters
    ----------
    frames : mapping of DataFrame
        The tables of a study, with those of theory.
    table : DataFrame
        The measured rows.
    along : str or None
        The column on the x axis.
    panels : tuple of str
        The columns that distinguish panels.
    name : str
        The table of theory.

    Returns
    -------
    DataFrame
        The lines; empty if the table of theory is missing or has no column ``along``.
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
    """Return the mean over the seeds of ``shown(mean_log)`` with its 95 % t-interval.

    A single pass has no seed. Its interval is the spread of its sequences, from their 5 % to their 95 % quantile.

    Parameters
    ----------
    rows : DataFrame
        Rows of ``steps`` with the columns ``by``.
    by : list of str
        The columns that identify a row of the result.
    name : str
        Name of the column with the mean; the interval is in ``{name}_low`` and ``{name}_high``.
    shown : callable
        An elementwise function that converts logarithms to the numbers shown.

    Returns
    -------
    DataFrame
        One row per combination of ``by``.
    """
    table = across_seeds(rows.assign(**{name: shown(rows["mean_log"])}), by, name)
    if SEED in rows:
        return table
    ends = {f"{name}_low": shown(rows["q05"]), f"{name}_high": shown(rows["q95"])}
    return table.drop(columns=list(ends)).merge(rows[by].assign(**ends), on=by)


def few(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs at the lowest, the middle and the highest value of the control, if it has more than three values.

    Pictures with one panel per combination use it.
    """
    turned = control(runs)
    if turned is None:
        return runs
    column = arranged(runs)[turned]
    levels = column.cat.categories if isinstance(column.dtype, pd.CategoricalDtype) else np.unique(column.dropna())
    kept = levels[[0, (len(levels) - 1) // 2, -1]]
    return runs if len(levels) <= 3 else runs[column.isna() | column.isin(kept)]


def settings(table: pd.DataFrame, by: list[str]) -> pd.Series:
    """Return the combination of the keys ``by`` as text, such as ``lstm, forget_bias 1``, as ordered categories."""
    passes = table.drop_duplicates(of(table)).sort_values(by, kind="stable")
    words = [
        ", ".join(named(*pair) for pair in zip(by, values, strict=True) if not pd.isna(pair[1]))
        for _, *values in passes[["id", *by]].itertuples(index=False)
    ]
    found = table[of(table)].merge(passes[of(table)].assign(**{SETTING: words}), on=of(table), how="left")[SETTING]
    return found.set_axis(table.index).astype(pd.CategoricalDtype(list(dict.fromkeys(words))))


def abreast(table: pd.DataFrame) -> int:
    """Return the number of panels per line, so that up to four training steps of a setting share a line."""
    steps = table[TRAINED].nunique() if TRAINED in table else 1
    return 4 if steps in (2, 4) else 3


def drawn(walks: pd.DataFrame, by: list[str], along: str = "lag") -> pd.Series:
    """Return which rows are drawn: the first and the last lag of each line, and evenly spaced ones in between."""
    lines = walks.groupby(by, observed=True, dropna=False)[along]
    count = max(POINTS // lines.ngroups, FEWEST_POINTS)
    return lines.transform(lambda lags: lags.isin(_evenly(np.unique(lags), count)).astype(bool))


def _evenly(lags: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    return np.asarray(lags[np.linspace(0, len(lags) - 1, count).round().astype(int)])
