"""A changed network differs in what the change names and in nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from oracles.family import FAMILY, TWINNED, make, recurrent_names

import gradlab as gl
from gradlab.cells import CELLS
from gradlab.errors import InputError
from gradlab.models.interventions import changed, changed_cell, known_interventions

H = 5


def parts(cell: Any) -> dict[str, Any]:
    return {name: array.copy() for name, array in cell.parameters.items()}


def assert_differs_only_in(one: Any, two: Any, *names: str) -> None:
    for name, array in one.parameters.items():
        same = np.array_equal(array, two.parameters[name])
        assert same != (name in names), name
    assert repr(one) == repr(two)


#: Members whose recurrent weights a change may scale; a cell need not have such a change.
SCALABLE = [name for name in FAMILY if changed_cell(make(name), {"scale_by": 1.5}) is not None]


def test_the_cells_of_the_literature_can_be_scaled() -> None:
    assert set(TWINNED) <= set(SCALABLE)


@pytest.mark.parametrize("name", SCALABLE)
def test_a_scaled_network_has_its_recurrent_weights_times_a_factor(name: str) -> None:
    cell = make(name)
    before, found = parts(cell), changed_cell(cell, {"scale_by": 1.5})
    assert_differs_only_in(cell, found, *recurrent_names(name))
    for key, array in make(name, scale=1.5).parameters.items():  # drawn at that scale
        np.testing.assert_allclose(found.parameters[key], array, rtol=1e-15)
    for key, array in before.items():
        np.testing.assert_array_equal(cell.parameters[key], array)  # the given one is as it was


def test_forget_bias_is_what_init_makes_of_it() -> None:
    keys: dict[str, Any] = {"input_size": 3, "hidden_size": H, "rng": 4}
    found = changed_cell(gl.LSTM.init(**keys, forget_bias=0.5), {"forget_bias": 5.0})
    for key, array in gl.LSTM.init(**keys, forget_bias=5.0).parameters.items():
        np.testing.assert_array_equal(found.parameters[key], array)


def test_of_biases_that_differ_the_mean_is_set_and_the_differences_stay() -> None:
    cell = make("lstm")
    found = changed_cell(cell, {"forget_bias": 2.0})
    gate = found.b_h[H : 2 * H]
    np.testing.assert_allclose(gate.mean(), 2.0, rtol=1e-14)
    np.testing.assert_allclose(np.diff(gate), np.diff(cell.b_h[H : 2 * H]), atol=1e-14)
    assert_differs_only_in(cell, found, "b_h")
    assert found.keep_gate.setting(found) == pytest.approx(2.0)


#: A cell with each keep gate that is declared, with the sign of its setting.
KEEPING = {
    "lstm": (gl.LSTM, {}, 1),
    "gru": (gl.GRU, {}, -1),
    "gru-keep": (gl.GRU, {"update": "keep", "reset": "after"}, 1),
    "minimal_rnn": (gl.MinimalRNN, {}, 1),
    "leaky": (gl.LeakyRNN, {}, -1),
}


@pytest.mark.parametrize("name", KEEPING)
def test_settings_to_try_keep_more_and_more(name: str) -> None:
    kind, options, sign = KEEPING[name]
    cell = kind.init(3, H, rng=0, **options)
    gate = cell.keep_gate
    assert gate.sign == sign
    assert gate.key in cell.INTERVENTIONS
    kept = []
    for setting in gate.tries:
        found = changed_cell(cell, {gate.key: setting})
        assert gate.setting(found) == pytest.approx(setting)
        tape = gl.trace(found, np.zeros((4, 1, 3))).layers[0].tape
        kept.append(tape.cell.additive(tape.linearise(slice(0, 4))).mean())
    assert (np.diff(kept) > 0).all()
    assert gate.keeps_more(gate.tries[0]) == gate.tries[1:]


def test_every_cell_with_an_additive_state_declares_its_keep_gate() -> None:
    for kind in CELLS.values():
        assert (kind.init(1, 2, rng=0).keep_gate is None) == (kind.additive_state is None), kind
    assert {name.partition("-")[0] for name in KEEPING} == {
        name for name, kind in CELLS.items() if kind.additive_state is not None
    }


@pytest.mark.parametrize("name", ["lstm", "gru-before-replace", "gru-before-keep"])
def test_chrono_keeps_memories_from_1_to_its_length(name: str) -> None:
    """Tallec & Ollivier 2018: what is kept has the bias ln U(1, T − 1), what is new its negative."""
    cell = make(name, hidden=400)
    found = changed_cell(cell, {"chrono": 100.0})
    kept = cell.keep_gate.sign * found.b_h[400:800]
    memory = np.exp(kept)
    assert memory.min() >= 1
    assert memory.max() <= 99
    np.testing.assert_allclose(memory.mean(), 50, atol=5)  # 3.5 standard errors of 400 draws
    if name == "lstm":
        np.testing.assert_array_equal(found.b_h[:400], -found.b_h[400:800])
    else:
        np.testing.assert_array_equal(found.b_h[:400], cell.b_h[:400])
    np.testing.assert_array_equal(found.b_h[800:], cell.b_h[800:])


def test_weights_drawn_anew() -> None:
    cell = make("rnn-relu")
    found = changed_cell(cell, {"recurrent": "orthogonal", "bias": "zero"})
    np.testing.assert_allclose(found.W_hh @ found.W_hh.T, np.eye(H), atol=1e-14)
    assert not found.b_h.any()
    assert_differs_only_in(cell, found, "W_hh", "b_h")
    np.testing.assert_array_equal(changed_cell(cell, {"recurrent": "orthogonal"}).W_hh, found.W_hh)


@pytest.mark.parametrize("change", [{"scale_by": 2.0}, {"forget_bias": 1.0}, {"chrono": 9.0}], ids=str)
def test_the_dtype_stays(change: dict[str, float]) -> None:
    assert changed_cell(make("lstm", dtype="float32"), change).dtype == np.float32


def test_the_dtype_stays_where_weights_are_drawn_anew() -> None:
    for kind in (gl.RNN, gl.LeakyRNN):
        found = changed_cell(kind.init(3, H, dtype="float32", rng=0), {"recurrent": "orthogonal", "bias": "zero"})
        assert {array.dtype.name for array in found.parameters.values()} == {"float32"}


def test_only_the_named_layer_and_direction_changes() -> None:
    both = gl.Bidirectional(make("lstm", 3, H), make("lstm", 3, H, rng=1))
    network = gl.Network([both, make("rnn-tanh", 2 * H, H)], gl.Readout.init(H, 1, rng=0))
    found = changed(network, 0, "reverse", {"forget_bias": 5.0})
    assert found.layers[0].forward is both.forward
    assert found.layers[1] is network.layers[1]
    assert found.readout is network.readout
    np.testing.assert_allclose(found.layers[0].reverse.b_h[H : 2 * H].mean(), 5.0)
    assert changed(network, 1, "forward", {"scale_by": 2.0}).layers[0] is both


def test_a_cell_without_such_a_thing_is_not_changed() -> None:
    custom = gl.custom_cell(lambda h, x: 0.9 * h + x, state_size=2, input_size=2)
    assert changed_cell(custom, {"scale_by": 2.0}) is None
    assert changed_cell(make("gru-before-keep"), {"forget_bias": 2.0}) is None
    assert changed(gl.Network([make("rnn-tanh")]), 0, "forward", {"chrono": 9.0}) is None
    assert make("rnn-tanh").keep_gate is None


def test_unknown_changes_are_named() -> None:
    with pytest.raises(InputError, match=r'unknown change "forget_bais"; did you mean "forget_bias"\?'):
        changed_cell(make("lstm"), {"forget_bais": 1.0})
    with pytest.raises(InputError, match='bias: expected "zero", got "uniform"'):
        changed_cell(make("rnn-tanh"), {"bias": "uniform"})
    old = {"scale_by", "recurrent", "bias", "forget_bias", "b_z", "chrono"}
    assert set(known_interventions()) == old | {"update_bias", "alpha"}


def test_a_subclass_of_a_cell_is_changed_as_its_parent() -> None:
    class Mine(gl.RNN):
        pass

    cell = make("rnn-tanh")
    mine = Mine(cell.W_xh, cell.W_hh, cell.b_h)
    assert isinstance(changed_cell(mine, {"scale_by": 2.0}), Mine)
    assert replace(mine).activation == "tanh"
