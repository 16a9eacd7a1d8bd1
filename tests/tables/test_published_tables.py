"""A published number is reproduced where the whole interval of what was measured lies within its tolerance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from synthetic import make_frames

from gradlab.tables.published import beside, judged

RUNS = make_frames({"cell": ["rnn", "lstm"], "scale": [0.5, 1.0]}, seeds=4)[0]
CHOSEN = RUNS[(RUNS["cell"] == "rnn") & (RUNS["scale"] == 1.0)]["rate"]


def row(runs: pd.DataFrame = RUNS, **changes: Any) -> pd.Series:
    entry = {
        "claim": "a rate", "source": "me", "column": "rate", "where": {"cell": "rnn", "scale": 1.0},
        "value": CHOSEN.mean(), "tolerance": 0.1, "reason": "why not",
    } | changes  # fmt: skip
    (_, found), *rest = beside(runs, [{k: v for k, v in entry.items() if v is not None}]).iterrows()
    assert not rest
    return found


def test_measured_is_the_mean_over_seeds_with_its_t_interval() -> None:
    found = row(tolerance=0.5)
    half = stats.t.ppf(0.975, 3) * CHOSEN.std() / 2
    np.testing.assert_allclose(
        found[["measured", "measured_low", "measured_high"]].astype(float),
        [CHOSEN.mean(), CHOSEN.mean() - half, CHOSEN.mean() + half],
    )
    assert found["runs"] == 4
    assert found["setup"] == "mean of rate of ln‖δ‖ (nats/step): rnn, scale 1"
    assert found["size"] == "H 64, T 64"
    assert (found["word"], found["kind"], found["explanation"]) == ("reproduced", "published", "")


@pytest.mark.parametrize(
    ("ends", "allows", "word"),
    [
        ((0.95, 1.05), {"tolerance": 0.1}, "reproduced"),
        ((0.9, 1.1), {"absolute": 0.1}, "reproduced"),  # the ends belong to it
        ((0.5, 1.05), {"tolerance": 0.1}, "consistent"),
        ((0.5, 1.5), {"tolerance": 0.1}, "consistent"),
        ((1.1, 1.5), {"tolerance": 0.11}, "consistent"),
        ((1.2, 1.5), {"tolerance": 0.1}, "not reproduced"),
        ((0.5, 0.8), {"absolute": 0.1}, "not reproduced"),
        ((1.01, 1.5), {"bound": "above"}, "reproduced"),
        ((1.0, 1.5), {"bound": "above"}, "consistent"),  # the number itself is not above itself
        ((0.5, 1.0), {"bound": "above"}, "not reproduced"),
        ((0.5, 0.99), {"bound": "below"}, "reproduced"),
        ((-np.inf, 0.99), {"bound": "below"}, "reproduced"),
        ((0.99, np.inf), {"bound": "below"}, "consistent"),
        ((1.01, 1.5), {"bound": "below"}, "not reproduced"),
    ],
)
def test_the_word_follows_from_the_interval(ends: tuple[float, float], allows: dict[str, Any], word: str) -> None:
    assert judged({"value": 1.0} | allows, *ends) == word


@pytest.mark.parametrize("value", [-1.0, 1.0])
def test_a_relative_tolerance_is_of_the_size_of_the_number(value: float) -> None:
    assert judged({"value": value, "tolerance": 0.1}, value - 0.05, value + 0.05) == "reproduced"


def test_the_tolerance_in_words_and_the_explanation_where_it_is_needed() -> None:
    for allows, told in (
        ({"tolerance": 0.1}, "± 10 %"),
        ({"absolute": 0.03}, "± 0.03"),
        ({"bound": "below"}, "below 7"),
    ):
        found = row(value=7.0, explanation="it is small", **{"tolerance": None, **allows})
        assert found["tolerance"] == told
        assert found["explanation"] == ("" if found["word"] == "reproduced" else "it is small")
    assert row(value=7.0)["word"] == "not reproduced"
    assert row(bound="below", tolerance=None, value=7.0)["word"] == "reproduced"


def test_a_column_may_be_divided_by_a_key() -> None:
    np.testing.assert_allclose(row(per="hidden", value=0.0)["measured"], CHOSEN.mean() / 64)


def some(status: str) -> pd.DataFrame:
    """Return the runs, the first chosen one with another status."""
    return RUNS.assign(status=RUNS["status"].where(RUNS.index != CHOSEN.index[0], status))


@pytest.mark.parametrize(
    ("runs", "reason"),
    [
        (RUNS.assign(rate=np.nan), "4 of 4 runs without rate"),
        (RUNS.assign(rate=np.inf), "4 of 4 runs without rate"),
        (RUNS.drop(columns="rate"), "4 of 4 runs without rate"),
        (some("diverged"), "1 of 4 runs diverged"),
        (some("failed"), "1 of 4 runs failed"),
        (some("planned"), "1 of 4 runs planned"),
        (RUNS[RUNS["seed"] == 0], "too few runs for a 95 % interval"),
        (RUNS[:0], "not run at this size; the study's --full has it"),
        (
            pd.concat([RUNS, RUNS.assign(layer=1)]),
            "a run has several rows; name the layer, direction or step in where",
        ),
    ],
)
def test_what_cannot_be_compared_says_why(runs: pd.DataFrame, reason: str) -> None:
    found = row(runs)
    assert found["word"] == "not comparable"
    assert found["explanation"].startswith(reason)


def test_an_entry_may_say_itself_that_it_cannot_be_compared_and_keeps_its_number() -> None:
    found = row(not_comparable="ours is smaller", explanation="see there")
    assert (found["word"], found["explanation"]) == ("not comparable", "ours is smaller; see there")
    assert found["measured"] == pytest.approx(CHOSEN.mean())


def test_where_names_a_layer_too() -> None:
    two = pd.concat([RUNS, RUNS.assign(layer=1, rate=5.0)])
    assert row(two, where={"cell": "rnn", "scale": 1.0, "layer": 1})["measured"] == 5.0


def test_how_a_training_went_is_the_same_at_every_step() -> None:
    runs = pd.DataFrame(RUNS).assign(step=0, solved=1.0, steps_to_criterion=9.0)
    for column, statistic, told in (
        ("solved", "share", "share of runs solved: rnn, scale 1"),
        ("steps_to_criterion", "mean", "mean of steps to criterion (training steps): rnn, scale 1"),
        ("rate", "mean", "mean of rate of ln‖δ‖ (nats/step): rnn, scale 1, before training"),
    ):
        where = {"cell": "rnn", "scale": 1.0, "step": 0}
        assert row(runs, column=column, statistic=statistic, where=where)["setup"] == told
    found = row(runs, column="steps_to_criterion", against="rate", statistic="slope", where=where)["setup"]
    assert found.endswith("within a seed: rnn, scale 1, before training")


def test_of_a_share_a_training_that_diverged_did_not_succeed() -> None:
    runs = RUNS.assign(censored=1.0).assign(status=some("diverged")["status"])
    assert row(runs, column="censored", statistic="share", value=1.0)["measured"] == 1.0
    runs.loc[CHOSEN.index[0], "censored"] = np.nan
    found = row(runs, column="censored", statistic="share", value=0.75)
    assert (found["measured"], found["runs"], found["word"]) == (0.75, 4, "consistent")
    assert found["setup"] == "share of runs censored: rnn, scale 1"
    assert row(runs.assign(censored=0.5), column="censored", statistic="share")["word"] == "not comparable"


def test_ratio_and_difference_pair_the_seeds() -> None:
    runs = RUNS.assign(rate=np.random.default_rng(0).standard_normal(len(RUNS)))
    one, other = (runs[(runs["cell"] == "rnn") & (runs["scale"] == g)]["rate"].to_numpy() for g in (1.0, 0.5))
    over = {"cell": "rnn", "scale": 0.5}
    shuffled = runs.sample(frac=1, random_state=0)
    found = row(shuffled, statistic="difference", over=over)
    assert found["measured"] == pytest.approx(np.mean(one - other))
    low, high = stats.ttest_rel(one, other).confidence_interval()
    assert (found["measured_low"], found["measured_high"]) == pytest.approx((low, high))
    assert found["setup"].endswith("paired by seed: rnn, scale 1 less rnn, scale 0.5")
    positive = shuffled.assign(rate=shuffled["rate"].abs())
    logs = np.log(np.abs(one / other))
    assert row(positive, statistic="ratio", over=over)["measured"] == pytest.approx(np.exp(logs.mean()))


def test_a_ratio_of_medians_counts_what_never_came_as_longer() -> None:
    """Three of eight never came to an end: without them the median would be 3, with them it is 4."""
    runs = make_frames({"cell": ["rnn"], "scale": [0.5, 1.0]}, seeds=8)[0].assign(rate=2.0)
    steps = np.array([1.0, 2.0, 3.0, 4.0, 5.0, np.inf, np.inf, np.inf])
    runs.loc[runs["scale"] == 1.0, "rate"] = steps
    entry = {"statistic": "median_ratio", "over": {"cell": "rnn", "scale": 0.5}, "value": 2.0, "tolerance": 0.1}
    found = row(runs, **entry)
    assert (found["measured"], found["measured_low"], found["measured_high"]) == (2.0, 0.5, np.inf)
    assert (found["word"], found["runs"]) == ("consistent", 8)
    assert found["setup"].startswith("ratio of the medians (Kaplan–Meier) of rate of ln‖δ‖ (nats/step): ")
    assert found["setup"].endswith("rnn, scale 1 over rnn, scale 0.5")
    runs.loc[runs["scale"] == 1.0, "rate"] = np.where(steps > 3.0, np.inf, steps)
    found = row(runs, **entry)
    assert (found["word"], found["explanation"]) == ("not comparable", "these runs have no such number")


@pytest.mark.parametrize("name", ["slope", "spearman"])
def test_slope_and_rank_correlation_go_over_all_runs_of_a_seed(name: str) -> None:
    found = row(RUNS, statistic=name, against="scale", where={"cell": "rnn"})
    rnn = RUNS[RUNS["cell"] == "rnn"]
    own = [np.subtract(*part.sort_values("scale")["rate"].to_numpy()[::-1]) / 0.5 for _, part in rnn.groupby("seed")]
    assert found["measured"] == pytest.approx(np.mean(own) if name == "slope" else np.mean(np.sign(own)))
    assert found["runs"] == 8
    lacking = row(RUNS.assign(loss=np.nan), statistic=name, against="loss", where={"cell": "rnn"})
    assert lacking["explanation"] == "8 of 8 runs without loss"
