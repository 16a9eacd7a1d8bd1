"""What training came to, beside what a constant and plain methods reach."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from synthetic import in_training, make_frames

from gradlab.report import tabular
from gradlab.report.page import made_tables
from gradlab.report.table_formats import format_tables
from gradlab.schema import described
from gradlab.tables.outcomes import has_outcomes, outcomes


def studied() -> pd.DataFrame:
    """Return the runs of two cells in four seeds, before and after a training; the lstm's losses are half the rnn's."""
    runs, _ = in_training(*make_frames({"cell": ["rnn", "lstm"], "length": [30]}, seeds=4))
    loss = (1.0 + runs["seed"] + 4 * (runs["step"] == 0)) / np.where(runs["cell"] == "lstm", 2, 1)
    return runs.assign(
        loss=loss,
        score=0.97 + 0.01 * runs["seed"],
        trained=runs["step"].astype("float64"),
        constant_loss=2.0,
        persistence_loss=0.7 + 0.1 * runs["seed"],
        persistence_score=np.nan,
        solved=np.nan,
    )


def test_loss_and_score_have_t_intervals_over_the_seeds() -> None:
    table = outcomes(studied()).set_index(["cell", "step"])
    assert len(table) == 4
    low, high = stats.t.interval(0.95, 3, 2.5, stats.sem([1, 2, 3, 4]))
    row = table.loc[("rnn", 100)]
    assert row["loss"] == 2.5
    np.testing.assert_allclose([row["loss_low"], row["loss_high"]], [low, high], rtol=1e-12)
    assert table.loc[("rnn", 0), "loss"] == 6.5
    assert table.loc[("lstm", 100), "loss"] == 1.25
    assert (row["score"], row["score_high"]) == (pytest.approx(0.985, rel=1e-12), 1.0)  # never more than all


def test_others_stand_beside_with_what_is_known_of_them() -> None:
    table = outcomes(studied())
    assert table["constant_loss"].tolist() == [2.0] * 4
    np.testing.assert_allclose(table["persistence_loss"], 0.85, rtol=1e-12)
    assert "persistence_score" not in table  # nothing is right or wrong
    assert table["seeds"].tolist() == [4] * 4


def test_the_difference_to_a_rival_is_paired_by_seed() -> None:
    """Of the rnn after training loss less persistence's is .3 + .9 s in seed s; a constant has none."""
    table = outcomes(studied())
    paired = [0.3, 1.2, 2.1, 3.0]
    low, high = stats.t.interval(0.95, 3, np.mean(paired), stats.sem(paired))
    row = table.set_index(["cell", "step"]).loc[("rnn", 100)]
    found = [row[f"loss_less_persistence{end}"] for end in ("", "_low", "_high")]
    np.testing.assert_allclose(found, [np.mean(paired), low, high], rtol=1e-12)
    assert [name for name in table if "_less_" in name and not name.endswith(("_low", "_high"))] == [
        "loss_less_persistence"
    ]
    assert "| loss less persistence's, 95 % interval |" in tabular.markdown(table)


def test_of_a_score_the_difference_may_be_negative() -> None:
    table = outcomes(studied().assign(persistence_score=1.0))
    np.testing.assert_allclose(table["score_less_persistence"], -0.015, rtol=1e-12)
    assert (table["score_less_persistence_low"] < -0.03).all()


def test_a_layer_more_is_no_run_more() -> None:
    runs = studied()
    both = pd.concat([runs, runs.assign(layer=1)], ignore_index=True)
    pd.testing.assert_frame_equal(outcomes(both), outcomes(runs))


def test_what_diverged_is_counted_and_in_no_mean() -> None:
    runs = studied()
    lost = (runs["cell"] == "rnn") & (runs["seed"] == 3) & (runs["step"] == 100)
    runs.loc[lost, ["status", "loss"]] = ["diverged", np.inf]
    row = outcomes(runs).set_index(["cell", "step"]).loc[("rnn", 100)]
    assert (row["loss"], row["seeds"], row["diverged"]) == (2.0, 3, 1)


def test_the_caption_says_who_came_closest_and_what_others_reach() -> None:
    text = format_tables(studied(), {"name": "made_up"}, "markdown")
    assert (
        "**outcomes.** Loss and score on test data, with 95 % t-intervals over 4 seeds. The least mean loss is" in text
    )
    assert "(lstm, after 100 steps); the loss of a constant is 2.0; the loss of persistence is 0.85." in text


def test_without_a_training_there_is_no_table() -> None:
    runs, _ = make_frames({"cell": ["rnn"], "length": [30]}, seeds=2)
    assert not has_outcomes(runs)
    assert "outcomes" not in made_tables(runs)


def test_the_schema_says_what_a_rivals_columns_are() -> None:
    column = described("logistic_regression_score")
    assert column is not None
    assert column.label == "score of logistic regression"
    assert described("score") != column
