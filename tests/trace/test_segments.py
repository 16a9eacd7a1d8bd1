"""A pass in segments says what the whole pass says: the pass that keeps everything is the oracle."""

from __future__ import annotations

import sys
import tracemalloc
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from oracles.compare import assert_normwise
from oracles.family import make, spread, states

import gradlab as gl
from gradlab._trace.segmented import SegmentedTrace, chosen_length, layer_numbers
from gradlab.errors import InputError
from gradlab.native import pool

Array = NDArray[Any]
T, B, D, H = 61, 3, 2, 4
HOOKS = ["gradients", "jacobians:9", "gates", "lyapunov:3", "paths", "contributions"]
ENDS = np.array([61, 17, 40])
#: Segments of one step, of a length that does not divide T, and all but one step.
LENGTHS = (1, 7, 60)


def stacked(name: str) -> gl.Network:
    cells = [make(name, D, H), make(name, H, H, rng=1)]
    return gl.Network(cells, readout=gl.Readout.init(H, 2, activation="tanh", rng=3))


def both(name: str) -> gl.Network:
    """Return one-directional layers below, between and above layers of two directions."""
    pairs = [gl.Bidirectional(make(name, n, H, rng=n), make(name, n, H, rng=n + 1)) for n in (H, 2 * H)]
    layers = [make(name, D, H), *pairs, make(name, 2 * H, H)]
    return gl.Network(layers, readout=gl.Readout.init(H, 2, rng=3))


def losses(outputs: int) -> dict[str, Any]:
    rng = np.random.default_rng(5)
    targets = rng.standard_normal((T, B, outputs))
    mask = rng.random((T, B)) < 0.2
    mask[10] = True

    def own(y: Array) -> tuple[Array, Array]:
        return (y**3).sum(axis=(0, 2)), 3 * y**2

    return {
        "last": gl.mse(targets[0]),
        "every": gl.mse(targets, at="every"),
        "steps": gl.mse(targets[:3], at=[30, 2, 44]),
        "labels": gl.cross_entropy(rng.integers(0, outputs, (T, B)), at=mask),
        "projection": gl.projection(targets),
        "own": own,
    }


def assert_same(model: Any, loss: Any, length: int, hooks: Any = HOOKS, **options: Any) -> None:
    x = np.random.default_rng(0).standard_normal((T, B, D))
    whole = gl.trace(model, x, loss, hooks=hooks, **options)
    parts = gl.trace(model, x, loss, hooks=hooks, segment_length=length, **options)
    assert isinstance(parts, SegmentedTrace)
    assert parts.overflow_step == whole.overflow_step
    if loss is not None:
        np.testing.assert_allclose(parts.loss, whole.loss, rtol=1e-12)
        assert list(parts.param_grads) == list(whole.param_grads)
        for name, array in whole.param_grads.items():
            assert_normwise(parts.param_grads[name], array, 1e-12, name, axis=None)
    for name, table in whole.measured().items():
        pd.testing.assert_frame_equal(parts.measured()[name], table, rtol=1e-12, atol=1e-12, obj=name)


@pytest.mark.parametrize(("name", "length"), spread(LENGTHS))
def test_one_cell(name: str, length: int) -> None:
    model = make(name, D, H)
    assert_same(model, losses(H)["every"], length, state=states(model, B))


@pytest.mark.parametrize("loss", losses(2))
@pytest.mark.parametrize("lengths", [None, ENDS], ids=["equal", "lengths"])
def test_every_loss(loss: str, lengths: Any) -> None:
    found = losses(2)
    if lengths is not None:
        if loss == "own":
            found["own"] = lambda y: ((y**3).sum(axis=(0, 2)), np.where(y == 0, 0, 3 * y**2))
        if loss == "labels":
            mask = np.asarray(found["labels"].at) & (np.arange(1, T + 1)[:, None] <= lengths)
            found["labels"] = gl.cross_entropy(found["labels"].targets, at=mask)
        if loss == "steps":
            found["steps"] = gl.mse(np.ones((3, B, 2)), at=[3, 2, 16])
    assert_same(stacked("lstm"), found[loss], 7, lengths=lengths)


@pytest.mark.parametrize("loss", ["last", "every", "labels"])
@pytest.mark.parametrize("name", ["rnn-tanh", "lstm", "gru-before-replace"])
@pytest.mark.parametrize("length", [7, pytest.param(30, marks=pytest.mark.full)])
def test_both_directions(name: str, loss: str, length: int) -> None:
    assert_same(both(name), losses(2)[loss], length)


def test_without_a_loss() -> None:
    assert_same(both("lstm"), None, 7, ["jacobians", "gates", "lyapunov:2"])


def test_in_float32() -> None:
    cell = make("gru-before-replace", D, H, dtype="float32")
    x = np.random.default_rng(0).standard_normal((T, B, D)).astype("float32")
    loss = gl.projection(np.ones((B, H), "float32"))
    whole, parts = (gl.trace(cell, x, loss, segment_length=n) for n in (T, 8))
    for name, array in whole.param_grads.items():
        assert parts.param_grads[name].dtype == array.dtype == np.float32
        assert_normwise(parts.param_grads[name], array, 1e-5, name, axis=None)


def test_gradients_beyond_floats() -> None:
    """Of 600 steps at about −5 nats each, δ is far below 2^−1074 where the parameters' gradients still count it."""
    cell, x = make("rnn-identity", D, H, scale=0.01), np.ones((600, B, D))
    whole, parts = (
        gl.trace(cell, x, gl.projection(np.ones((B, H))), hooks=["gradients"], segment_length=n) for n in (600, 64)
    )
    steps = parts.measured()["steps"]
    assert steps["mean_log"].min() < -2000
    pd.testing.assert_frame_equal(steps, whole.measured()["steps"], rtol=1e-12)


def test_exponents_do_not_depend_on_where_a_pass_is_cut() -> None:
    """Of 2500 steps up to 56 lie between two QRs: segments of 97 end in the middle of such stretches."""
    cell, x = make("gru-before-replace", D, H, scale=2.0), np.random.default_rng(0).standard_normal((2500, B, D))
    whole, parts = (gl.trace(cell, x, hooks=["lyapunov:2"], segment_length=n).measured() for n in (2500, 97))
    assert whole["spectra"]["stderr"].notna().all()
    for name, table in whole.items():
        pd.testing.assert_frame_equal(parts[name], table, rtol=1e-12, obj=name)


def test_an_overflow_is_a_finding() -> None:
    cell, x = make("rnn-identity", D, H, scale=1e20), np.random.default_rng(0).standard_normal((T, B, D))
    loss, hooks = gl.projection(np.ones((B, H))), ["gradients", "gates", "lyapunov"]
    whole, parts = (gl.trace(cell, x, loss, hooks=hooks, segment_length=n) for n in (T, 7))
    assert 7 < whole.overflow_step == parts.overflow_step < T
    for name, table in whole.measured().items():
        pd.testing.assert_frame_equal(parts.measured()[name], table, rtol=1e-12, obj=name)


def test_a_users_steps_are_the_same_ones() -> None:
    class Keep(gl.Hook):
        def __init__(self) -> None:
            self.seen: dict[Any, Any] = {}

        def step(self, step: Any) -> None:
            grad, state = step.grad["h"].log_norm(), step.state["h"]
            self.seen[step.layer, step.direction, step.t] = [grad, state, step.jacobian, step.direct["h"].log_norm()]

    x, loss = np.random.default_rng(0).standard_normal((T, B, D)), losses(2)["every"]
    whole, parts = Keep(), Keep()
    gl.trace(both("lstm"), x, loss, hooks=[whole])
    gl.trace(both("lstm"), x, loss, hooks=[parts], segment_length=9)
    assert set(whole.seen) == set(parts.seen)
    for place, found in whole.seen.items():
        for one, two in zip(found, parts.seen[place], strict=True):
            np.testing.assert_allclose(two, one, rtol=1e-12, atol=1e-14)
    down = [t for layer, _, t in parts.seen if layer == 3]
    assert down == list(range(T, 0, -1))


def test_segments_say_where_they_lie() -> None:
    class Keep(gl.Hook):
        def __init__(self) -> None:
            self.calls: list[Any] = []

        def begin(self, info: Any) -> None:
            self.calls.append(("begin", info.steps, info.whole))

        def forward(self, segment: Any) -> None:
            self.calls.append(("forward", segment.layer, segment.start, segment.tape.steps))

        def segment(self, segment: Any) -> None:
            assert (segment.steps, segment.ends.tolist()) == (10, [10])
            assert segment.t[:, 0].tolist() == list(range(segment.start, segment.start + segment.tape.steps + 1))
            assert (segment.lag == 10 - segment.t).all()
            self.calls.append(("segment", segment.layer, segment.start, segment.tape.steps))

    hook, layers = Keep(), gl.Network([make("rnn-tanh", 1, 2), make("rnn-tanh", 2, 2)])
    gl.trace(layers, np.zeros((10, 1, 1)), gl.projection(np.ones((1, 2))), hooks=[hook], segment_length=4)
    starts = [(0, 4), (4, 4), (8, 2)]
    ahead = [("forward", layer, *start) for start in starts for layer in (0, 1)]
    back = [("segment", layer, *start) for start in reversed(starts) for layer in (1, 0)]
    assert hook.calls == [("begin", 10, False), *ahead, *back]


# --- what is not kept -----------------------------------------------------------------------------------


def a_segmented_trace() -> Any:
    x = np.zeros((10, 1, 1))
    return gl.trace(make("rnn-tanh", 1, 2), x, gl.projection(np.ones((1, 2))), segment_length=4)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("grad", r'so it has no "grad"; give gl\.trace a gl\.Hook whose segment\(segment\) reads segment\.grad'),
        ("states", r"reads segment\.states"),
        ("outputs", r'has no "outputs"'),
        ("jacobians", 'the hook "jacobians:all", or a'),
        ("rate", 'the hook "gradients"'),
        ("profile", 'the hook "gradients"'),
        ("spectrum", 'the hook "lyapunov:k"'),
        ("propagator", '"propagator" needs all steps at once; give segment_length=10'),
        ("layers", '"layers" needs all steps at once; give segment_length=10'),
    ],
)
def test_what_is_not_kept_names_the_hook_that_has_it(name: str, said: str) -> None:
    with pytest.raises(InputError, match=rf"kept no more than the states at every 4 steps .*{said}"):
        getattr(a_segmented_trace(), name)


def test_what_it_shows_of_itself() -> None:
    trace = a_segmented_trace()
    assert "SegmentedTrace: T 10, B 1, segments of 4, mean loss" in repr(trace)
    assert "segments of 4" in trace._repr_html_()
    with pytest.raises(AttributeError, match="no attribute 'grads'"):
        _ = trace.grads


@pytest.mark.parametrize("length", [10, 11])
def test_a_segment_of_all_steps_is_the_whole_pass(length: int) -> None:
    found = gl.trace(make("rnn-tanh", 1, 2), np.zeros((10, 1, 1)), segment_length=length)
    assert isinstance(found, gl.Trace)


@pytest.mark.parametrize(("length", "said"), [(0, "must be at least 1, got 0"), (2.5, "must be a whole number")])
def test_bad_lengths(length: Any, said: str) -> None:
    with pytest.raises(InputError, match=f"segment_length {said}"):
        gl.trace(make("rnn-tanh", 1, 2), np.zeros((10, 1, 1)), segment_length=length)


def test_what_segments_cannot() -> None:
    x = np.zeros((T, B, D))
    with pytest.raises(InputError, match=r"unequal lengths begin at different steps, which segments cannot; .*=61"):
        gl.trace(both("lstm"), x, lengths=ENDS, segment_length=7)
    for hook in ("temporal", "sensitivity"):
        with pytest.raises(
            InputError, match=rf'hook "{hook}" needs all steps at once; give gl.trace segment_length=61'
        ):
            gl.trace(make("lstm", D, H), x, losses(H)["last"], hooks=[hook], segment_length=7)


def test_bad_input_is_refused_before_a_hook_sees_anything() -> None:
    class Never(gl.Hook):
        def begin(self, info: Any) -> None:
            raise AssertionError

        def step(self, step: Any) -> None:
            raise AssertionError

    x = np.zeros((10, 1, 1))
    x[9] = np.nan
    with pytest.raises(InputError, match=r"x\[8:\] must be finite, got nan at index \(1, 0, 0\)"):
        gl.trace(make("rnn-tanh", 1, 2), x, hooks=[Never()], segment_length=4)
    with pytest.raises(InputError, match=r"mse: targets must have shape"):
        gl.trace(make("rnn-tanh", 1, 2), np.zeros((10, 1, 1)), gl.mse(np.zeros((1, 3))), segment_length=4)


# --- which length ---------------------------------------------------------------------------------------


def test_a_pass_is_whole_where_it_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    network = gl.Network([gl.RNN.init(1, 64, rng=0)])
    assert chosen_length(network, 10_000, 4, lambda: None) == 10_000
    assert chosen_length(network, 10_000, 4, lambda: 8e9) == 10_000
    assert 500 < chosen_length(network, 10_000_000, 4, lambda: 8e9) < 5000
    assert chosen_length(network, 10_000, 4, lambda: 1e3) == 1
    assert chosen_length(network, 1000, 4, lambda: 1e3) == 1000  # small: whatever is free
    monkeypatch.setattr(sys.modules["gradlab._trace.trace"], "free_memory", lambda: 1e6)
    found = gl.trace(make("rnn-tanh", 1, 64), np.zeros((6000, 4, 1)), gl.projection(np.ones((4, 64))))
    assert isinstance(found, SegmentedTrace)
    assert found.segment_length < 100


def test_the_estimate_is_what_a_pass_keeps() -> None:
    """Within a fifth of the arrays of a traced pass whose loss is read at every step, of which D is a small part."""
    loss = gl.mse(np.zeros((2000, 4, 64)), at="every")
    for name in ("rnn-tanh", "lstm", "gru-before-replace"):
        cell, x, steps = make(name, 1, 64), np.zeros((2000, 4, 1)), 2000
        pool._shelves.clear()  # what earlier passes left would not count
        tracemalloc.start()
        found = gl.trace(cell, x, loss)
        kept = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert found.loss is not None
        assert 0.8 < layer_numbers(cell) * steps * 4 * 8 / kept < 1.25, name
