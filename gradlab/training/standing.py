"""Where a training stands: what a whole step leaves, and nothing of half a step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from gradlab.cells import Cell
from gradlab.models.network import Network
from gradlab.training.optimisers import Slots

Array = NDArray[Any]
STATUSES = RUNNING, SOLVED, DIVERGED = ("running", "solved", "diverged")


@dataclass(frozen=True, eq=False)
class Standing:
    """Where a training stands after a whole step; nothing in it is ever written to.

    Attributes
    ----------
    step : steps done.
    vector : the model's parameters ``(P,)``.
    slots : the optimiser's memory.
    scores : the steps after which the model was scored, and the scores.
    """

    model: Cell | Network
    vector: Array
    slots: Slots
    step: int = 0
    status: str = RUNNING
    reason: str = ""
    scores: tuple[tuple[int, float], ...] = ()


def diverged(before: Standing, reason: str) -> Standing:
    """Return it as it was before the step that could not be taken, and why not."""
    return replace(before, status=DIVERGED, reason=f"step {before.step}: {reason}")
