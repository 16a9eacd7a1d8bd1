"""Mean field of an RNN whose input variance changes from step to step: the rate under the inputs of a task.

Let ``a_t = W_hh h_{t−1} + W_xh x_t + b`` with ``W_xh`` from N(0, σ²/D). Given the inputs, its variance over the units
is the sum of an input part, ``s_t² = σ² |x_t|²/D``, and an independent recurrent part:

    q_t = g² ⟨φ²⟩_{q_{t−1}} + s_t²,   χ_t = g² ⟨φ'²⟩_{q_t},   the rate is the mean of ½ ln χ_t over the steps.

This holds for any D and for inputs that correlate in time. With the same s² at every step it equals
:func:`~gradlab.theory.mean_field`. Replacing s_t² by its mean is an approximation: for a tanh RNN on U[−1, 1], D = 1,
it puts the edge at 1.602 instead of 1.585. The caveats of :func:`~gradlab.theory.mean_field` apply.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.interpolate import CubicSpline

from gradlab.arrays.checks import choice
from gradlab.bptt import Tape
from gradlab.errors import InputError
from gradlab.statistics.rates import BURN_IN_MOST, BURN_IN_SHARE
from gradlab.theory.meanfield import MOMENTS, Array

#: The averages are splines through this many knots, equally spaced in ln(q + SOFT); their error is about 1e-7.
KNOTS, SOFT = 300, 1e-6
#: For Gaussian W_hh, the trace and the sum of all entries over √H are both N(0, g²). Beyond this many σ, W_hh does not
#: count as Gaussian.
SIGMAS = 5.0


def driven_rates(activation: str, *, scales: Sequence[float], input_vars: ArrayLike) -> Array:
    """Return the rate that mean field predicts for each scale under given input variances.

    Parameters
    ----------
    activation : "tanh", "relu", "logistic" or "identity"
        The activation φ.
    scales : sequence of float, (G,)
        Scales g > 0 of the recurrent weights, ``W_ij ~ N(0, g²/H)``.
    input_vars : array (T, B)
        s_t² of each step and sequence; nan beyond a sequence's end. The burn-in of a rate is left out of the mean.

    Returns
    -------
    array (G,)
        Mean of ``½ ln χ_t`` over steps and sequences, nats per step.

    Raises
    ------
    InputError
        If the activation is unknown, a scale is not positive, or the variances are negative, infinite or not (T, B).
    """
    moments = MOMENTS[choice("activation", activation, MOMENTS)]
    g2, given = np.square(np.asarray(scales, np.float64)), np.asarray(input_vars, np.float64)
    if given.ndim != 2 or not np.isfinite(given).any() or (given < 0).any() or np.isinf(given).any():
        raise InputError(f"input_vars must be variances of shape (T, B), 0 or more, got shape {given.shape}")
    if not (g2 > 0).all():
        raise InputError(f"scales must be positive, got {list(scales)}")
    if moments.linear:
        return np.asarray(0.5 * np.log(g2 * moments.slope_square(1.0)))
    highest = float(g2.max() + np.nanmax(given))
    knots = np.linspace(np.log(SOFT), np.log(highest + SOFT), KNOTS)
    q = np.maximum(np.exp(knots) - SOFT, 0.0)
    square = CubicSpline(knots, [moments.square(value) for value in q.tolist()])
    slope = CubicSpline(knots, [moments.slope_square(value) for value in q.tolist()])
    first, passed = min(int(BURN_IN_SHARE * len(given)), BURN_IN_MOST), np.zeros((len(g2), given.shape[1]))
    total, count = np.zeros(len(g2)), 0
    for t, s2 in enumerate(given):
        soft = np.log(g2[:, None] * passed + s2 + SOFT)
        passed = np.maximum(square(soft), 0.0)
        if t >= first:
            total += np.nansum(np.log(slope(soft)), axis=1)
            count += np.isfinite(s2).sum()
    return np.asarray(0.5 * (np.log(g2) + total / count))


def rate_of(tape: Tape) -> float:
    """Return the rate that mean field predicts for one pass, in nats per step.

    The scale g is the root mean square of W_hh times √H; s_t² is the mean square over the units of the input drive.

    Parameters
    ----------
    tape : Tape
        The forward pass of one cell.

    Returns
    -------
    float
        The predicted rate, nats per step.

    Raises
    ------
    InputError
        If mean field does not apply to the cell or its weights; the message gives the reason in one line.
    """
    cell = tape.cell
    if cell.gate_names:
        raise InputError(
            f"no line of theory: {cell.name.upper()} has gates, and a one-step χ does not predict tied weights"
        )
    if not cell.vanilla:
        raise InputError(f"no line of theory: it is of an RNN, not of {type(cell).__name__}")
    W, H = cell.W_hh.astype(np.float64), cell.hidden_size
    g = float(np.sqrt(np.square(W).mean() * H))
    if not g > 0 or max(abs(np.trace(W)), abs(W.sum()) / np.sqrt(H)) > SIGMAS * g:
        raise InputError("no line of theory: W_hh is not as if drawn at random with mean 0")
    beyond = np.arange(tape.steps)[:, None] >= tape.ends
    drive = np.where(beyond, np.nan, np.square(cell.input_drive(tape.x)).mean(axis=1))
    activation: str = cell.activation  # type: ignore[attr-defined]  # every vanilla cell has one
    return float(driven_rates(activation, scales=[g], input_vars=drive)[0])
