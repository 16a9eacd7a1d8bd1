"""The leading Lyapunov exponents of the states."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gradlab.arrays.checks import COUNT
from gradlab.errors import InputError
from gradlab.hooks.base import Info, TableHook
from gradlab.jacobians.lyapunov import Spectrum, TangentWalk
from gradlab.layer import LayerPass

Array = NDArray[Any]
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

    def begin(self, info: Info) -> None:
        """Start with empty tables."""
        super().begin(info)
        self._walks: dict[tuple[int, str], TangentWalk] = {}
        self._dets: dict[tuple[int, str], list[Array]] = {}

    def forward(self, segment: LayerPass) -> None:
        """Carry the tangents along."""
        place, cell, T = (segment.layer, segment.direction), segment.cell, segment.steps
        if place not in self._walks:
            k = min(self.count, cell.state_size)
            self._walks[place] = TangentWalk(cell, T, segment.ends, k, warmup=int(WARMUP_SHARE * T))
        walk = self._walks[place]
        walk.take(segment.tape)
        if walk.k < cell.state_size:
            self._dets.setdefault(place, []).append(segment.jacobians.log_abs_det(dense=False))

    def measure(self, segment: LayerPass) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Return exponents with standard errors; of a state smaller than k, all of them."""
        if segment.start:
            return [], {}
        found = self._walks[segment.layer, segment.direction].spectrum()
        where, k = {"layer": segment.layer, "direction": segment.direction}, len(found.exponents)
        return [where | {"index": np.arange(1, k + 1), "exponent": found.exponents, "stderr": found.stderr}], {}

    def summarise(self, segment: LayerPass, kept: dict[str, Any]) -> dict[str, Any]:
        """Return the exponents, and what follows from them."""
        place = segment.layer, segment.direction
        walk = self._walks.pop(place)
        found = walk.spectrum()
        summary = {f"lyapunov_{i}": float(value) for i, value in enumerate(found.exponents, start=1)}
        summary |= {"kaplan_yorke": found.kaplan_yorke, "entropy": found.entropy}
        known = np.isfinite(found.entropy)
        summary["positive_exponents"] = float((found.exponents > 0).sum()) if known else float("nan")
        return summary | {
            "mean_exponent": _mean(segment.cell.state_size, found, self._dets.pop(place, []), walk.warmup)
        }


def _mean(S: int, found: Spectrum, dets: list[Array], warmup: int) -> float:
    """Return the mean of all exponents, in nats per step; nan where neither they nor the determinants are at hand."""
    if len(found.exponents) == S:
        return float(found.exponents.mean())
    logs = np.concatenate(dets)[warmup:]
    return float("nan") if np.isnan(logs[0]).any() else float(np.nanmean(logs, axis=0).mean() / S)
