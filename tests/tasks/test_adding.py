"""The adding problem, read back from its own inputs, and its constant loss by enumeration."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from gradlab.errors import InputError
from gradlab.tasks import Adding


def draw(variant: str, length: int, batch: int = 4000, seed: int = 0) -> Any:
    x, loss = Adding(variant=variant).sample(length, batch, rng=np.random.default_rng(seed))
    return x[..., 0], x[..., 1], loss.targets[:, 0]


def assert_uniform(places: Any, low: int, high: int) -> None:
    """Each place is as likely as every other, and no other is: 5 standard errors of a count."""
    counts = np.bincount(places, minlength=high)
    assert not counts[:low].any()
    assert len(counts) == high
    wanted = len(places) / (high - low)
    assert np.abs(counts[low:] - wanted).max() < 5 * np.sqrt(wanted)


@pytest.mark.parametrize("length", [20, 21])
def test_halves(length: int) -> None:
    """Arjovsky, Shah & Bengio 2016: one marker in each half, the target the sum of the marked."""
    numbers, markers, target = draw("halves", length)
    assert set(np.unique(markers)) == {0.0, 1.0}
    half = length // 2
    np.testing.assert_array_equal(markers[:half].sum(axis=0), 1.0)
    np.testing.assert_array_equal(markers[half:].sum(axis=0), 1.0)
    assert_uniform(markers[:half].argmax(axis=0), 0, half)
    assert_uniform(half + markers[half:].argmax(axis=0), half, length)
    np.testing.assert_allclose(target, (numbers * markers).sum(axis=0), rtol=1e-14)
    assert numbers.min() >= 0.0
    np.testing.assert_allclose([numbers.mean(), numbers.var()], [1 / 2, 1 / 12], rtol=0.02)


def test_original() -> None:
    """Hochreiter & Schmidhuber 1997: −1 first and last, 1 at two of the others, unless one is the first."""
    length = 40
    numbers, markers, target = draw("original", length, batch=20_000)
    assert -1.0 <= numbers.min() < -0.999
    assert 0.999 < numbers.max() <= 1.0
    assert set(np.unique(markers)) == {-1.0, 0.0, 1.0}
    assert (markers[[0, -1]] == -1.0).all()
    inner = markers[1:-1] == 1.0
    found = inner.sum(axis=0)
    assert set(found) == {1, 2}
    assert not inner[length // 2 - 2 :].any()  # both within the first T/2 − 1 steps
    assert (inner[:9].any(axis=0) | (found == 1)).all()  # the first within ten
    at_first = Fraction(1, 10) + Fraction(9, 10) / (length // 2 - 2)
    assert abs((found == 1).mean() - float(at_first)) < 5 * np.sqrt(float(at_first) / 20_000)
    np.testing.assert_allclose(target, 0.5 + (numbers[1:-1] * inner).sum(axis=0) / 4, rtol=1e-14)
    assert numbers.min() < -0.99
    np.testing.assert_allclose(numbers.var(), 1 / 3, rtol=0.02)


def test_mean() -> None:
    """Pascanu, Mikolov & Bengio's code: the mean of one in the first tenth and one in the four tenths after it."""
    numbers, markers, target = draw("mean", 40)
    np.testing.assert_array_equal(markers.sum(axis=0), 2.0)
    assert_uniform(markers[:4].argmax(axis=0), 0, 4)
    assert_uniform(4 + markers[4:].argmax(axis=0), 4, 20)
    np.testing.assert_allclose(target, (numbers * markers).sum(axis=0) / 2, rtol=1e-14)


def test_constants() -> None:
    assert Adding().baseline(100) == pytest.approx(1 / 6, rel=1e-15)
    assert Adding("mean").baseline(100) == pytest.approx(1 / 24, rel=1e-15)


@pytest.mark.parametrize("length", [22, 23, 50, 101])
def test_the_originals_constant_by_all_pairs_of_places(length: int) -> None:
    """Var of 0.5 + (x₁ + x₂)/4 with Var x = 1/3, or 0 at the first step, over all places, exactly."""
    total = Fraction(0)
    others = length // 2 - 2
    for first in range(10):
        for second in set(range(length // 2 - 1)) - {first}:
            counted = sum(place > 0 for place in (first, second))
            total += Fraction(1, 10) * Fraction(1, others) * Fraction(counted, 3) / 16
    assert Adding("original").baseline(length) == pytest.approx(float(total), rel=1e-14)


@pytest.mark.parametrize("variant", ["halves", "original", "mean"])
def test_the_lag_reaches_the_earliest_number_that_counts(variant: str) -> None:
    _, markers, _ = draw(variant, 30)
    earliest = (markers == 1.0).any(axis=1).argmax()
    assert Adding(variant).lag(30) == 29 - earliest


@pytest.mark.parametrize("variant", ["halves", "mean"])
def test_a_longer_sequence_has_the_same_numbers_and_its_markers_stretched(variant: str) -> None:
    (short, ones, _), (long, others, _) = draw(variant, 50, 30), draw(variant, 500, 30)
    np.testing.assert_array_equal(short, long[:50])
    places, stretched = (markers.argmax(axis=0) for markers in (ones, others))
    np.testing.assert_array_equal(places, stretched // 10)


def test_bad_input() -> None:
    with pytest.raises(InputError, match=r'unknown variant "half"; did you mean "halves"\?'):
        Adding("half")
    with pytest.raises(InputError, match=r"adding \(original\) needs a length of at least 22 \(a place per marker\)"):
        Adding("original").sample(21, 1, rng=np.random.default_rng(0))
