"""The self-check passes every cell, and each published mistake makes it fail."""

from dataclasses import dataclass
from functools import reduce

import numpy as np
import pytest
from oracles.family import FAMILY, make

import gradlab as gl
from gradlab.cells.rnn import Local as RNNLocal
from gradlab.errors import GradlabError, InputError
from gradlab.jacobians.steps import Jacobians

CELLS = {
    **{name: make(name, 3, 5) for name in FAMILY},
    "float32": gl.LSTM.init(3, 5, rng=0, dtype="float32"),
    "custom": gl.custom_cell(lambda h, x: 0.5 * np.tanh(h) + x, state_size=4, input_size=4),
    "custom-difference": gl.custom_cell(
        lambda h, x: np.abs(h) + x, state_size=4, input_size=4, derivative="difference"
    ),
}


@pytest.mark.parametrize("name", CELLS)
def test_every_cell_passes(name):
    found = gl.selfcheck(CELLS[name])
    found.raise_if_failed()
    assert len(found.checks) == 13
    assert "passed" in repr(found)


class CellPathDropped(gl.LSTM):
    """∂h_t/∂h_{t−1} through the gates, ∂c_t/∂c_{t−1} forgotten."""

    def linearise(self, record, before, after):
        return super().linearise(record, before, after)._replace(f=np.zeros_like(after[1]))


class ActivationOfAnActivation(gl.RNN):
    """sech² of h, which is a tanh already."""

    def linearise(self, record, before, after):
        return RNNLocal(1.0 - np.tanh(after[0]) ** 2)


class FactorsInTheWrongOrder(gl.RNN):
    """W diag(φ') in place of diag(φ') W."""

    def jvp(self, local, tangent):
        return (self.W_hh @ (local.slope * tangent[0]),)

    def vjp(self, local, adjoint):
        pre_grad = self.W_hh.T @ adjoint[0]
        return (local.slope * pre_grad,), pre_grad


class DirectForTotal(gl.RNN):
    """The recurrence cut: what arrives at h_t from outside is taken for all of dL/dh_t."""

    def vjp(self, local, adjoint):
        (before,), pre_grad = super().vjp(local, adjoint)
        return (0.0 * before,), pre_grad


class BiasForgotten(gl.GRU):
    """W_n's gradient without the reset gate."""

    def parameter_pairs(self, record, before, pre_grad, x):
        return super().parameter_pairs(record, before, pre_grad, x) | {"W_hh": [(pre_grad, before[0])]}


class GatesPathForgotten(gl.GRU):
    """The partial derivative of the loss with respect to a_r, with a_n held: a_r reaches the loss through a_n only."""

    def vjp(self, local, adjoint):
        before, pre_grad = super().vjp(local, adjoint)
        pre_grad[..., : self.hidden_size, :] = 0.0
        return before, pre_grad


class PreGradOfAnotherScale(gl.RNN):
    """2 dL/da, halved wherever gradients are made of it: only ``pre_grad`` itself is wrong."""

    def vjp(self, local, adjoint):
        before, pre_grad = super().vjp(local, adjoint)
        return before, 2.0 * pre_grad

    def input_vjp(self, pre_grad):
        return super().input_vjp(0.5 * pre_grad)

    def parameter_pairs(self, record, before, pre_grad, x):
        return super().parameter_pairs(record, before, 0.5 * pre_grad, x)


class PreActivationOfAnotherScale(gl.RNN):
    """A record that holds 2a under the name of a, and a ``linearise`` that takes half of it."""

    def step(self, drive, state):
        after, record = super().step(drive, state)
        return after, {"a": 2.0 * record["a"]}

    def linearise(self, record, before, after):
        return super().linearise({"a": 0.5 * record["a"]}, before, after)


class NotANumber(gl.RNN):
    """Pre-activation gradients of 0/0: an error that is no number is a failure, not a check that does not apply."""

    def vjp(self, local, adjoint):
        before, pre_grad = super().vjp(local, adjoint)
        return before, np.nan * pre_grad


class BlockWithoutADrive(gl.RNN):
    """Two names of pre-activations, and a drive for one of them."""

    block_names = ("h", "u")


MISTAKES = {
    "complex step": (CellPathDropped, ActivationOfAnActivation, FactorsInTheWrongOrder),
    "central differences": (CellPathDropped, ActivationOfAnActivation, FactorsInTheWrongOrder),
    "dense = J applied to units": (FactorsInTheWrongOrder,),
    "dot test ⟨u, Jv⟩ = ⟨Jᵀu, v⟩": (DirectForTotal,),
    "product order": (CellPathDropped, ActivationOfAnActivation, FactorsInTheWrongOrder),
    "adjoint of the whole loss": (CellPathDropped, ActivationOfAnActivation, DirectForTotal),
    "input gradient": (CellPathDropped, ActivationOfAnActivation, DirectForTotal),
    "parameter gradients": (CellPathDropped, BiasForgotten),
}


@pytest.mark.parametrize("mistake", [PreGradOfAnotherScale, PreActivationOfAnotherScale, BlockWithoutADrive])
def test_a_pre_grad_that_is_not_that_of_the_drive_is_found_by_its_own_check_alone(mistake):
    found = gl.selfcheck(mistake.init(3, 5, rng=0))
    assert {one.name for one in found.checks if not one.passed} == {"pre-activation gradients"}
    with pytest.raises(GradlabError, match=r"pre-activation gradients +(\S+) +≤ 1e-12 +FAILED"):
        found.raise_if_failed()


@pytest.mark.parametrize("reset", ["before", "after"])
def test_a_partial_derivative_in_place_of_the_total_one_is_found(reset):
    found = gl.selfcheck(GatesPathForgotten.init(3, 5, reset=reset, rng=0))
    failed = {one.name for one in found.checks if not one.passed}
    assert failed == {"pre-activation gradients", "input gradient", "parameter gradients"}
    with pytest.raises(GradlabError, match=r"pre-activation gradients +1\.0e\+00 +≤ 1e-12 +FAILED +dL/d\(drive\)"):
        found.raise_if_failed()


def test_a_derivative_that_is_not_a_number_fails():
    found = gl.selfcheck(NotANumber.init(3, 5, rng=0))
    failed = {one.name: one.error for one in found.checks if not one.passed}
    assert failed == dict.fromkeys(["pre-activation gradients", "input gradient", "parameter gradients"], np.inf)


def test_blocks_without_a_drive_are_counted():
    reason = {one.name: one.reason for one in gl.selfcheck(BlockWithoutADrive.init(3, 5, rng=0)).checks}
    assert reason["pre-activation gradients"] == "blocks of 5 per name are 10 rows, drive has 5 and pre_grad 5"


@pytest.mark.parametrize(("check", "mistake"), [(c, m) for c, found in MISTAKES.items() for m in found])
def test_each_mistake_is_found(check, mistake):
    found = gl.selfcheck(mistake.init(3, 5, rng=0))
    failed = {one.name for one in found.checks if not one.passed}
    assert check in failed
    with pytest.raises(GradlabError, match="FAILED"):
        found.raise_if_failed()


def test_a_product_in_the_wrong_order_is_found(monkeypatch):
    import sys

    module = sys.modules["gradlab._selfcheck"]
    right = module.propagator
    monkeypatch.setattr(module, "propagator", lambda jacobians: right(jacobians[::-1]))
    failed = {one.name for one in gl.selfcheck(CELLS["lstm"]).checks if not one.passed}
    assert failed == {"product order", "propagator = dense product"}


class DeterminantOfTheWeightsAlone(gl.RNN):
    """ln|det W| without the slopes."""

    def log_abs_det(self, local):
        return np.full(local.slope.shape[1:], np.linalg.slogdet(self.W_hh)[1])


class TransposeOfAnotherMatrix(gl.RNN):
    """A hand-written dense J whose rows and columns are exchanged: W' diag(φ') in place of diag(φ') W."""

    def dense(self, local):
        return np.swapaxes(super().dense(local), -1, -2)


def test_a_determinant_that_is_not_the_exponents_is_found():
    found = gl.selfcheck(DeterminantOfTheWeightsAlone.init(3, 5, rng=0))
    assert {one.name for one in found.checks if not one.passed} == {"Σ λ_i = mean ln|det J|"}


def test_a_dense_jacobian_of_its_own_is_found():
    failed = {one.name for one in gl.selfcheck(TransposeOfAnotherMatrix.init(3, 5, rng=0)).checks if not one.passed}
    assert {"dense = J applied to units", "propagator = dense product"} <= failed


def test_singular_values_of_the_naive_product_are_found(monkeypatch):
    """Negative control: an LSTM's smallest σ of six steps are rounding in the SVD of P, and others in that of Pᵀ."""
    import sys

    def naive(tape, t0, t1, *, transposed=False):
        J = Jacobians(tape)
        steps = [J.dense(t) for t in range(t0 + 1, t1 + 1)]
        product = reduce(np.matmul, [one.swapaxes(-1, -2) for one in steps] if transposed else steps[::-1])
        return np.log(np.linalg.svd(product, compute_uv=False))

    monkeypatch.setattr(sys.modules["gradlab._selfcheck"], "product_log_singular_values", naive)
    failed = {one.name for one in gl.selfcheck(CELLS["lstm"]).checks if not one.passed}
    assert failed == {"ln σ of P and of Pᵀ"}


def test_sequences_that_touch_each_other_are_found():
    leaky = gl.custom_cell(
        lambda h, x: np.tanh(h) + x + 0.1 * h.mean(axis=-2, keepdims=True), state_size=2, input_size=2
    )
    assert "batch = stack of singles" in {one.name for one in gl.selfcheck(leaky).checks if not one.passed}


@dataclass(frozen=True, eq=False, repr=False)
class LeakyIntegrator(gl.Cell):
    """A user's own cell, as CONTRIBUTING shows it: h_t = a h_{t−1} + W_xh x_t + b_h, a one number a unit."""

    W_xh: np.ndarray
    a: np.ndarray
    b_h: np.ndarray

    name = "leaky"
    block_names = ("h",)
    parameter_names = ("W_xh", "a", "b_h")

    @property
    def hidden_size(self):
        return len(self.a)

    @property
    def dtype(self):
        return self.a.dtype

    def step(self, drive, state):
        return (self.a[:, None] * state[0] + drive,), {}

    def linearise(self, record, before, after):
        return RNNLocal(np.broadcast_to(self.a[:, None], after[0].shape))

    def jvp(self, local, tangent):
        return (local.slope * tangent[0],)

    def vjp(self, local, adjoint):
        return (local.slope * adjoint[0],), adjoint[0]

    def parameter_pairs(self, record, before, pre_grad, x):
        return {
            "W_xh": [(pre_grad, x)],
            "a": [(pre_grad * before[0], None)],
            "b_h": [(pre_grad, None)],
        }


def test_a_users_own_cell_is_checked_and_traced():
    rng = np.random.default_rng(0)
    cell = LeakyIntegrator(rng.normal(size=(3, 2)), np.array([0.9, 0.5, 1.1]), np.zeros(3))
    gl.selfcheck(cell).raise_if_failed()
    trace = gl.trace(cell, rng.normal(size=(7, 2, 2)), gl.projection(np.ones((2, 3))))
    assert np.allclose(np.asarray(trace.grad["h"])[0], cell.a**7, rtol=1e-13, atol=0)


class StepReturnsAnArray(gl.RNN):
    def step(self, drive, state):
        return super().step(drive, state)[0][0]


class StepWithoutRecord(gl.RNN):
    def step(self, drive, state):
        return super().step(drive, state)[0]


class NoGatesKept(gl.LSTM):
    def step(self, drive, state):
        after, record = super().step(drive, state)
        return after, {"a": record["a"]}


class OneGateKept(gl.LSTM):
    def step(self, drive, state):
        after, record = super().step(drive, state)
        return after, record | {"gates": record["gates"][..., :5, :]}


class JvpReturnsAnArray(gl.RNN):
    def jvp(self, local, tangent):
        return super().jvp(local, tangent)[0]


class VjpWithoutPreGrad(gl.RNN):
    def vjp(self, local, adjoint):
        return super().vjp(local, adjoint)[0]


class LineariseReturnsAnArray(gl.RNN):
    def linearise(self, record, before, after):
        return super().linearise(record, before, after).slope


class ParameterForgotten(gl.RNN):
    def parameter_pairs(self, record, before, pre_grad, x):
        return {"W_xh": [(pre_grad, x)], "b_h": [(pre_grad, None)]}


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (
            StepReturnsAnArray,
            r"^step must return \(state, record\), state a tuple of 1 array \(…, H, N\), .*; got ndarray \(5, 4\)$",
        ),
        (StepWithoutRecord, r"^step must return \(state, record\), .*; got \(ndarray \(5, 4\),\)$"),
        (NoGatesKept, r"^step must keep the gates \(i, f, g, o\) in record\[\"gates\"\]; got a record of \['a'\]$"),
        (OneGateKept, r"^record\[\"gates\"\] must stack 4 blocks of H rows, \(…, 4H, N\); got ndarray \(5, 4\)$"),
        (LineariseReturnsAnArray, r"^linearise must return a NamedTuple of arrays \(…, F, N\); got ndarray \(5, 4\)$"),
        (JvpReturnsAnArray, r"^jvp must return a tuple of 1 array \(…, H, N\); got ndarray \(5, 4\)$"),
        (
            VjpWithoutPreGrad,
            r"^vjp must return \(state, pre_grad\), .* an array .*; got \(ndarray \(5, 4\),\)$",
        ),
    ],
)
def test_a_method_of_another_structure_is_named(mistake, message):
    with pytest.raises(InputError, match=message):
        gl.selfcheck(mistake.init(3, 5, rng=0))


def test_the_worst_parameter_is_named():
    (found,) = (one for one in gl.selfcheck(BiasForgotten.init(3, 5, rng=0)).checks if not one.passed)
    assert found.reason.endswith("worst: W_hh, rows of block n")
    (found,) = (one for one in gl.selfcheck(ParameterForgotten.init(3, 5, rng=0)).checks if not one.passed)
    assert found.reason == "parameter_pairs has no W_hh"


def test_only_cells_are_checked():
    with pytest.raises(InputError, match="takes a gradlab cell, got int"):
        gl.selfcheck(3)
