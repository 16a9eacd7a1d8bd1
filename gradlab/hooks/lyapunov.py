"""The leading Lyapunov exponents of the states."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from gradlab.arrays.checks import COUNT
from gradlab.arrays.scaled import Array
from gradlab.errors import InputError
from gradlab.hooks.base import Info, Summary, TableHook
from gradlab.jacobians.lyapunov import Spectrum, TangentWalk
from gradlab.layer import LayerPass, Row

#: Share of the steps, at the start, in which the tangents align; they are not counted.
WARMUP_SHARE = 0.1


class LyapunovHook(TableHook):
    """Rows of ``spectra``, columns lyapunov_1 … lyapunov_k of ``runs``: exponents; k is capped at the state's width.

    Further columns of ``runs`` follow from them: kaplan_yorke, entropy, positive_exponents and mean_exponent. By the
    sum rule, the mean of all exponents equals the mean of ln|det J_t| divided by S. An RNN has that determinant in
    closed form, so its mean exponent needs no more than k = 1.

    Parameters
    ----------
    count : k as text, at most the width of the state.
    """

    table: ClassVar[str] = "spectra"

    def __init__(self, count: str = "1") -> None:
        if not COUNT.fullmatch(count):
            raise InputError(f'lyapunov:{count}: expected a number of exponents of at least 1, got "{count}"')
        self.count = int(count)

    def begin(self, info: Info) -> None:
        """Reset the tables and the tangents."""
        super().begin(info)
        self._walks: dict[tuple[int, str], TangentWalk] = {}
        self._dets: dict[tuple[int, str], list[Array]] = {}

    def forward(self, segment: LayerPass) -> None:
        """Move the tangents through one segment."""
        place, cell, T = (segment.layer, segment.direction), segment.cell, segment.steps
        if place not in self._walks:
            k = min(self.count, cell.state_size)
            self._walks[place] = TangentWalk(cell, T, segment.ends, k, warmup=int(WARMUP_SHARE * T))
        walk = self._walks[place]
        walk.take(segment.tape)
        if walk.k < cell.state_size:
            self._dets.setdefault(place, []).append(segment.jacobians.log_abs_det(dense=False))

    def measure(self, segment: LayerPass) -> tuple[list[Row], dict[str, Array]]:
        """Return the exponents with their standard errors; all of them if the state is smaller than k."""
        if segment.start:
            return [], {}
        found = self._walks[segment.layer, segment.direction].spectrum()
        where: Row = {"layer": segment.layer, "direction": segment.direction}
        k = len(found.exponents)
        return [where | {"index": np.arange(1, k + 1), "exponent": found.exponents, "stderr": found.stderr}], {}

    def summarise(self, segment: LayerPass, kept: dict[str, Array]) -> Summary:
        """Return the exponents, and the numbers that follow from them."""
        place = segment.layer, segment.direction
        walk = self._walks.pop(place)
        found = walk.spectrum()
        summary: Summary = {f"lyapunov_{i}": float(value) for i, value in enumerate(found.exponents, start=1)}
        summary |= {"kaplan_yorke": found.kaplan_yorke, "entropy": found.entropy}
        known = np.isfinite(found.entropy)
        summary["positive_exponents"] = float((found.exponents > 0).sum()) if known else float("nan")
        return summary | {
            "mean_exponent": _mean(segment.cell.state_size, found, self._dets.pop(place, []), walk.warmup)
        }


def _mean(S: int, found: Spectrum, dets: list[Array], warmup: int) -> float:
    """Return the mean of all exponents in nats per step; nan if neither they nor the determinants are known."""
    if len(found.exponents) == S:
        return float(found.exponents.mean())
    logs = np.concatenate(dets)[warmup:]
    return float("nan") if np.isnan(logs[0]).any() else float(np.nanmean(logs, axis=0).mean() / S)
