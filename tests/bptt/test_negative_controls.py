"""The mistakes that were published: each must make the comparison fail, or the comparison proves nothing (STYLE 26).

The oracle is torch-free: the complex step through the whole forward pass.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from oracles import derivatives
from oracles.compare import assert_normwise
from oracles.family import FAMILY, make, states

import gradlab as gl
from gradlab.cells.rnn import Local as RNNLocal

Array = NDArray[Any]
T, D, H = 6, 3, 4


def given(cell: Any) -> tuple[Array, dict[str, Array], Array]:
    """Return inputs ``(T, 1, D)``, an initial state and a projection ``(T, 1, H)``."""
    rng = np.random.default_rng(9)
    return rng.standard_normal((T, 1, D)), states(cell, 1), rng.standard_normal((T, 1, H))


def oracle(cell: Any) -> Array:
    """Return the adjoint of every joint state ``(T+1, S)``."""
    x, start, v = given(cell)
    return derivatives.adjoint(cell, x[:, 0], np.concatenate([part[0] for part in start.values()]), v[:, 0])


def run(cell: Any) -> gl.Trace:
    x, start, v = given(cell)
    return gl.trace(cell, x, gl.projection(v), state=start)


def joint(parts: dict[str, gl.Scaled]) -> Array:
    return np.concatenate([np.asarray(part)[:, 0] for part in parts.values()], axis=-1)


@pytest.mark.parametrize("name", FAMILY)
def test_adjoint_of_every_cell(name: str) -> None:
    cell = make(name, D, H)
    assert_normwise(joint(run(cell).adjoint), oracle(cell), 1e-12, "adjoint")


@pytest.mark.parametrize("name", FAMILY)
def test_product_of_jacobians_in_order(name: str) -> None:
    cell = make(name, D, H)
    assert_normwise(propagator(cell, lambda P, J: J @ P), wanted_propagator(cell), 1e-12, "P", axis=None)


def propagator(cell: Any, order: Callable[[Array, Array], Array]) -> Array:
    J = run(cell).jacobians
    return reduce(order, (J.dense(t)[0] for t in range(1, T + 1)), np.eye(cell.state_size))


def wanted_propagator(cell: Any) -> Array:
    """Return ∂s_T/∂s_0 ``(S, S)`` by the complex step through all T steps."""
    x, start, _ = given(cell)
    first = np.concatenate([part[0] for part in start.values()])
    return derivatives.complex_step(lambda s: derivatives.run(cell, x[:, 0], s, 0)[-1], first)


# --- the mistakes -------------------------------------------------------------------------------------------


class CellPathDropped(gl.LSTM):
    """c_{t−1} reaches c_t through the gates alone."""

    def vjp(self, local: Any, adjoint: Any) -> Any:
        (h, c), pre_grad = super().vjp(local, adjoint)
        return (h, 0.0 * c), pre_grad


class ActivationTwice(gl.RNN):
    """sech² of h, which is a tanh already."""

    def linearise(self, record: Any, before: Any, after: Any) -> Any:
        return RNNLocal(1 - np.tanh(after[0]) ** 2)


class FactorsSwapped(gl.RNN):
    """(W diag φ')ᵀ in place of (diag φ' W)ᵀ."""

    def vjp(self, local: Any, adjoint: Any) -> Any:
        pre_grad = local.slope * adjoint[0]
        return (local.slope * (self.W_hh.T @ adjoint[0]),), pre_grad


class ResetTakenForConstant(gl.GRU):
    """The path through the reset gate forgotten."""

    def linearise(self, record: Any, before: Any, after: Any) -> Any:
        local = super().linearise(record, before, after)
        return local._replace(by_r=0.0 * local.by_r)


MISTAKES = {CellPathDropped: "lstm", ActivationTwice: "rnn-tanh", FactorsSwapped: "rnn-tanh"}
MISTAKES |= {ResetTakenForConstant: "gru-before-replace"}


@pytest.mark.parametrize("wrong", MISTAKES)
def test_wrong_derivatives_fail(wrong: Any) -> None:
    right = make(MISTAKES[wrong], D, H)
    cell = wrong(**right.parameters)
    assert_normwise(run(cell).states["h"], run(right).states["h"], 1e-15, "the forward pass is the same")
    with pytest.raises(AssertionError, match=r"adjoint: . of 7 vectors differ"):
        assert_normwise(joint(run(cell).adjoint), oracle(cell), 1e-12, "adjoint")


#: The step Jacobians of a linear cell are all the same matrix, whose products have no order.
COMMUTES_NOT = [name for name, (_, options) in FAMILY.items() if "identity" not in options.values()]


@pytest.mark.parametrize("name", COMMUTES_NOT)
def test_product_in_the_wrong_order_fails(name: str) -> None:
    cell = make(name, D, H)
    with pytest.raises(AssertionError, match="P: 1 of 1 vectors differ"):
        assert_normwise(propagator(cell, lambda P, J: P @ J), wanted_propagator(cell), 1e-12, "P", axis=None)


@pytest.mark.parametrize("name", FAMILY)
def test_direct_taken_for_total_fails(name: str) -> None:
    cell = make(name, D, H)
    with pytest.raises(AssertionError, match=r"total: . of 7 vectors differ"):
        assert_normwise(np.asarray(run(cell).direct["h"])[:, 0], oracle(cell)[:, :H], 1e-12, "total")


def test_total_taken_for_adjoint_fails() -> None:
    cell = make("lstm", D, H)
    with pytest.raises(AssertionError, match=r"adjoint: . of 7 vectors differ"):
        assert_normwise(joint(run(cell).grad), oracle(cell), 1e-12, "adjoint")


def test_the_comparison_itself_can_fail() -> None:
    one = np.ones((2, 3))
    assert_normwise(one * (1 + 1e-13), one, 1e-12)
    for wrong, match in (
        (one * (1 + 1e-11), "2 of 2 vectors differ"),
        (np.full((2, 3), np.nan), "2 of 2 vectors differ"),
        (np.ones((3, 2)), "shape"),
    ):
        with pytest.raises(AssertionError, match=match):
            assert_normwise(wrong, one, 1e-12)
    for axis in (-1, None):
        with pytest.raises(AssertionError, match="differ"):
            assert_normwise(np.full((1, 2), 1e-300), np.zeros((1, 2)), 1e-12, axis=axis)
    with pytest.raises(AssertionError, match="nothing to compare"):
        assert_normwise(np.zeros((0, 3)), np.zeros((0, 3)), 1e-12)
