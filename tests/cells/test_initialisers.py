"""Initial weights: what each law says, one Z for every scale, one stream a purpose."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracles.family import FAMILY, TWINNED, bias_names, input_names, recurrent_names

import gradlab as gl
from gradlab.cells.initialisers import RECURRENT, recurrent_weights, streams

H = 200
#: Standard deviation times √H at scale 1, or None where the matrix is not drawn entry by entry.
SPREAD = {"gaussian": 1.0, "uniform": 1 / np.sqrt(3), "glorot": 1.0, "he": np.sqrt(2), "orthogonal": 1.0}
LARGEST = {"uniform": 1 / np.sqrt(H), "glorot": np.sqrt(3 / H)}


def draw(name: str, scale: float = 1.0, blocks: int = 1, size: int = H) -> Any:
    return recurrent_weights(name, size, blocks, scale, np.random.default_rng(3))


def test_every_law_is_tested() -> None:
    assert set(RECURRENT) == {*SPREAD, "identity", "cyclic", "sparse"}


@pytest.mark.parametrize("name", SPREAD)
def test_spread(name: str) -> None:
    """H² = 40 000 entries: the standard deviation is known to 0.4 %, 4 standard errors are allowed."""
    W = draw(name)
    np.testing.assert_allclose(W.std() * np.sqrt(H), SPREAD[name], rtol=4 / np.sqrt(2 * H * H))
    assert abs(W.mean()) < 4 * SPREAD[name] / H**1.5
    if name in LARGEST:
        assert 0.999 * LARGEST[name] < np.abs(W).max() <= LARGEST[name]


def test_orthogonal_and_identity() -> None:
    Q = draw("orthogonal", 1.5)
    np.testing.assert_allclose(Q.T @ Q, 2.25 * np.eye(H), atol=1e-12)
    np.testing.assert_array_equal(draw("identity", 0.9), 0.9 * np.eye(H))


def test_cyclic_hands_each_units_state_to_the_next() -> None:
    np.testing.assert_array_equal(draw("cyclic", 2.0, size=4) @ [1, 2, 3, 4], [8, 2, 4, 6])
    np.testing.assert_array_equal(draw("cyclic", size=1), [[1.0]])


@pytest.mark.parametrize("scale", [1.5, 2.0, 3.0])
def test_a_tanh_network_in_a_ring_has_a_cycle_of_h_steps(scale: float) -> None:
    """Units keep ±h*, h* = tanh(g h*), and hand it on: the state returns after H steps and not before."""
    cell, rng = gl.RNN.init(1, 7, recurrent="cyclic", scale=scale, rng=0), np.random.default_rng(1)
    x = np.zeros((400, 1, 1))
    x[0] = rng.standard_normal()
    h = gl.trace(cell, x).layers[0].states["h"][:, 0]
    back = [float(np.abs(h[-1] - h[-1 - lag]).max()) for lag in range(1, 8)]
    assert back[-1] < 1e-12
    assert min(back[:-1]) > 0.1
    star = np.abs(h[-1])
    np.testing.assert_allclose(star, np.tanh(scale * star), rtol=1e-12)


@pytest.mark.parametrize("size", [1, 10, 50])
def test_sparse_has_15_inputs_a_unit_and_the_scale_as_its_spectral_radius(size: int) -> None:
    """Pascanu, Mikolov & Bengio 2013, §4.1.1: the "smart tanh" has ρ = .95 at 50 units."""
    W = draw("sparse", 0.95, size=size)
    assert (np.count_nonzero(W, axis=1) == min(15, size)).all()
    np.testing.assert_allclose(np.abs(np.linalg.eigvals(W)).max(), 0.95, rtol=1e-12)
    if size == 50:  # each input is as likely as any other: 15 of 50, within 5 standard errors of a binomial
        assert np.abs(np.count_nonzero(W, axis=0) - 15).max() < 5 * np.sqrt(50 * 0.3 * 0.7)


def test_orthogonal_is_drawn_evenly() -> None:
    """Haar: a 2×2 turns by an even angle, and is a reflection half of the time (400 draws, 5 standard errors)."""
    rng = np.random.default_rng(0)
    drawn = np.stack([recurrent_weights("orthogonal", 2, 1, 1.0, rng) for _ in range(400)])
    assert abs((np.linalg.det(drawn) > 0).mean() - 0.5) < 5 * 0.5 / 20
    assert np.all(np.abs(drawn.mean(axis=0)) < 5 * np.sqrt(0.5) / 20)


@pytest.mark.parametrize("key", ["scale", "input_scale"])
@pytest.mark.parametrize("kind", [gl.RNN, gl.LSTM, gl.GRU])
def test_a_scale_is_never_negative_as_in_a_study(kind: Any, key: str) -> None:
    with pytest.raises(gl.InputError, match=rf"^{key} must be 0 or more, got -1$"):
        kind.init(3, 16, **{key: -1})
    weights = kind.init(3, 16, **{key: 0.0}, rng=0)
    assert not (weights.W_hh if key == "scale" else weights.W_xh).any()


@pytest.mark.parametrize("name", RECURRENT)
def test_one_draw_for_every_scale(name: str) -> None:
    np.testing.assert_array_equal(draw(name, 3.0), 3.0 * draw(name, 1.0))


@pytest.mark.parametrize("name", sorted(set(RECURRENT) - {"identity", "cyclic"}))
def test_gates_are_drawn_one_by_one(name: str) -> None:
    blocks = draw(name, blocks=3, size=20).reshape(3, 20, 20)
    np.testing.assert_array_equal(blocks[0], draw(name, size=20))
    assert not np.allclose(blocks[0], blocks[1])


@pytest.mark.parametrize("name", FAMILY)
def test_init_of_every_cell(name: str) -> None:
    """``scale`` multiplies some matrices, ``input_scale`` others; both leave all the rest."""
    kind, options = FAMILY[name]
    one = kind.init(3, 6, rng=5, **options)
    for key, factor, names in (("scale", 2.0, recurrent_names(name)), ("input_scale", 4.0, input_names(name))):
        assert names
        other = kind.init(3, 6, rng=5, **{key: factor}, **options)
        for parameter, array in one.parameters.items():
            np.testing.assert_array_equal(other.parameters[parameter], (factor if parameter in names else 1.0) * array)
    again = kind.init(3, 6, rng=np.random.default_rng(5), dtype="float32", **options)
    for parameter, array in one.parameters.items():
        np.testing.assert_array_equal(again.parameters[parameter], array.astype("float32"))
    assert {array.dtype.name for array in again.parameters.values()} == {"float32"}
    assert not recurrent_names(name) & input_names(name)


def test_forget_bias_moves_nothing_else() -> None:
    plain, open_gate = (gl.LSTM.init(2, 3, forget_bias=bias, rng=0) for bias in (0.0, 5.0))
    np.testing.assert_array_equal(open_gate.b_h, np.repeat([0.0, 5.0, 0.0, 0.0], 3))
    np.testing.assert_array_equal(plain.W_hh, open_gate.W_hh)


DEFAULTS = {"recurrent": "uniform", "input": "uniform", "bias": "uniform"}


@pytest.mark.parametrize("name", FAMILY)
def test_uniform_input_weights(name: str) -> None:
    """Within ±1/√H, of variance 1/3H; 5 standard errors."""
    kind, options = FAMILY[name]
    cell = kind.init(50, H, rng=2, **DEFAULTS, **options)
    for key in input_names(name):
        W = cell.parameters[key]
        assert 0.999 < np.abs(W).max() * np.sqrt(H) <= 1
        np.testing.assert_allclose(W.var() * 3 * H, 1.0, rtol=5 * np.sqrt(0.8 / W.size))


@pytest.mark.parametrize("name", TWINNED)
def test_the_common_libraries_default(name: str) -> None:
    """Biases are the sum of two draws of U(±1/√H), or one and b_hn; 5 standard errors."""
    kind, options = FAMILY[name]
    cell = kind.init(50, H, rng=2, **DEFAULTS, **options)
    wanted = np.full(len(cell.b_h), 2.0)
    if options.get("reset") == "after":
        wanted[2 * H :] = 1.0
        assert 0.98 < np.abs(cell.b_hn).max() * np.sqrt(H) <= 1
    scatter = 3 * H * cell.b_h**2 / wanted
    np.testing.assert_allclose(scatter.mean(), 1.0, atol=5 * scatter.std() / np.sqrt(len(scatter)))
    assert (np.abs(cell.b_h) * np.sqrt(H) <= wanted).all()
    assert np.abs(cell.b_h).max() * np.sqrt(H) > 1.5


@pytest.mark.parametrize("name", FAMILY)
def test_laws_of_inputs_and_biases_shift_no_other_draw(name: str) -> None:
    kind, options = FAMILY[name]
    plain = kind.init(3, 6, rng=5, **options)
    for change, names in (({"input": "uniform"}, input_names(name)), ({"bias": "uniform"}, bias_names(name))):
        assert names
        other = kind.init(3, 6, rng=5, **change, **options)
        for key, array in plain.parameters.items():
            assert np.array_equal(other.parameters[key], array) == (key not in names), key
    assert not bias_names(name) & (input_names(name) | recurrent_names(name))


def test_forget_bias_and_chrono_are_added_to_drawn_biases() -> None:
    for options in ({"forget_bias": 2.0}, {"chrono": 50.0}):
        both, drawn, alone = (
            gl.LSTM.init(1, 4, rng=3, **chosen).b_h
            for chosen in ({"bias": "uniform", **options}, {"bias": "uniform"}, options)
        )
        np.testing.assert_allclose(both, drawn + alone, rtol=1e-15)


@pytest.mark.parametrize(("key", "kind"), [("input", "input init"), ("bias", "bias init")])
def test_laws_that_there_are_not(key: str, kind: str) -> None:
    with pytest.raises(gl.InputError, match=rf'unknown {kind} "unifrm"; did you mean "uniform"\?'):
        gl.RNN.init(1, 2, rng=0, **{key: "unifrm"})


def test_chrono_biases_spread_memory_over_all_lengths() -> None:
    """E25: E 1/(1 − f) = 1 + T/2, and E f^k = .7225, .3266, .1485 at k = T/10, T/2, T, to 1 %; 20 000 units."""
    T, size = 400, 20_000
    lstm = gl.LSTM(np.zeros((4, 1)), np.zeros((4, 1)))
    assert lstm.b_h.shape == (4,)
    drawn = gl.cells.initialisers.chrono_bias(size, T, np.random.default_rng(1))
    f = 1 / (1 + np.exp(-drawn))
    np.testing.assert_allclose(np.mean(1 / (1 - f)), 1 + T / 2, rtol=1e-2)
    for share, wanted in ((0.1, 0.7225), (0.5, 0.3266), (1.0, 0.1485)):
        np.testing.assert_allclose(np.mean(f ** (share * T)), wanted, atol=1e-2)


def test_chrono_of_lstm_and_gru() -> None:
    i, f, g, o = gl.LSTM.init(1, 50, chrono=100, rng=0).b_h.reshape(4, 50)
    np.testing.assert_array_equal(i, -f)
    assert np.all((f >= 0) & (f <= np.log(99)))
    assert not np.any([g, o])
    replace, keep = (gl.GRU.init(1, 50, chrono=100, rng=0, update=u).b_h.reshape(3, 50) for u in ("replace", "keep"))
    np.testing.assert_array_equal(replace[1], -keep[1])
    assert np.all(keep[1] >= 0)
    assert not np.any(keep[[0, 2]])


def test_streams_do_not_depend_on_one_another() -> None:
    one, two = (streams(7, count)[0].standard_normal(3) for count in (1, 4))
    np.testing.assert_array_equal(one, two)
    first, second = streams(7, 2)
    assert not np.array_equal(first.standard_normal(3), second.standard_normal(3))
