"""Gated cells: edges at the zero state, the same weights at every step against fresh ones, memory from biases.

References
----------
S. Kanai, Y. Fujiwara, S. Iwamura (2017), Preventing gradient explosions in gated recurrent units, *NeurIPS*: the GRU's
bifurcation at the zero state.
M. Chen, J. Pennington, S. S. Schoenholz (2018), Dynamical isometry and a mean field theory of RNNs, *ICML*: gated
cells with fresh weights.
C. Tallec, Y. Ollivier (2018), Can recurrent neural networks warp time?, *ICLR*: chrono biases.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, expn

from gradlab.arrays.checks import choice, finite, float_array, number
from gradlab.errors import InputError

Array = NDArray[Any]
#: Gauss–Legendre nodes over ln u; E f^k is right to 1e-12 with half as many.
NODES = 128


class ZeroStateEdge(NamedTuple):
    """Where a gated cell's zero state loses its stability; its Jacobian there acts as ``carry·I + coupling·W``.

    ``W_ij ~ N(0, g²/H)``, H → ∞, is the candidate's block of W_hh. It is the edge of the *resting* cell, x = 0: input
    opens, closes and saturates gates, and moves it.

    Attributes
    ----------
    carry : float
        What the additive path keeps: σ(b_f) of an LSTM, ½ of a GRU.
    coupling : float
        Factor of W: ¼.
    scale : float
        The g of the edge for the network as it is, with the same W at every step: ``carry + coupling·g = 1``.
    untied_scale : float
        The g at which ``carry² + (coupling·g)² = 1``: the edge that a one-step χ gives, true for a W drawn anew at
        every step, and too high for the network as it is.
    """

    carry: float
    coupling: float
    scale: float
    untied_scale: float


class GatedExponents(NamedTuple):
    """Largest exponent of a product of ``carry·I + coupling·W``, nats per step, in two senses that differ.

    Attributes
    ----------
    tied : float
        ``ln max_k |carry + coupling·λ_k(W)|``: the same W at every step, as in every recurrent network.
    untied : float
        ``½ ln(carry² + coupling²·g²)``: a fresh W at every step, H → ∞. This is half the log of a one-step χ, and it
        does **not** predict a cell with tied weights: it is never above ``tied`` as H → ∞.
    """

    tied: float
    untied: float


@dataclass(frozen=True, eq=False)
class ChronoMemory:
    """How long an LSTM with chrono biases remembers, on average over its units: x = 0, no recurrent weights.

    With ``b_f = ln u``, ``u ~ U(1, T − 1)``, the forget gate is ``f = u/(1 + u)`` and keeps ``f^k`` over k steps.

    Attributes
    ----------
    mean_time : float
        ``E 1/(1 − f) = 1 + T/2``, the mean of the units' time constants, steps.
    lags : array (K,)
        The lags k asked for, steps.
    kept : array (K,)
        ``E f^k``, for this T.
    kept_limit : array (K,)
        What ``kept`` tends to for T → ∞ with k/T held: ``E₂(k/T)``, the exponential integral: .72, .33, .15 at
        k = T/10, T/2, T, where units that share one time constant of T/2 keep .82, .37, .14.
    """

    mean_time: float
    lags: Array
    kept: Array
    kept_limit: Array


def zero_state_edge(cell: str = "lstm", *, forget_bias: float = 0.0) -> ZeroStateEdge:
    """Return the edge of the cell at h = c = 0, x = 0, with all other biases 0.

    LSTM: i = o = ½ and g = 0 there, so the joint Jacobian has H zero eigenvalues and ``σ(b_f) + ¼ λ_k(W_g)``; the edge
    is ``g = 4(1 − σ(b_f))``. GRU, both reset placements: z = r = ½, so ``J = ½ I + ¼ W_n``; the edge is 2.

    Parameters
    ----------
    cell : "lstm" or "gru"
    forget_bias : b_f, of an LSTM.

    Raises
    ------
    InputError
        for another cell, a forget bias that is not finite, or one for a GRU.

    Examples
    --------
    >>> round(zero_state_edge("lstm", forget_bias=1.0).scale, 6)
    1.075766
    """
    bias = number("forget_bias", forget_bias)
    if choice("cell with a zero-state edge", cell, ("gru", "lstm")) == "gru" and bias != 0.0:
        raise InputError(f"a GRU has no forget_bias, got {forget_bias}; leave it out, its edge is at scale 2")
    # 1 − σ(b) as σ(−b), which is right in relative terms too
    carry, lost, coupling = float(expit(bias)), float(expit(-bias)), 0.25
    return ZeroStateEdge(carry, coupling, lost / coupling, math.sqrt(lost * (1.0 + carry)) / coupling)


def gated_exponents(
    carry: float, coupling: float, *, scale: float | None = None, weights: ArrayLike | None = None
) -> GatedExponents:
    """Return the exponents of ``J = carry·I + coupling·W`` with tied and with untied weights, side by side.

    Parameters
    ----------
    carry, coupling : as in :class:`ZeroStateEdge`.
    scale : g ≥ 0 of ``W_ij ~ N(0, g²/H)``, H → ∞: its eigenvalues fill the disk of radius g (circular law), and
        ``tied`` is ``ln(|carry| + |coupling|·g)``.
    weights : W, ``(H, H)``, instead of ``scale``: its own eigenvalues, and ``g² = ‖W‖_F²/H`` for ``untied``.

    Raises
    ------
    InputError
        unless exactly one of ``scale`` and ``weights`` is given, for a negative scale, weights that are not square.

    Examples
    --------
    >>> tied, untied = gated_exponents(0.5, 0.25, scale=2.0)
    >>> round(tied, 6), round(untied, 6)
    (0.0, -0.346574)
    """
    a, b = number("carry", carry), number("coupling", coupling)
    if (scale is None) == (weights is None):
        raise InputError(f"give exactly one of scale and weights, got {'neither' if scale is None else 'both'}")
    if weights is None:
        g = _not_negative("scale", scale)
        return GatedExponents(_log(abs(a) + abs(b) * g), _log(math.hypot(a, b * g)))
    W = float_array("weights", weights, ("H", "H"))
    if W.shape[0] != W.shape[1]:
        raise InputError(f"weights must be square, (H, H), got {W.shape}; give the candidate's block of W_hh alone")
    g = float(np.linalg.norm(W)) / math.sqrt(len(W))
    return GatedExponents(_log(float(np.abs(a + b * np.linalg.eigvals(W)).max())), _log(math.hypot(a, b * g)))


def chrono_memory(horizon: float, lags: ArrayLike) -> ChronoMemory:
    """Return what an LSTM with ``chrono=horizon`` keeps over the given lags.

    Parameters
    ----------
    horizon : T_max > 2, steps.
    lags : k ≥ 0, ``(K,)`` or one number, steps.

    Raises
    ------
    InputError
        for a horizon of 2 or less, a lag that is negative or not finite.

    Examples
    --------
    >>> chrono_memory(1000, [100, 500, 1000]).kept_limit.round(4)
    array([0.7225, 0.3266, 0.1485])
    """
    T = number("horizon", horizon)
    if T <= 2.0:
        raise InputError(f"horizon must be a length above 2 steps, got {horizon}")
    k = _lags(lags)
    return ChronoMemory(1.0 + T / 2.0, k, _mean_power(T, k), np.asarray(expn(2, k / T)))


def _mean_power(T: float, k: Array) -> Array:
    """Return ``E (u/(1 + u))^k`` for ``u ~ U(1, T − 1)`` by Gauss–Legendre in ``v = ln u``, where it is smooth."""
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    width = math.log1p(T - 2.0)
    v = width * (nodes + 1.0) / 2.0
    density = width * weights / 2.0 * np.exp(v) / (T - 2.0)
    return np.asarray(np.exp(-k[:, None] * np.log1p(np.exp(-v))) @ density)


def _lags(values: ArrayLike) -> Array:
    k = np.atleast_1d(np.asarray(values))
    if k.ndim != 1 or k.dtype.kind not in "iuf" or not (k >= 0).all():
        raise InputError(f"lags must be numbers of steps, (K,), none negative or nan, got {values!r}")
    finite("lags", k)
    return k.astype(np.float64)


def _not_negative(name: str, value: object) -> float:
    given = number(name, value)
    if given < 0.0:
        raise InputError(f"{name} must not be negative, got {given:g}")
    return given


def _log(value: float) -> float:
    return math.log(value) if value > 0.0 else -math.inf
