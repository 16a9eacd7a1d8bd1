"""Horizons of a study: one survival estimate per setting, over its seeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from gradlab.errors import InputError
from gradlab.statistics.increments import FIRST_LAG
from gradlab.statistics.survival import FRACTIONS, survival
from gradlab.tables.factors import arranged, combinations, ran


def horizon_table(runs: pd.DataFrame, by: Sequence[str] | None = None, *, value: str = "horizon_1pct") -> pd.DataFrame:
    """Return the survival estimate of the horizons over the seeds, for each combination of the varying keys.

    The horizon of a run is the Kaplan–Meier median over its sequences. If that median is not reached, the run is
    censored at the number of steps that it has beyond lag 1, ``length − 1``.

    Parameters
    ----------
    runs : DataFrame
        With the columns ``status``, ``length``, ``censored``, ``value`` and ``by``. Runs that are not done, or have no
        horizon (all their gradients are zero at lag 1), are left out. Combinations that have not run have no row.
    by : sequence of str, optional
        Columns that index the rows of the result. The default is the cell and all varying keys.
    value : str
        ``horizon_1pct`` or ``horizon_e``.

    Returns
    -------
    DataFrame
        ``by…``; ``<value>``, ``<value>_low`` and ``<value>_high`` (the median and its 95 % interval in steps, nan if
        not reached or not bounded); ``<value>_mean`` (restricted mean within the first ``limit`` steps); ``limit``
        (steps); ``censored_runs`` (share of the runs); and ``seeds`` (number of runs).

    Raises
    ------
    InputError
        If a column is missing, or ``value`` is neither of the two.
    """
    if value not in FRACTIONS:
        raise InputError(f"value: expected one of {sorted(FRACTIONS)}, got {value!r}")
    groups = combinations(runs) if by is None else list(by)
    needed = [*groups, "status", "length", "censored", value]
    missing = [name for name in needed if name not in runs.columns]
    if missing:
        raise InputError(f'runs: missing {missing}; hooks = ["gradients"] records horizons')
    known = ran(arranged(runs).assign(known=(runs["status"] == "done") & runs["censored"].notna()))
    rows = [
        [*(name if isinstance(name, tuple) else (name,)), *_over_seeds(part[part["known"]], value)]
        for name, part in known.groupby(groups, dropna=False, observed=True)
    ]
    names = [value, f"{value}_low", f"{value}_high", f"{value}_mean", "limit", "censored_runs", "seeds"]
    return pd.DataFrame(rows, columns=[*groups, *names]).astype(known[groups].dtypes.to_dict())


def _over_seeds(runs: pd.DataFrame, value: str) -> list[float]:
    """Return the columns of one row: the estimate over the runs of one combination."""
    steps = runs[value].astype("float64").to_numpy()
    reached = np.isfinite(steps)
    found = survival(np.where(reached, steps, runs["length"].astype("float64") - FIRST_LAG), reached)
    return [found.steps, found.low, found.high, found.mean, found.limit, found.censored, found.number]
