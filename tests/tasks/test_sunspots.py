"""The yearly sunspots against the series as statsmodels gives it."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.datasets import sunspots

from gradlab.errors import InputError
from gradlab.tasks import Sunspots

DATA = sunspots.load_pandas().data
NUMBERS = DATA["SUNACTIVITY"].to_numpy()
FIRST = NUMBERS[DATA["YEAR"] <= 1920]
Z = (NUMBERS - FIRST.mean()) / FIRST.std()


def test_the_series() -> None:
    assert (len(NUMBERS), len(FIRST), DATA["YEAR"].min(), DATA["YEAR"].max()) == (309, 221, 1700, 2008)
    assert NUMBERS[:3].tolist() == [5.0, 11.0, 16.0]
    assert NUMBERS.max() == 190.2  # 1957


def test_a_sequence_is_years_in_a_row_and_its_targets_the_next_years() -> None:
    x, loss = Sunspots().sample(30, 120, rng=np.random.default_rng(0))
    starts = []
    for b in range(120):
        found = [s for s in range(309 - 30) if np.allclose(Z[s : s + 30], x[:, b, 0], rtol=1e-12)]
        starts += found
        np.testing.assert_allclose(loss.targets[:, b, 0], Z[found[0] + 1 : found[0] + 31], rtol=1e-12)
    assert len(starts) == 120
    assert min(starts) < 10
    assert max(starts) > 309 - 30 - 10


def test_training_ends_in_1920_and_tests_begin_in_1921() -> None:
    train, test = (
        Sunspots().train.sample(220, 1, rng=np.random.default_rng(0)),
        Sunspots().test.sample(87, 1, rng=np.random.default_rng(0)),
    )
    np.testing.assert_allclose(train[0][:, 0, 0], Z[:220], rtol=1e-12)
    np.testing.assert_allclose(train[1].targets[:, 0, 0], Z[1:221], rtol=1e-12)
    np.testing.assert_allclose(test[0][:, 0, 0], Z[221:308], rtol=1e-12)
    with pytest.raises(InputError, match="length must be at most 87, the rows that have a target, got 88"):
        Sunspots().test.sample(88, 1, rng=np.random.default_rng(0))


@pytest.mark.parametrize(("part", "years"), [("all", slice(None)), ("train", slice(221)), ("test", slice(221, None))])
def test_persistence(part: str, years: slice) -> None:
    """The mean square of what a year adds, over the deviation of 1700–1920."""
    assert Sunspots(part=part).persistence() == pytest.approx(
        np.mean(np.diff(NUMBERS[years]) ** 2) / FIRST.var(), rel=1e-12
    )


def test_a_constant_costs_the_variance_of_all_windows_targets() -> None:
    ends = [Z[s + 50] for s in range(309 - 50)]
    assert Sunspots().baseline(50) == pytest.approx(np.var(ends), rel=1e-12)
