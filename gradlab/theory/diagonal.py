"""Diagonal linear networks under white input, in closed form: each unit is a first-order autoregression.

References
----------
N. Zucchet & A. Orvieto (2024), Recurrent neural networks: vanishing and exploding gradients are not the end of the
story.
"""

from __future__ import annotations

from typing import NamedTuple

from gradlab.arrays.checks import number
from gradlab.errors import InputError


class DiagonalMemory(NamedTuple):
    """Stationary mean squares of ``h_t = λ h_{t−1} + x_t``, with x white of variance v.

    Attributes
    ----------
    state : float
        ``E h² = v / (1 − λ²)``.
    sensitivity : float
        ``E (∂h/∂λ)² = v (1 + λ²) / (1 − λ²)³``. As λ → 1 it grows like the cube of ``state``, although
        ``∂h_T/∂h_t = λ^(T−t)`` stays bounded.
    """

    state: float
    sensitivity: float


def diagonal_memory(eigenvalue: float, *, input_var: float = 1.0) -> DiagonalMemory:
    """Return the stationary mean squares of a linear unit's state and of its derivative by the recurrent weight.

    Parameters
    ----------
    eigenvalue : float
        λ, the recurrent weight of the unit, in (−1, 1).
    input_var : float
        v ≥ 0, the variance of the input.

    Returns
    -------
    DiagonalMemory
        ``state`` and ``sensitivity``.

    Raises
    ------
    InputError
        If the eigenvalue is not between −1 and 1, where neither mean square has a limit, or the variance is negative.

    Examples
    --------
    >>> found = diagonal_memory(0.9)
    >>> round(found.state, 3), round(found.sensitivity, 1)
    (5.263, 263.9)
    """
    square = number("eigenvalue", eigenvalue) ** 2
    variance = number("input_var", input_var, least=0.0)
    if square >= 1.0:
        raise InputError(f"eigenvalue must lie between −1 and 1, got {eigenvalue}")
    return DiagonalMemory(variance / (1.0 - square), variance * (1.0 + square) / (1.0 - square) ** 3)
