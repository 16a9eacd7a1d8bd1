"""Bad input: one error each that says what was expected, what came and where."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from oracles.family import FAMILY, make, spread

import gradlab as gl
from gradlab.arrays import checks
from gradlab.errors import GradlabError, InputError, unknown
from gradlab.models.losses import step_mask

T, B, D, H, O = 6, 2, 3, 4, 5
X = np.zeros((T, B, D))
LSTM, RNN, GRU = make("lstm", D, H), make("rnn-tanh", D, H), make("gru-before-replace", D, H)
BOTH = gl.Network([gl.Bidirectional(RNN, LSTM), make("rnn-tanh", 2 * H, H)])
W_xh, W_hh = np.zeros((H, D)), np.zeros((H, H))


def with_value(array: Any, place: tuple[int, ...], value: float) -> Any:
    changed = np.array(array)
    changed[place] = value
    return changed


def refuses(attempt: Callable[[], Any], said: str) -> None:
    """Assert that the attempt raises ``InputError`` with one line that begins with ``said`` ("…": any text)."""
    pattern = ".*".join(re.escape(part) for part in said.split("…"))
    with pytest.raises(InputError, match=f"^{pattern}") as caught:
        attempt()
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, ValueError | GradlabError)


def check(*cases: tuple[Callable[[], Any], str]) -> Any:
    """Parametrise over (attempt, what must be said)."""
    return pytest.mark.parametrize(("attempt", "said"), cases, ids=[said[:60] for _, said in cases])


# --- inputs -----------------------------------------------------------------------------------------------


@check(
    (lambda: gl.trace(LSTM, X[0]), "x must have shape (T, B, 3), got 2 axes: (2, 3)"),
    (lambda: gl.trace(LSTM, X[..., :2]), "x must have shape (T, B, 3), got (6, 2, 2): axis 2 is 2, not 3"),
    (lambda: gl.trace(LSTM, X[:0]), "x must have shape (T, B, 3) with no empty axis, got (0, 2, 3)"),
    (lambda: gl.trace(LSTM, X[:, :0]), "x must have shape (T, B, 3) with no empty axis, got (6, 0, 3)"),
    (
        lambda: gl.trace(LSTM, X.astype(int)),
        "x must be an array of float64 or float32, got int64; convert it with np.asa",
    ),
    (lambda: gl.trace(LSTM, X.astype(object)), "x must be an array of float64 or float32, got object"),
    (lambda: gl.trace(LSTM, X.astype(complex)), "x must be an array of float64 or float32, got complex128"),
    (lambda: gl.trace(LSTM, X.astype("float16")), "x must be an array of float64 or float32, got float16"),
    (lambda: gl.trace(LSTM, "x"), "x must be an array of float64 or float32, got str"),
    (lambda: gl.trace(LSTM, [[1.0], [1.0, 2.0]]), "x must be an array, got nested lists of unequal lengths"),
    (
        lambda: gl.trace(gl.RNN.init(D, H, dtype="float32"), with_value(X, (1, 0, 2), 1e300)),
        "x in float32 must be finite, got inf",
    ),
    (lambda: gl.trace(RNN, X, hooks="gates"), 'hooks must be a list, got "gates"; write hooks=["gates"]'),
    (lambda: gl.Network(RNN), "layers must be a list of cells, got RNN; write Network([cell])"),
    (lambda: gl.RNN.init(2, 3, rng="a"), "rng must be a seed, 0 or more, or a numpy Generator, got 'a'"),
    (lambda: gl.trace(LSTM, X).gates["x"], 'unknown name "x"; (i, f, g, o)'),
    (
        lambda: gl.trace(RNN, X, lambda y: (np.full(B, np.nan), 0 * y)),
        "the loss returned nan in its value at index (0,), for outputs that are all finite",
    ),
    (
        lambda: gl.trace(RNN, X, lambda y: (y.sum((0, 2)), 0 * y + np.nan)),
        "the loss returned nan in its dL/dy at index (0, 0, 0)",
    ),
    (
        lambda: gl.trace(RNN, X, lambda y: (((y - 1) ** 2).sum((0, 2)), 2 * (y - 1)), lengths=[6, 4]),
        "dL/dy must be zero beyond a sequence's own end, but is not at step 5 of sequence 1, which has length 4",
    ),
    (lambda: gl.trace(LSTM, None), "x must be an array of float64 or float32, got object"),
    (lambda: gl.trace(LSTM, with_value(X, (4, 1, 2), np.nan)), "x must be finite, got nan at index (4, 1, 2)"),
    (lambda: gl.trace(LSTM, with_value(X, (0, 1, 0), -np.inf)), "x must be finite, got -inf at index (0, 1, 0)"),
    (lambda: gl.trace("lstm", X), "model must be a gradlab cell or Network, got str"),
    (lambda: gl.trace(gl.LSTM, X), "model must be a gradlab cell or Network, got "),
)
def test_inputs(attempt: Any, said: str) -> None:
    refuses(attempt, said)


@check(
    (lambda: gl.trace(LSTM, X, lengths=[6, 0]), "lengths must be 1 … T = 6, got 0 … 6"),
    (lambda: gl.trace(LSTM, X, lengths=[7, 2]), "lengths must be 1 … T = 6, got 2 … 7"),
    (lambda: gl.trace(LSTM, X, lengths=[6]), "lengths must be whole numbers of shape (B,) = (2,), got int64 (1,)"),
    (
        lambda: gl.trace(LSTM, X, lengths=[6.0, 2.0]),
        "lengths must be whole numbers of shape (B,) = (2,), got float64 (2,)",
    ),
    (lambda: gl.trace(LSTM, X, lengths=[True, True]), "lengths must be whole numbers of shape (B,) = (2,), got bool"),
    (lambda: gl.trace(LSTM, X, lengths=6), "lengths must be whole numbers of shape (B,) = (2,), got int64 ()"),
    (
        lambda: gl.trace(LSTM, with_value(X, (1, 1, 0), np.nan), lengths=[6, 2]),
        "x must be finite, got nan at index (1, 1, 0)",
    ),
    (lambda: gl.trace(LSTM, X[0], lengths=[6, 2]), "x must have shape (T, B, 3), got 2 axes"),
)
def test_lengths(attempt: Any, said: str) -> None:
    refuses(attempt, said)


@check(
    (lambda: gl.trace(LSTM, X, state=np.zeros((B, H))), "state must name its arrays, ['h', 'c'], got ndarray"),
    (lambda: gl.trace(LSTM, X, state={"k": np.zeros((B, H))}), "state has no \"k\"; its states are ['h', 'c']"),
    (lambda: gl.trace(RNN, X, state={"c": np.zeros((B, H))}), "state has no \"c\"; its states are ['h']"),
    (lambda: gl.trace(RNN, X, state=np.zeros((H, B))), 'state["h"] must have shape (2, 4), got (4, 2): axis 0 is 4'),
    (lambda: gl.trace(RNN, X, state=np.zeros((B, H), int)), 'state["h"] must be an array of float64 or float32'),
    (lambda: gl.trace(RNN, X, state=np.full((B, H), np.nan)), 'state["h"] must be finite, got nan at index (0, 0)'),
    (lambda: gl.trace(RNN, X, state=3.0), "state must be one entry per layer, 1 in a list, got float"),
    (lambda: gl.trace(BOTH, X, state=[None]), "state must be one entry per layer, 2 in a list, got list"),
    (
        lambda: gl.trace(BOTH, X, state={"h": np.zeros((B, H))}),
        "state must be one entry per layer, 2 in a list, got dict",
    ),
    (
        lambda: gl.trace(BOTH, X, state=[np.zeros((B, H)), None]),
        "state[0] must be a pair (forward, reverse), got ndarray",
    ),
    (lambda: gl.trace(BOTH, X, state=[(None, np.zeros((B, H))), None]), "state[0][1] must name its arrays, ['h', 'c']"),
)
def test_initial_states(attempt: Any, said: str) -> None:
    refuses(attempt, said)


# --- weights ----------------------------------------------------------------------------------------------


@check(
    (lambda: gl.RNN(W_xh, np.zeros(H)), "W_hh must have shape (H, H), got 1 axes: (4,)"),
    (lambda: gl.RNN(W_xh, np.zeros((H, H + 1))), "W_hh must have as many rows as columns, got (4, 5)"),
    (lambda: gl.RNN(W_xh[:2], W_hh), "W_xh must have shape (4, D), got (2, 3): axis 0 is 2, not 4"),
    (lambda: gl.RNN(W_xh, W_hh, np.zeros(3)), "b_h must have shape (4,), got (3,): axis 0 is 3, not 4"),
    (lambda: gl.RNN(W_xh, W_hh, np.zeros((H, 1))), "b_h must have shape (4,), got 2 axes: (4, 1)"),
    (lambda: gl.RNN(W_xh, np.zeros((0, 0))), "W_hh must have shape (H, H) with no empty axis, got (0, 0)"),
    (lambda: gl.RNN(W_xh[:, :0], W_hh), "W_xh must have shape (4, D) with no empty axis, got (4, 0)"),
    (lambda: gl.RNN(W_xh, W_hh.astype(int)), "W_hh must be an array of float64 or float32, got int64"),
    (lambda: gl.RNN(W_xh, W_hh.astype(object)), "W_hh must be an array of float64 or float32, got object"),
    (lambda: gl.RNN(W_xh, with_value(W_hh, (1, 2), np.inf)), "W_hh must be finite, got inf at index (1, 2)"),
    (lambda: gl.RNN(with_value(W_xh, (0, 0), np.nan), W_hh), "W_xh must be finite, got nan at index (0, 0)"),
    (
        lambda: gl.RNN(W_xh, W_hh.astype("float32")),
        "all weights of a cell must have one dtype, got W_xh float64, W_hh fl",
    ),
    (lambda: gl.LSTM(W_xh, W_hh), "W_hh must have 4 blocks of H rows and H columns, got (4, 4)"),
    (
        lambda: gl.LSTM(np.zeros((12, D)), np.zeros((12, 4))),
        "W_hh must have 4 blocks of H rows and H columns, got (12, 4)",
    ),
    (lambda: gl.LSTM(np.zeros((16, D)), np.zeros((16, 4)), np.zeros(4)), "b_h must have shape (16,), got (4,)"),
    (lambda: gl.GRU(W_xh, W_hh), "W_hh must have 3 blocks of H rows and H columns, got (4, 4)"),
    (
        lambda: gl.GRU(np.zeros((12, D)), np.zeros((12, 4)), b_hn=np.zeros(4)),
        'b_hn belongs to reset="after"; with reset="before" add it to b_h',
    ),
    (
        lambda: gl.GRU(np.zeros((12, D)), np.zeros((12, 4)), b_hn=np.zeros(12), reset="after"),
        "b_hn must have shape (4,), got (12,)",
    ),
    (lambda: gl.Readout(np.zeros(3)), "W_hy must have shape (O, H), got 1 axes: (3,)"),
    (lambda: gl.Readout(np.zeros((2, 3)), np.zeros(3)), "b_y must have shape (2,), got (3,)"),
    (lambda: gl.Readout(np.full((2, 3), np.nan)), "W_hy must be finite, got nan at index (0, 0)"),
    (lambda: gl.Readout(np.zeros((2, 3), int)), "W_hy must be an array of float64 or float32, got int64"),
)
def test_weights(attempt: Any, said: str) -> None:
    refuses(attempt, said)


@check(
    (
        lambda: gl.RNN(W_xh, W_hh, activation="tahn"),
        'unknown activation "tahn"; did you mean "tanh"? (tanh, relu, logi',
    ),
    (lambda: gl.RNN.init(1, 2, activation="sigmoid"), 'unknown activation "sigmoid"; (tanh, relu, logistic, identity)'),
    (lambda: gl.RNN.init(1, 2, recurrent="gausian"), 'unknown recurrent init "gausian"; did you mean "gaussian"? (ga'),
    (lambda: gl.GRU.init(1, 2, reset="befor"), 'unknown reset "befor"; did you mean "before"? (before, after)'),
    (lambda: gl.GRU.init(1, 2, update="kept"), 'unknown update "kept"; did you mean "keep"? (replace, keep)'),
    (
        lambda: gl.Readout.init(1, 2, activation="softmx"),
        'unknown readout activation "softmx"; did you mean "softmax"?',
    ),
    (lambda: gl.RNN.init(1, 2, dtype="float16"), 'unknown dtype "float16"; did you mean'),
    (lambda: gl.LSTM.init(1, 2, dtype="int"), 'unknown dtype "int"'),
)
def test_choices_name_the_nearest(attempt: Any, said: str) -> None:
    refuses(attempt, said)


SIZES = {
    (3, 0): "hidden_size must be at least 1, got 0",
    (3, -2): "hidden_size must be at least 1, got -2",
    (0, 3): "input_size must be at least 1, got 0",
    (-1, 3): "input_size must be at least 1, got -1",
    (3, 2.0): "hidden_size must be a whole number, got 2.0",
    (3, True): "hidden_size must be a whole number, got True",
    ("3", 3): "input_size must be a whole number, got '3'",
}


@pytest.mark.parametrize(("name", "sizes"), spread(SIZES))
def test_sizes_of_every_cell(name: str, sizes: Any) -> None:
    kind, options = FAMILY[name]
    refuses(lambda: kind.init(*sizes, **options), SIZES[sizes])


@check(
    (lambda: gl.RNN.init(1, 2, scale=np.nan), "scale must be finite, got nan"),
    (lambda: gl.RNN.init(1, 2, scale="1"), "scale must be a number, got '1'"),
    (lambda: gl.RNN.init(1, 2, input_scale=np.inf), "input_scale must be finite, got inf"),
    (lambda: gl.LSTM.init(1, 2, forget_bias=np.nan), "forget_bias must be finite, got nan"),
    (lambda: gl.LSTM.init(1, 2, chrono=2), "chrono must be a length above 2 steps, got 2"),
    (lambda: gl.LSTM.init(1, 2, forget_bias=1.0, chrono=50), "give forget_bias or chrono, not both; got 1.0 and 50"),
    (lambda: gl.GRU.init(1, 2, chrono=-3), "chrono must be a length above 2 steps, got -3"),
    (lambda: gl.Readout.init(0, 2), "hidden_size must be at least 1, got 0"),
    (lambda: gl.Readout.init(2, 0), "output_size must be at least 1, got 0"),
)
def test_numbers(attempt: Any, said: str) -> None:
    refuses(attempt, said)


# --- networks ---------------------------------------------------------------------------------------------


@check(
    (lambda: gl.Network([]), "a network needs at least one layer, got none"),
    (lambda: gl.Network(["lstm"]), "layer 0 must be a Cell or a Bidirectional, got str"),
    (lambda: gl.Network([LSTM, RNN]), "layer 1 must have input_size 4, the output of layer 0, got 3"),
    (
        lambda: gl.Network([gl.Bidirectional(LSTM, RNN), make("rnn-tanh", H, H)]),
        "layer 1 must have input_size 8, the output of layer 0, got 4",
    ),
    (
        lambda: gl.Bidirectional(LSTM, make("lstm", 2, H)),
        "both directions must have one input_size, got 3 forward and 2",
    ),
    (
        lambda: gl.Network([LSTM], gl.Readout.init(H + 1, 2)),
        "W_hy must have shape (O, 4) for the top layer, got (2, 5)",
    ),
    (
        lambda: gl.Network([LSTM, make("lstm", H, H, dtype="float32")]),
        "all parts of a network must have one dtype, got float32, float64",
    ),
    (
        lambda: gl.Network([LSTM], gl.Readout.init(H, 2, dtype="float32")),
        "all parts of a network must have one dtype, got float32, float64",
    ),
)
def test_networks(attempt: Any, said: str) -> None:
    refuses(attempt, said)


# --- losses -----------------------------------------------------------------------------------------------


def run(loss: Any, lengths: Any = None) -> Callable[[], Any]:
    return lambda: gl.trace(LSTM, X, loss, lengths=lengths)


TARGETS = np.zeros((B, H))


@check(
    (run(gl.mse(TARGETS, at=[1, 7])), "the loss names step 7, but the sequence has steps 1 … 6"),
    (run(gl.mse(TARGETS, at=[0])), "the loss names step 0, but the sequence has steps 1 … 6"),
    (run(gl.mse(TARGETS, at=[-1])), "the loss names step -1, but the sequence has steps 1 … 6"),
    (run(gl.mse(TARGETS, at=[3]), [6, 2]), "the loss names step 3, but sequence 1 has length 2"),
    (run(gl.mse(TARGETS, at=np.ones((T, B), bool)), [6, 2]), "the loss names step 3, but sequence 1 has length 2"),
    (run(gl.mse(TARGETS, at=[2, 2])), "steps must be named once each, got [2, 2]"),
    (run(gl.mse(TARGETS, at=[])), "steps must be a non-empty list of whole numbers 1 … T, got []"),
    (run(gl.mse(TARGETS, at=[1.5])), "steps must be a non-empty list of whole numbers 1 … T, got [1.5]"),
    (run(gl.mse(TARGETS, at=3)), "steps must be a non-empty list of whole numbers 1 … T, got 3"),
    (run(gl.mse(TARGETS, at=None)), "steps must be a non-empty list of whole numbers 1 … T, got None"),
    (run(gl.mse(TARGETS, at="lats")), 'at must be "last", "every", a list of steps or a (T, B) mask, got "lats"'),
    (run(gl.mse(TARGETS, at=np.ones((B, T), bool))), "a mask must have shape (T, B) = (6, 2), got (2, 6)"),
    (run(gl.mse(TARGETS, at=np.eye(T, B, k=-9, dtype=bool))), "the mask reads no step of sequence 0"),
    (lambda: step_mask(np.eye(T, 1, dtype=bool) & [True, False], T, B), "the mask reads no step of sequence 1"),
)
def test_steps_of_a_loss(attempt: Any, said: str) -> None:
    refuses(attempt, said)


@check(
    (
        run(gl.mse(np.zeros((B, O)))),
        "mse: targets must have shape (B, O), (T, B, O) or (len(at), B, O) with T 6, B 2, O 4",
    ),
    (run(gl.mse(np.zeros((T, B, O)))), "mse: targets must have shape … got (6, 2, 5)"),
    (run(gl.mse(np.zeros((3, B, H)), at=[1, 2])), "mse: targets must have shape … got (3, 2, 4)"),
    (run(gl.projection(np.zeros((H, B)))), "projection: targets must have shape … got (4, 2)"),
    (
        run(gl.cross_entropy(np.zeros(B + 1, int))),
        "cross_entropy: targets must have shape (B,), (T, B) or (len(at), B) wi",
    ),
    (run(gl.cross_entropy(np.array([0, H]))), "labels must be 0 … 3 for 4 outputs, got 4"),
    (lambda: gl.mse(np.zeros(H)), "targets must have shape (B, O), (T, B, O) or (len(at), B, O), got (4,)"),
    (lambda: gl.mse(np.zeros((B, H), int)), "targets must be an array of float64 or float32, got int64"),
    (lambda: gl.mse(np.full((B, H), np.nan)), "targets must be finite, got nan at index (0, 0)"),
    (lambda: gl.mse(np.full((B, H), np.inf)), "targets must be finite, got inf at index (0, 0)"),
    (lambda: gl.mse(np.zeros((B, 0))), "targets must have shape … with no empty axis, got (2, 0)"),
    (lambda: gl.projection(np.full((B, H), np.nan)), "v must be finite, got nan at index (0, 0)"),
    (lambda: gl.projection(np.zeros(3)), "v must have shape (B, O), (T, B, O) or (len(at), B, O), got (3,)"),
    (
        lambda: gl.cross_entropy(np.zeros(B)),
        "labels must be whole numbers of shape (B,), (T, B) or (len(at), B), got floa",
    ),
    (lambda: gl.cross_entropy(np.zeros((B, 1, 1), int)), "labels must be whole numbers of shape … got int64 (2, 1, 1)"),
    (lambda: gl.cross_entropy(np.array([], int)), "labels must be whole numbers of shape … got int64 (0,)"),
    (lambda: gl.nll(np.array([0, -1])), "labels must be 0 or more, got -1"),
)
def test_targets(attempt: Any, said: str) -> None:
    refuses(attempt, said)


@check(
    (run("mse"), "loss must be a gradlab loss or a function y -> (value, dL/dy), got str"),
    (run(lambda y: y.sum()), "a loss must return the pair (value (B,), dL/dy (T, B, O)), got float64"),
    (
        run(lambda y: (y.sum(), y)),
        "a loss must return value (B,) = (2,) and dL/dy (T, B, O) = (6, 2, 4), got () and (6, 2, 4)",
    ),
    (run(lambda y: (y.sum((0, 2)), y[0])), "a loss must return value (B,) = (2,) and dL/dy … got (2,) and (2, 4)"),
)
def test_a_users_loss(attempt: Any, said: str) -> None:
    refuses(attempt, said)


# --- the checks themselves --------------------------------------------------------------------------------


def test_what_passes_the_checks() -> None:
    np.testing.assert_array_equal(checks.float_array("x", [[1.0, 2.0]], ("B", 2)), [[1.0, 2.0]])
    assert checks.positive("n", np.int64(3)) == 3
    assert checks.number("a", np.float32(0.5)) == checks.number("a", 0.5) == 0.5
    assert checks.choice("cell", "rnn", {"rnn": 1}) == "rnn"


def test_unknown_names_the_nearest_only_where_one_is_near() -> None:
    assert (
        unknown("cell", "lsmt", ["rnn", "lstm", "gru"]) == 'unknown cell "lsmt"; did you mean "lstm"? (rnn, lstm, gru)'
    )
    assert unknown("cell", "transformer", ["rnn", "lstm"]) == 'unknown cell "transformer"; (rnn, lstm)'


@pytest.mark.parametrize("cell", [gl.RNN, gl.LSTM, gl.GRU])
def test_initial_weights_that_overflow_are_refused_without_a_warning(cell: Any) -> None:
    refuses(lambda: cell.init(1, 9, input_scale=1.7e308, rng=0), "W_xh must be finite, got ")
    refuses(lambda: cell.init(1, 9, scale=1e300, rng=0, dtype="float32"), "W_hh must be finite, got ")
