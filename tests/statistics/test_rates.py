"""The rate and its interval: exact cases, coverage under laws that are known, and what must fail."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from benchmarks import intervals
from numpy.typing import NDArray
from scipy import signal, special, stats

from gradlab.errors import InputError
from gradlab.statistics.rates import Rate, across_seeds, rate

REPEATS = 2000


def walk(increments: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the walk (K+1, B) that starts at 0 and makes these increments (K, B)."""
    return np.concatenate([np.zeros((1, increments.shape[1])), np.cumsum(increments, axis=0)])


def held(increments: NDArray[np.float64], truth: float) -> float:
    """Return how often the interval of one walk holds the truth; ``increments`` (K, repeats)."""
    logs = walk(increments)
    found = [rate(logs[:, [run]], burn_in=0) for run in range(logs.shape[1])]
    return float(np.mean([one.low <= truth <= one.high for one in found]))


def assert_covers(share: float) -> None:
    """Nominal 95 %; at 2000 repeats the share's own standard error is 0.5 %."""
    assert 0.93 <= share <= 0.98, f"the 95 % interval holds the truth in {share:.1%} of the runs"


def line_interval(walked: NDArray[np.float64]) -> tuple[float, float]:
    """Return the 95 % interval of a least-squares slope through one walk (K+1,): what must not be used."""
    fit = stats.linregress(np.arange(len(walked)), walked)
    half = stats.t.ppf(0.975, len(walked) - 2) * fit.stderr
    return fit.slope - half, fit.slope + half


@pytest.mark.parametrize("w", [0.5, 1e-3, 1e3, 1.0])
def test_powers_have_exactly_their_rate_and_an_interval_without_width(w: float) -> None:
    found = rate(np.log(w) * np.arange(1001.0)[:, None] * np.ones(3))
    np.testing.assert_allclose(found.rate, np.log(w), rtol=1e-14)
    assert found.low == found.rate == found.high
    assert (found.first_lag, found.last_lag, found.window, found.zeros) == (1, 950, 949, 0)


@pytest.mark.parametrize("n", [200, 1000])
@pytest.mark.parametrize("size", [4, 64])
def test_interval_covers_the_exact_law_of_gaussian_jacobians(n: int, size: int) -> None:
    """TRUTHS E18: ``ln‖Jv‖² − ln‖v‖²`` is ``ln(χ²_N / N)``, its mean ``ψ(N/2) + ln(2/N)``."""
    rng = np.random.default_rng(18)
    increments = 0.5 * np.log(rng.chisquare(size, (n + 1, REPEATS)) / size)
    assert_covers(held(increments, 0.5 * (special.digamma(size / 2) + np.log(2 / size))))


def test_interval_covers_where_matrices_are_really_multiplied() -> None:
    """The same law, no short cut: v goes through 200 matrices; the rate is the mean log, not the log mean (0)."""
    rng, size, steps, runs = np.random.default_rng(2), 8, 201, 400
    v, logs = np.ones((runs, size)), np.zeros((steps + 1, runs))
    for k in range(steps):
        jacobians = rng.normal(size=(runs, size, size)) / np.sqrt(size)
        v = np.einsum("bij,bi->bj", jacobians, v)
        norms = np.linalg.norm(v, axis=1, keepdims=True)
        logs[k + 1], v = logs[k] + np.log(norms[:, 0]), v / norms
    truth = 0.5 * (special.digamma(size / 2) + np.log(2 / size))
    found = [rate(logs[:, [run]], burn_in=0) for run in range(runs)]
    share = np.mean([one.low <= truth <= one.high for one in found])
    assert share > 0.95 - 3 * np.sqrt(0.95 * 0.05 / runs)
    assert not np.mean([one.low <= 0 <= one.high for one in found]) > 0.5


@pytest.mark.parametrize("n", [200, 400])
def test_interval_covers_increments_that_are_correlated(n: int) -> None:
    rng = np.random.default_rng(5)
    noise = rng.normal(size=(n + 101, REPEATS))
    increments = signal.lfilter([1.0], [1.0, -0.5], noise, axis=0)[100:] - 0.3
    assert_covers(held(increments, -0.3))


@pytest.fixture(scope="module")
def reduced() -> pd.DataFrame:
    """The grid of results/coverage/ with 50 studies a cell, of at most 10 seeds: 500 intervals within a run."""
    return pd.DataFrame(intervals.cells(50, lengths=(50, 200), seeds=(3, 5, 10)))


def test_the_reduced_grid_covers_within_its_monte_carlo_error(reduced: pd.DataFrame) -> None:
    kept = reduced[intervals.promised(reduced)]
    assert len(kept) == 4 * (1 + 2)
    assert ((kept["coverage"] - 0.95).abs() <= 3 * np.sqrt(0.95 * 0.05 / kept["intervals"])).all(), kept


def test_elsewhere_intervals_are_wider_and_not_wrong_more_often(reduced: pd.DataFrame) -> None:
    rest = reduced[~intervals.promised(reduced) & (reduced["law"] != intervals.HIDDEN)]
    assert (rest["coverage"] >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / rest["intervals"])).all(), rest
    within = reduced[(reduced["interval"] == "within a run") & (reduced["law"] == "autoregression")]
    strong, none = (within.loc[within["autocorrelation"] == phi, "half_width"].to_numpy() for phi in (0.9, 0.0))
    assert (strong / none > 10).all()  # as the long-run standard deviation is


def test_what_one_autocorrelation_does_not_tell_is_known_to_be_missed(reduced: pd.DataFrame) -> None:
    """The limit that results/coverage/ states; over seeds the same runs are no harder than others."""
    part = reduced[reduced["law"] == intervals.HIDDEN]
    within, over = part[part["seeds"] == 1], part[part["seeds"] > 1]
    assert within["coverage"].between(0.78, 0.92).all(), within
    assert (over["coverage"] >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / over["intervals"])).all(), over


def test_without_whitening_strong_autocorrelation_is_not_covered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: the cosine variance alone holds the drift in 85 of 100."""
    monkeypatch.setattr("gradlab.statistics.increments.correlation", lambda rest: 0.0)
    runs = intervals.rates(intervals.autoregression(0.9), 200, 400, 1, np.random.default_rng(5))
    assert intervals.covered(runs["low"], runs["high"], intervals.DRIFT)["coverage"] < 0.9


@pytest.mark.full
def test_the_full_grid_covers_as_it_promises_and_is_the_one_that_is_published() -> None:
    table = pd.DataFrame(intervals.cells(intervals.STUDIES))
    kept = table[intervals.promised(table)]
    assert (kept["coverage"] - 0.95).abs().max() <= 0.02
    assert table.loc[table["law"] != intervals.HIDDEN, "coverage"].min() >= 0.93
    published = pd.read_csv(Path(__file__).parents[2] / "results/coverage/coverage.csv", comment="#")
    np.testing.assert_allclose(published["coverage"], table["coverage"], atol=0.002)  # rounding moves an end or two


def test_an_interval_that_ignores_the_correlation_does_not_cover() -> None:
    rng, n = np.random.default_rng(5), 200
    increments = signal.lfilter([1.0], [1.0, -0.5], rng.normal(size=(n + 100, REPEATS)), axis=0)[100:]
    half = stats.t.ppf(0.975, n - 1) * increments.std(axis=0, ddof=1) / np.sqrt(n)
    assert np.mean(np.abs(increments.mean(axis=0)) <= half) < 0.8


def test_a_line_through_the_walk_does_not_cover() -> None:
    """Negative control: the slope's usual interval claims 95 % and holds the drift in fewer than one in three."""
    rng = np.random.default_rng(7)
    logs = walk(rng.normal(-0.3, 1.0, (200, REPEATS)))
    found = [line_interval(logs[:, run]) for run in range(REPEATS)]
    assert np.mean([low <= -0.3 <= high for low, high in found]) < 0.33


def test_logs_that_differ_by_rounding_are_constant() -> None:
    """A norm is known to a relative eps, its logarithm to an absolute one, however near to 0 it lies."""
    found = rate(1e-16 * np.random.default_rng(0).normal(size=(50, 1)))
    assert found.low == found.rate == found.high


def test_what_the_interval_supposes_is_said() -> None:
    logs = walk(signal.lfilter([1.0], [1.0, -0.8], np.random.default_rng(0).normal(size=(2000, 1)), axis=0))
    found = rate(logs)
    assert 0.78 < found.autocorrelation < 0.86  # 0.8 and a standard error of 0.014 more
    np.testing.assert_allclose(
        found.effective, found.window * (1 - found.autocorrelation) / (1 + found.autocorrelation)
    )
    assert np.isnan(rate(logs[:3]).effective)


def test_rate_of_a_full_batch_is_the_walk_from_end_to_end() -> None:
    logs = walk(np.random.default_rng(0).normal(size=(60, 5)))
    found = rate(logs, burn_in=10)
    np.testing.assert_allclose(found.rate, (logs[50] - logs[1]).mean() / 49, rtol=1e-12)
    assert (found.first_lag, found.last_lag, found.window) == (1, 50, 49)
    assert found.low < found.rate < found.high


def test_the_step_next_to_the_loss_is_not_counted() -> None:
    logs = -0.1 * np.arange(30.0)[:, None]
    logs[0] += 100
    np.testing.assert_allclose(rate(logs).rate, -0.1)


@pytest.mark.parametrize(("lags", "last"), [(2000, 1950), (100, 90), (9, 9), (2, 2)])
def test_burn_in_is_a_tenth_and_at_most_fifty(lags: int, last: int) -> None:
    assert rate(-0.1 * np.arange(lags + 1.0)[:, None]).last_lag == last


def test_burn_in_leaves_one_increment() -> None:
    found = rate(-0.1 * np.arange(31.0)[:, None], burn_in=1000)
    assert (found.window, found.last_lag) == (1, 2)


def test_burn_in_is_counted_from_each_sequences_own_start() -> None:
    logs = -0.1 * np.arange(41.0)[:, None] * np.ones(2)
    logs[16:20] += 5.0 * np.arange(4)[:, None]  # what happens at the start of the short sequence …
    logs[20:] += 15.0
    short = logs.copy()
    short[20:, 1] = np.nan
    both, alone = rate(short, burn_in=5), rate(logs[:, :1], burn_in=5)
    at_14 = rate(short[:, 1:], burn_in=5)
    assert (both.last_lag, alone.last_lag, at_14.last_lag) == (35, 35, 14)
    np.testing.assert_allclose(at_14.rate, -0.1)  # … is not in its window
    np.testing.assert_allclose(both.rate, alone.rate)


def test_window_ends_where_more_than_half_are_zero() -> None:
    logs = -0.5 * np.arange(41.0)[:, None] * np.ones(4)
    logs[10:, 0] = logs[12:, 1] = -np.inf
    assert rate(logs).last_lag == 36  # half of the sequences live on
    logs[20:, 2] = -np.inf
    found = rate(logs)
    assert (found.last_lag, found.zeros) == (19, 31 + 29 + 21)
    np.testing.assert_allclose([found.rate, found.low, found.high], -0.5)


def test_a_step_to_zero_is_no_increment() -> None:
    logs = np.array([[0.0, 0], [0, 0], [-1, -np.inf], [-2, -np.inf], [-3, -np.inf]])
    assert rate(logs, burn_in=0).rate == -1.0


def test_fewer_than_four_increments_have_no_interval() -> None:
    found = rate(walk(np.array([[9.0], [-1], [-2], [-3]])), burn_in=0)
    assert (found.rate, found.window) == (-2.0, 3)
    assert np.isnan([found.low, found.high]).all()


@pytest.mark.parametrize(
    "logs",
    [np.zeros((0, 2)), np.zeros((2, 2)), np.zeros((9, 0)), np.full((9, 2), np.nan), np.full((9, 2), -np.inf)],
)
def test_nothing_known_is_nan_and_no_window(logs: NDArray[np.float64]) -> None:
    found = rate(logs)
    assert np.isnan([found.rate, found.low, found.high]).all()
    assert (found.window, found.first_lag, found.last_lag) == (0, 0, 0)


def test_an_overflowed_gradient_has_no_rate() -> None:
    logs = np.arange(9.0)[:, None] * np.ones(2)
    logs[7, 1] = np.inf
    assert np.isnan(rate(logs).rate)
    assert rate(logs).window == 0


def test_level_widens() -> None:
    logs = walk(np.random.default_rng(0).normal(size=(100, 1)))
    narrow, wide = rate(logs, level=0.5), rate(logs, level=0.99)
    assert wide.low < narrow.low < narrow.high < wide.high


@pytest.mark.parametrize(
    ("logs", "choices", "match"),
    [
        (np.zeros(5), {}, r"log_norm: expected \(K\+1, B\).*got shape \(5,\)"),
        (np.zeros((5, 1)), {"burn_in": -1}, "burn_in: expected a number of steps, 0 or more; got -1"),
        (np.zeros((5, 1)), {"level": 95}, r"level: expected a number in \(0, 1\), got 95"),
    ],
)
def test_rate_refuses(logs: NDArray[np.float64], choices: dict[str, float], match: str) -> None:
    with pytest.raises(InputError, match=match):
        rate(logs, **choices)  # type: ignore[arg-type]


@pytest.fixture
def runs() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "cell": ["rnn", "rnn", "rnn", "rnn", "rnn", "gru", "lstm"],
            "status": ["done", "done", "done", "diverged", "done", "done", "failed"],
            "rate": [-1.0, -2.0, -3.0, -99.0, np.nan, 0.5, np.nan],
        }
    )


def test_across_seeds_is_the_t_interval_of_the_runs_that_are_done(runs: pd.DataFrame) -> None:
    table = across_seeds(runs, ["cell"]).set_index("cell")
    low, high = stats.t.interval(0.95, 2, -2.0, 1 / np.sqrt(3))
    np.testing.assert_allclose(table.loc["rnn"], [-2.0, low, high, 3, 2])
    assert table.loc["gru", ["rate", "seeds", "excluded"]].tolist() == [0.5, 1, 0]
    assert table.loc["gru", ["rate_low", "rate_high"]].isna().all()
    assert table.loc["lstm", ["rate", "rate_low", "rate_high"]].isna().all()
    assert table.loc["lstm", ["seeds", "excluded"]].tolist() == [0, 1]


def test_across_seeds_takes_any_column(runs: pd.DataFrame) -> None:
    table = across_seeds(runs.rename(columns={"rate": "loss"}), ["cell"], "loss")
    assert table.columns.tolist() == ["cell", "loss", "loss_low", "loss_high", "seeds", "excluded"]


def test_across_seeds_refuses(runs: pd.DataFrame) -> None:
    with pytest.raises(InputError, match=r"runs: expected the columns \['scale', 'rate'\], missing \['scale'\]"):
        across_seeds(runs, ["scale"])


def test_rate_is_frozen() -> None:
    with pytest.raises(AttributeError, match="cannot assign"):
        Rate(0, 0, 0, 0, 0, 0, 0).rate = 1.0  # type: ignore[misc]
