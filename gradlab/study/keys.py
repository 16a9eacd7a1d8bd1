"""The keys of a study: the values that each accepts, and the cells and tasks that have it.

Cells and tasks declare their own keys (`Cell.INIT_KEYS`, `Cell.OPTION_KEYS`, `Task.KEYS`). This module gives each its
name in a specification: ``init.forget_bias``, ``rnn.activation``, ``task.order``. A new cell or task adds nothing here.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from gradlab.arrays.checks import FLOATS
from gradlab.cells import CELLS
from gradlab.cells.initialisers import INIT_KEYS
from gradlab.errors import SpecError, printable, unknown
from gradlab.options import Option
from gradlab.study import train
from gradlab.tables.factors import NONE
from gradlab.tasks import TASKS, Task
from gradlab.tasks.registry import FixedTask

#: Types of options that accept a list of steps; ``object`` also accepts a word (``at``), see :func:`_adapter`.
LISTED = (list, object)
#: The keys that every configuration has.
BASE: dict[str, Option] = {
    "cell": Option(str, None, choices=tuple(CELLS), meaning="the recurrent cell"),
    "length": Option(int, None, minimum=1, meaning="T, in steps; a task of fixed length has its own"),
    "scale": INIT_KEYS["scale"],
    "hidden": Option(int, 64, minimum=1, meaning="H, of each layer"),
    "batch": Option(int, 16, minimum=1, meaning="B, in sequences"),
    "at": Option(object, "last", minimum=1, meaning='where the loss is read: "last", "every" or a list of steps'),
    "layers": Option(int, 1, minimum=1, meaning="stacked cells"),
    "precision": Option(str, "float64", choices=FLOATS, meaning="dtype of weights, data and gradients"),
    "task.name": Option(str, None, choices=tuple(TASKS), meaning="the task"),
}

_KINDS = {
    "name": "task",
    "figures": "figure",
    "recurrent": "recurrent init",
    "input": "input init",
    "bias": "bias init",
}
_NOUNS = {int: "a whole number", float: "a finite number", str: "a text", bool: "true or false"}


def keys_of(cell: str, task: str) -> dict[str, Option]:
    """Return the option of every key of a configuration of ``cell`` on ``task``, in the order of table columns.

    Parameters
    ----------
    cell : str
        The name of the cell.
    task : str
        The name of the task.

    Returns
    -------
    dict
        The option by key, without the keys of ``[train]``.
    """
    return _keys_of(cell, TASKS[task], tuple(TASKS))


@cache
def _keys_of(cell: str, task: type[Task] | FixedTask, tasks: tuple[str, ...]) -> dict[str, Option]:
    keys = dict(BASE) | {"task.name": BASE["task.name"]._replace(choices=tasks)}
    if task().fixed_length is not None:
        del keys["length"]
    keys |= {f"task.{name}": option for name, option in task.KEYS.items()}
    keys |= {f"init.{name}": option for name, option in CELLS[cell].INIT_KEYS.items() if name not in BASE}
    return keys | {f"{cell}.{name}": option for name, option in CELLS[cell].OPTION_KEYS.items()}


def every_key() -> dict[str, Option]:
    """Return the option of every key of all cells, all tasks and ``[train]``."""
    return _every_key(*TASKS.values())


@cache
def _every_key(*_: type[Task] | FixedTask) -> dict[str, Option]:
    found = {key: option for cell in CELLS for task in TASKS for key, option in keys_of(cell, task).items()}
    return found | {f"train.{name}": option for name, option in train.EVERY.items()}


def owners(key: str) -> tuple[str, ...]:
    """Return the names of the cells that have ``key``; of the tasks for ``length`` and the keys of tasks.

    Parameters
    ----------
    key : str
        The key, such as ``init.forget_bias``.

    Returns
    -------
    tuple of str
        The names.
    """
    if key == "length" or key.startswith("task."):
        return tuple(task for task in TASKS if key in keys_of(next(iter(CELLS)), task))
    return tuple(cell for cell in CELLS if key in keys_of(cell, next(iter(TASKS))))


def checked(path: str, option: Option, value: object) -> Any:
    """Check one value of a key and return it in its canonical form.

    TOML has no null value, so an optional key accepts the text "none" for None.

    Parameters
    ----------
    path : str
        The place of the value in the specification, for the message.
    option : Option
        The values that the key accepts.
    value : object
        The value as given.

    Returns
    -------
    object
        The value: a whole number as float where a float is expected, a list as a sorted tuple.

    Raises
    ------
    SpecError
        If the option does not accept the value. The message starts with ``path``.
    """
    if option.optional and value in (None, NONE):
        return None
    try:
        found = _adapter(option).validate_python(list(value) if isinstance(value, tuple) else value)
    except ValidationError:
        raise SpecError(f"{path}: {_complaint(path, option, value)}") from None
    return _canonical(path, found)


def checked_list(path: str, option: Option, value: object) -> tuple[Any, ...]:
    """Check a list of values of a key and return the values.

    Parameters
    ----------
    path : str
        The place of the list in the specification, for the message.
    option : Option
        The values that the key accepts.
    value : object
        The list as given.

    Returns
    -------
    tuple
        The checked values, in the given order.

    Raises
    ------
    SpecError
        If ``value`` is not a list, is empty, or has a wrong or repeated entry.
    """
    if not isinstance(value, list | tuple):
        raise SpecError(f"{path}: expected a list, got {shown(value)}; write {path} = [{shown(value)}]")
    if not value:
        raise SpecError(f"{path}: the list is empty; give at least one value, or leave the key out")
    found = tuple(checked(f"{path}[{i}]", option, entry) for i, entry in enumerate(value))
    first: dict[Any, int] = {}
    for i, entry in enumerate(found):
        if first.setdefault(entry, i) < i:
            raise SpecError(f"{path}[{i}]: {shown(value[i])} is in the list already, at {first[entry]}")
    return found


def shown(value: object) -> str:
    """Return ``value`` as TOML text, shortened to 200 characters; other types become quoted text.

    Parameters
    ----------
    value : object
        The value of a key.

    Returns
    -------
    str
        The text, one line.
    """
    return printable(json.dumps(value, ensure_ascii=False, default=str), 200)


def level(value: object) -> str:
    """Return one level of a key as text, as :func:`shown` does; None becomes "none".

    Parameters
    ----------
    value : object
        The value of a key.

    Returns
    -------
    str
        The text, one line.
    """
    return shown(NONE if value is None else value)


@cache
def _adapter(option: Option) -> TypeAdapter[Any]:
    limits: dict[str, Any] = {} if option.minimum is None else {"ge": option.minimum}
    if option.type is float:
        limits["allow_inf_nan"] = False
    kind: Any = Literal[option.choices] if option.choices else Annotated[option.type, Field(**limits)]
    if option.type in LISTED:
        steps = Annotated[list[Annotated[int, Field(ge=option.minimum)]], Field(min_length=1)]
        kind = steps if option.type is list else Literal["last", "every"] | steps
    return TypeAdapter(kind, config=ConfigDict(strict=True))


def _canonical(path: str, value: Any) -> Any:
    if isinstance(value, float):
        return value + 0.0  # turns −0.0 into 0.0, so that both have one id
    if not isinstance(value, list):
        return value
    if len(set(value)) < len(value):
        raise SpecError(f"{path}: a step is repeated in {shown(value)}")
    return tuple(sorted(value))


def _complaint(path: str, option: Option, value: object) -> str:
    leaf = path.rsplit(".", maxsplit=1)[-1].split("[")[0]
    if option.choices and isinstance(value, str):
        return unknown(_KINDS.get(leaf, leaf), value, option.choices)
    if isinstance(value, list | tuple) and option.type not in LISTED:
        return f"expected one value, {_expected(option)}, got the list {shown(value)}; to vary it, put it into [grid]"
    return f"expected {_expected(option)}, got {shown(value)}"


def _expected(option: Option) -> str:
    if option.type in LISTED:
        words = '"last", "every" or ' if option.type is object else ""
        return f"{words}a list of steps, each at least {option.minimum:g}"
    if option.choices:
        return "one of " + ", ".join(map(shown, option.choices))
    least = "" if option.minimum is None else f", at least {option.minimum:g}"
    return _NOUNS[option.type] + least + (f', or "{NONE}"' if option.optional else "")
