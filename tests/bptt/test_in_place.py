"""The fast way through a pass against the plain one: in place, in parts, in blocks, in memory used before."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from oracles.compare import assert_normwise
from oracles.family import FAMILY, columns, make

import gradlab as gl
from gradlab.bptt import Arriving, Columns, Tape, backward, forward, parameter_gradients
from gradlab.bptt import backward as package_backward
from gradlab.cells import base
from gradlab.cells.base import product
from gradlab.native import pool

Array = NDArray[Any]
backward_module = __import__(package_backward.__module__, fromlist=["_Way"])


def taped(name: str, steps: int = 40, batch: int = 3, hidden: int = 6, **options: Any) -> Tape:
    cell = make(name, 2, hidden, **options)
    x = np.random.default_rng(1).normal(size=(steps, 2, batch)).astype(cell.dtype)
    return forward(cell, x, columns(cell, batch))


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have products split at once."""
    base._parts.cache_clear()
    monkeypatch.setattr(base, "SMALL", 20)
    yield
    base._parts.cache_clear()


@pytest.mark.parametrize("name", FAMILY)
def test_the_loop_takes_the_plain_steps(name: str, small_parts: None) -> None:
    tape = taped(name)
    drive, state = tape.cell.input_drive(tape.x), tape.cell.split(tape.states[0])
    for t in range(tape.steps):
        state, record = tape.cell.step(drive[t], state)
        for found, plain in zip(tape.cell.split(tape.states[t + 1]), state, strict=True):
            assert_normwise(found, plain, 1e-13)  # products of other parts are summed in another order
        for key, plain in record.items():
            assert_normwise(tape.record[key][t], plain, 1e-13)


@pytest.mark.parametrize("name", FAMILY)
def test_what_a_vjp_writes_is_what_it_returns(name: str) -> None:
    tape = taped(name, steps=1)
    cell, local = tape.cell, tape.linearise(slice(0, 1))
    step = type(local)(*(array[0] for array in local))
    adjoint = cell.split(np.random.default_rng(2).normal(size=tape.states[0].shape))
    before, pre_grad = cell.vjp(step, adjoint)
    out, at_step = cell.split(np.full_like(tape.states[0], np.nan)), np.full_like(pre_grad, np.nan)
    cell.vjp_into(step, adjoint, (out, at_step))
    np.testing.assert_array_equal(np.concatenate(out), np.concatenate(before))
    np.testing.assert_array_equal(at_step, pre_grad)


@pytest.mark.parametrize("size", [1, 7, 12, 64])
def test_a_product_in_parts_is_the_product(size: int, small_parts: None) -> None:
    draw = np.random.default_rng(3)
    W, h, out = draw.normal(size=(size, 5)), draw.normal(size=(5, 4)), np.empty((size, 4))
    assert_normwise(product(W, h), W @ h, 1e-14)
    assert product(W, h, out) is out
    assert_normwise(out, W @ h, 1e-14)
    assert_normwise(product(W.T, W @ h), W.T @ (W @ h), 1e-14)


ARRIVALS = {
    "last": lambda t, T: t == T,
    "early": lambda t, T: t == 5,
    "some": lambda t, T: t in (T - 20, 7),
    "every": lambda t, T: t > 0,
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("scale", [1.0, 1e-20, 1e12])
@pytest.mark.parametrize("arrives", ARRIVALS)
@pytest.mark.parametrize("name", ["rnn-identity", "rnn-relu", "lstm", "gru-after-keep"])
def test_blocks_of_steps_say_what_single_steps_say(
    name: str, arrives: str, scale: float, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rates from −46 to +28 nats/step: where a block leaves the room of a mantissa, it is taken again, step by step."""
    tape = taped(name, dtype=dtype)
    if name == "rnn-identity":
        tape = Tape(tape.cell.with_parameters({"W_hh": tape.cell.W_hh * np.dtype(dtype).type(scale)}), tape.x,
                    tape.states, tape.record, None)  # fmt: skip
    live = np.array([ARRIVALS[arrives](t, tape.steps) for t in range(tape.steps + 1)])
    plain = np.where(live[:, None, None], np.random.default_rng(4).normal(size=(tape.steps + 1, 6, 3)), 0.0)
    plain[:, :, 1] = 0.0  # a sequence whose loss reads nothing
    direct = Columns.of(plain.astype(dtype))
    found = backward(tape, Arriving.everywhere(direct))
    monkeypatch.setattr(backward_module._Way, "together", lambda way, block: False)
    single = backward(tape, Arriving.everywhere(direct))
    for one, other in ((found.adjoint, single.adjoint), (found.total, single.total)):
        plain_one, plain_other = (
            Columns(a, e).log_norm() for a, e in ((one, found.exponent), (other, single.exponent))
        )
        np.testing.assert_allclose(plain_one, plain_other, rtol=1e-12 if dtype == "float64" else 1e-5)
    assert not np.isnan(Columns(found.pre_grad, found.exponent[1:]).log_norm()).any()


@pytest.mark.parametrize("batch", [1, 4])
def test_parameter_gradients_are_sums_over_steps_and_sequences(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is shared, whatever the exponents, in chunks of a few steps as at once."""
    draw = np.random.default_rng(5)
    left, other = draw.normal(size=(2, 50, 6, batch))
    h, x = draw.normal(size=(50, 3, batch)), draw.normal(size=(50, 2, batch))
    exponent = draw.integers(-30, 5, (50, batch))
    pairs = {"W_hh": [(left, h), (other, h)], "W_xh": [(left, x)], "b": [(left, None), (other, None)]}
    true = 2.0 ** exponent[:, None]
    expected = {
        "W_hh": np.concatenate([np.einsum("tfb,tgb->fg", a * true, h) for a in (left, other)]),
        "W_xh": np.einsum("tfb,tgb->fg", left * true, x),
        "b": np.concatenate([(a * true).sum(axis=(0, 2)) for a in (left, other)]),
    }
    for chunk in (1, backward_module.LONG):
        monkeypatch.setattr(backward_module, "LONG", chunk)
        for name, (mantissa, level) in parameter_gradients(pairs, exponent).items():
            assert_normwise(mantissa * 2.0**level, expected[name] / batch, 1e-13)


def test_zero_columns_have_no_exponent() -> None:
    """Where the loss reads an early step, later columns are zero, and their exponents say nothing."""
    left, exponent = np.zeros((9, 2, 1)), np.zeros((9, 1), np.int64)
    left[:3], exponent[:3] = 1.0, -5000
    mantissa, level = parameter_gradients({"b": [(left, None)]}, exponent)["b"]
    assert (mantissa.tolist(), level) == ([3.0, 3.0], -5000)


def test_memory_is_used_again_only_when_nothing_refers_to_it() -> None:
    size = pool.LEAST + 24
    array = pool.empty((size // 8,), "float64")
    place, view = array.__array_interface__["data"][0], array[3:].reshape(-1, 1)
    del array
    second = pool.empty((size // 8,), "float64")
    assert second.__array_interface__["data"][0] != place
    view[...] = 7.0
    del second, view
    third = pool.empty((size,), "uint8")
    fourth = pool.empty((size,), "uint8")
    assert place in {one.__array_interface__["data"][0] for one in (third, fourth)}
    assert not np.shares_memory(third, fourth)


def test_no_more_is_kept_than_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "MOST", 3 * pool.LEAST)
    arrays = [pool.empty((pool.LEAST,), "uint8") for _ in range(8)]
    del arrays
    assert sum(size * len(shelf) for size, shelf in pool._shelves.items()) <= pool.MOST


def test_two_threads_never_get_the_same_memory() -> None:
    def overwritten(own: int) -> int:
        found = 0
        for _ in range(300):
            array = pool.empty((pool.LEAST,), "uint8")
            array[...] = own
            time.sleep(0)  # lets others run
            found += int((array != own).any())
            del array
        return found

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(overwritten, range(8))) == 0


def test_a_trace_keeps_its_numbers_while_others_run() -> None:
    cell, x = make("lstm", 2, 16), np.random.default_rng(6).normal(size=(60, 8, 2))
    loss = gl.projection(np.ones((8, 16)))
    trace = gl.trace(cell, x, loss)
    grads, kept = trace.grad["c"], np.array(np.asarray(trace.grad["c"]))
    del trace
    for seed in range(3):
        gl.trace(cell, x + seed, loss)
    np.testing.assert_array_equal(np.asarray(grads), kept)
