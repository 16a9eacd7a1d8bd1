"""The leading Lyapunov exponents of the states."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from gradlab.checks import COUNT
from gradlab.errors import InputError
from gradlab.hooks.base import TableHook
from gradlab.layers import LayerTrace
from gradlab.spectra import Spectrum

#: Share of the steps at the start that align the tangents and are not counted.
WARMUP_SHARE = 0.1


class LyapunovHook(TableHook):
    """``lyapunov:k`` (k 1 unless given, capped at the state's width): rows of ``spectra``; of ``runs`` lyapunov_1 … k.

    And of ``runs`` what follows from them: kaplan_yorke, entropy, positive_exponents and mean_exponent. The mean of all
    exponents is also the mean of ln|det J_t| over S (the sum rule), which an RNN has in closed form, so there it needs
    no more than k = 1.
    """

    table: ClassVar[str] = "spectra"

    def __init__(self, count: str = "1") -> None:
        if not COUNT.fullmatch(count):
            raise InputError(f'lyapunov:{count}: expected a number of exponents of at least 1, got "{count}"')
        self.count = int(count)

    def measure(self, segment: LayerTrace) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Return exponents with standard errors; of a state smaller than k, all of them."""
        k = min(self.count, segment.cell.state_size)
        warmup = int(WARMUP_SHARE * segment.tape.steps)
        found = segment.spectrum(k, warmup=warmup)
        where = {"layer": segment.layer, "direction": segment.direction}
        rows = where | {"index": np.arange(1, k + 1), "exponent": found.exponents, "stderr": found.stderr}
        summary = {f"lyapunov_{i}": float(value) for i, value in enumerate(found.exponents, start=1)}
        summary |= {"kaplan_yorke": found.kaplan_yorke, "entropy": found.entropy}
        known = np.isfinite(found.entropy)
        summary["positive_exponents"] = float((found.exponents > 0).sum()) if known else float("nan")
        return [rows], summary | {"mean_exponent": _mean(segment, found, warmup)}


def _mean(segment: LayerTrace, found: Spectrum, warmup: int) -> float:
    """Return the mean of all exponents, in nats per step; nan where neither they nor the determinants are at hand."""
    S = segment.cell.state_size
    if len(found.exponents) == S:
        return float(found.exponents.mean())
    dets = segment.jacobians.log_abs_det(dense=False)[warmup:]
    return float("nan") if np.isnan(dets[0]).any() else float(np.nanmean(dets, axis=0).mean() / S)
