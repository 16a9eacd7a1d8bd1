"""A plain function as a cell: the same answers as the cell of its equations."""

import numpy as np
import pytest

import gradlab as gl
from gradlab.errors import InputError


@pytest.fixture
def pair():
    cell = gl.RNN.init(3, 4, rng=0)
    return cell, lambda h, x: np.tanh(h @ cell.W_hh.T + x @ cell.W_xh.T)


@pytest.mark.parametrize(("derivative", "tolerance"), [("complex", 1e-13), ("difference", 1e-8)])
def test_same_gradients_and_jacobians_as_the_cell_of_its_equations(pair, derivative, tolerance):
    cell, function = pair
    x = np.random.default_rng(1).normal(size=(9, 2, 3))
    own = gl.trace(cell, x, gl.projection(np.ones((2, 4))))
    custom = gl.custom_cell(function, state_size=4, input_size=3, derivative=derivative)
    theirs = gl.trace(custom, x, gl.projection(np.ones((2, 4))), hooks=["gradients", "jacobians", "gates"])
    assert np.allclose(theirs.states["h"], own.states["h"], rtol=0, atol=1e-15)
    for one, other in ((theirs.grad["h"], own.grad["h"]), (theirs.input_grad, own.input_grad)):
        assert np.abs(np.asarray(one) - np.asarray(other)).max() < tolerance
    assert np.abs(theirs.jacobians.dense(4) - own.jacobians.dense(4)).max() < tolerance
    runs, steps, _ = theirs.measured().values()
    assert runs["status"].tolist() == ["done"]
    assert {"adjoint", "jac_norm2"} <= set(steps["quantity"])


def test_parameter_gradients_are_refused_with_the_reason(pair):
    custom = gl.custom_cell(pair[1], state_size=4, input_size=3)
    trace = gl.trace(custom, np.zeros((3, 1, 3)), gl.projection(np.ones((1, 4))))
    with pytest.raises(InputError, match="no parameter gradients"):
        _ = trace.param_grads


def test_a_function_that_is_not_analytic_is_refused():
    custom = gl.custom_cell(lambda h, x: np.abs(h) + x, state_size=2, input_size=2)
    with pytest.raises(InputError, match='use derivative="difference"'):
        gl.trace(custom, np.zeros((3, 1, 2)), gl.projection(np.ones((1, 2))))


def test_a_function_of_one_vector_only_is_refused():
    custom = gl.custom_cell(lambda h, x: (h @ np.ones((2, 3)))[..., :1], state_size=2, input_size=2)
    with pytest.raises(InputError, match=r"must return h's shape"):
        gl.trace(custom, np.zeros((3, 1, 2)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step": 3}, "must be a function step"),
        ({"derivative": "complx"}, 'unknown derivative "complx"; did you mean "complex"'),
        ({"state_size": 0}, "state_size must be at least 1, got 0"),
        ({"input_size": 1.5}, "input_size must be a whole number"),
    ],
)
def test_bad_arguments(change, message):
    arguments = {"step": lambda h, x: h, "state_size": 2, "input_size": 2} | change
    with pytest.raises(InputError, match=message):
        gl.custom_cell(arguments.pop("step"), **arguments)
