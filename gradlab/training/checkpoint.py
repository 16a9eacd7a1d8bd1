"""A training as one file: arrays and a page of JSON in an npz archive, from which nothing can run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from gradlab.cells import Cell
from gradlab.models import archive
from gradlab.models.archive import described, rebuilt, under
from gradlab.models.network import Network
from gradlab.tasks import TASKS, Task
from gradlab.tasks.registry import SHIPPED
from gradlab.training.optimisers import Slots

__all__ = [
    "DIVERGED",
    "RUNNING",
    "SOLVED",
    "STATUSES",
    "TrainingState",
    "describe_task",
    "described",
    "diverged",
    "read",
    "rebuilt",
    "task_of",
    "under",
    "write",
]

Array = NDArray[Any]
#: What a file of ours says first; the number is the version of its layout.
FORMAT = "gradlab training 1"
STATUSES = RUNNING, SOLVED, DIVERGED = ("running", "solved", "diverged")


@dataclass(frozen=True, eq=False)
class TrainingState:
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


def diverged(before: TrainingState, reason: str) -> TrainingState:
    """Return it as it was before the step that could not be taken, and why not."""
    return replace(before, status=DIVERGED, reason=f"step {before.step}: {reason}")


# --- files ------------------------------------------------------------------------------------------


def write(path: Path, page: Mapping[str, Any], arrays: Mapping[str, Array]) -> Path:
    """Write a page of JSON and arrays, whole or not at all; see :func:`gradlab.models.archive.write`."""
    return archive.write(path, FORMAT, page, arrays)


def read(path: Path) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return the page and the arrays of a file that :func:`write` wrote; raises whatever a file can be wrong by."""
    return archive.read(path, FORMAT)


# --- tasks ------------------------------------------------------------------------------------------


def describe_task(task: object) -> dict[str, Any] | None:
    """Return a shipped task's name and keys; None for one that a file cannot hold."""
    if not isinstance(task, Task) or task.name not in SHIPPED or TASKS[task.name] is not type(task):
        return None
    own = [one.name for one in fields(task) if one.name in task.KEYS]  # type: ignore[arg-type]
    return {"name": task.name, "options": {key: getattr(task, key) for key in own}}


def task_of(told: Mapping[str, Any] | None) -> Task | None:
    """Return the task of :func:`describe_task`."""
    return None if told is None else TASKS[told["name"]](**told["options"])
