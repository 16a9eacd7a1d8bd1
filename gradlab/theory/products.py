"""Products of independent Gaussian matrices: the one ensemble whose finite-size exponents are known exactly.

``P = J_T … J_1``, each ``J_t`` with independent entries N(0, g²/N). It is an RNN of N identity units whose weights are
drawn anew at every step, and the null model for any other.

References
----------
C. M. Newman (1986), The distribution of Lyapunov exponents: exact results for random matrices, *Commun. Math. Phys.*
103, 121–126.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, polygamma

from gradlab.arrays.checks import number, positive
from gradlab.errors import InputError

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class NewmanExponents:
    """All Lyapunov exponents of a product of Gaussian matrices, exact at every N.

    Not those of a network with tied weights, and above all not those of a saturating one: the null model.

    Attributes
    ----------
    exponents : array (N,)
        ``λ_i = ½ [ln 2 + ψ((N − i + 1)/2) − ln N] + ln g``, i = 1 … N, largest first, nats per step.
    step_variance : array (N,)
        Variance of one step's ``ln R_ii`` in a QR decomposition, ``¼ ψ'((N − i + 1)/2)``. Steps are independent, so
        the mean over T of them has variance ``step_variance/T``: an exact z-test.
    """

    exponents: Array
    step_variance: Array


class GaussianGrowth(NamedTuple):
    """Law of ``ln‖P v‖²`` for a fixed unit vector v: a random walk of T independent steps, each ``ln(g² χ²_N / N)``.

    Attributes
    ----------
    mean_log_square : float
        ``E ln‖Pv‖² = T [ψ(N/2) + ln(2/N) + 2 ln g]``, nats.
    variance_log_square : float
        ``Var ln‖Pv‖² = T ψ'(N/2)``, nats².
    log_mean_square : float
        ``ln E‖Pv‖² = 2 T ln g``, nats: an average of norms, which a few lucky v dominate. It exceeds
        ``mean_log_square``: average logs, never norms.
    rate : float
        ``mean_log_square / 2T``: growth of ln‖Pv‖ (not squared), nats per step; it is Newman's λ₁.
    """

    mean_log_square: float
    variance_log_square: float
    log_mean_square: float
    rate: float


def newman_exponents(size: int, *, scale: float = 1.0) -> NewmanExponents:
    """Return the N exponents of a product of N × N matrices with entries N(0, scale²/N).

    Raises
    ------
    InputError
        for a size below 1, a scale that is not positive.

    Examples
    --------
    >>> newman_exponents(2).exponents.round(4)
    array([-0.2886, -0.9818])
    """
    N, log_scale = positive("size", size), _log_scale(scale)
    half = np.arange(N, 0, -1) / 2.0
    exponents = 0.5 * (math.log(2.0) + digamma(half) - math.log(N)) + log_scale
    return NewmanExponents(exponents, np.asarray(0.25 * polygamma(1, half)))


def gaussian_growth(size: int, steps: int, *, scale: float = 1.0) -> GaussianGrowth:
    """Return the law of ``ln‖P v‖²`` after T = ``steps`` factors of N = ``size``.

    Raises
    ------
    InputError
        for a size or a number of steps below 1, a scale that is not positive.

    Examples
    --------
    >>> round(gaussian_growth(64, 100).rate, 6)
    -0.007853
    """
    N, T, log_scale = positive("size", size), positive("steps", steps), _log_scale(scale)
    rate = 0.5 * (float(digamma(N / 2.0)) + math.log(2.0 / N)) + log_scale
    return GaussianGrowth(2.0 * T * rate, T * float(polygamma(1, N / 2.0)), 2.0 * T * log_scale, rate)


def _log_scale(value: object) -> float:
    scale = number("scale", value)
    if scale <= 0.0:
        raise InputError(f"scale must be above 0, got {scale:g}")
    return math.log(scale)
