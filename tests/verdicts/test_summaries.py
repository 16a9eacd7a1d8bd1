"""What the tables say in words, against runs whose answer is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from synthetic import frames, make_frames

from gradlab import figures
from gradlab.errors import InputError
from gradlab.verdicts import summaries

SCALES = {"cell": ["rnn", "lstm"], "length": [10, 40], "scale": [1.0, 2.0]}


def told(rates: list[float], **grid: list[object]) -> dict[str, str]:
    """Return the findings on one seed with these rates, in the order of the grid."""
    runs, _ = make_frames({"cell": ["rnn"], **grid}, seeds=1)
    return dict(summaries.study_findings(runs.assign(rate=rates)))


def test_a_finding_for_each_cell_at_the_longest_length() -> None:
    runs, _ = make_frames(SCALES, seeds=3)
    found = dict(summaries.study_findings(runs))
    assert list(found) == ["rnn", "lstm"]
    assert found["rnn"].startswith("the rate turns positive at scale 1.3")
    assert found["lstm"].startswith("the gradient decays at every scale studied: −0.5")
    assert found["lstm"].count("nats/step") == 1
    short = runs.assign(rate=runs["rate"].where(runs["length"] == 40, 99.0))
    assert dict(summaries.study_findings(short)) == found


@pytest.mark.parametrize(
    ("rates", "text"),
    [
        ([-1.0, -0.5], "the gradient decays at every scale studied: −1.00 nats/step at scale 1, −0.500 at scale 2"),
        ([0.5, 1.0], "the gradient grows at every scale studied: 0.500 nats/step at scale 1, 1.00 at scale 2"),
        (
            [0.5, -1.0],
            "the rate never turns positive as scale grows: 0.500 nats/step at scale 1, −1.00 at scale 2",
        ),
        ([-1.0, 1.0], "the rate turns positive at scale 1.50: −1.00 nats/step at scale 1, 1.00 at scale 2"),
        ([np.nan, np.nan], "no run has a rate"),
    ],
)
def test_signs(rates: list[float], text: str) -> None:
    assert told(rates, scale=[1.0, 2.0]) == {"rnn": text}


def test_seeds_that_do_not_cross_are_counted() -> None:
    runs, _ = make_frames({"cell": ["rnn"], "scale": [1.0, 2.0]}, seeds=3)
    runs["rate"] = [-1.0, -1.0, -1.0, 1.0, 1.0, -0.5]
    found = dict(summaries.study_findings(runs))["rnn"]
    assert found.startswith("the rate turns positive in 2 of 3 seeds: −1.00 ")
    runs["rate"] = [-1.0, -1.0, -1.0, 1.0, -1.0, -0.5]
    assert dict(summaries.study_findings(runs))["rnn"].startswith("the gradient decays at every scale studied")


def test_lost_runs_are_counted() -> None:
    lost = {("rnn", 40, 2.0): "diverged", ("lstm", 40, 1.0): "failed"}
    found = dict(summaries.study_findings(make_frames(SCALES, seeds=1, lost=lost)[0]))
    assert found["rnn"].endswith("at scale 1 (1 run diverged)")
    assert found["lstm"].endswith("at scale 2 (1 run failed)")


def test_a_study_without_a_number_to_turn() -> None:
    found = told([-1.0, -2.0], **{"task.order": ["rows", "pixels"]})
    assert found == {"rnn": "order rows: −1.00 nats/step; order pixels: −2.00 nats/step"}


def test_a_single_configuration() -> None:
    assert told([-1.0]) == {"rnn": "−1.00 nats/step"}


def test_a_cell_without_the_key() -> None:
    runs, _ = make_frames({"cell": ["rnn", "lstm"], "init.forget_bias": [0.0, 1.0]}, seeds=1)
    runs = runs.assign(**{"init.forget_bias": runs["init.forget_bias"].where(runs["cell"] == "lstm")})
    found = dict(summaries.study_findings(runs.iloc[1:].assign(rate=[-1.0, -2.0, 3.0])))
    assert found["rnn"] == "−1.00 nats/step, no forget_bias"
    assert found["lstm"].startswith("the rate turns positive at init.forget_bias 0.400")


def test_decay_names_the_extremes() -> None:
    runs, steps = make_frames(SCALES, seeds=2)
    text = figures.decay.finding(*figures.decay.tabulate(frames(runs, steps)))
    assert "(lstm, scale 1)" in text.split(" and ")[0]
    assert "(rnn, scale 2)" in text.split(" and ")[1]


def test_phase_says_where_and_where_not() -> None:
    text = figures.phase.finding(*figures.phase.tabulate(frames(*make_frames(SCALES, seeds=2))))
    assert text.startswith("The rate turns positive (mean of the seeds' crossings): rnn at scale 1.3")
    assert text.endswith("; lstm not from scale 1 to 2.")


def test_phase_counts_columns_that_do_not_cross() -> None:
    runs, steps = make_frames({"cell": ["rnn"], "length": [10, 40], "scale": [1.0, 2.0]}, seeds=1)
    text = figures.phase.finding(*figures.phase.tabulate(frames(runs.assign(rate=[-1.0, 1.0, -2.0, -1.0]), steps)))
    assert text == (
        "The rate turns positive (mean of the seeds' crossings): rnn at scale 1.500, at 1 of 2 values of length."
    )


def unfinished(runs: pd.DataFrame, left: pd.Series) -> pd.DataFrame:
    """Return the study with the runs of ``left`` only planned."""
    gone = runs.assign(status=runs["status"].where(~left, "planned"))
    return gone.assign(**{name: gone[name].where(~left) for name in ("rate", "rate_low", "rate_high")})


def test_what_has_not_run_is_not_spoken_of() -> None:
    grid = {"cell": ["rnn", "lstm"], "scale": [0.5, 1.0, 1.5, 2.0]}
    runs, steps = make_frames(grid, seeds=3)
    begun = unfinished(runs, (runs["cell"] == "lstm") | (runs["scale"] > 0.5))
    found = dict(summaries.study_findings(begun))
    assert found["rnn"].startswith("the gradient decays at every scale run so far: −0.9")
    assert found["rnn"].endswith(" nats/step at scale 0.5 (9 of 12 runs not run yet)")
    assert found["lstm"] == "not run yet"
    half = unfinished(runs, (runs["cell"] == "lstm") | (runs["scale"] > 1.0))
    text = figures.phase.finding(*figures.phase.tabulate(frames(half, steps)))
    assert text == "The rate turns positive (mean of the seeds' crossings): rnn not from scale 0.5 to 1."
    text = figures.phase.finding(*figures.phase.tabulate(frames(begun, steps)))
    assert text.endswith("rnn not at scale 0.5, the only one run.")
    assert figures.rates.finding(*figures.rates.tabulate(frames(half, steps))).startswith(
        "Rates whose whole 95 % interval is negative: 2 of 2;"
    )
    with pytest.raises(InputError, match="nothing has run yet"):
        figures.rates.tabulate(frames(unfinished(runs, runs["seed"] >= 0), steps))


def test_phase_says_where_the_mean_is_zero_if_only_some_seeds_cross() -> None:
    runs, steps = make_frames({"cell": ["rnn"], "length": [10, 40], "scale": [1.0, 2.0]}, seeds=3)
    low, high = [-1.0] * 3, [5.0, -0.5, -0.5]
    some = figures.phase.finding(*figures.phase.tabulate(frames(runs.assign(rate=[*low, *high] * 2), steps)))
    start = "The rate turns positive (mean of the seeds' crossings): rnn "
    assert some == f"{start}in 1 of 3 seeds only, the mean's zero lies at scale 1.429."
    never = figures.phase.finding(*figures.phase.tabulate(frames(runs.assign(rate=[*low, 0.5, -1, -1] * 2), steps)))
    assert never == f"{start}in 1 of 3 seeds only, not in the mean over all seeds."
    rates = [*low, *high, *low, 1.0, 1.0, 1.0]
    both = figures.phase.finding(*figures.phase.tabulate(frames(runs.assign(rate=rates), steps)))
    assert both == (
        f"{start}at scale 1.500, at 1 of 2 values of length and in 1 of 3 seeds only, at 1 of 2 values of length, "
        "the mean's zero lies at scale 1.429."
    )


def test_signs_are_counted_with_their_intervals() -> None:
    lost = {("rnn", 40, 2.0): "diverged"}
    runs, steps = make_frames(SCALES, seeds=2, lost=lost)
    runs.loc[(runs["cell"] == "lstm") & (runs["scale"] == 2.0), "rate"] = [-1.0, 1.0] * 2
    assert figures.rates.finding(*figures.rates.tabulate(frames(runs, steps))) == (
        "Rates whose whole 95 % interval is negative: 1 of 4; positive: 0; around zero: 2; without an interval: 1."
    )
