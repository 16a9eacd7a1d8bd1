"""Plain methods to set a trained network beside: each answers the same inputs, with nothing recurrent in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Baseline(NamedTuple):
    """A plain method, fitted to what may be trained on.

    Attributes
    ----------
    name : in lower case with underscores; columns are named by it.
    answer : inputs ``x (T, B, D)`` → outputs ``y (T, B, O)``, as a network has them.
    """

    name: str
    answer: Callable[[Array], Array]


def persistence() -> Baseline:
    """Return the baseline that answers with the input itself: tomorrow will be as today."""
    return Baseline("persistence", np.asarray)


def autoregression(series: Array, order: int) -> Baseline:
    """Return the baseline that answers with a constant and the last ``order`` inputs, each with its weight.

    ``y_t = a + Σ_k b_k x_{t−k}``, k = 0 … order − 1, by least squares on ``series (N,)``. Where fewer inputs are there,
    at a sequence's start, it is the regression of as many as there are.
    """
    fits = [_least_squares(series, inputs) for inputs in range(1, order + 1)]

    def answer(x: Array) -> Array:
        return np.stack([_weighted(x[: t + 1], fits[min(t + 1, order) - 1]) for t in range(len(x))])

    return Baseline("autoregression", answer)


def _least_squares(series: Array, inputs: int) -> Array:
    """Return the constant, and the weights of the newest input and those before it."""
    lagged = np.lib.stride_tricks.sliding_window_view(series[:-1], inputs)[:, ::-1]
    design = np.column_stack([np.ones(len(lagged)), lagged])
    found: Array = np.linalg.lstsq(design, series[inputs:], rcond=None)[0]
    return found


def _weighted(x: Array, weights: Sequence[float] | Array) -> Array:
    """Return the answer ``(B, 1)`` to the inputs so far, ``(t, B, 1)``."""
    newest_first = x[::-1][: len(weights) - 1]
    return np.asarray(weights[0] + np.tensordot(weights[1:], newest_first, axes=1))
