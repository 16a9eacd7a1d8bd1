"""A user's own tasks that nobody has registered here: as much of them as reading results needs, from the runs."""

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

#: What a column of ``runs`` holds that has a key of a task.
_KINDS = {pa.string(): str, pa.large_string(): str, pa.int64(): int, pa.float64(): float, pa.bool_(): bool}


def spec_of(folder: Path) -> Spec:
    """Return the specification of a results folder; tasks of its runs that are not known become :class:`Absent`."""
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
    """Raise where no run is one of the plan's, and a task is absent, which alone could tell what they are."""
    missing = absent({config.values["task.name"] for config in plan.configurations})
    stored = PartStore.open(folder).statuses if missing else {}
    if stored and not any(config.id in stored for config in plan.configurations):
        told = ", ".join(f'"{name}"' for name in missing)
        raise StoreError(f"{folder}: its runs cannot be told apart without the task {told}; gl.tasks.register it first")


def _adopted(folder: Path, tables: Mapping[str, Any]) -> list[str]:
    """Make tasks that the runs name, and nobody has registered, known as absent; return their names.

    Their keys, what these are where the specification's ``tables`` do not say it, and a length that is the task's own
    are those of the runs.
    """
    shelf = PartStore.open(folder)
    runs = shelf.read("runs", shelf.statuses)
    named = runs["task.name"].unique().to_pylist() if "task.name" in runs.column_names else []
    names = [name for name in named if NAME.fullmatch(name) and (name not in TASKS or absent([name]))]
    given = "length" in tables.get("grid", {}) or "length" in tables.get("base", {})
    for name in names:
        own = runs.filter(pc.equal(runs["task.name"], name))
        TASKS[name] = FixedTask(Absent(name, None if given else own["length"][0].as_py()), _keys(own))
    return names


def _keys(runs: pa.Table) -> dict[str, Option]:
    """Return the keys of the one task that all these runs are of."""
    found = dict[str, Option]()
    for name in (name for name in runs.column_names if name.startswith("task.") and name != "task.name"):
        kind, values = _KINDS.get(runs.schema.field(name).type), runs[name].drop_null()
        if kind is not None and len(values):
            found[name.removeprefix("task.")] = Option(kind, values[0].as_py())
    return found
