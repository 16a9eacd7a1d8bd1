"""Products of independent Gaussian matrices, whose Lyapunov exponents are known exactly at finite size.

The product is ``P = J_T … J_1``, and each ``J_t`` has independent entries N(0, g²/N). It describes an RNN of N identity
units whose weights are drawn anew at every step, and serves as the null model of other networks.

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
    """All N Lyapunov exponents of a product of Gaussian matrices, exact at every N.

    They are a null model. Networks with tied weights, and saturating networks even more so, have other exponents.

    Attributes
    ----------
    exponents : array (N,)
        ``λ_i = ½ [ln 2 + ψ((N − i + 1)/2) − ln N] + ln g``, i = 1 … N, largest first, nats per step.
    step_variance : array (N,)
        Variance of ``ln R_ii`` of one step in a QR decomposition, ``¼ ψ'((N − i + 1)/2)``. Steps are independent, so
        the mean over T steps has the variance ``step_variance/T``, which gives a z-test.
    """

    exponents: Array
    step_variance: Array


class GaussianGrowth(NamedTuple):
    """Moments of ``ln‖P v‖²`` for a fixed unit vector v: a sum of T independent terms ``ln(g² χ²_N / N)``.

    Attributes
    ----------
    mean_log_square : float
        ``E ln‖Pv‖² = T [ψ(N/2) + ln(2/N) + 2 ln g]``, nats.
    variance_log_square : float
        ``Var ln‖Pv‖² = T ψ'(N/2)``, nats².
    log_mean_square : float
        ``ln E‖Pv‖² = 2 T ln g``, nats. Rare large norms dominate this average, so it exceeds ``mean_log_square``.
        Average the logarithms of norms instead.
    rate : float
        ``mean_log_square / 2T``: growth of ``ln‖Pv‖`` (not squared) per step, nats. It equals Newman's λ₁.
    """

    mean_log_square: float
    variance_log_square: float
    log_mean_square: float
    rate: float


def newman_exponents(size: int, *, scale: float = 1.0) -> NewmanExponents:
    """Return the N exponents of a product of N × N matrices with entries N(0, scale²/N).

    Parameters
    ----------
    size : int
        N, at least 1.
    scale : float
        g > 0.

    Returns
    -------
    NewmanExponents
        The exponents, largest first, nats per step, and the variance of one step.

    Raises
    ------
    InputError
        If the size is below 1, or the scale is not positive.

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
    """Return the mean and the variance of ``ln‖P v‖²`` for a product of T factors of size N × N.

    Parameters
    ----------
    size : int
        N, at least 1.
    steps : int
        T, at least 1.
    scale : float
        g > 0.

    Returns
    -------
    GaussianGrowth
        Moments in nats, and the rate in nats per step.

    Raises
    ------
    InputError
        If the size or the number of steps is below 1, or the scale is not positive.

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
