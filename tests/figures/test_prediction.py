"""The rate before training against the steps that training took, by what is in the figure."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from synthetic import in_training, make_frames

from gradlab import figures
from gradlab.tables.published import beside
from gradlab.tables.tables import NotRecorded

CAP = 100
GRID = {"cell": ["rnn", "lstm", "gru"], "length": [20, 30], "init.recurrent": ["gaussian", "orthogonal"]}


def studied(seeds: int = 4) -> pd.DataFrame:
    """Return runs whose steps fall with the rate, but for the GRU's, which never meet the criterion."""
    runs, _ = in_training(*make_frames(GRID, seeds=seeds))
    at_first = runs.groupby("id")["rate"].transform("first")
    steps = (40 - 20 * at_first).where(runs["cell"] != "gru", np.inf)
    runs.insert(runs.columns.get_loc("study") + 1, "train.steps", CAP)
    return runs.assign(steps_to_criterion=steps, solved=np.isfinite(steps).astype("float64"))


def test_a_point_is_a_run_as_it_was_drawn_and_hollow_at_the_cap_where_it_never_met_it() -> None:
    runs = studied()
    figure = figures.draw("prediction", {"runs": runs})
    assert [ax.get_title() for ax in figure.axes] == ["length 20", "length 30"]
    first = runs[(runs["length"] == 20) & (runs["step"] == 0)]
    shown = [line for line in figure.axes[0].lines if line.get_linestyle() == "None" and len(line.get_xdata())]
    x, y = (np.concatenate([getattr(line, f"get_{axis}data")() for line in shown]) for axis in "xy")
    assert sorted(zip(x, y, strict=True)) == sorted(
        zip(first["rate"], first["steps_to_criterion"].replace(np.inf, CAP), strict=True)
    )
    hollow = [line for line in shown if line.get_markerfacecolor() == "none"]
    assert {value for line in hollow for value in line.get_ydata()} == {CAP}
    assert sum(len(line.get_xdata()) for line in hollow) == (first["cell"] == "gru").sum()
    assert len({(line.get_color(), line.get_marker()) for line in shown}) == 6


def test_the_rank_correlation_is_that_of_the_published_row() -> None:
    runs = studied()
    entry = {"claim": "", "source": "", "reason": "", "value": 0.0, "bound": "below", "statistic": "spearman"}
    entry |= {"column": "steps_to_criterion", "against": "rate", "where": {"length": 30, "step": 0}}
    row = beside(runs, [entry]).iloc[0]
    each = [stats.spearmanr(part["rate"], part["steps_to_criterion"]).statistic
            for _, part in runs[(runs["length"] == 30) & (runs["step"] == 0)].groupby("seed")]  # fmt: skip
    assert row["measured"] == pytest.approx(np.mean(each), rel=1e-9)
    table, layout = figures.prediction.tabulate({"runs": runs})
    told = table[table["length"] == 30].iloc[0]
    np.testing.assert_allclose(
        told[["rank", "rank_low", "rank_high"]].astype(float),
        row[["measured", "measured_low", "measured_high"]].astype(float),
        rtol=1e-9,
    )
    text = figures.draw("prediction", {"runs": runs}).axes[1].texts[0].get_text()
    assert text.startswith("ρ = 0.")
    said = figures.prediction.finding(table, layout)
    assert f"length 30, {text}. 32 of 48 runs met it." in said


def test_one_seed_has_no_interval_and_steps_that_agree_no_correlation() -> None:
    runs = studied(seeds=1)
    table, layout = figures.prediction.tabulate({"runs": runs})
    assert "[" not in figures.prediction.finding(table, layout)
    table, layout = figures.prediction.tabulate({"runs": runs.assign(steps_to_criterion=50.0)})
    assert "length 20, no rank correlation" in figures.prediction.finding(table, layout)


def test_many_settings_are_told_apart_by_the_cell() -> None:
    runs = studied()
    runs.insert(runs.columns.get_loc("study") + 1, "scale", np.arange(len(runs)) % 16.0)
    assert figures.prediction.tabulate({"runs": runs})[1].hue == "cell"
    assert figures.prediction.tabulate({"runs": runs[runs["cell"] == "rnn"]})[1].hue == "scale"


def test_what_was_not_measured_before_training_says_so() -> None:
    runs = studied()
    with pytest.raises(NotRecorded, match="no rate before training"):
        figures.draw("prediction", {"runs": runs[runs["step"] > 0]})
