"""The evidence of a verdict: numbers, and one line that reports them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradlab.cells.keep_gate import KeepGate
from gradlab.errors import InputError
from gradlab.formatting.numbers import compact, counted, estimate, factor, plain
from gradlab.statistics.decay_shapes import NON_MONOTONE, POWER_LAW, Shape
from gradlab.statistics.increments import FIRST_LAG, window_end
from gradlab.statistics.rates import Rate

_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


@dataclass(frozen=True)
class Kept:
    """Statistics of a cell's keep gate over units, steps and sequences.

    Attributes
    ----------
    gate : KeepGate
        The cell's declaration: names, setting, and settings to try.
    mean : float
        Mean share kept per step, 0 … 1.
    log_mean : float
        Mean logarithm of the share, nats per step: the rate of the gate's product alone.
    setting : float
        Mean of the gate's setting, for instance its bias, over the units.
    """

    gate: KeepGate
    mean: float
    log_mean: float
    setting: float


@dataclass(frozen=True)
class Evidence:
    """The known facts about one layer and direction; a fact that is not known is nan, None or empty.

    Attributes
    ----------
    rate : Rate
        The rate with its interval, nats per step.
    span : int
        Number of steps that the task needs the gradient to travel, at least 1.
    horizon_1pct : float
        Steps beyond lag 1 after which ``‖δ‖`` is below 1 % of its value there, median over the sequences.
    left : tuple of float
        ln of the share of the gradient norm left ``span`` steps beyond lag 1, for each sequence that is long enough.
    shape : Shape, optional
        Shape of the decay (`gradlab.statistics.decay_shapes`); None counts as exponential.
    dead_at : int, optional
        First lag at which more than half of the sequences' gradients are exactly zero.
    diverged_at : int
        First t at which a state was not finite; 0 if there is none.
    overflowed : bool
        Whether a gradient is not finite.
    read : int, optional
        Steps that the cell had run when the loss read it last, if it ran on after that step; else None.
    exponents, errors : tuple of float
        The leading Lyapunov exponents and their standard errors, nats per step.
    size : int
        S, the width of the state, which is the number of exponents.
    cell : str
        The cell's label; "" if no network is known.
    kept : Kept, optional
        Statistics of the keep gate, for a cell that declares one.
    interventions : tuple of str
        The changes that the cell declares (``Cell.INTERVENTIONS``).
    scale, norm : float
        ``‖W_hh‖_F/√H`` and, after an overflow, ``‖W_hh‖₂``; for a cell without gates whose W_hh can be scaled.
    saturated, silent : float
        Share of saturated gates, or of saturated tanh and logistic units; share of ReLU units that never fire.
    saturates : str
        The noun for the units that ``saturated`` counts: "gates" or "units".
    above : int
        Number of layers above this one.

    Raises
    ------
    InputError
        If ``span`` is not a whole number of at least 1.
    """

    rate: Rate
    span: int
    horizon_1pct: float = math.nan
    left: tuple[float, ...] = ()
    shape: Shape | None = None
    dead_at: int | None = None
    diverged_at: int = 0
    overflowed: bool = False
    read: int | None = None
    exponents: tuple[float, ...] = ()
    errors: tuple[float, ...] = ()
    size: int = 0
    cell: str = ""
    kept: Kept | None = None
    interventions: tuple[str, ...] = ()
    scale: float = math.nan
    norm: float = math.nan
    saturated: float = math.nan
    silent: float = 0.0
    saturates: str = "units"
    above: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.span, int | np.integer) or isinstance(self.span, bool) or self.span < 1:
            raise InputError(f"span: expected a number of steps, at least 1; got {self.span!r}")

    @property
    def bends(self) -> str:
        """The decay of a gradient without a constant rate, in words; "" if the rate is constant."""
        if self.shape is not None and self.shape.word == POWER_LAW:
            return f"a power law of {self.shape.of} with exponent {compact(self.shape.exponent)}"
        if self.shape is not None and self.shape.word == NON_MONOTONE:
            return f"one way until lag {plain(self.shape.turning_lag)} and the other from there on"
        return ""

    @property
    def line(self) -> str:
        """The numbers in one line; if no network is known, the window and the mean of the rate instead of its cell."""
        return "; ".join(part for part in self._parts() if part)

    def _parts(self) -> Iterator[str]:
        yield self._cell() if self.cell else self._window()
        yield self._exponents()
        if not math.isnan(self.saturated):
            yield f"{share(self.saturated)} of {self.saturates} saturated"
        if self.silent:
            yield f"{share(self.silent)} of units never fire"
        if self.rate.zeros:
            yield f"{self.rate.zeros} exact zeros left out"
        if self.read is not None:
            yield f"the loss reads it last after {counted(self.read, 'step')}"
        if self.above:
            yield "what the layer above hands down at every step counts in"

    def _cell(self) -> str:
        weights = "" if math.isnan(self.scale) else f", W_hh of scale {_two(self.scale)} (‖W_hh‖_F/√H)"
        if self.kept is None:
            return f"{self.cell}{weights}"
        gate, setting = self.kept.gate, plain(round(self.kept.setting, self.kept.gate.decimals))
        shares = f"{gate.name} {compact(self.kept.mean)} on average ({gate.key} {setting})"
        return f"{self.cell}, {shares}: {gate.product} alone gives {compact(self.kept.log_mean)}{weights}"

    def _exponents(self) -> str:
        if not self.exponents or math.isnan(self.exponents[0]):
            return ""
        first, last = self.exponents[0], self.exponents[-1]
        if first * last >= 0:
            return f"λ₁ {compact(first)}"
        return f"λ₁ {compact(first)} … λ{str(len(self.exponents)).translate(_SUBSCRIPTS)} {compact(last)}"

    def _window(self) -> str:
        rate = self.rate
        if math.isnan(rate.rate):
            return "no two neighbouring lags from lag 1 on have a finite gradient"
        mean = estimate(rate.rate, rate.low, rate.high)
        return (
            f"the mean of {rate.window} increments, lags {rate.first_lag} to {rate.last_lag}, is {mean}: "
            f"a factor of {factor(rate.rate * self.span)} over {counted(self.span, 'step')}"
        )


def share(part: float) -> str:
    """Return a share in per cent, with two significant digits: ``3 %``, ``0.25 %``."""
    return f"{_two(100 * part)} %"


def _two(value: float) -> str:
    """Return a number with two significant digits."""
    return plain(float(f"{value:.2g}"))


def left(logs: NDArray[np.float64], span: int) -> tuple[float, ...]:
    """Return ln of the share of the gradient norm left ``span`` steps beyond lag 1.

    Parameters
    ----------
    logs : array (K+1, B)
        ``ln‖δ‖`` in nats at lag 0 … K, as for `rates.rate`.
    span : int
        Number of steps.

    Returns
    -------
    tuple of float
        Nats, one per sequence that is long enough and finite at lag 1; -inf for an exact zero.
    """
    if FIRST_LAG + span >= len(logs):
        return ()
    first, last = logs[FIRST_LAG], logs[FIRST_LAG + span]
    known = np.isfinite(first) & ~np.isnan(last)
    return tuple((last[known] - first[known]).tolist())


def dead_at(logs: NDArray[np.float64]) -> int | None:
    """Return the first lag at which more than half of the sequences that reach it are exactly zero; None if none."""
    end = window_end(logs)
    return end if end < len(logs) else None
