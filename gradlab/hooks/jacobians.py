"""The singular values of step Jacobians, at a sample of steps or at every step."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gradlab.arrays.checks import COUNT
from gradlab.arrays.scaled import Array
from gradlab.errors import InputError
from gradlab.hooks.base import Summary, TableHook
from gradlab.layer import LayerPass, Row

#: Number of sampled steps by default: enough for a median, cheap at any length.
SAMPLED = 32
#: Quantiles of the singular values of a step that are kept with the largest and the smallest.
QUANTILES = (0.75, 0.5, 0.25)


class JacobiansHook(TableHook):
    """Quantities jac_norm2, jac_fro, jac_cond, jac_q75, jac_q50, jac_q25 and jac_min, at evenly sampled steps.

    jac_q… are quantiles of the S singular values of one J_t; jac_min is the smallest of them.

    Parameters
    ----------
    steps : number of sampled steps as text, or "all" for every step.
    """

    def __init__(self, steps: str = str(SAMPLED)) -> None:
        if steps != "all" and not COUNT.fullmatch(steps):
            raise InputError(f'jacobians:{steps}: expected "all" or a number of steps of at least 1, got "{steps}"')
        self.steps = steps

    def measure(self, segment: LayerPass) -> tuple[list[Row], dict[str, Array]]:
        """Return norms and condition numbers of the sampled steps; keep those whose medians go to ``runs``."""
        T, start = segment.steps, segment.start
        count = T if self.steps == "all" else min(int(self.steps), T)
        sampled = np.unique(np.linspace(1, T, count).round().astype(int)) - start
        chosen = sampled[(sampled >= 1) & (sampled <= segment.tape.steps)]
        values = segment.jacobians.singular_values(steps=chosen.tolist())
        with np.errstate(all="ignore"):
            measured = {
                "jac_norm2": np.log(values[..., 0]),
                "jac_fro": np.log(values[..., 0]) + 0.5 * np.log(((values / values[..., :1]) ** 2).sum(axis=-1)),
                "jac_cond": np.log(values[..., 0]) - np.log(values[..., -1]),
                **{f"jac_q{100 * q:.0f}": np.log(np.quantile(values, q, axis=-1)) for q in QUANTILES},
                "jac_min": np.log(values[..., -1]),
            }
        measured["jac_fro"][values[..., 0] == 0] = -np.inf
        kept = {name: measured[name] for name in ("jac_norm2", "jac_cond")}
        return [segment.rows(name, logs, chosen) for name, logs in measured.items()], kept

    def summarise(self, segment: LayerPass, kept: dict[str, Array]) -> Summary:
        """Return the medians of the largest singular value and of the condition number over steps and sequences."""
        return {f"{name}_median": _median_exp(logs) for name, logs in kept.items()}


def _median_exp(logs: NDArray[np.float64]) -> float:
    known = logs[~np.isnan(logs)]
    with np.errstate(over="ignore"):
        return float(np.exp(np.median(known))) if known.size else float("nan")
