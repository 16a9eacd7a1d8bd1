"""The leading Lyapunov exponents of the states."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from gradlab.errors import InputError
from gradlab.hooks.base import TableHook
from gradlab.layers import LayerTrace

#: Share of the steps at the start that align the tangents and are not counted.
WARMUP_SHARE = 0.1


class LyapunovHook(TableHook):
    """``lyapunov:k`` (k 1 unless given): rows of ``spectra``; lyapunov_1 … k, kaplan_yorke, entropy of ``runs``."""

    table: ClassVar[str] = "spectra"

    def __init__(self, count: str = "1") -> None:
        if not (count.isdecimal() and int(count) > 0):
            raise InputError(f'lyapunov:{count}: expected a number of exponents of at least 1, got "{count}"')
        self.count = int(count)

    def measure(self, segment: LayerTrace) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Return exponents with standard errors; of a state smaller than k, all of them."""
        k = min(self.count, segment.cell.state_size)
        found = segment.spectrum(k, warmup=int(WARMUP_SHARE * segment.tape.steps))
        where = {"layer": segment.layer, "direction": segment.direction}
        rows = where | {"index": np.arange(1, k + 1), "exponent": found.exponents, "stderr": found.stderr}
        summary = {f"lyapunov_{i}": float(value) for i, value in enumerate(found.exponents, start=1)}
        return [rows], summary | {"kaplan_yorke": found.kaplan_yorke, "entropy": found.entropy}
