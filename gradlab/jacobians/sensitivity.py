"""Sensitivity of later states to earlier ones: ln‖∂s_t/∂s_s‖ for all pairs of steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradlab.arrays.checks import positive
from gradlab.arrays.scaled import LN2, Array, finite_mean, ldexp, log_norm
from gradlab.bptt import Tape
from gradlab.errors import InputError
from gradlab.formatting import markup
from gradlab.formatting.numbers import compact
from gradlab.jacobians.propagator import _forward

#: Numbers that the directions of :func:`sensitivity` may hold, 256 MiB in float64; the fewest probes.
ROOM, FEWEST_PROBES = 2**25, 32


class Sensitivity(NamedTuple):
    """Sensitivity of every state to every earlier one.

    Attributes
    ----------
    log_norm : array (T+1, T+1, B)
        ln‖∂s_t/∂s_s‖_F in nats, in row t and column s ≤ t; −inf above the diagonal, nan beyond a sequence's end.
    stderr : array (T+1, T+1, B)
        Standard error of ``log_norm``; 0 if exact.
    probes : int
        Number of random directions; 0 if exact.
    """

    log_norm: NDArray[np.float64]
    stderr: NDArray[np.float64]
    probes: int

    def __repr__(self) -> str:
        return markup.plain(*self._shown())

    def _repr_html_(self) -> str:
        return markup.html(*self._shown())

    def _shown(self) -> tuple[str, list[tuple[str, object]]]:
        steps, _, B = self.log_norm.shape
        rows: list[tuple[str, object]] = [
            (
                "from s = 0",
                f"to t = {steps - 1}: {compact(finite_mean(self.log_norm[-1, 0]), 3)} nats, mean over the sequences",
            ),
            ("known", f"from {self.probes} random directions" if self.probes else "exactly, from all directions"),
        ]
        return f"Sensitivity: ln‖∂s_t/∂s_s‖_F in nats, T {steps - 1}, B {B}", rows


def sensitivity(tape: Tape, probes: int | None = None, *, rng: int = 0) -> Sensitivity:
    """Return ln‖∂s_t/∂s_s‖_F for all s ≤ t, exactly from all S directions or estimated from random ones.

    With m probes z ~ N(0, I), ‖P‖_F² = E‖Pz‖² is estimated by the mean of m squared norms. The standard error of its
    logarithm follows from their scatter. It is about √(1/2m) if one direction dominates.

    Parameters
    ----------
    tape : Tape
        The forward pass of one layer and direction.
    probes : int, optional
        Number of random directions, at least 2; 0 takes all S directions, exactly. By default the result is exact if
        the (T+1)·S²·B numbers of all directions fit 256 MiB; otherwise as many probes are taken as fit, at least 32.
    rng : int
        Seed of the probes.

    Returns
    -------
    Sensitivity
        The norms, their standard errors and the number of probes.

    Raises
    ------
    InputError
        If ``probes`` is 1, which leaves the error unknown, or negative.
    """
    T, S, B = tape.steps, tape.cell.state_size, tape.x.shape[-1]
    count = _probes_that_fit(T, S, B) if probes is None else probes
    if count == 0:
        start = np.broadcast_to(np.eye(S)[:, :, None], (S, S, B))
        return Sensitivity(_spread_forward(tape, start, _exact)[0], np.zeros((T + 1, T + 1, B)), 0)
    if positive("probes", count) < 2:
        raise InputError("probes must be at least 2, to know their error, or 0 for all directions; got 1")
    drawn = np.random.default_rng(rng).standard_normal((count, S, B))
    found, errors = _spread_forward(tape, drawn, _estimated)
    return Sensitivity(found, errors, count)


def _probes_that_fit(T: int, S: int, B: int) -> int:
    """Return 0 if all S directions fit :data:`ROOM`; else the number that fits, at least :data:`FEWEST_PROBES`."""
    fit = ROOM // ((T + 1) * S * B)
    return 0 if fit >= S else max(fit, FEWEST_PROBES)


def _exact(columns: Array) -> tuple[Array, Array]:
    """Return ln‖·‖_F of ``(n, K, S, B)``, and an error of zero."""
    n, K, S, B = columns.shape
    logs = log_norm(columns.reshape(n, K * S, B), 0)
    return logs, np.zeros_like(logs)


def _estimated(columns: Array) -> tuple[Array, Array]:
    """Return half the ln of the mean squared norm of ``(n, K, S, B)`` over K, and its standard error."""
    logs = 2.0 * log_norm(columns, 0)
    peak = logs.max(axis=1, keepdims=True)
    square = np.exp(logs - np.where(np.isfinite(peak), peak, 0.0))
    mean = square.mean(axis=1)
    error = 0.5 * square.std(axis=1, ddof=1) / (np.sqrt(square.shape[1]) * np.where(mean > 0, mean, 1.0))
    return 0.5 * (peak[:, 0] + np.log(mean)), error


def _spread_forward(
    tape: Tape, start: Array, measure: Callable[[Array], tuple[Array, Array]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Carry ``start (K, S, B)`` forward from every s at once; return the results of ``measure`` at every t ≥ s."""
    T, B = tape.steps, tape.x.shape[-1]
    logs, errors = np.full((T + 1, T + 1, B), -np.inf), np.zeros((T + 1, T + 1, B))
    columns = np.empty((T + 1, *start.shape), tape.cell.dtype)
    exponent = np.zeros((T + 1, B), np.int64)
    with np.errstate(all="ignore"):
        columns[0] = start
        logs[0, 0], errors[0, 0] = (part[0] for part in measure(columns[:1]))
        for t, J in enumerate(_forward(tape, 0, T), start=1):
            live = columns[:t]
            live[...] = np.einsum("bij,nkjb->nkib", J, live, optimize=True)
            exponent[:t] += _shift(live)
            columns[t] = start
            found, error = measure(columns[: t + 1])
            logs[t, : t + 1], errors[t, : t + 1] = found + exponent[: t + 1] * LN2, error
    beyond = np.arange(T + 1)[:, None] > tape.ends
    return np.where(beyond[:, None] | beyond, np.nan, logs), errors


def _shift(columns: Array) -> NDArray[np.int64]:
    """Scale ``(n, K, S, B)`` to peaks of about 1, in place; return the powers of two, one per n and b."""
    peak = np.abs(columns).max(axis=(1, 2))
    shift = np.where(np.isfinite(peak) & (peak > 0), np.frexp(peak)[1], 0)
    columns[...] = ldexp(columns, -shift[:, None, None, :])
    return shift
