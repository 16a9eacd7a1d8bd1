"""Increments of ``ln‖δ‖`` per step back in time: their window, and regressions on them with standard errors.

``ln‖δ_k‖`` over the lag k is a random walk with drift. All estimates therefore rest on its increments, whose noise is
correlated from step to step.

References
----------
D. W. K. Andrews, J. C. Monahan (1992), *Econometrica* 60(4), 953–966: prewhitening, and the bound on φ.
M. G. Kendall (1954), *Biometrika* 41, 403–404: the bias −(1 + 3φ)/n of an autocorrelation about an estimated mean.
E. Lazarus, D. J. Lewis, J. H. Stock, M. W. Watson (2018), HAR inference: recommendations for practice,
*Journal of Business & Economic Statistics* 36(4), 541–559: the equal-weighted cosine variance and its ν.
S. J. Prais, C. B. Winsten (1954), Cowles Commission discussion paper 383: whitening that keeps the first value.
F. W. Zwiers, H. von Storch (1995), *Journal of Climate* 8(2), 336–351: the equivalent sample size.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.fft import dct

from gradlab.errors import InputError

#: First lag of the window. At lag 0 the loss reads the state; from lag 1 on, steps pass through the recurrence alone.
FIRST_LAG = 1
#: Burn-in at the start of each sequence: a tenth of the lags, at most 50 steps. By then the initial transient of a
#: cell with a stationary state is over.
BURN_IN_SHARE, BURN_IN_MOST = 0.1, 50
#: Largest autocorrelation. Values nearer to 1 are not distinguishable from a random walk (Andrews and Monahan's bound).
MOST_CORRELATED = 0.97
#: Increments that agree to this many units in the last place of the logs are constant. A norm is known to a relative
#: eps, so its logarithm is known to an absolute eps at best.
ULPS = 8


class Fit(NamedTuple):
    """A regression of increments on p given profiles over the lag.

    Attributes
    ----------
    coefficients, errors : array (p,)
        Estimates and their standard errors. The errors are exactly 0 if the residuals are rounding.
    freedom : float
        Degrees of freedom of Student's t for the estimates; inf if the errors are 0.
    autocorrelation : float
        Autocorrelation of neighbouring residuals that the errors assume.
    effective : float
        Equivalent number of independent increments for a mean.
    """

    coefficients: NDArray[np.float64]
    errors: NDArray[np.float64]
    freedom: float
    autocorrelation: float
    effective: float


def checked(log_norm: ArrayLike, burn_in: int | None = None) -> NDArray[np.float64]:
    """Return ``log_norm`` as float64 ``(K+1, B)``.

    Raises
    ------
    InputError
        If ``log_norm`` has another number of axes, or ``burn_in`` is negative.
    """
    logs = np.asarray(log_norm, dtype=np.float64)
    if logs.ndim != 2:
        raise InputError(f"log_norm: expected (K+1, B), lag 0 … K of B sequences; got shape {logs.shape}")
    if burn_in is not None and burn_in < 0:
        raise InputError(f"burn_in: expected a number of steps, 0 or more; got {burn_in!r}")
    return logs


def window(logs: NDArray[np.float64], burn_in: int | None) -> NDArray[np.bool_]:
    """Return which increments from one lag to the next count, ``(K, B)``: both ends are finite and in the window.

    The window runs from lag 1 to the first lag at which more than half of the sequences are exactly zero. It leaves
    out the burn-in at the start of each sequence.

    Parameters
    ----------
    logs : array (K+1, B)
        ``ln‖δ‖`` in nats.
    burn_in : int or None
        Steps to leave out at the start of each sequence; None for the default.
    """
    ahead = np.arange(len(logs))[:, None]
    known = np.isfinite(logs) & (ahead >= FIRST_LAG) & (ahead < window_end(logs)) & (ahead <= last_lags(logs, burn_in))
    return known[1:] & known[:-1]


def increments(logs: NDArray[np.float64], counted: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return the mean increment over the sequences at each lag.

    Parameters
    ----------
    logs : array (K+1, B)
        ``ln‖δ‖`` in nats.
    counted : array (K, B) of bool
        The increments that count, as from `window`.

    Returns
    -------
    lags : array (n,)
        The lags at which the counted increments start.
    means : array (n,)
        The mean increment at each of these lags, nats.
    """
    steps = np.subtract(logs[1:], logs[:-1], where=counted, out=np.zeros(counted.shape))
    lags = np.flatnonzero(counted.any(axis=1))
    return lags, steps[lags].sum(axis=1) / counted[lags].sum(axis=1)


def last_lags(logs: NDArray[np.float64], burn_in: int | None) -> NDArray[np.float64]:
    """Return the largest lag of each sequence outside its burn-in, ``(B,)``; one increment remains where possible."""
    ends = lengths(logs)
    default = np.minimum(np.floor(BURN_IN_SHARE * ends), BURN_IN_MOST)
    spare = np.maximum(ends - FIRST_LAG - 1, 0)
    return np.asarray(ends - np.minimum(default if burn_in is None else burn_in, spare), np.float64)


def lengths(logs: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the largest lag of each sequence, ``(B,)``; ``logs`` is nan beyond it."""
    last: NDArray[np.int64] = np.where(np.isnan(logs), 0, np.arange(len(logs))[:, None]).max(axis=0, initial=0)
    return last


def resolution(logs: NDArray[np.float64]) -> float:
    """Return the largest difference between increments that rounding of the logs can explain, in nats."""
    largest = np.max(np.abs(logs), where=np.isfinite(logs), initial=1.0)
    return float(ULPS * np.finfo(np.float64).eps * largest)


def fit(series: NDArray[np.float64], design: NDArray[np.float64], exact: float) -> Fit:
    """Return the regression of ``series`` on the columns of ``design``, by whitened least squares.

    The autocorrelation φ of neighbouring residuals is estimated, corrected for bias, and raised by its standard error:
    too small a φ makes an interval too narrow, and too large a φ makes it only too wide. A negative φ counts as 0.
    Series and design are whitened with φ. The equal-weighted cosine variance of the whitened residuals accounts for
    the remaining correlation. Student's t has one degree of freedom per cosine, ``0.4 n^(2/3)`` less those that the
    design uses, and at most the number of effective increments, ``n (1 − φ) / (1 + φ)``.

    Parameters
    ----------
    series : array (n,)
        Increments, nats.
    design : array (n, p)
        Profiles, one per column.
    exact : float
        If all residuals agree to this, they are rounding, and the errors are 0.

    Returns
    -------
    Fit
        Estimates and standard errors, in nats per unit of each profile.
    """
    n, p = design.shape
    plain = np.asarray(np.linalg.lstsq(design, series, rcond=None)[0], np.float64)
    rest = series - design @ plain
    if np.ptp(rest) <= exact:
        return Fit(plain, np.zeros(p), np.inf, 0.0, float(n))
    phi = correlation(rest)
    basis, triangle = np.linalg.qr(whitened(design, phi))
    noise = whitened(rest, phi)
    shift = basis.T @ noise
    noise -= basis @ shift
    inverse = np.linalg.inv(triangle)
    variance, cosines = _cosine_variance(noise, basis)
    effective = n * (1 - phi) / (1 + phi)
    freedom = float(max(min(cosines, effective), 1.0))
    errors = np.sqrt(variance * (inverse**2).sum(axis=1))
    return Fit(plain + inverse @ shift, errors, freedom, phi, effective)


def correlation(rest: NDArray[np.float64]) -> float:
    """Return the autocorrelation φ of neighbouring residuals in [0, MOST_CORRELATED].

    It is corrected for bias and raised by one standard error.
    """
    n = rest.size
    found = float(rest[1:] @ rest[:-1] / (rest @ rest))
    raised = found + (1 + 3 * found) / n + np.sqrt((1 - found**2) / n)
    return float(np.clip(raised, 0.0, MOST_CORRELATED))


def whitened(columns: NDArray[np.float64], phi: float) -> NDArray[np.float64]:
    """Return ``x_k − φ x_{k−1}`` along the first axis; the first entry is ``sqrt(1 − φ²) x_1`` (Prais and Winsten)."""
    return np.concatenate([np.sqrt(1 - phi**2) * columns[:1], columns[1:] - phi * columns[:-1]])


def _cosine_variance(noise: NDArray[np.float64], basis: NDArray[np.float64]) -> tuple[float, float]:
    """Return the long-run variance from the first ν cosines, and its degrees of freedom.

    These are ν less the part of the cosines that lies in the span of the regression's ``basis (n, p)``.
    """
    nu = max(int(0.4 * noise.size ** (2 / 3)), 1)
    heights = dct(noise, norm="ortho")[1 : nu + 1]
    taken = dct(basis, norm="ortho", axis=0)[1 : nu + 1]
    left = nu - float((taken**2).sum())
    return float((heights**2).sum() / left), left


def window_end(logs: NDArray[np.float64]) -> int:
    """Return the first lag at which more than half of the sequences that reach it are exactly zero; K+1 if none."""
    mostly_zero = 2 * np.isneginf(logs).sum(axis=1) > (~np.isnan(logs)).sum(axis=1)
    return int(mostly_zero.argmax()) if mostly_zero.any() else len(logs)
