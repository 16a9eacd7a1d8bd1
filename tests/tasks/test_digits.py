"""Scikit-learn's digits as sequences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradlab.errors import InputError
from gradlab.tasks import Digits
from gradlab.tasks.digits import load_digits, pixel_order


def draw(order: str, batch: int = 10, seed: int = 0) -> Any:
    task = Digits(order=order)
    return task.sample(task.fixed_length, batch, rng=np.random.default_rng(seed))


def test_the_data() -> None:
    images, classes = load_digits()
    assert images.shape == (1797, 64)
    assert (images.min(), images.max()) == (0.0, 1.0)
    np.testing.assert_array_equal(np.unique(images * 16), np.arange(17))
    np.testing.assert_array_equal(np.bincount(classes), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180])


def test_rows_are_the_images_rows_and_pixels_their_pixels() -> None:
    (rows, loss), (pixels, same) = draw("rows"), draw("pixels")
    np.testing.assert_array_equal(rows.swapaxes(0, 1).reshape(10, 64), pixels[:, :, 0].T)
    np.testing.assert_array_equal(loss.targets, same.targets)
    images, classes = load_digits()
    for b, label in enumerate(loss.targets):
        found = np.flatnonzero((images == rows[:, b].ravel()).all(axis=1))
        assert label in classes[found]


def test_permuted_is_one_fixed_order() -> None:
    pixels, permuted = draw("pixels")[0], draw("permuted")[0]
    np.testing.assert_array_equal(permuted, pixels[pixel_order()])
    np.testing.assert_array_equal(np.sort(pixel_order()), np.arange(64))
    assert not np.array_equal(pixel_order(), np.arange(64))


def test_images_are_drawn_without_replacement() -> None:
    x, loss = draw("pixels", batch=1797)
    images, classes = load_digits()
    np.testing.assert_array_equal(np.sort(x[:, :, 0].sum(axis=0)), np.sort(images.sum(axis=1)))
    np.testing.assert_array_equal(np.bincount(loss.targets), np.bincount(classes))


def test_chance_is_ln_10() -> None:
    x, loss = draw("rows")
    np.testing.assert_allclose(loss.evaluate(np.zeros((8, 10, 10)))[0], np.log(10), rtol=1e-14)
    assert x.shape == (8, 10, 8)


def test_bad_input() -> None:
    with pytest.raises(InputError, match=r'unknown order "row"; did you mean "rows"\? \(rows, pixels, permuted\)'):
        Digits(order="row")
    with pytest.raises(InputError, match="digits by pixels have length 64, got 8"):
        Digits(order="pixels").sample(8, 1, rng=np.random.default_rng(0))
    with pytest.raises(InputError, match="batch must be at most 1797, the number of images, got 1798"):
        Digits().sample(8, 1798, rng=np.random.default_rng(0))
    with pytest.raises(InputError, match="batch must be at least 1, got 0"):
        Digits().sample(8, 0, rng=np.random.default_rng(0))


def test_the_last_450_images_are_kept_from_training() -> None:
    images, classes = load_digits()
    for task, part in ((Digits("pixels").train, slice(1347)), (Digits("pixels").test, slice(1347, None))):
        x, loss = task.sample(64, len(classes[part]), rng=np.random.default_rng(0))
        np.testing.assert_array_equal(np.sort(x[:, :, 0].sum(axis=0)), np.sort(images[part].sum(axis=1)))
        np.testing.assert_array_equal(np.bincount(loss.targets), np.bincount(classes[part]))


def test_logistic_regression_as_scikit_learn_has_it() -> None:
    """The share right written out from its coefficients; and near what such a model is known to reach here."""
    from sklearn.linear_model import LogisticRegression

    images, classes = load_digits()
    model = LogisticRegression(max_iter=1000).fit(images[:1347], classes[:1347])
    logits = images[1347:] @ model.coef_.T + model.intercept_
    found = Digits().logistic_regression()
    assert found == (model.classes_[logits.argmax(axis=1)] == classes[1347:]).mean()
    assert 0.9 < found < 0.97
    assert Digits("permuted").logistic_regression() == found  # no order of pixels in it


def test_the_best_constant_is_the_classes_entropy() -> None:
    counts = np.array([178, 182, 177, 183, 181, 182, 181, 179, 174, 180])
    entropy = -(counts / 1797 * np.log(counts / 1797)).sum()
    assert Digits().baseline(8) == pytest.approx(entropy, rel=1e-14)
    assert 0 < np.log(10) - Digits().baseline(8) < 2e-4
