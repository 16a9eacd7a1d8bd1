"""Every cell's jvp and vjp against derivatives that owe nothing to them (TRUTHS E28), saturated cells too."""

from __future__ import annotations

from copy import copy
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from oracles.compare import assert_normwise
from oracles.derivatives import by_drive, by_state, central, complex_step, drive_of
from oracles.family import FAMILY, columns, make

import gradlab as gl
from gradlab.cells import Cell
from gradlab.cells.base import FEW

Array = NDArray[Any]
D, H, N = 3, 6, 4
#: Scale 1 and biases of ½ stay unsaturated; at scale 6 with inputs six times as large many units do saturate.
SETTINGS = {"plain": (1.0, 1.0), "saturated": (6.0, 6.0)}
cases = pytest.mark.parametrize("name", FAMILY)
settings = pytest.mark.parametrize("setting", SETTINGS)


def prepare(name: str, setting: str) -> tuple[Any, Array, Array]:
    """Return the cell, inputs as columns ``(D, N)`` and joint states ``(S, N)``."""
    scale, size = SETTINGS[setting]
    cell = make(name, D, H, scale=scale)
    return cell, size * np.random.default_rng(11).standard_normal((D, N)), columns(cell, N)


def linearised(cell: Any, x: Array, joint: Array) -> Any:
    before = cell.split(joint)
    after, record = cell.step(drive_of(cell, x), before)
    return cell.linearise(record, before, after)


def jacobian(cell: Any, x: Array, joint: Array) -> Array:
    """Return the cell's own J ``(S, S)`` at one point, by its jvp on unit vectors."""
    local = linearised(cell, x[:, None], joint[:, None])
    return np.concatenate(cell.jvp(local, cell.split(np.eye(cell.state_size))))


@settings
@cases
def test_jvp_is_the_complex_step(name: str, setting: str) -> None:
    cell, x, joint = prepare(name, setting)
    for n in range(N):
        expected = complex_step(by_state(cell, x[:, n]), joint[:, n])
        found = jacobian(cell, x[:, n], joint[:, n])
        assert_normwise(found, expected, 1e-13, "J", axis=None)
        # A step that mixes h with a candidate forms 1 − z: there the oracle, not J, loses digits in small rows.
        mixes = cell.additive_state == 0
        assert_normwise(found, expected, 1e-9 if mixes else 1e-12, "rows of J, each by itself")


@settings
@cases
def test_jvp_is_the_central_difference(name: str, setting: str) -> None:
    cell, x, joint = prepare(name, setting)
    for n in range(N):
        expected = central(by_state(cell, x[:, n]), joint[:, n])
        tolerance = 1e-8 if setting == "plain" else 1e-7  # third derivatives grow with the weights
        assert_normwise(jacobian(cell, x[:, n], joint[:, n]), expected, tolerance, "J", axis=None)


@settings
@cases
def test_vjp_is_the_transpose(name: str, setting: str, rng: np.random.Generator) -> None:
    """⟨u, J v⟩ = ⟨Jᵀ u, v⟩, an identity: 1e-13 of the product of the norms."""
    cell, x, joint = prepare(name, setting)
    local = linearised(cell, x, joint)
    u, v = rng.standard_normal((2, cell.state_size, N))
    forward = np.concatenate(cell.jvp(local, cell.split(v)))
    back = np.concatenate(cell.vjp(local, cell.split(u))[0])
    size = np.linalg.norm(forward, axis=0) * np.linalg.norm(u, axis=0) + 1e-300
    assert np.all(np.abs((u * forward).sum(0) - (back * v).sum(0)) <= 1e-13 * size)


@settings
@cases
def test_pre_activation_and_input_gradients(name: str, setting: str, rng: np.random.Generator) -> None:
    """uᵀ ∂s_t/∂drive by the complex step, with s_{t−1} held, block by block; dL/dx through the input drive too."""
    cell, x, joint = prepare(name, setting)
    u = rng.standard_normal((cell.state_size, N))
    _, pre_grad = cell.vjp(linearised(cell, x, joint), cell.split(u))
    for n in range(N):
        expected = u[:, n] @ complex_step(by_drive(cell, joint[:, n]), drive_of(cell, x[:, n : n + 1])[:, 0])
        for block, size in _blocks(cell):
            assert_normwise(pre_grad[block, n], expected[block], 1e-12, f"dL/da rows {block}, {size}")
        by_input = u[:, n] @ complex_step(lambda c, n=n: by_drive(cell, joint[:, n])(drive_of(cell, c)), x[:, n])
        assert_normwise(cell.input_vjp(pre_grad[:, n : n + 1])[:, 0], by_input, 1e-12, "dL/dx")


@pytest.mark.parametrize("inputs", [D, FEW + 1])
@cases
def test_a_pre_activation_moves_as_its_block_of_the_drive_does(name: str, inputs: int) -> None:
    """``∂a_k/∂drive_k = I``, and a_k depends on no block behind it: so a block of the drive stands for its a_k."""
    cell = make(name, inputs, H)
    drive, before = drive_of(cell, np.ones((inputs, 1))), cell.split(columns(cell, 1))

    def moved(shift: Array) -> Array:
        wide = tuple(np.repeat(part, shift.shape[1], axis=1).astype(shift.dtype) for part in before)
        return np.asarray(cell.step(shift, wide)[1]["a"])

    slopes = complex_step(moved, drive[:, 0])
    for block, _ in _blocks(cell):
        np.testing.assert_allclose(slopes[block, block], np.eye(H), rtol=0, atol=1e-14)


@pytest.mark.parametrize("inputs", [D, FEW + 1])
@cases
def test_the_input_drive_is_affine_in_the_input(name: str, inputs: int) -> None:
    """Where a cell inherits ``input_drive``, it is ``W_xh x + b_h``, by ``einsum``; missing rows of W_xh are zeros."""
    cell, x = make(name, inputs, H), np.random.default_rng(3).standard_normal((2, inputs, N))
    drive = cell.input_drive(x)
    assert drive.shape == (2, H * len(cell.block_names), N)
    if type(cell).input_drive is Cell.input_drive:
        weights = np.zeros((len(cell.b_h), inputs))
        weights[: len(cell.W_xh)] = cell.W_xh
        assert_normwise(drive, np.einsum("fd,tdn->tfn", weights, x) + cell.b_h[None, :, None], 1e-14, "drive")
    both = cell.input_drive(x[:1] + x[1:]) + cell.input_drive(0.0 * x[:1])
    assert_normwise(drive[:1] + drive[1:], both, 1e-13, "sum of two inputs' drives")


def _blocks(cell: Any) -> list[tuple[slice, str]]:
    size = cell.hidden_size
    return [(slice(k * size, (k + 1) * size), name) for k, name in enumerate(cell.block_names)]


@cases
def test_leading_axes_and_columns_do_not_mix(name: str) -> None:
    """Steps and tangents stacked in front give what each gives alone, the last bit aside (BLAS orders its sums)."""
    cell, x, joint = prepare(name, "plain")
    local = linearised(cell, x, joint)
    tangents = np.random.default_rng(5).standard_normal((3, cell.state_size, N))
    together = np.concatenate(cell.jvp(local, cell.split(tangents)), axis=-2)
    back = np.concatenate(cell.vjp(local, cell.split(tangents))[0], axis=-2)
    for k, tangent in enumerate(tangents):
        for n in range(N):
            one = linearised(cell, x[:, n : n + 1], joint[:, n : n + 1])
            alone = cell.split(tangent[:, n : n + 1])
            assert_normwise(together[k, :, n], np.concatenate(cell.jvp(one, alone))[:, 0], 1e-14, "J v")
            assert_normwise(back[k, :, n], np.concatenate(cell.vjp(one, alone)[0])[:, 0], 1e-14, "Jᵀ u")


@cases
def test_step_changes_none_of_its_arguments(name: str) -> None:
    cell, x, joint = prepare(name, "plain")
    drive = drive_of(cell, x)
    given = drive.copy(), joint.copy()
    after, record = cell.step(drive, cell.split(joint))
    kept = {key: array.copy() for key, array in record.items()}
    local = cell.linearise(record, cell.split(joint), after)
    cell.vjp(local, cell.split(np.ones_like(joint)))
    np.testing.assert_array_equal(drive, given[0])
    np.testing.assert_array_equal(joint, given[1])
    for key, array in record.items():
        np.testing.assert_array_equal(array, kept[key])


def moved(cell: Cell, name: str, shift: Array) -> Cell:
    """Return the cell with complex parameters, one of them shifted; a cell's own checks would refuse them."""
    found = copy(cell)
    for key, array in cell.parameters.items():
        object.__setattr__(found, key, array + (shift if key == name else 0j))
    return found


@cases
def test_parameter_gradients_are_the_complex_step(name: str) -> None:
    """The oracle runs the cell's step alone and moves every entry of every parameter."""
    T, B, hidden = 4, 2, 3
    cell, rng = make(name, 2, hidden), np.random.default_rng(12)
    x, v = rng.standard_normal((T, B, 2)), rng.standard_normal((T, B, hidden))
    found = gl.trace(cell, x, gl.projection(v)).param_grads
    assert set(found) == set(cell.parameters)

    def mean_loss(key: str, shift: Array) -> complex:
        other, total = moved(cell, key, shift), 0j
        state = cell.split(np.zeros((cell.state_size, B), complex))
        for drive, weights in zip(other.input_drive(x.swapaxes(1, 2)), v, strict=True):
            state = other.step(drive, state)[0]
            total += (weights.T * state[0]).sum()
        return total / B

    for key, array in cell.parameters.items():
        expected = np.zeros_like(array)
        for place in np.ndindex(array.shape):
            shift = np.zeros(array.shape, complex)
            shift[place] = 1e-30j
            expected[place] = mean_loss(key, shift).imag / 1e-30
        assert_normwise(found[key], expected, 1e-12, key, axis=None)
