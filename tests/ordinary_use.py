"""Ordinary use of gradlab with its types: mypy must agree with every ``assert_type`` (tests/test_front_door.py)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, assert_type

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import gradlab as gl
from gradlab.bptt import Columns
from gradlab.cells.base import Pair, Record, State
from gradlab.cells.custom import CustomCell
from gradlab.hooks.base import Step
from gradlab.jacobians.lyapunov import Spectrum
from gradlab.jacobians.propagator import Propagator
from gradlab.jacobians.steps import Jacobians
from gradlab.layer import LayerPass
from gradlab.statistics.decay_shapes import Shape
from gradlab.statistics.rates import Rate
from gradlab.statistics.survival import Horizon
from gradlab.study.results import Results
from gradlab.verdicts.verdict import Verdict

Array = NDArray[Any]
Floats = NDArray[np.float64]


def one_pass() -> None:
    cell = gl.LSTM.init(3, 4, rng=0)
    assert_type(cell, gl.LSTM)
    trace = gl.trace(cell, np.zeros((10, 2, 3)), gl.projection(np.ones((2, 4))))
    assert_type(trace, gl.Trace)
    assert_type(trace.loss, Array | None)
    assert_type(trace.outputs, Array)
    assert_type(trace.states["h"], Array)
    assert_type(trace.gates["f"], Array)
    assert_type(trace.grad["h"], gl.Scaled)
    assert_type(trace.adjoint["c"], gl.Scaled)
    assert_type(trace.pre_grad["f"], gl.Scaled)
    assert_type(trace.input_grad, gl.Scaled)
    assert_type(trace.last_adjoint, Columns)
    assert_type(trace.param_grads["W_hh"], Array)
    assert_type(trace.jacobians, Jacobians)
    assert_type(trace.log_norm("dL/dh"), Floats)
    assert_type(trace.by_lag(), Floats)
    assert_type(trace.rate(), Rate)
    assert_type(trace.rate().rate, float)
    assert_type(trace.horizon(0.1), Horizon)
    assert_type(trace.shape(), Shape)
    assert_type(trace.word(), str)
    assert_type(trace.verdict(), Verdict)
    assert_type(trace.verdict().word, str)
    assert_type(trace.spectrum(2, warmup=1), Spectrum)
    assert_type(trace.propagator(0, 5), Propagator)
    assert_type(trace.measured(), dict[str, pd.DataFrame])


def several_layers() -> None:
    network = gl.Network([gl.Bidirectional(gl.GRU.init(2, 3, rng=0), gl.GRU.init(2, 3, rng=1))])
    trace = gl.trace(network, np.zeros((5, 1, 2)), gl.projection(np.ones((1, 6))))
    lower = trace.layers[0]
    assert_type(lower.verdict(), Verdict)
    assert_type(lower.grad["h"], gl.Scaled)
    reverse = lower.reverse
    assert reverse is not None
    assert_type(reverse.rate(), Rate)


class LargestGradient(gl.Hook):
    """A user's hook by steps."""

    def __init__(self) -> None:
        self.norms: list[float] = []

    def step(self, step: Step) -> None:
        assert_type(step.t, int)
        assert_type(step.state["h"], Array)
        assert_type(step.grad["h"], gl.Scaled)
        assert_type(step.jacobian, Array)
        self.norms.append(float(step.grad["h"].log_norm().max()))

    def frame(self) -> pd.DataFrame:
        return pd.DataFrame()


class EverySegment(gl.Hook):
    """A user's hook by segments."""

    def segment(self, segment: LayerPass) -> None:
        assert_type(segment.t, NDArray[np.int64])
        assert_type(segment.log_norm("adjoint"), Floats)
        assert_type(segment.cell, gl.Cell)


def hooked() -> LargestGradient:
    largest = LargestGradient()
    x = np.zeros((6, 1, 1))
    gl.trace(gl.RNN.init(1, 2, rng=0), x, gl.projection(np.ones((1, 2))), hooks=[largest, EverySegment(), "gates"])
    return largest


class Slope(NamedTuple):
    """The factors that the derivatives of :class:`Decaying` use."""

    slope: Array


@dataclass(frozen=True, eq=False, repr=False)
class Decaying(gl.Cell):
    """A user's own cell: h_t = a h_{t−1} + W_xh x_t + b_h."""

    W_xh: Array
    a: Array
    b_h: Array

    name = "decaying"
    block_names = ("h",)
    parameter_names = ("W_xh", "a", "b_h")

    @property
    def hidden_size(self) -> int:
        return len(self.a)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.a.dtype

    def step(self, drive: Array, state: State) -> tuple[State, Record]:
        return (self.a[:, None] * state[0] + drive,), {}

    def linearise(self, record: Record, before: State, after: State) -> Slope:
        return Slope(np.broadcast_to(self.a[:, None], after[0].shape))

    def jvp(self, local: Slope, tangent: State) -> State:
        return (local.slope * tangent[0],)

    def vjp(self, local: Slope, adjoint: State) -> tuple[State, Array]:
        return (local.slope * adjoint[0],), adjoint[0]

    def parameter_pairs(self, record: Record, before: State, pre_grad: Array, x: Array) -> dict[str, list[Pair]]:
        return {"W_xh": [(pre_grad, x)], "a": [(pre_grad * before[0], None)], "b_h": [(pre_grad, None)]}


def own_cells() -> gl.Trace:
    mine = gl.custom_cell(lambda h, x: np.tanh(h + x), state_size=2, input_size=2)
    assert_type(mine, CustomCell)
    cell = Decaying(np.ones((2, 1)), np.array([0.9, 0.5]), np.zeros(2))
    return gl.trace(cell, np.zeros((4, 1, 1)), gl.projection(np.ones((1, 2))))


def a_study() -> gl.Study:
    study = gl.Study(name="tiny", grid={"cell": ["rnn"], "seeds": 2}, base={"length": 20}, task={"name": "sum"})
    assert_type(study, gl.Study)
    return study


def run_it(study: gl.Study) -> None:
    results = study.run(workers=1)
    assert_type(results, Results)
    assert_type(results.verdict(), Verdict)


def many_passes(training: gl.Training) -> None:
    with gl.watch(training, every=10) as watched:
        assert_type(watched, gl.Watch)
    assert_type(watched.verdict(), Verdict)
    assert_type(watched.frame("runs"), pd.DataFrame)
