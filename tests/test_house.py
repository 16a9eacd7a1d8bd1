"""Imports go down the floors of the house, within a floor from right to left, and never in a circle."""

import ast
from collections.abc import Iterable
from graphlib import TopologicalSorter
from pathlib import Path

import gradlab

ROOT = Path(gradlab.__file__).parent
FLOORS = [
    ("errors", "options", "files", "schema", "native", "arrays", "formatting", "progress"),
    ("statistics",),
    ("cells",),
    ("models",),
    ("bptt", "tasks", "weights"),
    ("theory",),
    ("tables",),
    ("verdicts",),
    ("figures", "jacobians"),
    ("layer", "report", "protocol"),
    ("hooks",),
    ("_trace",),
    ("training", "_selfcheck"),
    ("_watch", "study"),
    ("cli", "__main__"),
]
#: Rooms that work on arrays and never load pandas.
NUMPY_ONLY = ("errors", "options", "files", "schema", "native", "arrays", "cells", "models", "bptt", "tasks", "weights")
ORDER = {room: place for place, room in enumerate(room for floor in FLOORS for room in floor)}
FILES = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in sorted(ROOT.rglob("*.py"))}
MODULES = {name.removesuffix(".__init__") for name in FILES} - {"__init__"}


def imports(nodes: Iterable[ast.AST]) -> set[str]:
    """Return the full names that some nodes of a file import."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"import {node.module} by its full name"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def inside(name: str) -> str | None:
    """Return the module of ours that an imported name is, or lies in; None for all others."""
    parts = name.split(".")
    tries = (".".join(parts[1:end]) for end in range(len(parts), 1, -1)) if parts[0] == "gradlab" else ()
    return next((module for module in tries if module in MODULES), None)


TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}
#: All imports count: those under TYPE_CHECKING, and those inside functions.
EDGES = {
    name.removesuffix(".__init__"): {inside(found) for found in imports(ast.walk(tree))} - {None}
    for name, tree in TREES.items()
    if name != "__init__"
}


def test_imports_go_down() -> None:
    homeless = {name.split(".")[0] for name in EDGES} - set(ORDER)
    assert not homeless, f"which floor are these on? {homeless}"
    steps = [(name, below, name.split(".")[0], below.split(".")[0]) for name in EDGES for below in EDGES[name]]
    up = [f"gradlab.{name} imports gradlab.{below}" for name, below, a, b in steps if ORDER[a] < ORDER[b]]
    assert not up, up


def test_imports_never_go_in_a_circle() -> None:
    TopologicalSorter(EDGES).prepare()


def test_heavy_dependencies_enter_at_one_floor() -> None:
    for name, tree in TREES.items():
        for_types = [
            node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        ]
        skipped = {id(node) for block in for_types for node in ast.walk(block)}
        run = {found.split(".")[0] for found in imports(n for n in ast.walk(tree) if id(n) not in skipped)}
        at_import = {found.split(".")[0] for found in imports(tree.body)}
        assert not at_import & {"torch", "jax"}, name
        if not name.startswith(("figures", "report")):
            assert not run & {"matplotlib", "seaborn"}, name
        if name.split(".")[0] in NUMPY_ONLY:
            assert "pandas" not in run, name
