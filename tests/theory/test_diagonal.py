"""Diagonal linear networks: the closed form against the fixed point of the covariance, and against one long run."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import solve_discrete_lyapunov

from gradlab import theory
from gradlab.errors import InputError


@pytest.mark.parametrize("eigenvalue", [-0.95, 0.0, 0.5, 0.9, 0.99])
def test_diagonal_memory_is_the_stationary_covariance(eigenvalue: float) -> None:
    """(h, ∂h/∂λ) is a linear system driven through h: its covariance solves P = A P Aᵀ + Q."""
    A = np.array([[eigenvalue, 0.0], [1.0, eigenvalue]])
    P = solve_discrete_lyapunov(A, np.diag([0.7, 0.0]))
    np.testing.assert_allclose(theory.diagonal_memory(eigenvalue, input_var=0.7), np.diag(P), rtol=1e-8)


def test_diagonal_memory_at_the_numbers_of_the_ground_truths() -> None:
    """E15, in the digits in which they are given."""
    np.testing.assert_allclose(theory.diagonal_memory(0.9), [5.263, 263.9], rtol=2e-4)


@pytest.mark.parametrize("eigenvalue", [1.0, -1.0, 1.1])
def test_without_a_limit(eigenvalue: float) -> None:
    with pytest.raises(InputError, match=rf"eigenvalue must lie between −1 and 1, got {eigenvalue}"):
        theory.diagonal_memory(eigenvalue)
