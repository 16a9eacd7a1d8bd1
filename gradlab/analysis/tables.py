"""The tables of a study, from its frames ``runs`` and ``steps``: what figures draw and the page prints."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from gradlab.analysis.factors import (
    SEED,
    SETTING,
    Layout,
    arranged,
    control,
    longest,
    named,
    numeric_control,
    others,
    varying,
)
from gradlab.analysis.rates import FIRST_LAG, across_seeds
from gradlab.errors import InputError

#: A study's tables by name (`schema.TABLES`), and ``theory``, which may be missing: the lines that theory adds.
Frames = Mapping[str, pd.DataFrame]
#: From these, the table of one figure and what its columns are in it.
Table = Callable[[Frames], tuple[pd.DataFrame, Layout]]
#: What a row of ``steps`` or ``spectra`` belongs to.
OF = ["id", "layer", "direction"]
#: The quantity whose increments the rate is the mean of.
QUANTITY = "last_adjoint"
#: Points that all lines of a picture share, and the fewest for one line: smooth at print size, and small.
POINTS, FEWEST_POINTS = 1000, 20
#: The paths of a gradient through a gated cell, as ``steps`` has them and as a figure names them.
PATHS = {"path_all": "all paths", "path_gates": "through a gate at least once", "path_additive": "additive path alone"}

#: Columns of ``runs`` with one number a run that a hook recorded, beside the rate; of the exponents the largest.
MEASURES = (
    *("jac_norm2_median", "jac_cond_median", "saturation"),
    *(f"lyapunov_{rank}" for rank in range(1, 5)),
    *("kaplan_yorke", "entropy", "positive_exponents", "mean_exponent", "path_share"),
)


class NotRecorded(InputError):
    """What a figure shows was not measured, for want of a hook."""


def rates(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the rate of each combination of what varies, with its 95 % interval over the seeds.

    Returns
    -------
    DataFrame
        ``cell`` and the other varying keys, ``rate``, ``rate_low``, ``rate_high`` (nats/step), ``seeds``,
        ``diverged`` and ``failed`` (runs).
    """
    by = _by(runs)
    placed = arranged(runs)
    counts = placed[by].assign(
        diverged=(placed["status"] == "diverged").astype("int64"),
        failed=(placed["status"] == "failed").astype("int64"),
    )
    counted = counts.groupby(by, dropna=False, observed=True).sum().reset_index()
    return across_seeds(placed, by).drop(columns="excluded").merge(counted, on=by)


def crossings(runs: pd.DataFrame) -> pd.DataFrame:
    """Return where the rate turns from negative to positive as the study's control grows.

    In each seed, the first change of sign between neighbouring values of the control, interpolated linearly.
    Where some seeds do not cross there is no mean: that of the others would lie too low.

    Returns
    -------
    DataFrame
        What varies beside the control, ``crossing``, ``crossing_low``, ``crossing_high`` (mean and 95 %
        t-interval over the seeds), ``crossed`` (how many seeds cross), ``seeds`` (of how many), ``along`` (the
        control), ``lowest`` and ``highest`` (its first and last value).

    Raises
    ------
    InputError
        If no number varies that the rate could turn positive along.
    """
    along = numeric_control(runs)
    if along is None:
        raise InputError("runs: expected a number that varies, such as scale; there is none to cross along")
    by = [name for name in _by(runs) if name != along]
    known = arranged(runs).assign(rate=runs["rate"].where(runs["status"] == "done")).sort_values(along)
    groups = known.groupby([*by, SEED], dropna=False, observed=True, sort=False)
    each = [
        dict(zip([*by, SEED], name, strict=True)) | {"crossing": crossing(part[along], part["rate"])}
        for name, part in groups
    ]
    found = pd.DataFrame(each, columns=[*by, SEED, "crossing"])
    table = across_seeds(found.astype(known[by].dtypes.to_dict()), by, "crossing")
    means = ["crossing", "crossing_low", "crossing_high"]
    table[means] = table[means].where(table["excluded"] == 0)
    table = table.rename(columns={"seeds": "crossed"}).assign(seeds=table["seeds"] + table["excluded"], along=along)
    return table.drop(columns="excluded").assign(lowest=known[along].min(), highest=known[along].max())


def measures(runs: pd.DataFrame) -> pd.DataFrame:
    """Return what the hooks recorded of each run (`MEASURES`, whichever are there), with 95 % intervals over the seeds.

    Returns
    -------
    DataFrame
        ``cell`` and the other varying keys, of each measure its mean and ``_low`` and ``_high``, and ``seeds`` (runs
        averaged); without a column beyond the keys where no hook recorded any.
    """
    by, placed = _by(runs), arranged(runs)
    names = [name for name in MEASURES if name in runs and runs[name].notna().any()]
    table = placed[by].drop_duplicates()
    for name in names:
        means = across_seeds(placed, by, name).drop(columns="excluded")
        table = table.merge(means.rename(columns={"seeds": f"{name}_seeds"}), on=by)
    counts = [f"{name}_seeds" for name in names]
    return table.drop(columns=counts).assign(seeds=table[counts].max(axis=1)) if names else table


def has_rates(runs: pd.DataFrame) -> bool:
    """Return whether the study's hooks record rates, known or not."""
    return "hooks" not in runs or bool(runs["hooks"].str.split(", ").map(lambda names: "gradients" in names).any())


def crossing(along: ArrayLike, rate: ArrayLike) -> float:
    """Return where ``rate`` first turns from negative to positive between neighbours; nan if nowhere."""
    x, y = np.asarray(along, dtype=np.float64), np.asarray(rate, dtype=np.float64)
    turns = np.flatnonzero((y[:-1] < 0) & (y[1:] >= 0))
    if not turns.size:
        return np.nan
    i = turns[0]
    return float(x[i] - y[i] * (x[i + 1] - x[i]) / (y[i + 1] - y[i]))


def excluded(runs: pd.DataFrame) -> pd.DataFrame:
    """Return what diverged or failed: what varies, ``status``, ``reason`` (a line), ``seeds`` (which, as text)."""
    left = arranged(runs[runs["status"].isin(["diverged", "failed"])])
    by = [*_by(runs), "status", "reason"]
    told = left.assign(reason=left["error"], seeds=left[SEED].astype(str))
    return told.groupby(by, dropna=False, observed=True)["seeds"].agg(", ".join).reset_index()


def decay_table(frames: Frames) -> tuple[pd.DataFrame, Layout]:
    """Return ``ln‖δ_k‖ − ln‖δ_1‖`` over the lag at the longest length, with its 95 % interval over seeds."""
    runs, steps = _with_rates(frames), frames["steps"]
    rest = others(runs, "length", control(runs))
    panel = "cell" if "cell" in rest else next(iter(rest), "cell")
    layout = Layout(panel, tuple(name for name in rest if name != panel), "lag", "change", control(runs))
    walks = steps.loc[(steps["quantity"] == QUANTITY) & (steps["lag"] >= FIRST_LAG), [*OF, "lag", "mean_log"]]
    joined = _joined(runs, walks)
    if joined.empty:
        raise InputError(f'steps: no rows of the quantity "{QUANTITY}"; hooks = ["gradients"] records them')
    joined["change"] = joined["mean_log"] - joined.sort_values("lag").groupby(OF)["mean_log"].transform("first")
    return across_seeds(joined[_drawn(joined, _by(runs))], [*_by(runs), "lag"], "change"), layout


def phase_table(frames: Frames) -> tuple[pd.DataFrame, Layout]:
    """Return the rate over the control and the length (or, for a task of one length, another key).

    Where the control is a number, with the columns of `crossings` for the rates along it.
    """
    runs = _with_rates(frames)
    turned = control(runs)
    if turned is None:
        raise InputError("runs: nothing varies but the cell and the seed; there is no plane to draw")
    rest = others(runs, "cell", turned)
    across = "length" if "length" in rest else next(iter(rest), "cell")
    panel = "" if across == "cell" else "cell"
    table = rates(runs).dropna(subset=[across, turned])  # a cell without the key has no place in the plane
    if numeric_control(runs) is not None:
        where = crossings(runs).drop(columns="seeds")
        table = table.merge(where, on=[name for name in where if name in _by(runs)], how="left")
    return table, Layout(panel, tuple(name for name in rest if name != across), across, turned)


def rates_table(frames: Frames) -> tuple[pd.DataFrame, Layout]:
    """Return the rate over the control, a line a cell, at the longest length."""
    runs = _with_rates(frames)
    turned = control(runs)
    rest = others(runs, "cell", "length", turned)
    return rates(longest(runs)), Layout(rest[0] if rest else "", rest[1:], turned or "cell", "rate", "cell")


def lyapunov_table(frames: Frames) -> tuple[pd.DataFrame, Layout]:
    """Return λ₁ over the control at the longest length, a line a cell (of one cell a line a size), and theory's line.

    Rows of theory have a number in ``theory`` and none in ``lyapunov_1``.
    """
    runs = frames["runs"]
    if "lyapunov_1" not in runs or runs["lyapunov_1"].isna().all():
        raise NotRecorded('runs: no column "lyapunov_1"; hooks = ["lyapunov:1"] records it')
    turned = control(runs)
    sized = turned != "hidden" and "hidden" in varying(runs) and "cell" not in varying(runs)
    hue = "hidden" if sized else "cell"
    rest = others(runs, hue, "cell", "length", turned)
    table = across_seeds(arranged(longest(runs)), _by(runs), "lyapunov_1").assign(theory=np.nan)
    lines = frames.get("theory", pd.DataFrame())
    if turned == "scale" and len(lines):
        kinds = {name: kind for name, kind in table.dtypes.items() if isinstance(kind, pd.CategoricalDtype)}
        lines = lines.astype({name: kind for name, kind in kinds.items() if name in lines})
        table = pd.concat([table, lines[[name for name in lines if name in table]]], ignore_index=True)
    return table, Layout(rest[0] if rest else "", rest[1:], turned or "cell", "lyapunov_1", hue)


def spectrum_table(frames: Frames) -> tuple[pd.DataFrame, Layout]:
    """Return the exponents over their rank per unit at the longest length, a line a size, with intervals over seeds."""
    runs, spectra = frames["runs"], frames["spectra"]
    hue = "hidden" if "hidden" in varying(runs) else control(runs)
    rest = others(runs, hue, "length")
    panel = "cell" if "cell" in rest else next(iter(rest), "")
    joined = _joined(runs, spectra)
    if joined.empty:
        raise NotRecorded('spectra: no rows; hooks = ["lyapunov:k"] records k exponents')
    shares = joined.assign(index_share=joined["index"] / joined["hidden"])
    drawn = shares[_drawn(shares, _by(runs), "index")]
    table = across_seeds(drawn, list(dict.fromkeys([*_by(runs), "hidden", "index_share"])), "exponent")
    return table, Layout(panel, tuple(name for name in rest if name != panel), "index_share", "exponent", hue)


def paths_table(frames: Frames) -> tuple[pd.DataFrame, Layout]:
    """Return what travels on the additive path, through gates and in all, over the lag, for each gated combination."""
    runs, steps = frames["runs"], frames["steps"]
    joined = _joined(runs, steps[steps["quantity"].isin(PATHS)])
    if joined.empty:
        raise NotRecorded('steps: no rows of "path_all"; hooks = ["paths"] records them, of cells with gates')
    whole = joined[joined["quantity"] == "path_all"].sort_values("lag").groupby(OF)["mean_log"].first()
    joined["travelled"] = joined["mean_log"] - joined[OF].merge(whole.rename("whole"), on=OF, how="left")["whole"]
    joined["path"] = joined["quantity"].map(PATHS).astype(pd.CategoricalDtype(list(PATHS.values())))
    joined[SETTING] = _settings(joined, [name for name in _by(runs) if name != "length"])
    drawn = joined[_drawn(joined, [SETTING, "path"])]
    table = across_seeds(drawn, [SETTING, "path", "lag"], "travelled")
    return table, Layout(SETTING, (), "lag", "travelled", "path")


def _with_rates(frames: Frames) -> pd.DataFrame:
    if not has_rates(frames["runs"]):
        raise NotRecorded('runs: no rates; hooks = ["gradients"] records them')
    return frames["runs"]


def _joined(runs: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows of ``steps`` or ``spectra`` with what varies and the status of their runs, the longest ones."""
    names = list(dict.fromkeys([*OF, "status", "hidden", *_by(runs)]))
    return rows.merge(arranged(longest(runs))[names].drop_duplicates(OF), on=OF)


def _settings(table: pd.DataFrame, by: list[str]) -> pd.Series:
    """Return what varies in words, ``lstm, forget_bias 1``, as categories in the order in which they come."""
    words = {}
    for key, *values in table.drop_duplicates("id")[["id", *by]].itertuples(index=False):
        words[key] = ", ".join(named(*pair) for pair in zip(by, values, strict=True) if not pd.isna(pair[1]))
    return table["id"].map(words).astype(pd.CategoricalDtype(list(dict.fromkeys(words.values()))))


def _by(runs: pd.DataFrame) -> list[str]:
    names = varying(runs)
    return names if "cell" in names else ["cell", *names]


def _drawn(walks: pd.DataFrame, by: list[str], along: str = "lag") -> pd.Series:
    """Return which rows are drawn: of each line the first lag, the last, and evenly many between."""
    lines = walks.groupby(by, observed=True, dropna=False)[along]
    count = max(POINTS // lines.ngroups, FEWEST_POINTS)
    return lines.transform(lambda lags: lags.isin(_evenly(np.unique(lags), count)).astype(bool))


def _evenly(lags: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    return np.asarray(lags[np.linspace(0, len(lags) - 1, count).round().astype(int)])
