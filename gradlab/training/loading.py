"""Loading of a saved training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gradlab.arrays.checks import choice, positive
from gradlab.arrays.scaled import Array
from gradlab.errors import InputError, StoreError
from gradlab.models import archive
from gradlab.tasks import Task
from gradlab.training import checkpoint
from gradlab.training.batches import Batch
from gradlab.training.optimisers import OPTIMISERS
from gradlab.training.schedule import Schedule, Until
from gradlab.training.training import HISTORY, Training


def load_training(path: str | Path, task: Task | Callable[[int], Batch] | None = None) -> Training:
    """Load a file of :meth:`Training.save`; the training continues as if it had never stopped.

    Nothing in the file is executed.

    Parameters
    ----------
    path : str or Path
        The file.
    task : Task or callable, optional
        The task of the training. It is needed if it was a function or a user's own task, which a file cannot hold.

    Returns
    -------
    Training
        The training, at the step at which it was saved.

    Raises
    ------
    StoreError
        If the file cannot be read or holds no training.
    InputError
        If the task is needed and missing, or draws other batches than the file's.
    """
    try:
        page, arrays = archive.read(Path(path), checkpoint.FORMAT)
        known = checkpoint.task_of(page["task"])
        found = None if task is None and known is None else _loaded(page, arrays, known if task is None else task)
    except Exception as error:
        raise StoreError(f"{path}: holds no training that can be read ({error})") from None
    if found is None:
        raise InputError(f"{path}: the file cannot hold the task it was trained on; give task=")
    if task is not None and found.first is not None and not found.stream.agrees(found.first):
        raise InputError(
            f"{path}: task= draws other batches than the one it was trained on; give that one, or continue from its "
            "model with a gl.Training of your own"
        )
    return found


def _loaded(page: Mapping[str, Any], arrays: Mapping[str, Array], task: Any) -> Training:
    stream, optimiser, until, standing = (page[key] for key in ("stream", "optimiser", "until", "standing"))
    made = Training(
        archive.rebuilt(page["model"], archive.under("parameters/", arrays)),
        task,
        **stream,
        optimiser=OPTIMISERS[optimiser["name"]](**optimiser["options"]),
        schedule=Schedule(**page["schedule"]),
        clip_norm=page["clip"]["norm"],
        clip_value=page["clip"]["value"],
        omega=page["omega"],
        until=None if until is None else Until(**until),
    )
    step, old = positive("step", standing["step"] + 1) - 1, made.training_state
    slots = tuple(_like(old.vector, arrays[f"slots/{name}"]) for name in made.optimiser.slots)
    made.first = None if page["first"] is None else [float(number) for number in page["first"]]
    made.history = _like(np.empty((len(HISTORY), step)), arrays["history"])
    scores = tuple((int(at), float(score)) for at, score in standing["scores"])
    status, reason = choice("status", standing["status"], checkpoint.STATUSES), str(standing["reason"])
    made.training_state = replace(old, slots=slots, step=step, status=status, reason=reason, scores=scores)
    return made


def _like(expected: Array, array: Array) -> Array:
    """Return ``array`` after checking that it has the expected shape and dtype."""
    if array.shape != expected.shape or array.dtype != expected.dtype:
        raise ValueError(f"expected {expected.dtype} {expected.shape}, got {array.dtype} {array.shape}")
    return array
