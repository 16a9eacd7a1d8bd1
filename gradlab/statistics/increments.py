"""What ``ln‖δ‖`` gains per step back in time, in which window, and how sure a mean of it may be.

``ln‖δ_k‖`` over the lag k is a random walk with drift: what is asked of it is asked of its increments, whose noise is
correlated from step to step and not equally spread.

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

#: Lag 0 is where the loss reads the state; from lag 1 on, every step has gone through the recurrence alone.
FIRST_LAG = 1
#: The state forgets where it started while the sequence begins: a tenth of the lags, and 50 steps at most,
#: by when the initial transient of a cell that has a stationary state at all is long over.
BURN_IN_SHARE, BURN_IN_MOST = 0.1, 50
#: An autocorrelation nearer to 1 cannot be told from a random walk's; the bound is Andrews and Monahan's.
MOST_CORRELATED = 0.97
#: Logs are known to a few units in the last place (the norm is, relatively, so ln‖·‖ is to an absolute eps at
#: least); increments that agree to this many of them are constant.
ULPS = 8


class Fit(NamedTuple):
    """A regression of increments on given profiles over the lag.

    Attributes
    ----------
    coefficients, errors : (p,) estimates and their standard errors; errors are exactly 0 where nothing is left over.
    freedom : degrees of freedom of Student's t for them; inf where the errors are 0.
    autocorrelation : of neighbouring residuals, as the errors suppose it.
    effective : independent increments that would say as much about a mean.
    """

    coefficients: NDArray[np.float64]
    errors: NDArray[np.float64]
    freedom: float
    autocorrelation: float
    effective: float


def checked(log_norm: ArrayLike, burn_in: int | None = None) -> NDArray[np.float64]:
    """Return ``log_norm`` as floats ``(K+1, B)``; of anything else, or a negative ``burn_in``, say what it is."""
    logs = np.asarray(log_norm, dtype=np.float64)
    if logs.ndim != 2:
        raise InputError(f"log_norm: expected (K+1, B), lag 0 … K of B sequences; got shape {logs.shape}")
    if burn_in is not None and burn_in < 0:
        raise InputError(f"burn_in: expected a number of steps, 0 or more; got {burn_in!r}")
    return logs


def window(logs: NDArray[np.float64], burn_in: int | None) -> NDArray[np.bool_]:
    """Return which steps from a lag to the next are counted, ``(K, B)``: both ends known, and in the window.

    The window runs from lag 1 to the first lag at which more than half of the sequences are exactly zero; the
    burn-in at the start of each sequence is left out.
    """
    ahead = np.arange(len(logs))[:, None]
    known = np.isfinite(logs) & (ahead >= FIRST_LAG) & (ahead < window_end(logs)) & (ahead <= last_lags(logs, burn_in))
    return known[1:] & known[:-1]


def increments(logs: NDArray[np.float64], counted: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return the lags at which the counted increments start, and their means over the sequences, both ``(n,)``."""
    steps = np.subtract(logs[1:], logs[:-1], where=counted, out=np.zeros(counted.shape))
    lags = np.flatnonzero(counted.any(axis=1))
    return lags, steps[lags].sum(axis=1) / counted[lags].sum(axis=1)


def last_lags(logs: NDArray[np.float64], burn_in: int | None) -> NDArray[np.float64]:
    """Return the last lag of each sequence ``(B,)`` that lies behind its burn-in."""
    ends = lengths(logs)
    default = np.minimum(np.floor(BURN_IN_SHARE * ends), BURN_IN_MOST)
    spare = np.maximum(ends - FIRST_LAG - 1, 0)
    return np.asarray(ends - np.minimum(default if burn_in is None else burn_in, spare), np.float64)


def lengths(logs: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the last lag that each sequence has, ``(B,)``; beyond it ``logs`` is nan."""
    last: NDArray[np.int64] = np.where(np.isnan(logs), 0, np.arange(len(logs))[:, None]).max(axis=0, initial=0)
    return last


def resolution(logs: NDArray[np.float64]) -> float:
    """Return the difference between increments below which rounding of the logs explains it."""
    largest = np.max(np.abs(logs), where=np.isfinite(logs), initial=1.0)
    return float(ULPS * np.finfo(np.float64).eps * largest)


def fit(series: NDArray[np.float64], design: NDArray[np.float64], exact: float) -> Fit:
    """Return the regression of ``series (n,)`` on the columns of ``design (n, p)``, by whitened least squares.

    Neighbouring residuals correlate by φ, which is estimated, freed of its bias, and raised by its own standard
    error, as too small a φ makes an interval too narrow and too large a one only too wide. Series and design are
    whitened with it, and what correlation is left is caught by the equal-weighted cosine variance of the whitened
    residuals. Student's t has as many degrees of freedom as there are cosines, ``0.4 n^(2/3)``, and no more than there
    are effective increments, ``n (1 − φ) / (1 + φ)``. A negative φ is taken as 0.

    Parameters
    ----------
    exact : residuals that all agree to this are rounding: the errors are 0.
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
    """Return φ of neighbouring residuals, bias removed and one standard error up, in [0, MOST_CORRELATED]."""
    n = rest.size
    found = float(rest[1:] @ rest[:-1] / (rest @ rest))
    raised = found + (1 + 3 * found) / n + np.sqrt((1 - found**2) / n)
    return float(np.clip(raised, 0.0, MOST_CORRELATED))


def whitened(columns: NDArray[np.float64], phi: float) -> NDArray[np.float64]:
    """Return ``x_k − φ x_{k−1}`` along the first axis, and of the first ``sqrt(1 − φ²) x_1`` (Prais and Winsten)."""
    return np.concatenate([np.sqrt(1 - phi**2) * columns[:1], columns[1:] - phi * columns[:-1]])


def _cosine_variance(noise: NDArray[np.float64], basis: NDArray[np.float64]) -> tuple[float, float]:
    """Return the long-run variance from the first ν cosines, and how many the regression has left of them."""
    nu = max(int(0.4 * noise.size ** (2 / 3)), 1)
    heights = dct(noise, norm="ortho")[1 : nu + 1]
    taken = dct(basis, norm="ortho", axis=0)[1 : nu + 1]
    left = nu - float((taken**2).sum())
    return float((heights**2).sum() / left), left


def window_end(logs: NDArray[np.float64]) -> int:
    """Return the first lag at which more than half of the sequences that reach it are zero, else K+1."""
    mostly_zero = 2 * np.isneginf(logs).sum(axis=1) > (~np.isnan(logs)).sum(axis=1)
    return int(mostly_zero.argmax()) if mostly_zero.any() else len(logs)
