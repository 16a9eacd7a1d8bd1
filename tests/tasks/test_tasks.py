"""Laws of every task: sizes, one seed one batch, prefixes, losses that a network can be trained with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradlab as gl
from gradlab.tasks import TASKS
from gradlab.tasks.digits import ORDERS

#: Each task in each variant, and a length that it can have.
VARIANTS = {
    "sum": (TASKS["sum"](), 12),
    "noise-driven": (TASKS["noise"](input_size=3, std=2.0), 12),
    "noise-kick": (TASKS["noise"](kick=True), 12),
} | {f"digits-{order}": (TASKS["digits"](order=order), 8 if order == "rows" else 64) for order in ORDERS}
cases = pytest.mark.parametrize("name", VARIANTS)
BATCH = 5


def draw(name: str, seed: int = 0, batch: int = BATCH, **more: Any) -> Any:
    task, length = VARIANTS[name]
    return task.sample(length, batch, rng=np.random.default_rng(seed), **more)


def test_every_task_is_tested() -> None:
    assert {name.split("-")[0] for name in VARIANTS} == set(TASKS)


@cases
def test_shapes_and_types(name: str) -> None:
    task, length = VARIANTS[name]
    x, _ = draw(name)
    assert x.shape == (length, BATCH, task.input_size)
    assert x.dtype == np.float64
    assert x.flags.c_contiguous
    assert task.fixed_length in (None, length)
    assert set(task.KEYS) <= set(task.__dataclass_fields__)
    assert TASKS[task.name] is type(task)


@cases
def test_one_seed_is_one_batch(name: str) -> None:
    (x, loss), (again, same), (other, _) = draw(name, 3), draw(name, 3), draw(name, 4)
    np.testing.assert_array_equal(x, again)
    np.testing.assert_array_equal(loss.targets, same.targets)
    assert not np.array_equal(x, other)


@pytest.mark.parametrize("at", ["last", "every"])
@cases
def test_a_network_can_be_traced_on_it(name: str, at: str) -> None:
    task, _ = VARIANTS[name]
    x, loss = draw(name, at=at)
    cell = gl.GRU.init(task.input_size, 6, rng=0)
    network = gl.Network([cell], gl.Readout.init(6, task.output_size, activation=task.readout, rng=1))
    trace = gl.trace(network, x, loss)
    assert trace.loss.shape == (BATCH,)
    assert np.isfinite(trace.log_norm("adjoint")[1:-1] if at == "every" else trace.layers[0].by_lag()[:-1]).all()
