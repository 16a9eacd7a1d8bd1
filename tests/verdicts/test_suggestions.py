"""What a trace suggests it has tried: the same inputs, loss, state and lengths, one thing changed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from oracles.compare import assert_same_fields
from oracles.family import make, states

import gradlab as gl
from gradlab.errors import InputError
from gradlab.models.interventions import changed_cell
from gradlab.verdicts import Suggestion
from gradlab.verdicts.suggestions import SEARCHES

Array = NDArray[Any]
T, B = 100, 6


def inputs(D: int = 1) -> Array:
    return np.random.default_rng(0).standard_normal((T, B, D))


def reads(H: int) -> Any:
    return gl.projection(np.random.default_rng(1).standard_normal((B, H)))


def linear(w: float, steps: int = 100, **keys: Any) -> gl.Trace:
    cell = gl.RNN(np.zeros((1, 1)), np.array([[w]]), activation=keys.pop("activation", "identity"))
    return gl.trace(cell, np.zeros((steps, 1, 1)), gl.projection(np.ones((1, 1))), **keys)


def suggestion(trace: gl.Trace, **keys: Any) -> Suggestion:
    found = trace.verdict(**keys).suggestion
    assert found is not None
    return found


@pytest.mark.parametrize("lengths", [None, [100, 100, 90, 80, 70, 60]])
def test_the_rate_it_tells_is_that_of_the_same_pass_with_the_change(lengths: Any) -> None:
    """Against a second trace that knows nothing of suggestions: same x, loss, state and lengths, bit for bit."""
    cell = gl.LSTM.init(1, 16, forget_bias=0.5, rng=0)
    targets = np.random.default_rng(2).standard_normal((T, B, 16))
    keys: dict[str, Any] = {"state": states(cell, B), "lengths": lengths}
    found = suggestion(gl.trace(cell, inputs(), gl.mse(targets, at="every"), **keys))
    by_hand = changed_cell(cell, found.change)
    assert found.tried == gl.trace(by_hand, inputs(), gl.mse(targets, at="every"), **keys).rate()


@pytest.mark.parametrize("name", ["rnn-tanh", "lstm", "gru-after-keep"])
def test_a_change_that_changes_nothing_reruns_to_the_same_numbers(name: str) -> None:
    cell = make(name, 1, 8)
    trace = gl.trace(cell, inputs(), reads(8), state=states(cell, B), lengths=[100, 3, 90, 80, 70, 60])
    again = trace._again(0, "forward", None, {"scale_by": 1.0})
    assert_same_fields(again, trace.layers[0].evidence(cell=False))


def test_a_low_forget_gate_is_opened() -> None:
    trace = gl.trace(gl.LSTM.init(1, 32, forget_bias=0.5, rng=0), inputs(), reads(32))
    first, second, third = str(trace.verdict()).splitlines()
    assert first.startswith("VANISHING   −0.")
    assert second.startswith("because     LSTM, forget gate 0.61 on average (forget_bias 0.5): ∏f alone gives −0.")
    assert third.startswith("try         forget_bias=5: rate ")
    assert third.endswith(" when rerun on the same data")
    assert suggestion(trace).change == {"forget_bias": 5.0}
    assert suggestion(trace).word == "STABLE"


def test_a_layer_alone_sends_to_the_trace_that_can_try() -> None:
    trace = gl.trace(gl.LSTM.init(1, 32, forget_bias=0.5, rng=0), inputs(), reads(32))
    alone, whole = trace.layers[0].verdict(), trace.verdict()
    assert (alone.word, alone.finding, alone.evidence) == (whole.word, whole.finding, whole.evidence)
    assert str(alone).splitlines()[2] == "try         trace.verdict(), which tries changes on the same data"
    still = gl.trace(gl.LSTM.init(1, 32, forget_bias=5.0, rng=0), inputs(), reads(32)).layers[0].verdict()
    assert (still.word, still.suggestion) == ("STABLE", None)


def test_the_numbers_of_the_evidence_are_those_of_the_gates() -> None:
    trace = gl.trace(gl.LSTM.init(1, 8, forget_bias=0.5, rng=0), inputs(), reads(8))
    kept = trace.verdict(rerun=False).facts.kept
    f = trace.gates["f"]
    np.testing.assert_allclose([kept.mean, kept.log_mean], [f.mean(), np.log(f).mean()], rtol=1e-12)
    assert kept.setting == pytest.approx(0.5)


@pytest.mark.parametrize(("options", "bias"), [({}, -5.0), ({"update": "keep", "reset": "after"}, 5.0)])
def test_a_gru_keeps_more_by_its_own_sign(options: dict[str, str], bias: float) -> None:
    found = suggestion(gl.trace(gl.GRU.init(1, 32, rng=0, **options), inputs(), reads(32)))
    assert found.change == {"b_z": bias}
    assert found.word == "STABLE"


def test_only_larger_biases_are_tried_and_then_chrono() -> None:
    tried = []
    trace = gl.trace(gl.LSTM.init(1, 8, forget_bias=1.5, rng=0), inputs(), reads(8))
    again = trace._again
    trace._again = lambda *keys: tried.append(keys[-1]) or again(*keys)  # type: ignore[method-assign]
    trace.verdict(2000)
    assert tried == [{"forget_bias": 2.0}, {"forget_bias": 5.0}, {"chrono": 2001.0}]


@pytest.mark.parametrize(("w", "factor"), [(0.5, 2.0), (0.9, 1.11), (1.2, 0.833), (3.0, 0.333)])
def test_a_linear_recurrence_is_brought_to_1_in_one_pass(w: float, factor: float) -> None:
    found = suggestion(linear(w))
    assert found.change == {"scale_by": factor}
    assert found.tried.rate == pytest.approx(math.log(w * factor), abs=1e-12)
    assert found.text.startswith(f"W_hh × {factor:g}: rate ")
    assert ("clip" in found.text) == (w > 1)


def test_units_that_saturate_are_scaled_down() -> None:
    """TRUTHS E05: tanh(2h) multiplies by .166, and would by less at any larger weight: the cure is a smaller one."""
    found = suggestion(linear(2.0, activation="tanh", state=np.ones((1, 1))))
    assert 0.45 < found.change["scale_by"] < 0.55
    assert found.text.startswith("none of W_hh × ")
    assert found.word == "VANISHING"  # E06: at the edge itself it falls by a power law
    assert found.tried.rate > -0.2  # of −1.8


def test_a_tanh_network_is_brought_to_its_edge_from_both_sides() -> None:
    for scale in (0.8, 3.0):
        cell = gl.RNN.init(1, 64, scale=scale, rng=0)
        found = suggestion(gl.trace(cell, inputs(), reads(64)))
        assert found.word in ("STABLE", "UNCERTAIN")
        assert abs(found.tried.rate) * (T - 1) < math.log(100)
        assert 1.4 < scale * found.change["scale_by"] < 2.3  # TRUTHS E21: 1.86 for noise of variance 1


def test_what_was_tried_in_vain_is_said() -> None:
    """Over a lag of 10⁶ steps no bias keeps 1 %: σ(5)^10⁶ is e^−6715."""
    found = suggestion(linear_lstm(), lag=10**6)
    assert found.text.startswith("none of forget_bias 1, 2, 5, chrono 1000001 is STABLE; nearest ")
    assert "; or float64, or a lag of at most 126 steps" in found.text  # float32's smallest normal is 2^−126, σ(0) is ½


def linear_lstm() -> gl.Trace:
    cell = gl.LSTM(np.zeros((12, 1)), np.zeros((12, 3)))
    return gl.trace(cell, np.zeros((50, 1, 1)), gl.projection(np.ones((1, 3))))


def test_dead_units_are_revived() -> None:
    cell = gl.RNN.init(1, 16, activation="relu", rng=0)
    dead = changed_cell(cell, {"scale_by": 1.0})
    dead = gl.RNN(cell.W_xh, cell.W_hh, np.full(16, -50.0), activation="relu")
    found = gl.trace(dead, np.abs(inputs()), reads(16)).verdict()
    assert found.word == "DEAD"
    assert "100 % of units never fire" in found.evidence
    assert found.suggestion.change["bias"] == "zero"
    assert "of units never fire" in found.suggestion.why
    assert found.suggestion.tried.rate == found.suggestion.tried.rate  # it has one


def test_a_state_that_overflows_is_held() -> None:
    cell = gl.RNN.init(1, 16, activation="identity", scale=8.0, rng=0)
    found = gl.trace(cell, inputs()[:, :1].repeat(B, 1), reads(16)).verdict(rerun=False)
    assert found.word == "EXPLODING"
    long = gl.trace(cell, np.ones((2000, 1, 1)), gl.projection(np.ones((1, 16)))).verdict()
    assert long.word == "DIVERGED"
    assert long.suggestion.word == "STABLE"


def test_nothing_is_run_without_rerun_or_where_all_is_well() -> None:
    calls = []

    def loss(y: Array) -> tuple[Array, Array]:
        calls.append(1)
        return y[-1, :, 0], np.concatenate([np.zeros_like(y[:-1]), np.ones_like(y[:1])])

    for w, rerun, runs in ((0.5, False, 1), (1.0, True, 1), (0.5, True, 2)):
        calls.clear()
        cell = gl.RNN(np.zeros((1, 1)), np.array([[w]]), activation="identity")
        found = gl.trace(cell, np.zeros((100, 1, 1)), loss).verdict(rerun=rerun)
        assert len(calls) == runs
        if not rerun:
            assert found.suggestion.text == "a larger W_hh (not tried)"
            assert found.suggestion.tried is None


def test_a_search_is_bounded() -> None:
    calls = []
    trace = gl.trace(gl.RNN.init(1, 16, scale=0.3, rng=0), inputs(), reads(16))
    again = trace._again
    trace._again = lambda *keys: calls.append(1) or again(*keys)  # type: ignore[method-assign]
    trace.verdict(10**9)  # no rate is that near 0
    assert len(calls) <= SEARCHES + 1


def test_a_custom_cell_is_judged_and_told_what_lag_it_serves() -> None:
    cell = gl.custom_cell(lambda h, x: 0.9 * h + x, state_size=2, input_size=2)
    found = gl.trace(cell, np.zeros((T, 1, 2)), gl.projection(np.ones((1, 2)))).verdict()
    assert found.word == "VANISHING"
    assert str(found.suggestion) == "a lag of at most 43 steps, over which 1 % is left"  # 4.605 / .1054
    assert found.evidence.startswith("CustomCell; λ₁ −0.11")


def test_each_layer_is_tried_on_its_own() -> None:
    network = gl.Network(
        [gl.LSTM.init(1, 8, forget_bias=6.0, rng=1), gl.LSTM.init(8, 8, rng=2)], gl.Readout.init(8, 1, rng=0)
    )
    trace = gl.trace(network, inputs(), gl.mse(np.ones((B, 1))))
    found = trace.verdict()
    assert [name for name, _ in found.parts] == ["layer 0", "layer 1"]
    upper = found.parts[1][1]
    assert upper.suggestion.change.keys() <= {"forget_bias", "chrono"}
    opened = changed_cell(network.layers[1], upper.suggestion.change)
    again = gl.trace(gl.Network([network.layers[0], opened], network.readout), inputs(), gl.mse(np.ones((B, 1))))
    assert upper.suggestion.tried == again.layers[1].rate()
    assert "what the layer above hands down at every step counts in" in found.parts[0][1].evidence
    assert "hands down" not in upper.evidence


def test_a_direction_that_is_read_too_early_is_not_called_dead() -> None:
    kept = gl.RNN.init(1, 4, recurrent="orthogonal", activation="identity", rng=0)
    both = gl.Bidirectional(kept, gl.RNN.init(1, 4, rng=1))
    network = gl.Network([both], gl.Readout.init(8, 1, rng=2))
    found = gl.trace(network, inputs(), gl.mse(np.ones((B, 1)))).verdict()
    name, reverse = found.parts[1]
    assert (name, reverse.word) == ("layer 0 reverse", "UNCERTAIN")
    assert (
        reverse.finding == "no rate: the loss reads this direction after 1 step of its own, further back nothing can go"
    )
    assert str(reverse.suggestion) == 'a loss at every step, at="every"'
    assert found.word == found.parts[0][1].word == "STABLE"  # and it does not speak for the network


def test_lag_is_checked() -> None:
    with pytest.raises(InputError, match="span: expected a number of steps, at least 1; got 0"):
        linear(0.9).verdict(0)
    with pytest.raises(InputError, match=r"no gradients; give gl\.trace a loss"):
        gl.trace(make("rnn-tanh"), inputs(3)).verdict()
