"""The tasks by name: shipped ones, and those that a user registers."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from gradlab.errors import InputError
from gradlab.models.losses import At
from gradlab.options import Option
from gradlab.tasks.adding import Adding
from gradlab.tasks.base import CONTENT, DataTask, Task
from gradlab.tasks.copy import Copy
from gradlab.tasks.delayed_xor import DelayedXor
from gradlab.tasks.digits import Digits
from gradlab.tasks.file import File
from gradlab.tasks.noise import Noise
from gradlab.tasks.sum import Sum
from gradlab.tasks.sunspots import Sunspots
from gradlab.tasks.temporal_order import TemporalOrder
from gradlab.tasks.two_sequence import TwoSequence


@dataclass(frozen=True, eq=False)
class FixedTask:
    """A task without keys as an entry of :data:`TASKS`: calling it returns the task."""

    task: Task
    KEYS: Mapping[str, Option] = field(default_factory=lambda: {"content": CONTENT})

    def __call__(self, **_: Any) -> Task:
        """Return the task."""
        return self.task


@dataclass(frozen=True, eq=False)
class Absent(Task):
    """Placeholder for a task that results name and that is not registered here: results can be read, not extended."""

    called: str
    steps: int | None
    input_size: int = 1
    output_size: int = 1

    name: ClassVar[str] = "absent"

    @property
    def fixed_length(self) -> int | None:
        """T if the results have one that the study does not define."""
        return self.steps

    def sample(self, length: int, batch: int, *, at: At = "last", rng: np.random.Generator) -> Any:
        """Raise ``InputError``, because the data are unknown."""
        raise InputError(
            f'"{self.called}" is not known here; first gl.tasks.register("{self.called}", …), as it was then'
        )


TASKS: dict[str, type[Task] | FixedTask] = {
    "sum": Sum,
    "adding": Adding,
    "copy": Copy,
    "temporal_order": TemporalOrder,
    "delayed_xor": DelayedXor,
    "two_sequence": TwoSequence,
    "digits": Digits,
    "sunspots": Sunspots,
    "noise": Noise,
    "file": File,
}
SHIPPED = frozenset(TASKS)
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,49}")
_ADVICE = "define what it is made of at the top of a script or module, or give workers=0"


def register(name: str, task: DataTask | type[Task]) -> None:
    """Register a task under a name, so that studies can use it: ``[task] name = "mine"``.

    The name is known in this process and in the worker processes of studies that run from it. ``gradlab run`` never
    imports user code, so it does not know the name.

    Parameters
    ----------
    name : str
        Letters, digits, ``_`` and ``-``. An earlier registration is replaced; the name of a shipped task is refused.
    task : DataTask or type
        A :class:`~gradlab.tasks.FunctionTask`, the result of :func:`~gradlab.tasks.from_arrays` or
        :func:`~gradlab.tasks.from_frame`, or a subclass of :class:`~gradlab.tasks.Task` with keys of its own.

    Raises
    ------
    InputError
        If the name is not possible, or ``task`` is none of these.

    Examples
    --------
    >>> import numpy as np
    >>> from gradlab.tasks import FunctionTask
    >>> def echo(length, batch, rng):
    ...     x = rng.standard_normal((length, batch, 1))
    ...     return x, x[0]
    >>> register("echo", FunctionTask(echo, input_size=1, output_size=1))
    """
    if not isinstance(name, str) or not NAME.fullmatch(name) or name in SHIPPED:
        why = "is a shipped task" if name in SHIPPED else "is no name: letters, digits, _ and -, at most 50"
        raise InputError(f"a task of your own cannot be called {name!r}, which {why}")
    if isinstance(task, DataTask):
        TASKS[name] = FixedTask(task)
    elif isinstance(task, type) and issubclass(task, Task):
        task()  # studies construct it without arguments; all keys need defaults
        TASKS[name] = task
    else:
        raise InputError(
            "task must be gl.tasks.FunctionTask(draw, input_size, output_size), gl.tasks.from_arrays(x, y), or a class "
            f"of gl.tasks.Task; got {task if isinstance(task, type) else type(task).__name__}"
        )


def absent(names: Iterable[str]) -> list[str]:
    """Return the names whose task is :class:`Absent`."""
    return [
        name for name in names if isinstance(entry := TASKS.get(name), FixedTask) and isinstance(entry.task, Absent)
    ]


def packed(names: Iterable[str]) -> bytes:
    """Return the user's tasks among ``names`` as bytes, for :func:`adopt` in another process.

    Raises
    ------
    InputError
        If one of them cannot be pickled.
    """
    own = {name: TASKS[name] for name in names if name not in SHIPPED}
    try:
        return pickle.dumps(own) if own else b""
    except Exception as error:  # the kind depends on the user's objects
        raise InputError(f"task {', '.join(own)} cannot travel to worker processes ({error}); {_ADVICE}") from None


def adopt(own: bytes) -> None:
    """Register the tasks of :func:`packed`; the bytes come from the process that runs the study, never from a file.

    Raises
    ------
    InputError
        If their code is not found here.
    """
    try:
        TASKS.update(_unpacked(own) if own else {})
    except Exception as error:
        raise InputError(f"a task of your own is not found by worker processes ({error}); {_ADVICE}") from None


@lru_cache(maxsize=1)
def _unpacked(own: bytes) -> dict[str, type[Task] | FixedTask]:
    """Return the tasks; all groups of a study share the same objects."""
    found: dict[str, type[Task] | FixedTask] = pickle.loads(own)
    return found
