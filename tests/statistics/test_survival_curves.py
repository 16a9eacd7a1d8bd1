"""Horizons: where each sequence falls below, what its end hides, and the survival estimate of many."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from synthetic import make_frames

from gradlab.errors import InputError
from gradlab.schema import described
from gradlab.statistics.survival import first_below, horizon, survival
from gradlab.tables.horizons import horizon_table


def test_steps_are_counted_from_lag_one() -> None:
    logs = -0.41 * np.arange(101.0)[:, None]
    logs[0] = 50.0
    assert first_below(logs, 0.01) == (12.0, True)  # ln 100 / 0.41 = 11.2: 11 steps leave more than 1 %, 12 less
    assert first_below(logs, np.exp(-1)) == (3.0, True)


def test_a_sequence_that_ends_before_is_censored_at_its_own_end() -> None:
    logs = np.arange(21.0)[:, None] * np.array([-1.0, -0.1, 0.1])
    logs[13:, 2] = np.nan
    steps, reached = first_below(logs, 0.01)
    assert steps.tolist() == [5, 19, 11]
    assert reached.tolist() == [True, False, False]


def test_a_fall_to_zero_is_below_and_a_zero_at_lag_one_has_no_horizon() -> None:
    logs = np.zeros((9, 3))
    logs[4:, 0] = logs[1:, 1] = -np.inf
    steps, reached = first_below(logs, 0.01)
    assert (steps.tolist(), reached.tolist()) == ([3, 7], [True, False])
    for nothing in (logs[:, 1:2], logs[:1], logs[:0]):
        assert first_below(nothing, 0.01)[0].size == 0
        assert np.isnan(horizon(nothing, 0.01)[:-1]).all()


@pytest.mark.parametrize("fraction", [0.0, 1.0, -1, np.nan])
def test_a_fraction_that_is_none_is_refused(fraction: float) -> None:
    with pytest.raises(InputError, match=r"fraction: expected a number in \(0, 1\)"):
        horizon(np.zeros((5, 1)), fraction)


def test_the_median_is_that_of_all_not_of_those_that_were_reached() -> None:
    rates = np.array([-1.0, -1.0, -0.5, 0.0, 0.1])
    found = horizon(np.arange(21.0)[:, None] * rates, 0.01)
    assert (found.steps, found.censored, found.number) == (10.0, 0.4, 5)
    few = horizon(np.arange(21.0)[:, None] * rates[2:], 0.01)
    assert np.isnan(few.steps)
    assert few.censored == pytest.approx(2 / 3)
    assert few.mean == pytest.approx((10 + 19 + 19) / 3)  # all are watched for 19 steps, so it is this plain mean


def test_the_estimate_is_kaplan_and_meiers_product() -> None:
    """Four were watched until 2, three of them until 5, and one until 9: 3/4, then 3/4 · 2/3, then 0."""
    found = survival([2, 5, 7, 9], [True, True, False, True])
    assert found.steps == 5
    np.testing.assert_allclose(found.mean, 2 * 1 + (5 - 2) * 3 / 4 + (9 - 5) * 1 / 2)


def test_one_that_is_censored_early_counts_until_then_only() -> None:
    """Nine more end at 1: that they are not below then says nothing of later, neither the median nor its interval."""
    times = np.arange(10.0, 19)
    alone, found = survival(times, [True] * 9), survival([*times, *[1.0] * 9], [True] * 9 + [False] * 9)
    assert (found.steps, found.low, found.high) == (alone.steps, alone.low, alone.high) == (14, 11, 17)


@pytest.mark.parametrize("number", [5, 6, 8, 9, 30])
def test_where_all_are_below_the_interval_is_that_of_the_sign_test(number: int) -> None:
    times = np.arange(1.0, number + 1) ** 2
    outside = int(stats.binom.ppf(0.025, number, 0.5))  # the greatest r with P(X < r) ≤ 2.5 %
    found = survival(times, np.ones(number, bool))
    expected = (np.nan, np.nan) if outside == 0 else (times[outside - 1], times[-outside])
    np.testing.assert_equal((found.low, found.high), expected)


def test_equal_horizons_have_an_interval_without_width() -> None:
    found = survival([7.0] * 9, [True] * 9)
    assert (found.low, found.steps, found.high) == (7, 7, 7)


@pytest.mark.parametrize("censoring", ["none", "at one end", "anywhere"])
def test_the_interval_covers(censoring: str) -> None:
    """It is exact or wider, so at least 95 %; 1000 repeats know that to 0.7 %."""
    rng, truth, held = np.random.default_rng(3), 50 * np.log(2), []
    for _ in range(1000):
        times = rng.exponential(50, 20)
        ends = {"none": np.inf, "at one end": 60.0, "anywhere": rng.exponential(120, 20)}[censoring]
        found = survival(np.minimum(times, ends), times <= ends)
        held.append(not (found.low > truth or found.high < truth))
    assert np.mean(held) > 0.95 - 2 * 0.007


def test_a_mean_of_those_that_were_reached_is_too_short() -> None:
    """Negative control: half end before they are below, and the mean of the others is half the median."""
    times = np.random.default_rng(4).exponential(50, 4000)
    reached = times <= 30
    assert times[reached].mean() < 15
    found = survival(np.minimum(times, 30.0), reached)
    assert np.isnan(found.steps)
    np.testing.assert_allclose(found.mean, 50 * (1 - np.exp(-30 / 50)), rtol=0.02)  # E min(t, 30), s.e. 0.8 %


@pytest.fixture
def runs() -> pd.DataFrame:
    table, _ = make_frames({"cell": ["rnn", "gru"], "length": [50, 100], "scale": [0.5, 2.0]}, seeds=7)
    steps = np.ceil(np.log(0.01) / table["rate"]).where(table["rate"] < 0)
    reached = steps < table["length"] - 1
    return table.assign(horizon_1pct=steps.where(reached), horizon_e=1.0, censored=1.0 - reached)


def test_a_study_has_a_row_a_combination(runs: pd.DataFrame) -> None:
    table = horizon_table(runs)
    assert table.columns.tolist() == [
        *("cell", "length", "scale", "horizon_1pct", "horizon_1pct_low", "horizon_1pct_high"),
        *("horizon_1pct_mean", "limit", "censored_runs", "seeds"),
    ]
    assert len(table) == 8
    assert all(described(name) for name in ("limit", "censored_runs", "horizon_1pct_mean", "horizon_e_mean"))
    row = table[(table["cell"] == "rnn") & (table["length"] == 50) & (table["scale"] == 0.5)].iloc[0]
    own = runs[(runs["cell"] == "rnn") & (runs["length"] == 50) & (runs["scale"] == 0.5)]["horizon_1pct"]
    assert row["horizon_1pct"] == own.median()
    assert row["horizon_1pct_low"] == own.min()
    assert row["horizon_1pct_high"] == own.max()
    assert (row["censored_runs"], row["seeds"], row["limit"]) == (0, 7, own.max())


def test_runs_that_grow_are_censored_at_their_length(runs: pd.DataFrame) -> None:
    grown = horizon_table(runs).query("cell == 'rnn' and scale == 2.0")
    assert grown["horizon_1pct"].isna().all()
    assert grown["censored_runs"].eq(1).all()
    assert grown["limit"].tolist() == grown["horizon_1pct_mean"].tolist() == [49, 99]


def test_runs_without_a_horizon_are_left_out(runs: pd.DataFrame) -> None:
    lost = runs.copy()
    lost.loc[lost["seed"] == 0, "status"] = "diverged"
    lost.loc[lost["seed"] == 1, ["horizon_1pct", "censored"]] = np.nan  # zero at lag 1: nothing was watched
    assert horizon_table(lost)["seeds"].eq(5).all()
    none = horizon_table(lost[lost["seed"] == 0])
    assert none["seeds"].eq(0).all()
    assert none[["horizon_1pct", "limit", "censored_runs"]].isna().all(axis=None)


def test_the_other_horizon_and_other_groups(runs: pd.DataFrame) -> None:
    table = horizon_table(runs, ["cell"], value="horizon_e")
    assert table["cell"].tolist() == ["rnn", "gru"]
    assert table[["horizon_e", "horizon_e_low", "horizon_e_high", "seeds"]].to_numpy().tolist() == [[1, 1, 1, 28]] * 2


def test_what_is_no_horizon_is_refused(runs: pd.DataFrame) -> None:
    with pytest.raises(InputError, match=r"value: expected one of \['horizon_1pct', 'horizon_e'\], got 'rate'"):
        horizon_table(runs, value="rate")
    with pytest.raises(InputError, match=r"runs: missing \['censored'\]; hooks = \[\"gradients\"\] records horizons"):
        horizon_table(runs.drop(columns="censored"))
