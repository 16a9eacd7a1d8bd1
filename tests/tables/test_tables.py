"""The tables by their values, against sums done by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from synthetic import frames, make_frames

from gradlab import figures
from gradlab.errors import InputError
from gradlab.tables import factors, tables

TINY = {"cell": ["rnn", "lstm"], "length": [10, 40], "scale": [0.5, 1.0, 2.0]}


def test_rates_by_what_varies() -> None:
    runs, _ = make_frames(TINY, seeds=3, lost={("rnn", 40, 2.0): "diverged", ("lstm", 10, 0.5): "failed"})
    table = tables.rates(runs)
    assert table.columns.tolist() == [
        *("cell", "length", "scale", "rate", "rate_low", "rate_high", "seeds", "diverged", "failed")
    ]
    assert table["cell"].unique().tolist() == ["rnn", "lstm"]
    assert len(table) == 12
    row = table[(table["cell"] == "lstm") & (table["length"] == 40) & (table["scale"] == 1.0)].iloc[0]
    drawn = runs.query("cell == 'lstm' and length == 40 and scale == 1.0")["rate"]
    low, high = stats.t.interval(0.95, 2, drawn.mean(), stats.sem(drawn))
    np.testing.assert_allclose([row["rate"], row["rate_low"], row["rate_high"]], [drawn.mean(), low, high])
    assert (row["seeds"], row["diverged"], row["failed"]) == (3, 0, 0)
    lost = table[table["seeds"] == 0]
    assert lost["rate"].isna().all()
    assert lost[["cell", "length", "scale", "diverged", "failed"]].to_numpy().tolist() == [
        ["rnn", 40, 2.0, 3, 0],
        ["lstm", 10, 0.5, 0, 3],
    ]


def test_rates_of_a_key_that_only_one_cell_has() -> None:
    runs, _ = make_frames({"cell": ["rnn", "lstm"], "init.forget_bias": [0.0, 1.0]}, seeds=2)
    runs["init.forget_bias"] = runs["init.forget_bias"].where(runs["cell"] == "lstm")
    table = tables.rates(runs)
    assert table["cell"].tolist() == ["rnn", "lstm", "lstm"]
    assert table["seeds"].tolist() == [4, 2, 2]
    assert table["init.forget_bias"].isna().tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("rate", "where"),
    [
        ([-1.0, 1.0, 2.0], 1.5),
        ([-3.0, -1.0, 1.0], 3.0),
        ([-1.0, 0.0, 2.0], 2.0),
        ([-1.0, 1.0, -1.0], 1.5),  # the first of several
        ([1.0, -1.0, 3.0], 2.5),  # upward only
        ([-3.0, -2.0, -1.0], np.nan),
        ([1.0, 2.0, 3.0], np.nan),
        ([-1.0, np.nan, 2.0], np.nan),  # nothing is known between the two
    ],
)
def test_crossing_is_interpolated(rate: list[float], where: float) -> None:
    np.testing.assert_equal(tables.crossing([1.0, 2.0, 4.0], rate), where)


def test_crossings_are_averaged_over_the_seeds() -> None:
    runs, _ = make_frames({"cell": ["rnn", "gru"], "scale": [1.0, 2.0]}, seeds=3)
    runs["rate"] = [-1.0, -1.0, -1.0, 1.0, 3.0, 4.0, *[-1.0] * 3, 1.0, 1.0, -0.5]
    table = tables.crossings(runs).set_index("cell")
    at = np.array([1.5, 1.25, 1.2])
    low, high = stats.t.interval(0.95, 2, at.mean(), stats.sem(at))
    columns = ["crossing", "crossing_low", "crossing_high", "crossed", "seeds", "lowest", "highest"]
    np.testing.assert_allclose(table.loc["rnn", columns].astype(float), [at.mean(), low, high, 3, 3, 1, 2])
    assert table.loc["gru", ["crossed", "seeds"]].tolist() == [2, 3]  # a mean of two would lie too low
    assert table.loc["gru", ["crossing", "crossing_low", "crossing_high"]].isna().all()


def test_crossings_ignore_the_rate_of_a_run_that_diverged() -> None:
    runs, _ = make_frames({"cell": ["rnn"], "scale": [1.0, 2.0]}, seeds=1)
    runs["rate"], runs["status"] = [-1.0, 1.0], ["done", "diverged"]
    assert tables.crossings(runs)["crossing"].isna().all()


def test_crossings_need_a_number_to_go_along() -> None:
    runs, _ = make_frames({"cell": ["rnn", "lstm"], "task.order": ["rows", "pixels"]}, seeds=1)
    with pytest.raises(InputError, match="expected a number that varies, such as scale"):
        tables.crossings(runs)


def test_excluded_runs_come_with_their_reasons() -> None:
    runs, _ = make_frames(TINY, seeds=2, lost={("rnn", 40, 2.0): "diverged", ("lstm", 10, 0.5): "failed"})
    assert tables.excluded(runs).to_numpy().tolist() == [
        ["rnn", 40, 2.0, "diverged", "the state is not finite from t = 37 on", "0, 1"],
        ["lstm", 10, 0.5, "failed", "ValueError: <b>told you</b> & so", "0, 1"],
    ]
    assert tables.excluded(make_frames(TINY, seeds=1)[0]).empty


def test_decay_starts_at_zero_at_lag_one_and_takes_the_longest() -> None:
    runs, steps = make_frames(TINY, seeds=3)
    table, layout = figures.decay.tabulate(frames(runs, steps))
    assert (layout.panel, layout.rows, layout.x, layout.y, layout.hue) == ("cell", (), "lag", "change", "scale")
    assert table["length"].unique().tolist() == [40]
    assert table["lag"].min() == 1
    assert table["lag"].max() == 40
    first = table[table["lag"] == 1]
    assert (first[["change", "change_low", "change_high"]] == 0).all(axis=None)
    ids = runs.query("cell == 'rnn' and length == 40 and scale == 2.0")["id"]
    logs = steps[steps["id"].isin(ids) & (steps["quantity"] == "last_adjoint")].pivot(
        index="lag", columns="id", values="mean_log"
    )
    change = logs.loc[40] - logs.loc[1]
    row = table.query("cell == 'rnn' and scale == 2.0 and lag == 40").iloc[0]
    low, high = stats.t.interval(0.95, 2, change.mean(), stats.sem(change))
    np.testing.assert_allclose([row["change"], row["change_low"], row["change_high"]], [change.mean(), low, high])


def test_decay_draws_few_points_and_both_ends() -> None:
    runs, steps = make_frames({"cell": ["rnn", "lstm"], "length": [3000], "scale": [0.5, 1.0]}, seeds=1)
    table, _ = figures.decay.tabulate(frames(runs, steps))
    lags = table.groupby(["cell", "scale"], observed=True)["lag"]
    assert lags.min().unique().tolist() == [1]
    assert lags.max().unique().tolist() == [3000]
    assert lags.size().unique().tolist() == [figures.data.POINTS // 4]


def test_decay_without_its_quantity_says_which_hook_is_missing() -> None:
    runs, steps = make_frames(TINY, seeds=1)
    with pytest.raises(InputError, match=r'no rows of "last_adjoint"; hooks = \["gradients"\]'):
        figures.decay.tabulate(frames(runs, steps[steps["quantity"] == "dL/dh"]))


def test_phase_is_scale_over_length_or_over_what_else_varies() -> None:
    layout = figures.phase.tabulate(frames(*make_frames(TINY, seeds=1)))[1]
    assert (layout.panel, layout.rows, layout.x, layout.y) == ("cell", (), "length", "scale")
    grid = {"cell": ["rnn"], "task.order": ["rows", "pixels"], "hidden": [2, 4], "scale": [0.5, 1.0]}
    layout = figures.phase.tabulate(frames(*make_frames(grid, seeds=1)))[1]
    assert (layout.panel, layout.rows, layout.x, layout.y) == ("cell", ("hidden",), "task.order", "scale")
    layout = figures.phase.tabulate(frames(*make_frames({"cell": ["rnn", "gru"], "scale": [0.5, 1.0]}, seeds=1)))[1]
    assert (layout.panel, layout.rows, layout.x, layout.y) == ("", (), "cell", "scale")


def test_phase_needs_a_plane() -> None:
    with pytest.raises(InputError, match="nothing varies but the cell and the seed"):
        figures.phase.tabulate(frames(*make_frames({"cell": ["rnn", "gru"]}, seeds=2)))


def test_rates_table_takes_the_longest() -> None:
    runs, steps = make_frames(TINY, seeds=1)
    table, layout = figures.rates.tabulate(frames(runs.assign(rate=runs["length"]), steps))
    assert (layout.panel, layout.rows, layout.x, layout.y, layout.hue) == ("", (), "scale", "rate", "cell")
    assert table["rate"].tolist() == [40] * 6


def test_planned_runs_are_no_results() -> None:
    runs, _ = make_frames(TINY, seeds=2)
    runs["status"] = "planned"
    table = tables.rates(runs)
    assert isinstance(table, pd.DataFrame)
    assert table[["seeds", "diverged", "failed"]].to_numpy().sum() == 0


def unfinished(seeds: int = 20) -> pd.DataFrame:
    """Return a study of which the RNN's first two scales have run, the second in 16 seeds alone."""
    runs, _ = make_frames({"cell": ["rnn", "lstm"], "scale": [0.5, 1.0, 2.0]}, seeds=seeds)
    gone = (runs["cell"] == "lstm") | (runs["scale"] == 2.0) | ((runs["scale"] == 1.0) & (runs["seed"] > 15))
    return runs.assign(status=runs["status"].where(~gone, "planned"), rate=runs["rate"].where(~gone))


def test_what_has_not_run_is_in_no_table() -> None:
    table = tables.rates(unfinished())
    assert table[["cell", "scale", "seeds"]].to_numpy().tolist() == [["rnn", 0.5, 20], ["rnn", 1.0, 16]]
    (row,) = tables.crossings(unfinished()).to_dict("records")
    assert (row["cell"], row["crossed"], row["seeds"], row["lowest"], row["highest"]) == ("rnn", 0, 16, 0.5, 1.0)
    measured = tables.measures(unfinished().assign(saturation=0.5))
    assert measured[["cell", "scale"]].to_numpy().tolist() == [["rnn", 0.5], ["rnn", 1.0]]
    assert factors.seeds_text(unfinished()) == "16 to 20 seeds"
    assert factors.seeds_text(unfinished(16)) == "16 seeds"
    assert factors.seeds_text(unfinished().assign(status="planned")) == "no seed yet"


def test_norms_and_conditions_have_geometric_means() -> None:
    runs, _ = make_frames({"cell": ["rnn"]}, seeds=4)
    conditions = np.array([40.0, 90.0, 300.0, 5000.0])
    (row,) = tables.measures(runs.assign(jac_cond_median=conditions)).to_dict("records")
    logs = np.log(conditions)
    low, high = np.exp(stats.t.interval(0.95, 3, logs.mean(), stats.sem(logs)))
    found = [row[f"jac_cond_geometric{end}"] for end in ("", "_low", "_high")]
    np.testing.assert_allclose(found, [stats.gmean(conditions), low, high], rtol=1e-12)
    (row,) = tables.measures(runs.assign(jac_cond_median=[0.0, np.inf, 4.0, 9.0])).to_dict("records")
    assert row["jac_cond_geometric"] == pytest.approx(6.0)
    assert "jac_cond_median" not in row


@pytest.mark.parametrize(
    ("name", "values", "ends"),
    [
        ("saturation", [0.0, 0.0, 0.01], (0, None)),
        ("path_share", [1.0, 1.0, 0.9], (None, 1)),
        ("entropy", [0.0, 0.3, 0.0], (0, None)),
    ],
)
def test_an_interval_does_not_leave_what_is_possible(
    name: str, values: list[float], ends: tuple[float | None, float | None]
) -> None:
    runs, _ = make_frames({"cell": ["rnn"]}, seeds=3)
    (row,) = tables.measures(runs.assign(**{name: values})).to_dict("records")
    student = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    expected = [plain if bound is None else bound for plain, bound in zip(student, ends, strict=True)]
    np.testing.assert_allclose([row[f"{name}_low"], row[f"{name}_high"]], expected, rtol=1e-12)
