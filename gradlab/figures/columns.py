"""A numeric column of ``runs`` over the control parameter of a study, or over another column."""

from __future__ import annotations

from functools import partial

import pandas as pd

from gradlab.errors import InputError, unknown
from gradlab.figures import rates
from gradlab.figures.facets import Picture
from gradlab.statistics.rates import across_seeds
from gradlab.tables.factors import SEED, Layout, arranged, combinations, control, longest, others, ran
from gradlab.tables.recorded import not_recorded
from gradlab.tables.tables import Frames
from gradlab.verdicts.summaries import signs


def tabulate(frames: Frames, name: str, x: str | None = None, hue: str | None = None) -> tuple[pd.DataFrame, Layout]:
    """Return the column ``name`` of the longest runs, with its interval.

    Parameters
    ----------
    frames : mapping of DataFrame
        The tables of a study, a watch or a trace.
    name : str
        A numeric column of ``runs``.
    x : str, optional
        The column on the x axis, with one point per row of ``runs``. By default the mean over the seeds is drawn over
        the control.
    hue : str, optional
        The column with one line per value; it applies only if ``x`` is given.

    Returns
    -------
    table : DataFrame
        The values, with their intervals in ``{name}_low`` and ``{name}_high``.
    layout : Layout
        The columns to draw.

    Raises
    ------
    InputError
        If there is no such column, or it holds no numbers.
    """
    runs = frames["runs"]
    for column in (name, *([x] if x else [])):
        if column not in runs:
            raise InputError(unknown("column", column, map(str, runs.columns)))
    done = runs[runs["status"] == "done"]
    if not pd.api.types.is_numeric_dtype(done[name]) or done[name].isna().all():
        raise not_recorded("runs", name)
    if x is not None:
        return _with_own_interval(done, name), Layout("", (), x, name, hue)
    runs = longest(runs)
    turned = control(runs)
    rest = others(runs, "cell", "length", turned)
    layout = Layout(rest[0] if rest else "", rest[1:], turned or "cell", name, "cell")
    if SEED not in runs:
        return _with_own_interval(arranged(longest(done)), name), layout
    return across_seeds(ran(arranged(runs)), combinations(runs), name), layout


def _with_own_interval(runs: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return each run with the interval of its own value; an unknown interval has width 0."""
    ends = (f"{name}_low", f"{name}_high")
    return runs.assign(seeds=1, **{end: runs[end] if end in runs else runs[name] for end in ends})


def picture(name: str, x: str | None = None, hue: str | None = None) -> Picture:
    """Return the picture of the column ``name`` of ``runs``; see `tabulate`."""
    return rates.PICTURE._replace(
        table=partial(tabulate, name=name, x=x, hue=hue),
        finding=lambda table, layout: signs(table, name, f"Values of {name}"),
        caption=f"{name} of the longest sequences; bars: 95 % t-intervals over the seeds",
    )
