"""Derivatives that owe nothing to the cells' own: the complex step, central differences, sixty decimal digits."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
#: A complex step subtracts nothing, so that it may be as small as one likes.
COMPLEX = 1e-30
#: The cube root of eps, where a central difference's two errors meet.
CENTRAL = 6e-6


def complex_step(function: Callable[[Array], Array], at: Array) -> Array:
    """Return the Jacobian ``(m, n)`` of a function of columns, ``(n, N) -> (m, N)``, at the point ``(n,)``."""
    return np.asarray(function(at[:, None] + COMPLEX * 1j * np.eye(len(at))).imag / COMPLEX)


def central(function: Callable[[Array], Array], at: Array) -> Array:
    """Return the same Jacobian from central differences."""
    steps = CENTRAL * np.eye(len(at))
    return np.asarray((function(at[:, None] + steps) - function(at[:, None] - steps)) / (2 * CENTRAL))


def drive_of(cell: Any, x: Array) -> Array:
    """Return the input drive ``(kH, N)`` of one step for inputs ``(D, N)``."""
    return np.asarray(cell.input_drive(x[None])[0])


def by_state(cell: Any, x: Array) -> Callable[[Array], Array]:
    """Return s_{t−1} ``(S, N)`` → s_t ``(S, N)`` for the input ``x (D,)``."""
    drive = drive_of(cell, x[:, None])

    def function(joint: Array) -> Array:
        with np.errstate(all="ignore"):
            return np.concatenate(cell.step(drive + 0.0 * joint[:1], cell.split(joint))[0])

    return function


def by_drive(cell: Any, joint: Array) -> Callable[[Array], Array]:
    """Return the map of the input drive ``(kH, N)`` to s_t ``(S, N)``, from the state ``(S,)``."""

    def function(drive: Array) -> Array:
        before = np.repeat(joint[:, None], drive.shape[1], axis=1).astype(drive.dtype)
        with np.errstate(all="ignore"):
            return np.concatenate(cell.step(drive, cell.split(before))[0])

    return function


def kept(cell: Any, a: Array, joint: Array, zeroed: set[str]) -> Array:
    """Return the factor by which a step keeps its additive state, unit by unit, ``(H, N)``.

    The step is taken with the pre-activations ``a (kH, N)`` held fixed: they are its drive, and the parameters
    ``zeroed``, recurrent weights and biases, are zero. Then the additive state reaches its successor directly only.
    """
    still = cell.with_parameters({key: 0.0 * cell.parameters[key] for key in zeroed})
    place = cell.additive_state
    before = [part.astype(complex) for part in cell.split(joint)]
    before[place] = before[place] + COMPLEX * 1j
    return np.asarray(still.step(a, tuple(before))[0][place].imag / COMPLEX)


def run(cell: Any, x: Array, joint: Array, first: int) -> list[Array]:
    """Return the joint states s_first … s_T ``(S, N)`` for ``x (T, D)``, from ``joint`` at t = first."""
    states = [joint]
    for t in range(first, len(x)):
        states.append(by_state(cell, x[t])(states[-1]))
    return states


def adjoint(cell: Any, x: Array, start: Array, v: Array) -> Array:
    """Return ∂L/∂s_t ``(T+1, S)`` of ``L = Σ_t v_t · h_t``, each state moved, the rest of its step held."""
    H, T = cell.hidden_size, len(x)
    path = run(cell, x, start[:, None], 0)
    answer = np.zeros((T + 1, len(start)))
    for t in range(T + 1):
        perturbed = run(cell, x, path[t] + COMPLEX * 1j * np.eye(len(start)), t)
        answer[t] = sum((v[t + k - 1] @ s[:H] for k, s in enumerate(perturbed) if t + k > 0), 0j).imag / COMPLEX
    return answer


def exact_tanh_derivative(a: float) -> float:
    """Return sech²(a) to sixty digits, rounded once."""
    with localcontext(prec=60):
        decay = (Decimal(-2) * abs(Decimal(a))).exp()
        return float(4 * decay / (1 + decay) ** 2)


def exact_logistic(a: float) -> float:
    """Return σ(a) to sixty digits, rounded once."""
    with localcontext(prec=400):
        return float(1 / (1 + (-Decimal(a)).exp()))


def exact_logistic_derivative(a: float) -> float:
    """Return σ'(a) to sixty digits, rounded once."""
    with localcontext(prec=60):
        decay = (-abs(Decimal(a))).exp()
        return float(decay / (1 + decay) ** 2)
