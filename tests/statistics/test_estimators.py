"""Each statistic of runs, held against scipy's or the textbook's own."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from gradlab.statistics.estimators import STATISTICS, Estimate


def rows(value: list[float], other: list[float] | None = None, seed: list[int] | None = None) -> pd.DataFrame:
    seeds = range(len(value)) if seed is None else seed
    return pd.DataFrame({"seed": seeds, "value": value, "other": np.nan if other is None else other})


def of(name: str, table: pd.DataFrame) -> Estimate:
    return STATISTICS[name].of(table)


def t_interval(values: np.ndarray) -> tuple[float, float]:
    low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    return float(low), float(high)


def test_mean(rng: np.random.Generator) -> None:
    x = rng.standard_normal(7)
    np.testing.assert_allclose(of("mean", rows(list(x))), (x.mean(), *t_interval(x), 7))


@pytest.mark.parametrize(("n", "k"), [(6, 1), (7, 1), (20, 6), (21, 6)])
def test_median(n: int, k: int, rng: np.random.Generator) -> None:
    x = rng.standard_normal(n)
    below = [sum(math.comb(n, j) for j in range(rank)) / 2**n for rank in (k, k + 1)]  # P(X < k), X ~ B(n, 1/2)
    assert below[0] <= 0.025 < below[1]
    found = of("median", rows(list(x)))
    np.testing.assert_allclose(found, (np.median(x), np.sort(x)[k - 1], np.sort(x)[n - k], n))


def test_median_has_no_interval_below_6_and_a_place_for_what_never_came() -> None:
    assert np.isnan(of("median", rows([1.0, 2.0, 3.0, 4.0, 5.0]))[1:3]).all()
    assert of("median", rows([3.0, 1.0, np.inf, 2.0, np.inf, np.inf, 4.0])) == (4.0, 1.0, np.inf, 7)
    assert of("median", rows([np.inf] * 8)) == (np.inf, np.inf, np.inf, 8)
    assert np.isnan(of("median", rows([])).value)


def test_the_interval_of_the_median_holds_as_often_as_it_says(rng: np.random.Generator) -> None:
    draws = rng.standard_exponential((2000, 9))
    ends = np.array([of("median", rows(list(x)))[1:3] for x in draws[:300]])
    assert np.mean((ends[:, 0] <= np.log(2)) & (np.log(2) <= ends[:, 1])) > 0.95 - 3 * np.sqrt(0.05 * 0.95 / 300)


@pytest.mark.parametrize(("ones", "n"), [(0, 5), (3, 5), (5, 5), (19, 20)])
def test_share(ones: int, n: int) -> None:
    found = of("share", rows([1.0] * ones + [0.0] * (n - ones)))
    low, high = stats.binomtest(ones, n).proportion_ci(0.95, method="wilson")
    np.testing.assert_allclose(found, (ones / n, low, high, n), atol=1e-15)
    assert np.isnan(of("share", rows([])).value)


def test_ratio_and_difference_are_paired(rng: np.random.Generator) -> None:
    x, y = rng.uniform(1, 9, (2, 6))
    logs = np.log(x / y)
    np.testing.assert_allclose(of("ratio", rows(list(x), list(y))), (*np.exp([logs.mean(), *t_interval(logs)]), 6))
    np.testing.assert_allclose(of("difference", rows(list(x), list(y)))[:3], ((x - y).mean(), *t_interval(x - y)))
    low, high = stats.ttest_rel(x, y).confidence_interval(0.95)
    np.testing.assert_allclose(of("difference", rows(list(x), list(y)))[1:3], (low, high))
    assert np.isnan(of("ratio", rows([1.0, 2.0], [0.0, 3.0])).value)  # no logarithm
    assert np.isnan(of("ratio", rows([], [])).value)


def test_the_ratio_of_medians_is_exact_where_both_were_reached(rng: np.random.Generator) -> None:
    """Of ten values a median's 97.5 % interval goes from the second to the ninth: P(X < 2) = 11/1024, X ~ B(10, ½)."""
    x, y = rng.uniform(1, 9, (2, 10))
    x[:2] = y[3] = np.inf
    middle = [np.sort(values)[4] for values in (x, y)]  # the first after which half or less are left
    ends = np.sort(x)[1] / np.sort(y)[8], np.inf  # of x, the ninth never came
    found = of("median_ratio", rows(list(x), list(y)))
    np.testing.assert_allclose(found, (middle[0] / middle[1], *ends, 10))
    x[:2] = 1.0, 2.0
    assert of("median_ratio", rows(list(x), list(y))).high == np.sort(x)[8] / np.sort(y)[1]
    nine = of("median_ratio", rows(list(x[:9]), [1.0] * 9))
    assert nine[1:3] == (x[:9].min(), x[:9].max())  # P(X < 2) = 10/512 is more than 1.25 %
    x[:6] = np.inf
    assert np.isnan(of("median_ratio", rows(list(x), list(y)))[:3]).all()
    few = of("median_ratio", rows([1.0, 2.0, np.inf], [4.0, 8.0, np.inf]))
    assert few.value == 0.25
    assert np.isnan(few[1:3]).all()
    for x, y in (([], []), ([1.0, 2.0], [0.0, 3.0])):
        assert np.isnan(of("median_ratio", rows(x, y)).value)


def test_the_interval_of_the_ratio_of_medians_holds_at_least_as_often_as_it_says(rng: np.random.Generator) -> None:
    """The two are independent and exponential, and what is beyond 2 is censored: the medians' ratio is 1."""
    draws = rng.standard_exponential((200, 2, 10))
    draws[draws > 2.0] = np.inf
    known = [found for x, y in draws if not np.isnan((found := of("median_ratio", rows(list(x), list(y)))).value)]
    assert len(known) > 190
    assert np.mean([found.low <= 1.0 <= found.high for found in known]) > 0.95


def test_slope_is_each_seeds_own_least_squares(rng: np.random.Generator) -> None:
    seed = np.repeat(np.arange(5), 8)
    x = rng.standard_normal(40)
    y = 3 * x + 100 * seed + rng.standard_normal(40)  # the seeds' own levels are not part of it
    own = np.array([np.polyfit(x[seed == s], y[seed == s], 1)[0] for s in range(5)])
    found = of("slope", rows(list(y), list(x), list(seed)))
    np.testing.assert_allclose(found, (own.mean(), *t_interval(own), 40))
    assert abs(found.value - 3) < 0.5 < abs(np.polyfit(x, y, 1)[0] - 3)
    assert of("slope", rows([2.0] * 4, [0.0, 1.0, 0.0, 1.0], [0, 0, 1, 1])) == (0, 0, 0, 4)
    assert np.isnan(of("slope", rows([1.0, 2.0], [1.0, 2.0])).value)  # one run a seed: no line


def test_spearman_is_each_seeds_own_and_ranks_what_never_came(rng: np.random.Generator) -> None:
    seed = np.repeat(np.arange(4), 9)
    x, y = rng.standard_normal((2, 36))
    y += x
    own = np.array([stats.pearsonr(stats.rankdata(x[seed == s]), stats.rankdata(y[seed == s]))[0] for s in range(4)])
    found = of("spearman", rows(list(y), list(x), list(seed)))
    low, high = t_interval(own)
    np.testing.assert_allclose(found, (own.mean(), low, min(high, 1.0), 36))
    last = np.where(np.arange(36) % 9 == 8, np.inf, np.tile(np.arange(9.0), 4))
    assert of("spearman", rows(list(last), list(np.tile(np.arange(9.0), 4)), list(seed))) == pytest.approx(
        (1, 1, 1, 36)
    )
    assert np.isnan(of("spearman", rows([1.0] * 6, [0.0, 1.0, 2.0] * 2, [0, 0, 0, 1, 1, 1])).value)
