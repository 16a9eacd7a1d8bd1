"""Mean field of the RNN ``a_t = W φ(a_{t−1}) + noise`` as H → ∞: the variance of its units, the rate of its gradients.

With ``W_ij ~ N(0, g²/H)`` and noise N(0, s²), independent over units and steps, every pre-activation is N(0, q), where

    q = g² ⟨φ²⟩_q + s²,        ⟨f⟩_q the average of f(a) over a ~ N(0, q).

The *squared* norm of a perturbation or a gradient grows by the factor ``χ = g² ⟨φ'²⟩_q`` per step, and its log norm by
``½ ln χ``.

References
----------
H. Sompolinsky, A. Crisanti, H. J. Sommers (1988), Chaos in random neural networks, *Phys. Rev. Lett.* 61, 259:
the edge g = 1 without noise.
L. Molgedey, J. Schuchhardt, H. G. Schuster (1992), Suppressing chaos in neural networks by noise,
*Phys. Rev. Lett.* 69, 3717: noise moves the edge up.
B. Poole, S. Lahiri, M. Raghu, J. Sohl-Dickstein, S. Ganguli (2016), Exponential expressivity in deep neural networks
through transient chaos, *NeurIPS*: the equations of q and χ; S. S. Schoenholz, J. Gilmer, S. Ganguli,
J. Sohl-Dickstein (2017), Deep information propagation, *ICLR*: χ for gradients.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from gradlab.arrays.checks import choice, number, positive
from gradlab.errors import InputError

Array = NDArray[Any]
#: Largest scale and variance; products of larger ones may overflow float64.
LARGEST = 1e100
#: The nodes extend until a factor of the integrand is below 1e-17: |a| up to 9 standard deviations, or up to 24 (sech).
REACH_GAUSS, REACH_SECH = 9.0, 24.0
#: Nodes per unit of length; the error of the trapezoidal rule for ⟨sech⁸⟩ is then about e^{−π²·8}.
DENSITY = 8


@dataclass(frozen=True)
class MeanField:
    """Mean-field prediction for an RNN with a given activation, scale and input.

    The theory is for an RNN without gates. It takes the weights as drawn anew at every step; fixed weights agree as
    long as the state keeps changing. If the state rests (no input, χ < 1) or does not matter (identity), all steps have
    the same Jacobian, and the exponents are ``ln|λ_i|`` of that one matrix. As H → ∞ the largest is still ``rate``.
    The correction ``shift`` does not apply then: ln ρ(W) lies *above* its limit. Just above the edge of tanh without
    input, 1 < g < 1.4, networks of thousands of units are still far from ``rate``. The theory does **not** hold for
    gated cells with fixed weights (:func:`~gradlab.theory.gated_exponents`).

    Attributes
    ----------
    chi : float
        ``χ = g² ⟨φ'²⟩_q``, the factor per step of the *squared* norm of a perturbation or a gradient.
    rate : float
        ``½ ln χ``, the growth of its log norm, nats per step, as H → ∞: the largest Lyapunov exponent.
    variance : float
        ``q = g² ⟨φ²⟩_q + s²``, the stationary variance of the pre-activations. It is inf if they diverge, and nan if
        every q is stationary (ReLU and identity without input, exactly at the edge). For a logistic network ⟨φ²⟩
        includes the squared mean activation: W has zero mean, so the *second moment* of φ enters.
    kurtosis : float
        ``κ = ⟨φ'⁴⟩/⟨φ'²⟩²`` of the slopes; 1 if all are equal.
    shift : float
        Finite-size correction to add to ``rate`` for ``size`` units, nats per step: about ``−(3κ − 1)/4H``, 0 without a
        size. A squared norm is a mean of H terms. The mean of its log lies below the log of its mean by half its
        relative variance ``(3κ − 1)/H``, and the rate takes half of that. The correction is a mean over networks: a
        single ReLU or logistic network may deviate from the corrected rate by more than the shift.
    """

    chi: float
    rate: float
    variance: float
    kurtosis: float
    shift: float


class CriticalScale(NamedTuple):
    """The scale at which ``χ = 1``.

    As the input vanishes, χ becomes flat. For ``input_var`` < 1e-12, rounding limits both numbers to about 1e-9.

    Attributes
    ----------
    scale : float
        The scale g.
    variance : float
        Variance q of the pre-activations at this scale, as in `MeanField`.
    """

    scale: float
    variance: float


class _Moments(NamedTuple):
    """Averages over N(0, q) as functions of q: ``square`` ⟨φ²⟩, ``slope_square`` ⟨φ'²⟩, ``slope_fourth`` ⟨φ'⁴⟩.

    ``linear`` marks activations with φ(ca) = c φ(a) for c > 0. Their slope averages do not depend on q, even at inf.
    """

    square: Callable[[float], float]
    slope_square: Callable[[float], float]
    slope_fourth: Callable[[float], float]
    linear: bool = False


def _nodes(q: float) -> tuple[Array, Array]:
    """Return nodes a and weights of the trapezoidal rule for averages over a ~ N(0, q), both ``(n,)``.

    For an analytic function that decays, the error of the rule falls exponentially with the density of its nodes.
    Gauss–Hermite nodes spread like √q instead, and undersample |a| < 1 if q is large.
    """
    std = math.sqrt(q)
    reach = min(REACH_GAUSS, REACH_SECH / std)
    step = min(1.0, 1.0 / std) / DENSITY
    half = math.ceil(reach / step)
    z = step * np.arange(-half, half + 1)
    return std * z, step * np.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)


def _sech(power: int, q: float) -> float:
    """Return ⟨sech^power⟩_q for an even power, with a relative error of 1e-15 at every q."""
    if q == 0.0:
        return 1.0
    a, weight = _nodes(q)
    decay = np.exp(-2.0 * np.abs(a))
    return float(weight @ (4.0 * decay / (1.0 + decay) ** 2) ** (power // 2))


def _tanh_square(q: float) -> float:
    """Return ⟨tanh²⟩_q with a relative error of 1e-15: directly for q < 1, as 1 − ⟨sech²⟩_q otherwise."""
    if q >= 1.0:
        return 1.0 - _sech(2, q)
    if q == 0.0:
        return 0.0
    a, weight = _nodes(q)
    return float(weight @ np.tanh(a) ** 2)


#: Averages per activation. Those of the logistic function follow from σ(a) = ½ + ½ tanh(a/2).
MOMENTS = {
    "tanh": _Moments(_tanh_square, lambda q: _sech(4, q), lambda q: _sech(8, q)),
    "relu": _Moments(lambda q: q / 2, lambda q: 0.5, lambda q: 0.5, linear=True),
    "logistic": _Moments(
        lambda q: 0.25 + 0.25 * _tanh_square(q / 4), lambda q: _sech(4, q / 4) / 16, lambda q: _sech(8, q / 4) / 256
    ),
    "identity": _Moments(lambda q: q, lambda q: 1.0, lambda q: 1.0, linear=True),
}


def mean_field(activation: str = "tanh", *, scale: float, input_var: float = 0.0, size: int | None = None) -> MeanField:
    """Return χ, the rate and the variance of an RNN with ``W_ij ~ N(0, scale²/H)``.

    Parameters
    ----------
    activation : "tanh", "relu", "logistic" or "identity"
        The activation φ.
    scale : float
        g > 0.
    input_var : float
        s² ≥ 0, the variance of the input drive ``W_xh x_t``, with fresh inputs at every step. 0 is the autonomous
        network.
    size : int, optional
        H, for ``shift``.

    Returns
    -------
    MeanField
        The prediction as H → ∞, with its finite-size correction ``shift``.

    Raises
    ------
    InputError
        If the activation is unknown, the scale is not positive, the variance is negative, or the size is below 1.

    Examples
    --------
    >>> round(mean_field("tanh", scale=1.5, input_var=0.1).chi, 6)
    1.053798
    """
    moments = MOMENTS[choice("activation", activation, MOMENTS)]
    g, s2 = _scale(scale), _variance(input_var)
    q = _stationary(moments, g, s2)
    square = moments.slope_square(q)
    kurtosis = moments.slope_fourth(q) / square**2
    shift = 0.0 if size is None else -(3.0 * kurtosis - 1.0) / (4.0 * positive("size", size))
    chi = g * g * square
    return MeanField(chi, 0.5 * math.log(chi), q, kurtosis, shift)


def critical_scale(activation: str = "tanh", *, input_var: float = 0.0) -> CriticalScale:
    """Return the scale at which ``χ = 1``: gradients vanish below it and explode above it.

    Input saturates units and so moves the edge up: for tanh from 1 to 1.41 at ``input_var=0.1``. The edge of ReLU is √2
    and that of the identity is 1, for any input. The caveats of :class:`MeanField` apply.

    Parameters
    ----------
    activation, input_var
        As in :func:`mean_field`.

    Returns
    -------
    CriticalScale
        The scale, and the variance of the pre-activations at it.

    Raises
    ------
    InputError
        If the activation is unknown, or the variance is negative.

    Examples
    --------
    >>> round(critical_scale("tanh", input_var=0.1).scale, 6)
    1.409281
    """
    moments = MOMENTS[choice("activation", activation, MOMENTS)]
    q = _variance_at_edge(moments, _variance(input_var))
    return CriticalScale(1.0 / math.sqrt(moments.slope_square(q)), q)


def _variance_at_edge(moments: _Moments, s2: float) -> float:
    """Return the q at which ``χ = 1``; ``χ = (q − s²) ⟨φ'²⟩_q/⟨φ²⟩_q`` increases with q."""
    if moments.linear:
        return math.inf if s2 > 0.0 else math.nan
    if s2 == 0.0 and moments.square(0.0) == 0.0:
        return 0.0

    def surplus(recurrent: float) -> float:
        """Return χ − 1 for this recurrent part of q, g²⟨φ²⟩."""
        q = recurrent + s2
        return recurrent * moments.slope_square(q) / moments.square(q) - 1.0

    high = 1.0
    while surplus(high) < 0.0:
        high *= 2.0
    return _root(surplus, 0.0, high) + s2


def _stationary(moments: _Moments, g: float, s2: float) -> float:
    """Return the stable solution of ``q = g² ⟨φ²⟩_q + s²``."""
    if moments.linear:
        return _stationary_linear(g * g * moments.slope_square(1.0), s2)
    resting = s2 == 0.0 and moments.square(0.0) == 0.0
    if resting and g * g * moments.slope_square(0.0) <= 1.0:
        return 0.0

    def surplus(q: float) -> float:
        """Return the relative growth of q in one step; it decreases with q, as ⟨φ²⟩_q/q does."""
        if q == 0.0:
            return g * g * moments.slope_square(0.0) - 1.0
        return (g * g * moments.square(q) + s2) / q - 1.0

    return _root(surplus, g * g * moments.square(0.0) + s2, g * g + s2)


def _stationary_linear(gain: float, s2: float) -> float:
    """Return the solution of ``q = gain · q + s²``; inf if q diverges, nan if every q is a solution."""
    if gain < 1.0:
        return s2 / (1.0 - gain)
    return math.nan if gain == 1.0 and s2 == 0.0 else math.inf


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """Return the root between ``low`` and ``high``, with a relative error of about 1e-15 even for tiny roots."""
    return float(brentq(function, low, high, xtol=1e-300, rtol=1e-15, maxiter=5000))


def _scale(value: object) -> float:
    g = number("scale", value)
    if not 1.0 / LARGEST <= g <= LARGEST:
        raise InputError(f"scale must lie between {1 / LARGEST:g} and {LARGEST:g}, got {g:g}")
    return g


def _variance(value: object) -> float:
    s2 = number("input_var", value)
    if not 0.0 <= s2 <= LARGEST:
        raise InputError(f"input_var is a variance and must lie between 0 and {LARGEST:g}, got {s2:g}")
    return s2
