"""Baselines without recurrence, evaluated on the same inputs as a trained network."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from gradlab.arrays.scaled import Array


class Baseline(NamedTuple):
    """A method without recurrence, fitted to the training data.

    Attributes
    ----------
    name : str
        In lower case with underscores; columns are named after it.
    answer : callable
        Maps inputs ``x (T, B, D)`` to outputs ``y (T, B, O)``, like a network.
    """

    name: str
    answer: Callable[[Array], Array]


def persistence() -> Baseline:
    """Return the baseline that predicts the current input."""
    return Baseline("persistence", np.asarray)


def autoregression(series: Array, order: int) -> Baseline:
    """Return the linear autoregression on the last ``order`` inputs, ``y_t = a + Σ_k b_k x_{t−k}``.

    k runs over 0 … order − 1; the weights are fitted by least squares on ``series (N,)``. At a sequence's start the
    order is the number of inputs so far.
    """
    fits = [_least_squares(series, inputs) for inputs in range(1, order + 1)]

    def answer(x: Array) -> Array:
        return np.stack([_weighted(x[: t + 1], fits[min(t + 1, order) - 1]) for t in range(len(x))])

    return Baseline("autoregression", answer)


def _least_squares(series: Array, inputs: int) -> Array:
    """Return the constant and the weights, newest input first."""
    lagged = np.lib.stride_tricks.sliding_window_view(series[:-1], inputs)[:, ::-1]
    design = np.column_stack([np.ones(len(lagged)), lagged])
    found: Array = np.linalg.lstsq(design, series[inputs:], rcond=None)[0]
    return found


def _weighted(x: Array, weights: Array) -> Array:
    """Return the prediction ``(B, 1)`` from the inputs so far, ``(t, B, 1)``."""
    newest_first = x[::-1][: len(weights) - 1]
    return np.asarray(weights[0] + np.tensordot(weights[1:], newest_first, axes=1))
