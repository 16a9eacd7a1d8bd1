"""One pass: its names and shapes, its tables, initial states, lengths, and that sequences do not see one another."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from oracles.compare import assert_normwise
from oracles.family import FAMILY, TWINNED, make, states

import gradlab as gl
from gradlab.errors import InputError
from gradlab.hooks import HOOKS

Array = NDArray[Any]
T, B, D, H = 8, 4, 3, 5
ENDS = np.array([8, 3, 6, 1])
cases = pytest.mark.parametrize("name", FAMILY)
readings = pytest.mark.parametrize("lengths", [None, ENDS], ids=["equal", "lengths"])


def inputs(seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal((T, B, D))


def targets(size: int = H) -> Array:
    return np.random.default_rng(1).standard_normal((T, B, size))


def a_trace(name: str = "lstm", lengths: Any = None, **more: Any) -> gl.Trace:
    cell = make(name, D, H)
    return gl.trace(cell, inputs(), gl.mse(targets(), "every"), state=states(cell, B), lengths=lengths, **more)


def deep(lengths: Any = None) -> gl.Trace:
    both = gl.Bidirectional(make("lstm", D, H), make("gru-before-replace", D, 2))
    network = gl.Network([both, make("rnn-tanh", H + 2, 4)], gl.Readout.init(4, 2, rng=0))
    return gl.trace(network, inputs(), gl.mse(targets(2), "every"), lengths=lengths)


# --- names and shapes ---------------------------------------------------------------------------------------


@cases
def test_shapes(name: str) -> None:
    trace = a_trace(name)
    cell = trace.layers[0].cell
    assert trace.loss.shape == (B,)
    assert trace.outputs.shape == (T, B, H)
    for group in (trace.states, trace.grad, trace.adjoint, trace.direct):
        assert {key: array.shape for key, array in group.items()} == dict.fromkeys(cell.state_names, (T + 1, B, H))
    assert {key: array.shape for key, array in trace.gates.items()} == dict.fromkeys(cell.gate_names, (T, B, H))
    assert {key: array.shape for key, array in trace.pre_grad.items()} == dict.fromkeys(cell.block_names, (T, B, H))
    assert trace.input_grad.shape == (T, B, D)
    assert {key: array.shape for key, array in trace.param_grads.items()} == {
        key: array.shape for key, array in cell.parameters.items()
    }
    for quantity in trace.layers[0].quantities:
        of_steps = quantity == "dL/dx" or quantity.startswith("dL/da_")
        assert trace.log_norm(quantity).shape == (T if of_steps else T + 1, B)
    assert trace.jacobians.shape == (T, B, cell.state_size, cell.state_size)


def test_of_a_bare_cell_the_output_is_h() -> None:
    trace = a_trace()
    np.testing.assert_array_equal(trace.outputs, trace.states["h"][1:])


@pytest.mark.parametrize("name", TWINNED)
def test_gates_and_states_satisfy_the_equations(name: str) -> None:
    trace = a_trace(name)
    h, gate = trace.states["h"], trace.gates
    if name == "lstm":
        c = trace.states["c"]
        np.testing.assert_allclose(c[1:], gate["f"] * c[:-1] + gate["i"] * gate["g"], rtol=1e-14, atol=1e-16)
        np.testing.assert_allclose(h[1:], gate["o"] * np.tanh(c[1:]), rtol=1e-14)
    elif name.startswith("gru"):
        new = gate["z"] if name.endswith("replace") else 1 - gate["z"]
        np.testing.assert_allclose(h[1:], (1 - new) * h[:-1] + new * gate["n"], rtol=1e-13)
    else:
        assert gate == {}


def test_log_norms_are_those_of_the_arrays() -> None:
    trace = a_trace()
    of = {"dL/dh": trace.grad["h"], "dL/dc": trace.grad["c"], "direct": trace.direct["h"], "dL/dx": trace.input_grad}
    of |= {f"dL/da_{gate}": scaled for gate, scaled in trace.pre_grad.items()}
    both = np.concatenate([np.asarray(part) for part in trace.adjoint.values()], axis=-1)
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(trace.log_norm("adjoint"), np.log(np.linalg.norm(both, axis=-1)), rtol=1e-12)
        for name, scaled in of.items():
            wanted = np.log(np.linalg.norm(np.asarray(scaled), axis=-1))
            np.testing.assert_allclose(trace.log_norm(name), wanted, atol=1e-12, err_msg=name)
    for key, array in trace.param_grads.items():
        np.testing.assert_allclose(trace.log_norm(f"dL/d{key}"), np.log(np.linalg.norm(array)), atol=1e-12)


def test_unknown_quantities() -> None:
    trace = a_trace()
    with pytest.raises(InputError, match=r'unknown quantity "dL/W_hh"; did you mean "dL/dW_hh"\? \(adjoint, '):
        trace.log_norm("dL/W_hh")
    with pytest.raises(InputError, match='unknown quantity "gradient"'):
        trace.log_norm("gradient")
    with pytest.raises(InputError, match='unknown quantity "dL/dc"'):
        a_trace("rnn-tanh").log_norm("dL/dc")
    with pytest.raises(InputError, match='unknown quantity "dL/dW_hy"'):
        trace.log_norm("dL/dW_hy")


# --- without a loss, with one's own ---------------------------------------------------------------------------


def test_without_a_loss_there_is_a_forward_pass_and_its_jacobians() -> None:
    cell = make("lstm", D, H)
    trace = gl.trace(cell, inputs())
    assert trace.loss is None
    np.testing.assert_allclose(trace.jacobians.norm(2), gl.trace(cell, inputs(), gl.mse(targets())).jacobians.norm(2))
    for ask in (
        lambda: trace.grad,
        lambda: trace.adjoint,
        lambda: trace.direct,
        lambda: trace.pre_grad,
        lambda: trace.input_grad,
        lambda: trace.param_grads,
        lambda: trace.param_contributions(),
        lambda: trace.log_norm("adjoint"),
        lambda: trace.frame("sequences"),
        lambda: trace.rate(),
    ):
        with pytest.raises(InputError, match=r"this trace has no gradients; give gl\.trace a loss"):
            ask()
    assert "no loss" in repr(trace)


def test_a_users_own_loss() -> None:
    def squares(y: Array) -> tuple[Array, Array]:
        return (y**2).sum(axis=(0, 2)), 2 * y

    cell, x = make("lstm", D, H), inputs()
    own = gl.trace(cell, x, squares, lengths=ENDS)
    shipped = gl.trace(cell, x, gl.projection(2 * own.outputs), lengths=ENDS)
    np.testing.assert_array_equal(own.log_norm("adjoint"), shipped.log_norm("adjoint"))
    np.testing.assert_allclose(own.loss, (own.outputs**2).sum(axis=(0, 2)), rtol=1e-14)


# --- initial states -----------------------------------------------------------------------------------------


def test_initial_states_in_every_form() -> None:
    x, lstm, rnn = inputs(), make("lstm", D, H), make("rnn-tanh", D, H)
    h = states(rnn, B)["h"]
    np.testing.assert_array_equal(gl.trace(rnn, x, state=h).states["h"][0], h)
    np.testing.assert_array_equal(gl.trace(rnn, x, state={"h": h}).states["h"][0], h)
    partial = gl.trace(lstm, x, state={"c": h}).states
    np.testing.assert_array_equal(partial["c"][0], h)
    assert not partial["h"][0].any()
    assert not gl.trace(lstm, x).states["c"][0].any()
    network = gl.Network([gl.Bidirectional(rnn, lstm), make("lstm", 2 * H, H)])
    layers = gl.trace(network, x, state=[(h, {"c": 2 * h}), None], lengths=ENDS).layers
    np.testing.assert_array_equal(layers[0].states["h"][0], h)
    np.testing.assert_array_equal(layers[0].reverse.states["c"][0], 2 * h)
    assert not layers[1].states["h"][0].any()


@cases
def test_a_pass_in_two_halves_is_one_pass(name: str) -> None:
    cell, x = make(name, D, H), inputs()
    whole = gl.trace(cell, x, state=states(cell, B)).states
    first = gl.trace(cell, x[:3], state=states(cell, B)).states
    second = gl.trace(cell, x[3:], state={key: array[-1] for key, array in first.items()}).states
    for key, array in whole.items():
        assert_normwise(np.concatenate([first[key], second[key][1:]]), array, 1e-13, key)


# --- sequences do not see one another -------------------------------------------------------------------------


@readings
@cases
def test_batch_is_a_stack_of_singles(name: str, lengths: Any) -> None:
    """Whatever is per sequence does not depend on B; parameter gradients are of the mean. BLAS sums in other orders."""
    cell, x, start = make(name, D, H), inputs(), states(make(name, D, H), B)
    whole = a_trace(name, lengths)
    total = dict.fromkeys(whole.param_grads, 0.0)
    for b in range(B):
        one = gl.trace(
            cell,
            x[:, b : b + 1],
            gl.mse(targets()[:, b : b + 1], "every"),
            state={key: array[b : b + 1] for key, array in start.items()},
            lengths=None if lengths is None else lengths[b : b + 1],
        )
        np.testing.assert_allclose(one.loss[0], whole.loss[b], rtol=1e-12)
        for key, array in one.states.items():
            assert_normwise(array[:, 0], whole.states[key][:, b], 1e-12, key)
        for quantity in whole.layers[0].quantities:
            np.testing.assert_allclose(
                one.log_norm(quantity)[:, 0], whole.log_norm(quantity)[:, b], atol=1e-11, err_msg=quantity
            )
        np.testing.assert_allclose(one.jacobians.norm(2)[:, 0], whole.jacobians.norm(2)[:, b], rtol=1e-12)
        np.testing.assert_allclose(one.jacobians.log_abs_det()[:, 0], whole.jacobians.log_abs_det()[:, b], atol=1e-9)
        total = {key: total[key] + array / B for key, array in one.param_grads.items()}
    for key, array in whole.param_grads.items():
        assert_normwise(total[key], array, 1e-12, key, axis=None)


@cases
def test_what_lies_beyond_an_end_is_not_read(name: str) -> None:
    """Not even where it is nan; and each sequence gives what it gives when cut to its own length."""
    cell, x = make(name, D, H), inputs()
    padded = np.where((np.arange(T)[:, None] < ENDS)[..., None], x, np.nan)
    one, other = (gl.trace(cell, each, gl.mse(targets()), lengths=ENDS) for each in (x, padded))
    for key, array in one.param_grads.items():
        np.testing.assert_array_equal(array, other.param_grads[key])
    np.testing.assert_array_equal(one.log_norm("dL/dx"), other.log_norm("dL/dx"))
    for b, n in enumerate(ENDS):
        cut = gl.trace(cell, x[:n, b : b + 1], gl.mse(targets()[:n, b : b + 1]))
        np.testing.assert_allclose(one.log_norm("adjoint")[: n + 1, b], cut.log_norm("adjoint")[:, 0], atol=1e-11)
        np.testing.assert_array_equal(one.states["h"][n:, b], np.broadcast_to(one.states["h"][n, b], (T + 1 - n, H)))
        assert np.isnan(one.log_norm("adjoint")[n + 1 :, b]).all()


# --- parameters ---------------------------------------------------------------------------------------------


@cases
def test_contributions_of_one_step_are_the_gradient(name: str) -> None:
    cell = make(name, D, H)
    trace = gl.trace(cell, inputs()[:1], gl.mse(targets()[:1]), state=states(cell, B))
    parts = trace.param_contributions()
    assert set(parts) == set(trace.param_grads) == set(cell.parameters)
    for key, logs in parts.items():
        np.testing.assert_allclose(logs, [trace.log_norm(f"dL/d{key}")], atol=1e-12, err_msg=key)


@pytest.mark.parametrize("name", ["rnn-tanh", "lstm"])
def test_contributions_are_each_steps_outer_product(name: str) -> None:
    """Of an RNN or LSTM step t adds mean_b dL/da_t ⊗ h_{t−1}, ⊗ x_t and ⊗ 1; their sum is the gradient."""
    trace, x = a_trace(name), inputs()
    a = np.concatenate([np.asarray(part) for part in trace.pre_grad.values()], axis=-1)
    beside = {"W_hh": trace.states["h"][:-1], "W_xh": x, "b_h": np.ones((T, B, 1))}
    for key, right in beside.items():
        each = np.einsum("tbi,tbj->tij", a, right) / B
        norms = np.log(np.linalg.norm(each, axis=(1, 2)))
        np.testing.assert_allclose(trace.param_contributions()[key], norms, atol=1e-12, err_msg=key)
        total = each.sum(axis=0)[:, 0] if key == "b_h" else each.sum(axis=0)
        assert_normwise(trace.param_grads[key], total, 1e-12, key, axis=None)


@pytest.mark.parametrize("name", [name for name in FAMILY if name.startswith("gru")])
def test_contributions_of_a_gru_are_those_of_its_steps(name: str) -> None:
    """What one step adds is the gradient of a pass with that step's pre-activation gradients alone."""
    trace = a_trace(name)
    layer = trace.layers[0]
    found, exponent = layer.gradients, layer.gradients.exponent[1:]
    for t in (0, 4, T - 1):
        only = np.where((np.arange(T) == t)[:, None, None], found.pre_grad, 0)
        pairs = layer.cell.parameter_pairs(
            layer.tape.record, layer.cell.split(layer.tape.states[:-1]), only, layer.tape.x
        )
        for key, blocks in pairs.items():
            parts = [
                np.einsum("tib,tjb,tb->ij", left, np.ones_like(left[:, :1]) if right is None else right, 2.0**exponent)
                for left, right in blocks
            ]
            norm = np.log(np.linalg.norm(np.concatenate(parts)) / B)
            np.testing.assert_allclose(trace.param_contributions()[key][t], norm, atol=1e-12, err_msg=key)


def test_parameter_names_of_networks() -> None:
    trace = deep()
    lstm, gru, rnn = ("W_xh", "W_hh", "b_h"), ("W_xh", "W_hh", "b_h"), ("W_xh", "W_hh", "b_h")
    wanted = [*(f"layers.0.{key}" for key in lstm), *(f"layers.0.reverse.{key}" for key in gru)]
    wanted += [*(f"layers.1.{key}" for key in rnn), "readout.W_hy", "readout.b_y"]
    assert list(trace.param_grads) == wanted
    assert list(trace.param_contributions()) == wanted[:-2]
    for key in ("W_hy", "b_y"):
        norm = np.log(np.linalg.norm(trace.param_grads[f"readout.{key}"]))
        np.testing.assert_allclose(trace.log_norm(f"dL/d{key}"), norm, atol=1e-12)


# --- several layers -------------------------------------------------------------------------------------------


def test_names_of_one_layer_say_so_where_there_are_more() -> None:
    trace = deep()
    for name in ("states", "gates", "grad", "direct", "adjoint", "pre_grad", "input_grad", "jacobians"):
        with pytest.raises(
            InputError, match=rf"2 layers and 3 directions in all; ask one of them: trace.layers\[i\].{name}"
        ):
            getattr(trace, name)
    for ask in (lambda: trace.rate(), lambda: trace.log_norm("adjoint")):
        with pytest.raises(InputError, match="2 layers and 3 directions"):
            ask()
    assert [(one.layer, one.direction) for one in trace.passes] == [(0, "forward"), (0, "reverse"), (1, "forward")]
    assert trace.layers[0].reverse.cell.name == "gru"
    assert trace.layers[1].reverse is None


def test_one_bidirectional_layer_is_not_one_layer() -> None:
    cell = make("rnn-tanh", D, H)
    trace = gl.trace(gl.Network([gl.Bidirectional(cell, cell)]), inputs(), gl.mse(targets(2 * H)))
    ask = r"trace\.layers\[0\]\.grad, or trace\.layers\[0\]\.reverse\.grad$"
    with pytest.raises(InputError, match=rf"this trace has 1 layer and 2 directions in all; ask one of them: {ask}"):
        _ = trace.grad


def test_a_direction_that_is_not_there_is_not_named() -> None:
    cells = [gl.RNN.init(D, H, rng=0), gl.RNN.init(H, H, rng=1)]
    plain = gl.trace(gl.Network(cells), inputs(), gl.mse(targets(H)))
    with pytest.raises(
        InputError, match=r"^this trace has 2 layers; ask one of them: trace\.layers\[i\]\.rate, i 0 … 1$"
    ):
        plain.rate()
    with pytest.raises(InputError, match=r"trace\.layers\[i\]\.rate, i 0 … 1, or trace\.layers\[0\]\.reverse\.rate$"):
        deep().rate()


# --- tables ---------------------------------------------------------------------------------------------------


def test_a_loss_read_before_the_end_has_its_own_lags() -> None:
    """By lag from the loss a pass over 100 steps with the loss at 60 is one over 60 steps, its rate and all."""
    cell, x, v = make("lstm", D, H), np.random.default_rng(0).standard_normal((100, B, D)), targets()[0]
    ends = np.array([60, 60, 45, 60])
    read = gl.projection((np.arange(1, 101)[:, None] == ends)[..., None] * v)
    whole = gl.trace(cell, x, read).layers[0]
    short = gl.trace(cell, x[:60], gl.projection(v), lengths=ends).layers[0]
    np.testing.assert_allclose(whole.from_loss()[:61], short.from_loss(), atol=1e-12)
    assert np.isnan(whole.from_loss()[61:]).all()
    np.testing.assert_array_equal(short.from_loss(), short.by_lag())
    np.testing.assert_allclose(whole.rate().rate, short.rate().rate, rtol=1e-12)
    one, two = whole.evidence(cell=False), short.evidence(cell=False)
    assert (one.span, one.read, two.span, two.read) == (59, 60, 59, None)
    assert one.left == pytest.approx(two.left)
    assert one.dead_at is two.dead_at is None


@pytest.mark.parametrize("lag", [1, 20, 98, 99])
def test_what_is_left_after_a_lag_is_counted_from_lag_1(lag: int) -> None:
    """E01: a factor of .9 each step, the first of them from lag 1 to lag 2; after lag 100 there is nothing to see."""
    cell = gl.RNN(np.zeros((1, 1)), np.array([[0.9]]), activation="identity")
    layer = gl.trace(cell, np.zeros((100, 2, 1)), gl.projection(np.ones((2, 1))), lengths=[100, 60]).layers[0]
    known = 2 if lag < 60 else 1
    np.testing.assert_allclose(layer.evidence(lag).left, [lag * np.log(0.9)] * known, rtol=1e-12)
    assert layer.evidence(100).left == ()


def test_frame_is_tidy_and_tells_the_true_t() -> None:
    """One row a layer, direction, quantity, sequence and t; lag from each sequence's own end, reverse t − 1."""
    trace = deep(ENDS)
    frame = trace.frame("sequences")
    keys = ["layer", "direction", "quantity", "sequence", "t"]
    assert list(frame.columns) == [*keys, "lag", "log_norm"]
    assert not frame.duplicated(keys).any()
    assert frame.log_norm.notna().all()
    ends = ENDS[frame.sequence]
    forward = (frame.direction == "forward").to_numpy()
    np.testing.assert_array_equal(frame.lag[forward], ends[forward] - frame.t[forward])
    np.testing.assert_array_equal(frame.lag[~forward], frame.t[~forward] - 1)
    of_states = frame[frame.quantity == "dL/dh"]
    rows = of_states.groupby(["layer", "direction", "sequence"]).t.agg(["min", "max", "count"])
    for (_, direction, sequence), row in rows.iterrows():
        first = 0 if direction == "forward" else 1
        assert row.tolist() == [first, first + ENDS[sequence], ENDS[sequence] + 1]
    of_steps = frame[frame.quantity == "dL/dx"]
    assert of_steps.groupby(["layer", "direction", "sequence"]).t.agg(["min", "max"]).to_numpy().tolist() == [
        [1, ENDS[sequence]] for sequence in list(range(B)) * 3
    ]


def test_frame_holds_the_numbers_at_their_true_time() -> None:
    trace = deep(ENDS)
    frame = trace.frame("sequences").set_index(["layer", "direction", "quantity", "sequence", "t"]).log_norm
    for one in trace.passes:
        logs = one.log_norm("dL/dh")
        for b, n in enumerate(ENDS):
            for index in range(n + 1):
                t = index if one.direction == "forward" else n - index + 1
                assert frame[one.layer, one.direction, "dL/dh", b, t] == logs[index, b]


def test_reverse_direction_is_the_forward_one_of_the_turned_sequence() -> None:
    cell, v = make("lstm", D, H), targets(2 * H)
    trace = gl.trace(gl.Network([gl.Bidirectional(cell, cell)]), inputs(), gl.projection(v), lengths=ENDS)
    for b, n in enumerate(ENDS):
        alone = gl.trace(cell, inputs()[:n, b : b + 1][::-1], gl.projection(v[:n, b : b + 1, H:][::-1]))
        there = trace.layers[0].reverse
        for quantity in there.quantities:
            logs = alone.log_norm(quantity)[:, 0]
            np.testing.assert_allclose(there.log_norm(quantity)[: len(logs), b], logs, atol=1e-11, err_msg=quantity)


def test_by_lag_starts_at_each_sequences_own_end() -> None:
    trace = a_trace(lengths=ENDS)
    logs, by_lag = trace.log_norm("adjoint"), trace.layers[0].by_lag("adjoint")
    for b, n in enumerate(ENDS):
        np.testing.assert_array_equal(by_lag[: n + 1, b], logs[: n + 1, b][::-1])
        assert np.isnan(by_lag[n + 1 :, b]).all()


@pytest.mark.parametrize("lengths", [None, ENDS], ids=["equal", "lengths"])
def test_measured_is_runs_and_steps(lengths: Any) -> None:
    cell = gl.Network([make("lstm", D, H), make("gru-before-replace", H, H)])
    hooks = ("gradients", "jacobians", "gates")
    trace = gl.trace(cell, inputs(), gl.mse(targets()), lengths=lengths, hooks=hooks)
    runs, steps, _ = trace.measured().values()
    assert runs[["layer", "direction"]].to_numpy().tolist() == [[0, "forward"], [1, "forward"]]
    assert set(runs.status) == {"done"}
    np.testing.assert_allclose(runs.loss, trace.loss.mean())
    assert runs.rate.tolist() == [layer.rate().rate for layer in trace.layers]
    assert runs.verdict.tolist() == [layer.word() for layer in trace.layers]
    assert {"jac_norm2_median", "jac_cond_median", "saturation", "horizon_1pct"} <= set(runs.columns)
    assert not steps.duplicated(["layer", "direction", "quantity", "t", "lag"]).any()
    for layer in trace.layers:
        logs, rows = layer.log_norm("dL/dh"), steps[(steps.layer == layer.layer) & (steps.quantity == "dL/dh")]
        for row in rows.itertuples():
            at = logs[row.t, (ENDS if lengths is not None else np.full(B, T)) - row.t == row.lag]
            assert row.zeros == np.isneginf(at).sum()
            known = at[np.isfinite(at)]
            if known.size:
                np.testing.assert_allclose(row.mean_log, known.mean(), rtol=1e-12)
                np.testing.assert_allclose([row.q05, row.q50, row.q95], np.quantile(known, (0.05, 0.5, 0.95)))
            else:
                assert np.isnan(row.mean_log)


@pytest.mark.parametrize("name", ["rnn-tanh", "lstm"])
def test_one_step_is_a_sequence_too(name: str) -> None:
    cell = make(name, D, H)
    hooks = ("gradients", "jacobians", "gates")
    trace = gl.trace(cell, inputs()[:1], gl.mse(targets()[:1]), hooks=hooks)
    runs = trace.measured()["runs"]
    assert np.isnan(runs.rate[0])
    assert runs.window[0] == 0
    assert trace.frame("sequences").t.tolist()


def test_rate_is_that_of_the_last_loss() -> None:
    """A linear contraction has exactly its rate, whatever else the loss reads."""
    cell = gl.RNN(np.ones((2, D)), 0.8 * np.eye(2), activation="identity")
    for at in ("last", "every"):
        trace = gl.trace(cell, inputs(), gl.mse(targets(2), at))
        np.testing.assert_allclose(trace.rate().rate, np.log(0.8), rtol=1e-12)


def test_repr() -> None:
    text = repr(deep())
    assert text.startswith("Trace: T 8, B 4, O 2, mean loss ")
    assert "  layer 0, reverse  GRU(" in text
    assert text.count("  layer ") == 3


# --- what is shown is the tape itself, and cannot be written to --------------------------------------------


@pytest.mark.parametrize("model", [make("rnn-tanh", 3, 4), gl.Network([make("lstm", 3, 4)])])
def test_a_loss_or_hook_that_writes_in_place_is_stopped(model: Any) -> None:
    def shifts(y: Any) -> Any:
        y -= 1.0
        return (y**2).sum(axis=(0, 2)), 2.0 * y

    class Clears(gl.Hook):
        def step(self, step: Any) -> None:
            step.state["h"][:] = 0.0

    x = np.ones((5, 2, 3))
    with pytest.raises(ValueError, match="read-only"):
        gl.trace(model, x, shifts)
    with pytest.raises(ValueError, match="read-only"):
        gl.trace(model, x, gl.projection(np.ones((2, 4))), hooks=[Clears()])


def test_a_users_loss_under_unequal_lengths_is_the_one_whose_gradient_is_taken() -> None:
    """y is zero beyond a sequence's end, so that Σ y³ reads nothing there; its slope by central differences."""
    cell, x = make("rnn-tanh", 3, 4), np.random.default_rng(0).standard_normal((9, 3, 3))

    def mean_loss(W: Any) -> float:
        shifted = gl.RNN(W_xh=cell.W_xh, W_hh=W, b_h=cell.b_h)
        return float(gl.trace(shifted, x, cubed, lengths=[9, 4, 6]).loss.mean())

    def cubed(y: Any) -> Any:
        return (y**3).sum(axis=(0, 2)), 3.0 * y**2

    step = np.zeros_like(cell.W_hh)
    step[1, 2] = 1e-6
    slope = (mean_loss(cell.W_hh + step) - mean_loss(cell.W_hh - step)) / 2e-6
    found = gl.trace(cell, x, cubed, lengths=[9, 4, 6]).param_grads["W_hh"][1, 2]
    assert abs(found - slope) < 1e-7 * max(1.0, abs(slope))


@readings
def test_a_trace_that_nobody_holds_is_gone_at_once(lengths):
    """A circle of references would keep its arrays until Python's collector comes by, several passes later."""
    found = a_trace(lengths=lengths, hooks=list(HOOKS))
    found.measured()
    gone = weakref.ref(found.layers[0].tape)
    gc.disable()
    try:
        del found
        assert gone() is None
    finally:
        gc.enable()
