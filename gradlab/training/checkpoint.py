"""A training as one file: arrays and a page of JSON in an npz archive, from which nothing can run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from gradlab.models import archive
from gradlab.models.archive import described, rebuilt, under
from gradlab.tasks import TASKS, Task
from gradlab.tasks.registry import SHIPPED

__all__ = ["describe_task", "described", "read", "rebuilt", "task_of", "under", "write"]

Array = NDArray[Any]
#: What a file of ours says first; the number is the version of its layout.
FORMAT = "gradlab training 1"


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
