"""Losses: values by hand, gradients by the complex step, steps read, what is per sequence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from oracles.compare import assert_normwise

import gradlab as gl
from gradlab.models.losses import step_mask

Array = NDArray[Any]
T, B, O = 5, 3, 4
LENGTHS = np.array([5, 2, 3])
STEPS = np.arange(1, T + 1)[:, None]


@pytest.fixture
def y(rng: np.random.Generator) -> Array:
    return rng.uniform(0.1, 0.9, (T, B, O))


def by_hand(kind: str, targets: Array, mask: Array) -> Callable[[Array], Array]:
    """Return the loss written out, one number at a time, for real or complex y."""

    def one(y: Array, target: Any) -> Any:
        if kind == "mse":
            return sum((y[o] - target[o]) ** 2 for o in range(O)) / O
        if kind == "nll":
            return -np.log(y[target])
        return -y[target] + np.log(sum(np.exp(y[o]) for o in range(O)))

    def value(y: Array) -> Array:
        steps = [[t for t in range(T) if mask[t, b]] for b in range(B)]
        return np.array([sum(one(y[t, b], targets[t, b]) for t in steps[b]) / len(steps[b]) for b in range(B)])

    return value


def slopes(value: Callable[[Array], Array], y: Array) -> Array:
    """Return dL/dy ``(T, B, O)`` of the per-sequence loss by the complex step."""
    grad = np.zeros(y.shape)
    for t, b, o in np.ndindex(y.shape):
        moved = y.astype(complex)
        moved[t, b, o] += 1e-30j
        grad[t, b, o] = value(moved)[b].imag / 1e-30
    return grad


MASK = np.array([[1, 0, 0], [0, 1, 0], [1, 0, 1], [0, 0, 0], [0, 0, 0]], bool)
READINGS = {
    "last": ("last", None, STEPS == T),
    "every": ("every", None, STEPS > 0),
    "list": ([4, 2], None, np.isin(STEPS, (2, 4))),
    "array": (np.array([4, 2]), None, np.isin(STEPS, (2, 4))),
    "range": (range(2, 5), None, np.isin(STEPS, (2, 3, 4))),
    "mask": (MASK, None, MASK),
    "lengths-last": ("last", LENGTHS, STEPS == LENGTHS),
    "lengths-every": ("every", LENGTHS, STEPS <= LENGTHS),
    "lengths-list": ([1, 2], LENGTHS, STEPS <= 2),
}


@pytest.mark.parametrize("at", READINGS)
def test_which_steps_are_read(at: str) -> None:
    said, lengths, mask = READINGS[at]
    np.testing.assert_array_equal(step_mask(said, T, B, lengths), np.broadcast_to(mask, (T, B)))


@pytest.mark.parametrize("at", READINGS)
@pytest.mark.parametrize("kind", ["mse", "cross_entropy", "nll"])
def test_value_and_gradient(kind: str, at: str, y: Array, rng: np.random.Generator) -> None:
    said, lengths, mask = READINGS[at]
    mask = np.broadcast_to(mask, (T, B))
    targets = rng.standard_normal((T, B, O)) if kind == "mse" else rng.integers(0, O, (T, B))
    value = by_hand(kind, targets, mask)
    listed = not isinstance(said, str) and np.asarray(said).dtype != bool
    given = targets[np.asarray(said) - 1] if listed else targets
    loss, grad = getattr(gl, kind)(given, at=said).evaluate(y, lengths)
    np.testing.assert_allclose(loss, value(y), rtol=1e-13)
    assert_normwise(grad, slopes(value, y), 1e-13, "dL/dy")


@pytest.mark.parametrize("at", ["last", "every", [1, 3], MASK])
@pytest.mark.parametrize("kind", ["mse", "cross_entropy"])
def test_one_target_a_sequence_holds_at_every_step(kind: str, at: Any, y: Array) -> None:
    target = np.linspace(-1, 1, B * O).reshape(B, O) if kind == "mse" else np.array([3, 0, 1])
    make = getattr(gl, kind)
    once, spread = make(target, at=at), make(np.repeat(target[None], T, axis=0), at=at)
    for found, wanted in zip(once.evaluate(y), spread.evaluate(y), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_projection_is_a_sum_not_a_mean(y: Array, rng: np.random.Generator) -> None:
    v = rng.standard_normal((T, B, O))
    loss, grad = gl.projection(v).evaluate(y)
    np.testing.assert_allclose(loss, np.einsum("tbo,tbo->b", v, y), rtol=1e-14)
    np.testing.assert_array_equal(grad, v)
    loss, grad = gl.projection(v[0]).evaluate(y, LENGTHS)
    np.testing.assert_allclose(loss, [v[0, b] @ y[n - 1, b] for b, n in enumerate(LENGTHS)], rtol=1e-14)
    np.testing.assert_array_equal(grad, np.where((STEPS == LENGTHS)[..., None], v[0], 0))
    _, grad = gl.projection(v).evaluate(y, LENGTHS)
    np.testing.assert_array_equal(grad, np.where((STEPS <= LENGTHS)[..., None], v, 0))


@pytest.mark.parametrize("make", [gl.mse, gl.projection])
def test_dtype_of_the_outputs_is_kept(make: Any, y: Array) -> None:
    loss, grad = make(np.ones((B, O))).evaluate(y.astype("float32"))
    assert loss.dtype == grad.dtype == "float32"


@pytest.mark.parametrize("size", [np.inf, 1e200, np.nan])
@pytest.mark.parametrize("at", ["last", "every"])
def test_outputs_that_overflowed_warn_no_one(size: float, at: str) -> None:
    """NumPy's warnings never reach the user; what overflowed is not a number, not a zero."""
    y, wrong, right = np.ones((T, B, O)), np.ones(B, int), np.zeros(B, int)
    y[-1, 0, 0] = size
    for loss in (gl.mse(np.zeros((B, O)), at), gl.cross_entropy(wrong, at), gl.nll(right, at)):
        value, _ = loss.evaluate(y)
        assert np.isfinite(value[1:]).all()
        assert not abs(value[0]) < 50


def test_probability_zero_is_an_infinite_loss_without_a_warning() -> None:
    value, grad = gl.nll(np.array([0])).evaluate(np.array([[[0.0, 1.0]]]))
    assert value[0] == np.inf
    assert grad[0, 0, 0] == -np.inf


def test_logits_of_any_size_are_fine() -> None:
    value, grad = gl.cross_entropy(np.array([1])).evaluate(np.array([[[1000.0, -1000.0]]]))
    np.testing.assert_allclose(value, [2000.0])
    np.testing.assert_allclose(grad, [[[1.0, -1.0]]])
