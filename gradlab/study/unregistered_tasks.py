"""Placeholders for a user's unregistered tasks, derived from the stored runs, so that results can be read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from gradlab.errors import SpecError, StoreError
from gradlab.options import Option
from gradlab.study.plan import Plan
from gradlab.study.spec import Spec, read
from gradlab.study.store import PartStore
from gradlab.tasks import TASKS
from gradlab.tasks.registry import NAME, Absent, FixedTask, absent

#: The Python type of a task's key by the type of its column in ``runs``.
_KINDS = {pa.string(): str, pa.large_string(): str, pa.int64(): int, pa.float64(): float, pa.bool_(): bool}


def spec_of(folder: Path) -> Spec:
    """Return the specification of a results folder; unregistered tasks of its runs become :class:`Absent`.

    Parameters
    ----------
    folder : Path
        The results folder.

    Returns
    -------
    Spec
        The specification.

    Raises
    ------
    SpecError
        If ``study.toml`` is not valid, and no unregistered task of the runs explains this.
    StoreError
        If the runs cannot be read.
    """
    file = folder / "study.toml"
    try:
        spec = Spec.from_toml(file)
        if not absent(spec.values("task.name")):
            return spec
    except SpecError:
        if not _adopted(folder, read(file)):
            raise
    else:
        _adopted(folder, read(file))
    return Spec.from_toml(file)


def refuse_unread(folder: Path, plan: Plan) -> None:
    """Refuse stored runs of which none belongs to the plan, if an unregistered task may be the cause.

    Parameters
    ----------
    folder : Path
        The results folder.
    plan : Plan
        The plan of its specification.

    Raises
    ------
    StoreError
        If the folder holds runs, none is in the plan, and a task of the plan is not registered.
    """
    missing = absent({config.values["task.name"] for config in plan.configurations})
    stored = PartStore.open(folder).statuses if missing else {}
    if stored and not any(config.id in stored for config in plan.configurations):
        names = ", ".join(f'"{name}"' for name in missing)
        raise StoreError(
            f"{folder}: its runs cannot be identified without the task {names}; gl.tasks.register it first"
        )


def _adopted(folder: Path, tables: Mapping[str, Any]) -> list[str]:
    """Register each unregistered task of the runs as :class:`Absent` and return the names.

    The keys, their default values and the length come from the runs. If ``tables`` gives a length, the task has none.
    """
    store = PartStore.open(folder)
    runs = store.read("runs", store.statuses)
    named = runs["task.name"].unique().to_pylist() if "task.name" in runs.column_names else []
    names = [name for name in named if NAME.fullmatch(name) and (name not in TASKS or absent([name]))]
    given = "length" in tables.get("grid", {}) or "length" in tables.get("base", {})
    for name in names:
        own = runs.filter(pc.equal(runs["task.name"], name))
        TASKS[name] = FixedTask(Absent(name, None if given else own["length"][0].as_py()), _keys(own))
    return names


def _keys(runs: pa.Table) -> dict[str, Option]:
    """Return the keys of a task from its runs; the first value of each key becomes the default."""
    found = dict[str, Option]()
    for name in (name for name in runs.column_names if name.startswith("task.") and name != "task.name"):
        kind, values = _KINDS.get(runs.schema.field(name).type), runs[name].drop_null()
        if kind is not None and len(values):
            found[name.removeprefix("task.")] = Option(kind, values[0].as_py())
    return found
