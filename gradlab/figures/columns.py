"""Any number of ``runs`` over the key that the study varies, or over another column."""

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
    """Return the column ``name`` of the longest runs with its interval.

    Parameters
    ----------
    frames : the tables of a study, a watch or a trace.
    name : a column of ``runs`` that holds numbers.
    x : a column to draw each run over. Without it, the mean over the seeds is drawn over the control.
    hue : the column with one line per value, where ``x`` is given.

    Raises
    ------
    InputError
        If there is no such column, or it holds no number.
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
    """Return each run with the interval within it, which has no width where none is known."""
    ends = (f"{name}_low", f"{name}_high")
    return runs.assign(seeds=1, **{end: runs[end] if end in runs else runs[name] for end in ends})


def picture(name: str, x: str | None = None, hue: str | None = None) -> Picture:
    """Return the picture of the column ``name`` of ``runs``; see `tabulate`."""
    return rates.PICTURE._replace(
        table=partial(tabulate, name=name, x=x, hue=hue),
        finding=lambda table, layout: signs(table, name, f"Values of {name}"),
        caption=f"{name} of the longest sequences; bars: 95 % t-intervals over the seeds",
    )
