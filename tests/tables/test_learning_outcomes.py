"""Shares solved and steps to a criterion, where what was ended before is censored."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from synthetic import in_training, make_frames

from gradlab import figures
from gradlab.errors import InputError
from gradlab.figures.style import DODGE
from gradlab.report.page import made_tables
from gradlab.report.table_formats import format_tables
from gradlab.tables.outcomes import criterion_table, has_criterion

#: Steps to the criterion of the seeds of each cell; nan where the training ended at step 100 without it.
STEPS = {"rnn": [20.0, 40.0, 60.0, np.nan, np.nan], "lstm": [np.nan] * 5}


def studied() -> pd.DataFrame:
    """Return the runs of two cells, measured at two steps, in five seeds."""
    runs, _ = in_training(*make_frames({"cell": ["rnn", "lstm"], "length": [30]}, seeds=5))
    steps = [STEPS[cell][seed] for cell, seed in zip(runs["cell"], runs["seed"], strict=True)]
    runs = runs.assign(steps_to_criterion=steps)
    met = runs["steps_to_criterion"].notna()
    runs.insert(runs.columns.get_loc("study") + 1, "train.steps", 100)
    return runs.assign(solved=met.astype("float64"), trained=runs["steps_to_criterion"].fillna(100.0))


def test_each_training_counts_once_whatever_was_measured_of_it() -> None:
    table = criterion_table(studied()).set_index("cell")
    assert table["seeds"].tolist() == [5, 5]
    assert table.loc["rnn", "solved"] == pytest.approx(0.6, rel=1e-15)
    assert table.loc["rnn", "censored_runs"] == pytest.approx(0.4, rel=1e-15)


def test_the_share_has_the_interval_of_clopper_and_pearson() -> None:
    """Its ends are quantiles of beta distributions; of none in five the upper one is 1 − 0.025^(1/5)."""
    table = criterion_table(studied()).set_index("cell")
    ends = stats.beta.ppf([0.025, 0.975], [3, 4], [3, 2])
    np.testing.assert_allclose(table.loc["rnn", ["solved_low", "solved_high"]].astype(float), ends, rtol=1e-9)
    assert table.loc["lstm", "solved_low"] == 0.0
    assert table.loc["lstm", "solved_high"] == pytest.approx(1 - 0.025**0.2, rel=1e-9)


def test_the_median_counts_censored_runs_as_longer() -> None:
    """Of 20, 40, 60, >100, >100 the median is 60; the mean of the solved would be 40. Of none there is no median."""
    table = criterion_table(studied()).set_index("cell")
    assert table.loc["rnn", "steps_to_criterion"] == 60.0
    assert np.isnan(table.loc["lstm", "steps_to_criterion"])
    assert table.loc["lstm", "limit"] == 100.0


def test_what_failed_has_no_part() -> None:
    runs = studied()
    runs.loc[(runs["cell"] == "rnn") & (runs["seed"] == 0), ["solved", "steps_to_criterion", "status"]] = (
        np.nan,
        np.nan,
        "failed",
    )
    row = criterion_table(runs).set_index("cell").loc["rnn"]
    assert row["seeds"] == 4
    assert row["solved"] == 0.5


def test_a_training_that_diverged_early_counts_as_never_and_not_as_unknown() -> None:
    """Of 20, 40, 60, never, never the median is 60; censored where they ended, at step 1, the two would leave 40."""
    runs = studied()
    lost = (runs["cell"] == "rnn") & (runs["seed"] >= 3)
    runs.loc[lost, "trained"] = 1.0
    runs.loc[lost & (runs["step"] == 100), "status"] = "diverged"
    row = criterion_table(runs).set_index("cell").loc["rnn"]
    assert row["steps_to_criterion"] == 60.0
    assert row["solved"] == 0.6


def test_without_a_criterion_there_is_no_table() -> None:
    runs = studied().drop(columns="solved")
    assert not has_criterion(runs)
    assert "criterion" not in made_tables(runs)
    with pytest.raises(InputError, match="no criterion was set"):
        criterion_table(runs)


@pytest.mark.parametrize("kind", ["markdown", "latex", "csv", "html"])
def test_the_report_has_the_table_in_words(kind: str) -> None:
    text = format_tables(studied(), {"name": "made_up"}, kind)
    assert "criterion" in text
    if kind == "markdown":
        assert "3 of 10 runs are solved; the others are censored" in text


def test_the_figure_has_the_tables_numbers_and_a_triangle_where_there_is_no_median() -> None:
    runs = studied()
    figure = figures.draw("criterion", {"runs": runs})
    share, steps = figure.axes
    assert (share.get_ylabel(), steps.get_ylabel()) == ("share solved", "steps to criterion (training steps)")
    points = {ax: [bars.lines[0].get_ydata().tolist() for bars in ax.containers] for ax in (share, steps)}
    assert points[share] == [[pytest.approx(0.6)], [0.0]]
    assert points[steps] == [[60.0], []]
    hollow = [one for one in steps.lines if one.get_marker() == "^" and len(one.get_xdata())]
    assert [one.get_ydata().tolist() for one in hollow] == [[100.0]]
    table, layout = figures.FIGURES["criterion"].table({"runs": runs})
    told = figures.FIGURES["criterion"].finding(table, layout)
    assert told == "3 of 10 trainings met their criterion; fastest: rnn, in 60 steps (median)."


def test_the_figure_runs_over_the_length_where_nothing_else_varies() -> None:
    runs, _ = in_training(*make_frames({"cell": ["rnn"], "length": [30, 60]}, seeds=3))
    runs.insert(runs.columns.get_loc("study") + 1, "train.steps", 100)
    runs = runs.assign(solved=1.0, steps_to_criterion=runs["length"].astype("float64"))
    table, layout = figures.FIGURES["criterion"].table({"runs": runs})
    assert (layout.x, layout.panel) == ("length", "")
    assert table[table["column"] == "steps_to_criterion"]["value"].tolist() == [30.0, 60.0]


def test_markers_stand_around_their_value_beside_those_that_share_it() -> None:
    """Of four settings two have each scale: no marker lies further off for those that lie elsewhere."""
    grid = {"cell": ["rnn"], "scale": [0.7, 0.95], "init.recurrent": ["gaussian", "sparse"], "init.bias": ["a", "b"]}
    runs, _ = in_training(*make_frames(grid, seeds=2))
    runs = runs[(runs["scale"] == 0.7) == (runs["init.recurrent"] == "gaussian")]
    runs.insert(runs.columns.get_loc("study") + 1, "train.steps", 100)
    figure = figures.draw("criterion", {"runs": runs.assign(solved=1.0, steps_to_criterion=50.0)})
    for ax in figure.axes:
        at = np.array([float(bars.lines[0].get_xdata()[0]) for bars in ax.containers])
        np.testing.assert_allclose(at, np.repeat([0.7, 0.95], 2) + DODGE * 0.25 * np.tile([-0.5, 0.5], 2))
