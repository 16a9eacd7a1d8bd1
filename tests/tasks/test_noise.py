"""Noise is white with the variance asked for; a kick is its first step; the loss has dL/dy = 1 at the steps read."""

from __future__ import annotations

import numpy as np
import pytest

import gradlab as gl
from gradlab import theory
from gradlab.errors import InputError
from gradlab.tasks import Noise


def test_inputs_are_white_with_the_variance_asked_for() -> None:
    """60 000 numbers: the variance is known to 0.6 %, and neighbours' correlation to 0.004; 4 standard errors."""
    x, _ = Noise(input_size=4, std=1.5).sample(1500, 10, rng=np.random.default_rng(1))
    assert x.shape == (1500, 10, 4)
    np.testing.assert_allclose(x.var(), 2.25, rtol=4 * np.sqrt(2 / x.size))
    assert abs(np.mean(x[1:] * x[:-1]) / 2.25) < 4 / np.sqrt(x.size)


def test_a_kick_is_the_first_step_of_the_noise() -> None:
    noise, _ = Noise(input_size=2).sample(7, 3, rng=np.random.default_rng(0))
    kick, _ = Noise(input_size=2, kick=True).sample(7, 3, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(kick[0], noise[0])
    assert not kick[1:].any()


@pytest.mark.parametrize("kick", [False, True])
def test_a_shorter_length_is_a_prefix(kick: bool) -> None:
    task = Noise(input_size=2, kick=kick)
    short, long = (task.sample(T, 3, rng=np.random.default_rng(5))[0] for T in (4, 9))
    np.testing.assert_array_equal(short, long[:4])


@pytest.mark.parametrize(("at", "steps"), [("last", [5]), ("every", [1, 2, 3, 4, 5]), ([2, 4], [2, 4])])
def test_the_loss_is_the_sum_of_the_outputs_read(at: object, steps: list[int]) -> None:
    _, loss = Noise().sample(5, 2, at=at, rng=np.random.default_rng(0))
    y = np.random.default_rng(1).standard_normal((5, 2, 1))
    value, grad = loss.evaluate(y)
    chosen = np.isin(np.arange(1, 6), steps)
    np.testing.assert_allclose(value, y[chosen].sum(axis=(0, 2)), rtol=1e-14)
    np.testing.assert_array_equal(grad, np.broadcast_to(chosen[:, None, None], y.shape))


def test_driven_by_many_inputs_a_tanh_rnn_has_the_exponent_of_mean_field_theory() -> None:
    """E21 at (g, s²) = (3, 1); D = 256 inputs stand for an own noise of every unit; .01 from the shifted rate."""
    H = D = 256
    found = []
    for seed in range(2):
        x, _ = Noise(input_size=D).sample(400, 1, rng=np.random.default_rng(seed))
        cell = gl.RNN.init(D, H, scale=3.0, rng=10 + seed)
        found.append(gl.trace(cell, x).spectrum(1, warmup=50).exponents[0])
    expected = theory.mean_field("tanh", scale=3.0, input_var=1.0, size=H)
    assert abs(np.mean(found) - expected.rate - expected.shift) < 0.01


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"input_size": 0}, "input_size must be at least 1, got 0"),
        ({"std": -1.0}, "std is a standard deviation and must be at least 0, got -1.0"),
        ({"std": float("nan")}, "std must be finite, got nan"),
        ({"kick": 1}, "kick must be true or false, got 1"),
    ],
)
def test_what_is_no_noise(options: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Noise(**options)  # type: ignore[arg-type]
