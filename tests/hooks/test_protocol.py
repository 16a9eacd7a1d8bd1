"""The hook's protocol: the order of the calls, what a step shows, a user's own hook."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from oracles.family import FAMILY, make

import gradlab as gl
from gradlab.errors import InputError
from gradlab.hooks import HOOKS, Hook, make_hook
from gradlab.hooks.base import TableHook

T, B, D, H = 5, 3, 2, 4


def run(*hooks: Any, lengths: Any = None) -> gl.Trace:
    """Trace two layers, the lower in both directions."""
    both = gl.Bidirectional(make("lstm", D, H), make("gru-before-replace", D, H))
    network = gl.Network([both, make("rnn-tanh", 2 * H, H)])
    rng = np.random.default_rng(0)
    x, v = rng.standard_normal((T, B, D)), rng.standard_normal((T, B, H))
    return gl.trace(network, x, gl.projection(v), lengths=lengths, hooks=hooks)


class Recorder(Hook):
    """Writes down every call."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def begin(self, info: Any) -> None:
        self.calls.append(("begin", info.steps, info.batch, [layer[:2] for layer in info.layers]))

    def forward(self, segment: Any) -> None:
        self.calls.append(("forward", segment.layer, segment.direction))

    def step(self, step: Any) -> None:
        self.calls.append(("step", step.layer, step.direction, step.t))


def test_order_of_the_calls() -> None:
    """begin; forward bottom up; then backward top down, each from its last step to its first."""
    hook = Recorder()
    run(hook)
    layers = [(0, "forward"), (0, "reverse"), (1, "forward")]
    wanted = [("begin", T, B, layers), *(("forward", *layer) for layer in layers)]
    wanted += [("step", 1, "forward", t) for t in (5, 4, 3, 2, 1)]
    wanted += [("step", 0, "reverse", t) for t in (1, 2, 3, 4, 5)]
    wanted += [("step", 0, "forward", t) for t in (5, 4, 3, 2, 1)]
    assert hook.calls == wanted


def test_a_segment_is_the_whole_stretch_and_takes_the_place_of_the_steps() -> None:
    class Whole(Recorder):
        def segment(self, segment: Any) -> None:
            self.calls.append(("segment", segment.layer, segment.direction, segment.log_norm("dL/dh").shape))

    hook = Whole()
    run(hook)
    assert hook.calls[4:] == [
        ("segment", 1, "forward", (T + 1, B)),
        ("segment", 0, "reverse", (T + 1, B)),
        ("segment", 0, "forward", (T + 1, B)),
    ]


@pytest.mark.parametrize("name", FAMILY)
def test_a_step_shows_what_the_trace_shows(name: str) -> None:
    steps: list[Any] = []

    class Keep(Hook):
        def step(self, step: Any) -> None:
            steps.append(step)

    cell, rng = make(name, D, H), np.random.default_rng(0)
    x, v = rng.standard_normal((T, B, D)), rng.standard_normal((T, B, H))
    trace = gl.trace(cell, x, gl.projection(v), hooks=[Keep()])
    assert [step.t for step in steps] == [5, 4, 3, 2, 1]
    for step in steps:
        t = step.t
        assert (step.layer, step.direction) == (0, "forward")
        for state in cell.state_names:
            np.testing.assert_array_equal(step.state[state], trace.states[state][t])
            for mine, whole in ((step.grad, trace.grad), (step.direct, trace.direct)):
                np.testing.assert_array_equal(np.asarray(mine[state]), np.asarray(whole[state])[t])
        np.testing.assert_array_equal(np.asarray(step.direct["h"]), v[t - 1])
        for gate in cell.gate_names:
            np.testing.assert_array_equal(step.gates[gate], trace.gates[gate][t - 1])
        np.testing.assert_array_equal(step.jacobian, trace.jacobians.dense(t))


def test_a_users_hook_of_five_lines() -> None:
    class Largest(gl.Hook):
        def __init__(self):
            self.largest = {}

        def step(self, step):
            self.largest[step.layer, step.direction, step.t] = float(step.grad["h"].log_norm().max())

    hook = Largest()
    trace = run(hook)
    assert trace.hooks == [hook]
    assert len(hook.largest) == 3 * T
    for one in trace.passes:
        logs = one.log_norm("dL/dh").max(axis=1)
        for index in range(1, T + 1):
            assert hook.largest[one.layer, one.direction, one.t[index, 0]] == logs[index]


def test_hooks_measure_a_pass_without_a_loss() -> None:
    hook = Recorder()
    gl.trace(make("lstm", D, H), np.zeros((T, B, D)), hooks=[hook, "gates", "jacobians"])
    assert [call[0] for call in hook.calls] == ["begin", "forward", *["step"] * T]
    with pytest.raises(InputError, match=r"this trace has no gradients; give gl\.trace a loss"):
        gl.trace(make("lstm", D, H), np.zeros((T, B, D)), hooks=["gradients"])


def test_a_hook_may_be_used_again() -> None:
    hook = make_hook("gradients")
    first, second = run(hook).measured(), run(hook).measured()
    for one, two in zip(first.values(), second.values(), strict=True):
        pd.testing.assert_frame_equal(one, two)


def test_a_hook_that_measures_nothing_adds_nothing() -> None:
    runs, steps, _ = run(Recorder()).measured().values()
    assert len(runs) == 3
    assert steps.empty


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gradient", r'unknown hook "gradient"; did you mean "gradients"'),
        ("lyapunow:8", 'unknown hook "lyapunow"'),
        ("gates:3", 'hook "gates" takes no argument, got "gates:3"'),
        ("gradients:", 'hook "gradients" takes no argument, got "gradients:"'),
        ("jacobians:0", 'jacobians:0: expected "all" or a number of steps of at least 1, got "0"'),
        ("jacobians:some", 'jacobians:some: expected "all" or a number'),
        ("jacobians:-1", "jacobians:-1: expected"),
    ],
)
def test_hooks_that_there_are_not(name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        make_hook(name)
    with pytest.raises(InputError, match=said):
        run(name)


def test_what_is_no_hook() -> None:
    with pytest.raises(InputError, match=r"a hook must be a gl\.Hook or the name of one, got int"):
        run(3)
    with pytest.raises(InputError, match=r"a hook must be a gl\.Hook or the name of one, got type"):
        run(Recorder)


class Misspelt(Hook):
    def setp(self, step: Any) -> None:
        raise AssertionError


class MisspeltTable(TableHook):
    def mesure(self, segment: Any) -> None:
        raise AssertionError


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Misspelt, "hook Misspelt measures nothing: define step or segment or forward; it defines setp"),
        (MisspeltTable, "hook MisspeltTable measures nothing: define measure; it defines mesure"),
        (Hook, "hook Hook measures nothing: define step or segment or forward"),
    ],
)
def test_a_hook_that_overrides_no_method_is_refused(kind: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(kind())


@pytest.mark.parametrize("name", HOOKS)
def test_every_built_in_hook_can_be_made(name: str) -> None:
    assert isinstance(make_hook(name), Hook)
