"""The state of a training, and its task as a file describes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from gradlab.arrays.scaled import Array
from gradlab.cells import Cell
from gradlab.models.network import Network
from gradlab.tasks import TASKS, Task
from gradlab.tasks.registry import SHIPPED
from gradlab.training.optimisers import Slots

#: First entry of a file of a training; the number is the version of its layout.
FORMAT = "gradlab training 1"
STATUSES = RUNNING, SOLVED, DIVERGED = ("running", "solved", "diverged")


@dataclass(frozen=True, eq=False)
class TrainingState:
    """The state of a training after a whole step; its arrays are never changed.

    Attributes
    ----------
    model : Cell or Network
        The model with the parameters of this step.
    vector : array (P,)
        The same parameters as one vector.
    slots : tuple of arrays (P,)
        The optimiser's memory.
    step : int
        Number of steps done.
    status : str
        "running", "solved" or "diverged".
    reason : str
        The criterion reached, or the step and kind of divergence; empty while running.
    scores : tuple of pairs
        Each scored step, and its score.
    """

    model: Cell | Network
    vector: Array
    slots: Slots
    step: int = 0
    status: str = RUNNING
    reason: str = ""
    scores: tuple[tuple[int, float], ...] = ()


def diverged(before: TrainingState, reason: str) -> TrainingState:
    """Return the state before a failed step, with the reason of the failure."""
    return replace(before, status=DIVERGED, reason=f"step {before.step}: {reason}")


def describe_task(task: object) -> dict[str, Any] | None:
    """Return the name and keys of a shipped task; None for any other task, which a file cannot hold."""
    if not isinstance(task, Task) or task.name not in SHIPPED or TASKS[task.name] is not type(task):
        return None
    own = [one.name for one in fields(task) if one.name in task.KEYS]  # type: ignore[arg-type]
    return {"name": task.name, "options": {key: getattr(task, key) for key in own}}


def task_of(described: Mapping[str, Any] | None) -> Task | None:
    """Return the task that :func:`describe_task` described."""
    return None if described is None else TASKS[described["name"]](**described["options"])
