"""A loop in one call gives the bits that it gives step by step; what cannot be noted is taken step by step.

The bits are guaranteed because the loop in C calls the same inner loops of NumPy, with the same counts and strides, in
the same order as the steps in Python do.
"""

from __future__ import annotations

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import pytest
from oracles.derivatives import drive_of
from oracles.family import FAMILY, NOTED, make, spread

import gradlab as gl
from gradlab.cells.base import State
from gradlab.native import compiled, loop
from gradlab.native.loop import Loop

built = pytest.mark.skipif(compiled.take is None, reason="gradlab was installed without a C compiler")
#: T, H, B: products of the last are in parts.
SHAPES = [(7, 5, 4), (100, 6, 1), (100, 5, 4), (100, 5, 16), (9, 33, 16), (5, 128, 64)]


@pytest.fixture
def by_step(monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda: monkeypatch.setattr(compiled, "take", None)


@pytest.fixture(autouse=True)
def anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "PLANS", {})


def _all_of(name: str, T: int, H: int, B: int, dtype: str = "float64", lengths: bool = False) -> list[np.ndarray]:
    """Return what a pass and the exponents both ways say, with losses at every step, at the last, and at some."""
    rng = np.random.default_rng(3)
    cell, x = make(name, 3, H, dtype=dtype), rng.normal(size=(T, B, 3))
    ends = rng.integers(2, T + 1, B) if lengths else None
    some = [2] if lengths else [2, T]
    found = []
    losses = [gl.mse(np.zeros((B, H))), gl.mse(np.zeros((T, B, H)), at="every"), gl.mse(np.zeros((B, H)), at=some)]
    for loss in losses:
        trace = gl.trace(cell, x.astype(dtype), loss, lengths=ends)
        found += [trace.outputs, *(one.mantissa for one in (*trace.grad.values(), *trace.pre_grad.values()))]
        found += trace.param_grads.values()
    for adjoint in (False, True):
        found.append(trace.spectrum(min(3, H), adjoint=adjoint).per_sequence)
    return found


@built
@pytest.mark.parametrize(("name", "shape"), spread(SHAPES, among=NOTED))
def test_the_bits_are_those_of_a_loop_step_by_step(name: str, shape: tuple[int, int, int], by_step: Any) -> None:
    T, H, B = shape
    fast, again = _all_of(name, T, H, B), _all_of(name, T, H, B)
    assert None not in loop.PLANS.values()
    assert {key[0][0][0] for key in loop.PLANS} >= (
        {"step", "back", "carry"} if T == 100 and name != "rnn-relu" else {"step", "back"}
    )
    by_step()
    for one, two, three in zip(fast, again, _all_of(name, T, H, B), strict=True):
        np.testing.assert_array_equal(one, three)
        np.testing.assert_array_equal(two, three)


@built
@pytest.mark.parametrize("name", NOTED)
def test_so_they_are_in_float32_and_with_lengths(name: str, by_step: Any) -> None:
    fast = [_all_of(name, 11, 9, 5, "float32"), _all_of(name, 11, 9, 5, lengths=True)]
    by_step()
    slow = [_all_of(name, 11, 9, 5, "float32"), _all_of(name, 11, 9, 5, lengths=True)]
    for one, two in zip(chain(*fast), chain(*slow), strict=True):
        np.testing.assert_array_equal(one, two)


@built
def test_a_plan_serves_other_weights_and_other_threads() -> None:
    def exponents(seed: int) -> np.ndarray:
        cell, x = make("lstm", 3, 8, rng=seed), np.random.default_rng(seed).normal(size=(60, 4, 3))
        return gl.trace(cell, x).spectrum(3).per_sequence

    one_by_one = [exponents(seed) for seed in range(12)]
    plans = len(loop.PLANS)
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(exponents, range(12)))
    np.testing.assert_array_equal(together, one_by_one)
    assert len(loop.PLANS) == plans


@pytest.mark.parametrize("K", [None, 3])
@pytest.mark.parametrize("name", FAMILY)
def test_a_tangent_may_be_written_over(name: str, K: int | None) -> None:
    cell, rng = make(name, 3, 5), np.random.default_rng(4)
    drive, state = drive_of(cell, rng.normal(size=(3, 4))), cell.split(rng.normal(size=(cell.state_size, 4)))
    after, record = cell.step(drive, state)
    local = cell.linearise(record, state, after)
    tangent = cell.split(rng.normal(size=(*([] if K is None else [K]), cell.state_size, 4)))
    expected = cell.jvp(local, tangent)
    cell.jvp_into(local, tangent, tangent)
    for one, two in zip(tangent, expected, strict=True):
        np.testing.assert_array_equal(one, two)


def _sums(act: Any, constants: list[np.ndarray] | None = None) -> tuple[np.ndarray, Loop]:
    """Return running sums of 1 … 5 as ``act(one, total)`` makes them, a step that cannot be repeated."""
    numbers, total = np.arange(1.0, 6.0)[:, None], np.zeros(1)
    standing = np.lib.stride_tricks.as_strided(total, (5, 1), (0, 8))
    made = Loop(act, constants or [], "sums")
    made.take(numbers, standing)
    return total, made


def test_a_sum_is_noted() -> None:
    total, made = _sums(lambda one, total: np.add(total, one * 2.0, out=total))
    assert total == 30.0
    assert (made.plan is not None) == (compiled.take is not None)


FOREIGN = np.ones(1)


def _assigns(one: Any, total: Any) -> None:
    total[...] = total + one


def _reads_what_is_not_known(one: Any, total: Any) -> None:
    np.add(total, one * FOREIGN, out=total)


def _reduces(one: Any, total: Any) -> None:
    np.add(total, np.add.reduce(one), out=total)


def _chooses(one: Any, total: Any) -> None:
    np.add(total, np.where(one > 0, one, 0.0), out=total)


def _masks(one: Any, total: Any) -> None:
    np.add(total, one, out=total, where=one > 0)


def _copies(one: Any, total: Any) -> None:
    np.add(total, one.copy(), out=total)


def _counts(one: Any, total: Any) -> None:
    np.add(total, one.astype(np.int64), out=total)


@pytest.mark.parametrize(
    "act",
    [_assigns, _reads_what_is_not_known, _reduces, _chooses, _masks, _copies, _counts],
    ids=lambda act: act.__name__,
)
def test_what_is_more_than_ufuncs_on_views_is_taken_step_by_step(act: Any) -> None:
    for _ in range(2):
        total, made = _sums(act)
        assert total == 15.0
        assert made.plan is None


@built
def test_what_is_known_may_be_read() -> None:
    total, made = _sums(_reads_what_is_not_known, [FOREIGN])
    assert total == 15.0
    assert made.plan is not None


def _cumulates(one: Any, room: Any) -> None:
    np.add(one, room[:-1], out=room[1:])


def _multiplies(one: Any, room: Any) -> None:
    np.matmul(np.multiply(one, 0.5), room, out=room)


def _doubles(one: Any, room: Any) -> None:
    np.add(one, room, out=room)


@built
@pytest.mark.parametrize("act", [_cumulates, _multiplies, _doubles], ids=lambda act: act.__name__)
def test_a_call_that_writes_over_what_it_reads_has_no_plan(act: Any, by_step: Any) -> None:
    """NumPy copies an input that an output overlaps; the loop in C does not, so it takes exact overlap only."""
    shape = (2, 2) if act is _multiplies else (3,) if act is _doubles else (1,)
    steps = np.random.default_rng(0).normal(size=(5, *shape))
    found = []
    for _ in range(2):
        rooms = np.arange(1.0, 4.0) if act is not _multiplies else np.eye(2)
        standing = np.lib.stride_tricks.as_strided(rooms, (5, *rooms.shape), (0, *rooms.strides))
        made = Loop(act, [], act.__name__)
        made.take(steps, standing)
        found.append((rooms, made.plan))
        by_step()
    assert (found[0][1] is not None) == (act is _doubles)
    np.testing.assert_array_equal(found[0][0], found[1][0])


@dataclass(frozen=True, eq=False, repr=False)
class Halved(gl.RNN):
    """A cell that somebody derived from one of ours, whose step is more than ufuncs."""

    def step(self, drive: Any, state: Any, out: Any = None) -> tuple[State, dict[str, Any]]:
        after, record = super().step(drive, state, out)
        np.asarray(after[0])[...] *= 0.5 if after[0].max() > 0 else 0.25
        return after, record


def test_a_class_derived_from_one_of_ours_is_not_noted_unless_it_says_so() -> None:
    cell = Halved.init(3, 5, rng=0)
    assert cell.constants is None
    assert gl.RNN.init(3, 5, rng=0).constants is not None
    trace = gl.trace(cell, np.random.default_rng(0).normal(size=(6, 2, 3)))
    assert not loop.PLANS
    assert np.isfinite(trace.outputs).all()


@built
def test_weights_that_share_memory_leave_no_plan_to_others() -> None:
    x, bias = np.random.default_rng(0).normal(size=(6, 2, 5)), np.linspace(-1.0, 1.0, 15)
    cell = gl.GRU.init(5, 5, reset="after", rng=0)
    square = gl.RNN.init(5, 5, rng=1).W_hh
    shared = [gl.RNN(square, square), gl.GRU(cell.W_xh, cell.W_hh, bias, bias[10:], "after")]
    apart = [gl.RNN(square[::-1].copy(), square), gl.GRU(cell.W_xh, cell.W_hh, bias, bias[:5].copy(), "after")]
    alone = []
    for other in apart:
        alone.append(gl.trace(other, x).outputs)
        loop.PLANS.clear()
    for one, other, expected in zip(shared, apart, alone, strict=True):
        gl.trace(one, x)
        np.testing.assert_array_equal(gl.trace(other, x).outputs, expected)


@built
def test_weights_of_the_other_byte_order_have_no_plan() -> None:
    x, cell = np.random.default_rng(0).normal(size=(6, 2, 3)), gl.LSTM.init(3, 5, rng=0)
    other = cell.with_parameters({name: array.astype(">f8") for name, array in cell.parameters.items()})
    np.testing.assert_allclose(gl.trace(cell, x).outputs, gl.trace(other, x).outputs, rtol=1e-12)


def test_a_step_of_more_calls_than_there_is_room_for_is_taken_step_by_step() -> None:
    def act(one: Any, total: Any) -> None:
        for _ in range(40):
            np.add(total, one, out=total)

    total, made = _sums(act)
    assert total == 600.0
    assert made.plan is None


def test_a_pass_is_gone_with_its_trace_after_its_spectrum() -> None:
    trace = gl.trace(gl.LSTM.init(3, 5, rng=0), np.random.default_rng(0).normal(size=(20, 2, 3)))
    tape = weakref.ref(trace._run.tapes[0][0])
    gc.disable()
    try:
        trace.spectrum(2)
        del trace
        assert tape() is None
    finally:
        gc.enable()


@built
def test_calls_that_are_not_those_of_a_plan_are_refused() -> None:
    array, index = np.ones((3, 2)), np.multiply.types.index("dd->d")
    sound = np.array([0, 2, 8, 8, 8, 0, 0, 0, 0, 1, 0], np.intp)
    out = np.zeros(2)
    compiled.take(((np.multiply, index, sound),), (array,), (out,), 3)
    np.testing.assert_array_equal(out, [1.0, 1.0])
    beyond = sound.copy()
    beyond[-2] = 2
    for calls, n in [
        (((np.multiply, index, sound[:-1]),), 3),
        (((np.multiply, 99, sound),), 3),
        (((np.multiply, index, sound.astype(float)),), 3),
        (((np.multiply, index, beyond),), 3),
        (((np.multiply, index, sound),), 4),
    ]:
        with pytest.raises(ValueError, match=r"call of multiply|not there|fewer steps"):
            compiled.take(calls, (array,), (out,), n)
