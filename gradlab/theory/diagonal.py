"""Diagonal linear networks under white input, unit by unit an autoregression: what memory costs, in closed form.

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
    """Mean squares of ``h_t = λ h_{t−1} + x_t``, x white with variance v, once the start is forgotten.

    Attributes
    ----------
    state : float
        ``E h² = v / (1 − λ²)``.
    sensitivity : float
        ``E (∂h/∂λ)² = v (1 + λ²) / (1 − λ²)³``, the cube of the first as λ → 1, while ``∂h_T/∂h_t = λ^(T−t)``.
    """

    state: float
    sensitivity: float


def diagonal_memory(eigenvalue: float, *, input_var: float = 1.0) -> DiagonalMemory:
    """Return the mean square of a linear unit's state, and of its derivative by the unit's own weight.

    Raises
    ------
    InputError
        for an eigenvalue that is not between −1 and 1, of which neither has a limit.

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
