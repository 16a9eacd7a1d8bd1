"""The tasks by name: those that are shipped, and a user's own."""

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
    """A task that is there already, as an entry of :data:`TASKS`: called, it gives that task."""

    task: Task
    KEYS: Mapping[str, Option] = field(default_factory=lambda: {"content": CONTENT})

    def __call__(self, **_: Any) -> Task:
        """Return the task."""
        return self.task


@dataclass(frozen=True, eq=False)
class Absent(Task):
    """Stands for a user's own task that results name and nobody has registered: they are read, it draws nothing."""

    called: str
    steps: int | None
    input_size: int = 1
    output_size: int = 1

    name: ClassVar[str] = "absent"

    @property
    def fixed_length(self) -> int | None:
        """T where the results have one that the study does not give."""
        return self.steps

    def sample(self, length: int, batch: int, *, at: At = "last", rng: np.random.Generator) -> Any:
        """Raise: there is nothing to draw from."""
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
    """Make a task of one's own known by a name, so that studies take it: ``[task] name = "mine"``.

    It is known in this process, and travels to the worker processes of a study that is run from here; ``gradlab run``
    never imports what a study names, and does not know it.

    Parameters
    ----------
    name : letters, digits, ``_`` and ``-``; a name registered before is replaced, a shipped one is not.
    task : a :class:`~gradlab.tasks.FunctionTask`, what :func:`~gradlab.tasks.from_arrays` or
        :func:`~gradlab.tasks.from_frame` gives, or a class of one's own with keys of its own.

    Raises
    ------
    InputError
        for a name that cannot be, and for what is no such task.

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
        task()  # a study asks it for its keys and its length; all keys have defaults
        TASKS[name] = task
    else:
        raise InputError(
            "task must be gl.tasks.FunctionTask(draw, input_size, output_size), gl.tasks.from_arrays(x, y), or a class "
            f"of gl.tasks.Task; got {task if isinstance(task, type) else type(task).__name__}"
        )


def absent(names: Iterable[str]) -> list[str]:
    """Return those of the tasks that are :class:`Absent`."""
    return [
        name for name in names if isinstance(entry := TASKS.get(name), FixedTask) and isinstance(entry.task, Absent)
    ]


def packed(names: Iterable[str]) -> bytes:
    """Return those of the tasks that are a user's own, for :func:`adopt` in another process.

    Raises
    ------
    InputError
        where one cannot travel.
    """
    own = {name: TASKS[name] for name in names if name not in SHIPPED}
    try:
        return pickle.dumps(own) if own else b""
    except Exception as error:  # of many kinds, as the user's objects will have it
        raise InputError(f"task {', '.join(own)} cannot travel to worker processes ({error}); {_ADVICE}") from None


def adopt(own: bytes) -> None:
    """Make the tasks of :func:`packed` known here: bytes of the process that runs the study, never of a file.

    Raises
    ------
    InputError
        where what they are made of is not found here.
    """
    try:
        TASKS.update(_unpacked(own) if own else {})
    except Exception as error:
        raise InputError(f"a task of your own is not found by worker processes ({error}); {_ADVICE}") from None


@lru_cache(maxsize=1)
def _unpacked(own: bytes) -> dict[str, type[Task] | FixedTask]:
    """Return the tasks, the same objects for every group of a study."""
    found: dict[str, type[Task] | FixedTask] = pickle.loads(own)
    return found
