"""Theory of gated cells: stability of the zero state, tied and untied weights, and memory from chrono biases.

References
----------
S. Kanai, Y. Fujiwara, S. Iwamura (2017), Preventing gradient explosions in gated recurrent units, *NeurIPS*: the
bifurcation of the GRU at the zero state.
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
#: Number of Gauss–Legendre nodes over ln u; half as many give E f^k to 1e-12.
NODES = 128


class ZeroStateEdge(NamedTuple):
    """The scale at which the zero state of a gated cell loses its stability.

    The Jacobian at the zero state acts as ``carry·I + coupling·W``. Here ``W_ij ~ N(0, g²/H)``, H → ∞, is the
    candidate's block of W_hh. This is the edge of the *resting* cell, x = 0. Input changes and saturates the gates,
    and so moves the edge.

    Attributes
    ----------
    carry : float
        Share that the additive path keeps per step: σ(b_f) for an LSTM, ½ for a GRU.
    coupling : float
        Factor of W: ¼.
    scale : float
        The g at the edge with the same W at every step, as in every network: ``carry + coupling·g = 1``.
    untied_scale : float
        The g at which ``carry² + (coupling·g)² = 1``. This is the edge for a W drawn anew at every step, as a one-step
        χ gives it; it is too high for a network with tied weights.
    """

    carry: float
    coupling: float
    scale: float
    untied_scale: float


class GatedExponents(NamedTuple):
    """Largest exponent of a product of ``carry·I + coupling·W`` with tied and with untied weights, nats per step.

    Attributes
    ----------
    tied : float
        ``ln max_k |carry + coupling·λ_k(W)|``, for the same W at every step, as in every recurrent network.
    untied : float
        ``½ ln(carry² + coupling²·g²)``, for a fresh W at every step, H → ∞. This is half the log of a one-step χ. It
        does **not** predict a cell with tied weights: as H → ∞ it is never above ``tied``.
    """

    tied: float
    untied: float


@dataclass(frozen=True, eq=False)
class ChronoMemory:
    """Memory of an LSTM with chrono biases, averaged over its units, for x = 0 and no recurrent weights.

    With ``b_f = ln u``, ``u ~ U(1, T − 1)``, the forget gate is ``f = u/(1 + u)``. It keeps ``f^k`` over k steps.

    Attributes
    ----------
    mean_time : float
        ``E 1/(1 − f) = 1 + T/2``, the mean time constant of the units, steps.
    lags : array (K,)
        The lags k, steps.
    kept : array (K,)
        ``E f^k`` for this T.
    kept_limit : array (K,)
        Limit of ``kept`` as T → ∞ with k/T fixed: the exponential integral ``E₂(k/T)``. It is .72, .33, .15 at
        k = T/10, T/2, T. Units that share one time constant of T/2 would keep .82, .37, .14.
    """

    mean_time: float
    lags: Array
    kept: Array
    kept_limit: Array


def zero_state_edge(cell: str = "lstm", *, forget_bias: float = 0.0) -> ZeroStateEdge:
    """Return the edge of the cell at h = c = 0, x = 0, with all other biases 0.

    LSTM: there i = o = ½ and g = 0, so the joint Jacobian has H zero eigenvalues and the H eigenvalues
    ``σ(b_f) + ¼ λ_k(W_g)``. The edge is at ``g = 4(1 − σ(b_f))``. GRU, with either placement of the reset gate: there
    z = r = ½, so ``J = ½ I + ¼ W_n``. The edge is at 2.

    Parameters
    ----------
    cell : "lstm" or "gru"
        The cell.
    forget_bias : float
        b_f of an LSTM; 0 for a GRU.

    Returns
    -------
    ZeroStateEdge
        The edge with tied and with untied weights.

    Raises
    ------
    InputError
        If the cell is another one, or the forget bias is not finite or not 0 for a GRU.

    Examples
    --------
    >>> round(zero_state_edge("lstm", forget_bias=1.0).scale, 6)
    1.075766
    """
    bias = number("forget_bias", forget_bias)
    if choice("cell with a zero-state edge", cell, ("gru", "lstm")) == "gru" and bias != 0.0:
        raise InputError(f"a GRU has no forget_bias, got {forget_bias}; leave it out, its edge is at scale 2")
    # σ(−b) equals 1 − σ(b) and keeps its relative accuracy where σ(b) is near 1
    carry, lost, coupling = float(expit(bias)), float(expit(-bias)), 0.25
    return ZeroStateEdge(carry, coupling, lost / coupling, math.sqrt(lost * (1.0 + carry)) / coupling)


def gated_exponents(
    carry: float, coupling: float, *, scale: float | None = None, weights: ArrayLike | None = None
) -> GatedExponents:
    """Return the exponents of ``J = carry·I + coupling·W`` with tied and with untied weights.

    Give exactly one of ``scale`` and ``weights``.

    Parameters
    ----------
    carry, coupling : float
        As in :class:`ZeroStateEdge`.
    scale : float, optional
        g ≥ 0 of ``W_ij ~ N(0, g²/H)``, H → ∞. The eigenvalues of W fill the disk of radius g (circular law), so
        ``tied`` is ``ln(|carry| + |coupling|·g)``.
    weights : array (H, H), optional
        W itself. Its eigenvalues give ``tied``, and ``g² = ‖W‖_F²/H`` gives ``untied``.

    Returns
    -------
    GatedExponents
        ``tied`` and ``untied``, nats per step; -inf where the product is zero.

    Raises
    ------
    InputError
        If both or neither of ``scale`` and ``weights`` are given, the scale is negative, or the weights are not square.

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
    """Return the mean share that an LSTM with ``chrono=horizon`` keeps over the given lags.

    Parameters
    ----------
    horizon : float
        T_max > 2, steps.
    lags : float or array (K,)
        Lags k ≥ 0, steps.

    Returns
    -------
    ChronoMemory
        The mean time constant, and the share kept at each lag.

    Raises
    ------
    InputError
        If the horizon is 2 or less, or a lag is negative or not finite.

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
    """Return ``E (u/(1 + u))^k``, ``(K,)``, for ``u ~ U(1, T − 1)``.

    The rule is Gauss–Legendre in ``v = ln u``, because the integrand is smooth in v.
    """
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    width = math.log1p(T - 2.0)
    v = width * (nodes + 1.0) / 2.0
    density = width * weights / 2.0 * np.exp(v) / (T - 2.0)
    return np.asarray(np.exp(-k[:, None] * np.log1p(np.exp(-v))) @ density)


def _lags(values: ArrayLike) -> Array:
    """Return the lags as float64 ``(K,)``, after checking them."""
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
    """Return the natural logarithm; -inf at 0."""
    return math.log(value) if value > 0.0 else -math.inf
