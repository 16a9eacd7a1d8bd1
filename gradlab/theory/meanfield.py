"""Mean field of the RNN ``a_t = W φ(a_{t−1}) + noise`` as H → ∞: how large it is, how fast its gradients grow.

With ``W_ij ~ N(0, g²/H)`` and noise N(0, s²), independent over units and steps, every pre-activation is N(0, q), where

    q = g² ⟨φ²⟩_q + s²,        ⟨f⟩_q the average of f(a) over a ~ N(0, q).

A perturbation's, and a gradient's, *squared* norm grows by ``χ = g² ⟨φ'²⟩_q`` a step; its log norm by ``½ ln χ``.

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
#: Scales and variances beyond this square to numbers that float64 does not hold.
LARGEST = 1e100
#: Nodes reach to where a factor of the integrand is below 1e-17: 9 standard deviations of a, or 24 of sech's units.
REACH_GAUSS, REACH_SECH = 9.0, 24.0
#: Nodes per unit of length; the trapezoidal rule's error for ⟨sech⁸⟩ is then about e^{−π²·8}.
DENSITY = 8


@dataclass(frozen=True)
class MeanField:
    """What mean-field theory says of an RNN with given activation, scale and input.

    It holds for an RNN without gates. The weights are taken as drawn anew at every step; fixed ones agree as long as
    the state keeps changing. Where it rests (no input, χ < 1) or never matters (identity), all steps have the same
    Jacobian and its exponents are those of one matrix, ``ln|λ_i|``: as H → ∞ the largest is ``rate`` all the same, but
    ``shift`` is not that of ln ρ(W), which lies *above* its limit. Just above tanh's edge without input, 1 < g < 1.4,
    networks of thousands of units are still far from ``rate``. It does **not** hold for gated cells with fixed weights
    (:func:`~gradlab.theory.gated_exponents`).

    Attributes
    ----------
    chi : float
        ``χ = g² ⟨φ'²⟩_q``, growth of the *squared* norm of a perturbation or a gradient per step.
    rate : float
        ``½ ln χ``, growth of its log norm, nats per step, as H → ∞: the largest Lyapunov exponent.
    variance : float
        ``q = g² ⟨φ²⟩_q + s²`` of the pre-activations, at which they stay; inf where they diverge, nan where every q
        stays (ReLU and identity without input, exactly at the edge). Of a logistic network ⟨φ²⟩ holds the squared mean
        activation too: W has zero mean, so that φ's *second moment* is what is passed on.
    kurtosis : float
        ``κ = ⟨φ'⁴⟩/⟨φ'²⟩²`` of the slopes; 1 if all are equal.
    shift : float
        Add it to ``rate`` for a network of ``size`` units, nats per step: about ``−(3κ − 1)/4H``, 0 without a size.
        The log of a squared norm, a mean of H terms, lies on average below the log of its expectation by half its
        relative variance ``(3κ − 1)/H``, and the rate takes half of that. It is a mean over networks: a single ReLU or
        logistic one may lie further from it than the shift is long.
    """

    chi: float
    rate: float
    variance: float
    kurtosis: float
    shift: float


class CriticalScale(NamedTuple):
    """The ``scale`` g at which ``χ = 1``, and the ``variance`` q of the pre-activations there (as in MeanField).

    Under a vanishing input χ is flat: rounding leaves the two uncertain by up to 1e-9 where ``input_var`` < 1e-12.
    """

    scale: float
    variance: float


class _Moments(NamedTuple):
    """Averages over N(0, q) as functions of q: ``square`` ⟨φ²⟩, ``slope_square`` ⟨φ'²⟩, ``slope_fourth`` ⟨φ'⁴⟩.

    ``linear`` activations, φ(ca) = c φ(a) for c > 0, have the same slopes at every q, inf too.
    """

    square: Callable[[float], float]
    slope_square: Callable[[float], float]
    slope_fourth: Callable[[float], float]
    linear: bool = False


def _nodes(q: float) -> tuple[Array, Array]:
    """Return nodes a and weights of the trapezoidal rule for averages over a ~ N(0, q).

    Of a function that is analytic near the real axis and decays, the rule's error falls exponentially with the density
    of its nodes. Gauss–Hermite nodes spread like √q instead, and miss what happens within |a| < 1 where q is large.
    """
    std = math.sqrt(q)
    reach = min(REACH_GAUSS, REACH_SECH / std)
    step = min(1.0, 1.0 / std) / DENSITY
    half = math.ceil(reach / step)
    z = step * np.arange(-half, half + 1)
    return std * z, step * np.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)


def _sech(power: int, q: float) -> float:
    """Return ⟨sech^power⟩_q for an even power, 1e-15 relative at every q."""
    if q == 0.0:
        return 1.0
    a, weight = _nodes(q)
    decay = np.exp(-2.0 * np.abs(a))
    return float(weight @ (4.0 * decay / (1.0 + decay) ** 2) ** (power // 2))


def _tanh_square(q: float) -> float:
    """Return ⟨tanh²⟩_q, 1e-15 relative: by itself where it is small, as 1 − ⟨sech²⟩ where that is."""
    if q >= 1.0:
        return 1.0 - _sech(2, q)
    if q == 0.0:
        return 0.0
    a, weight = _nodes(q)
    return float(weight @ np.tanh(a) ** 2)


#: Of the logistic function σ(a) = ½ + ½ tanh(a/2).
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
    scale : g > 0.
    input_var : s² ≥ 0, the variance of what a pre-activation gets from elsewhere, ``W_xh x_t`` with fresh inputs at
        every step; 0 is the autonomous network.
    size : H, for ``shift``.

    Raises
    ------
    InputError
        for an unknown activation, a scale that is not positive, a negative variance, a size below 1.

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
    """Return the scale at which ``χ = 1``: below it gradients vanish, above it they explode.

    Input saturates units, so it moves the edge up: tanh's from 1 to 1.41 at ``input_var=0.1``. ReLU's is √2 and that of
    the identity 1, whatever the input. The caveats are those of :class:`MeanField`.

    Parameters
    ----------
    activation, input_var
        as in :func:`mean_field`.

    Raises
    ------
    InputError
        for an unknown activation, a negative variance.

    Examples
    --------
    >>> round(critical_scale("tanh", input_var=0.1).scale, 6)
    1.409281
    """
    moments = MOMENTS[choice("activation", activation, MOMENTS)]
    q = _variance_at_edge(moments, _variance(input_var))
    return CriticalScale(1.0 / math.sqrt(moments.slope_square(q)), q)


def _variance_at_edge(moments: _Moments, s2: float) -> float:
    """Return the q at which ``χ = 1``, with ``χ = (q − s²) ⟨φ'²⟩_q/⟨φ²⟩_q``, which only increases with q."""
    if moments.linear:
        return math.inf if s2 > 0.0 else math.nan
    if s2 == 0.0 and moments.square(0.0) == 0.0:
        return 0.0

    def surplus(recurrent: float) -> float:
        """χ − 1 where the recurrent part of q, g²⟨φ²⟩, has this value."""
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
        """Relative growth of q in one step; ⟨φ²⟩_q/q, and with it this, only decreases."""
        if q == 0.0:
            return g * g * moments.slope_square(0.0) - 1.0
        return (g * g * moments.square(q) + s2) / q - 1.0

    return _root(surplus, g * g * moments.square(0.0) + s2, g * g + s2)


def _stationary_linear(gain: float, s2: float) -> float:
    """Return the solution of ``q = gain · q + s²``; from any q > 0 it diverges if gain > 1."""
    if gain < 1.0:
        return s2 / (1.0 - gain)
    return math.nan if gain == 1.0 and s2 == 0.0 else math.inf


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """Return the root between ``low`` and ``high``, to rounding in relative terms however small it is."""
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
