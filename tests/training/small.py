"""A training that takes milliseconds."""

from __future__ import annotations

from typing import Any

import numpy as np

import gradlab as gl
from gradlab.tasks import Sum


def model(kind: Any = gl.RNN, *, hidden: int = 6, dtype: str = "float64", **options: Any) -> gl.Network:
    cell = kind.init(1, hidden, rng=0, dtype=dtype, **options)
    return gl.Network([cell], readout=gl.Readout.init(hidden, 1, rng=1, dtype=dtype))


def training(kind: Any = gl.RNN, *, network: Any = None, **options: Any) -> gl.Training:
    options = {"length": 5, "batch": 4, "optimiser": gl.Adam(0.01), "seed": 3} | options
    return gl.Training(network or model(kind), Sum(), **options)


def assert_same(one: gl.Training, two: gl.Training) -> None:
    """Assert that two trainings stand at the same place, to the last bit."""
    assert (one.step, one.status, one.reason) == (two.step, two.status, two.reason)
    for name in ("losses", "norms", "kept", "scores"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    for name, array in one.model.parameters.items():
        assert array.dtype == two.model.parameters[name].dtype
        np.testing.assert_array_equal(array, two.model.parameters[name])
    for slot, other in zip(one.training_state.slots, two.training_state.slots, strict=True):
        np.testing.assert_array_equal(slot, other)
