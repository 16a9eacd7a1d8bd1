"""The tables that hooks measure: of a whole trace, and of some layers for a figure of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gradlab import schema
from gradlab.cells import Cell
from gradlab.errors import InputError, unknown
from gradlab.hooks import Hook, Info, make_hooks
from gradlab.layer import LayerPass

if TYPE_CHECKING:
    import pandas as pd


def call(hooks: Iterable[Hook], passes: Sequence[LayerPass]) -> None:
    """Call each hook on the whole pass: every layer and direction forward, bottom up, then backward, top down."""
    T, B = passes[0].tape.steps, passes[0].tape.x.shape[-1]
    for hook in hooks:
        hook.begin(Info([(one.layer, one.direction, one.cell) for one in passes], T, B))
        for one in passes:
            hook.forward(one)
        for one in reversed(passes):
            hook.segment(one)


def rows(hooks: Iterable[Hook]) -> dict[str, pd.DataFrame]:
    """Return the rows of the hooks by table, for every table except ``runs``.

    Raises
    ------
    InputError
        for a hook whose ``table`` is unknown.
    """
    parts: dict[str, list[pd.DataFrame]] = {name: [] for name in schema.TABLES if name != "runs"}
    for hook in hooks:
        if hook.table not in parts:
            raise InputError(f"{type(hook).__name__}.table: {unknown('table', hook.table, parts)}")
        parts[hook.table].append(hook.frame())
    filled = {name: [frame for frame in frames if len(frame)] for name, frames in parts.items()}
    return {name: _together(frames) for name, frames in filled.items()}


def _together(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Concatenate frames; a single one is not copied."""
    import pandas as pd

    if len(frames) == 1:
        return frames[0]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def measured(hooks: Sequence[Hook], runs: Sequence[dict[str, Any]]) -> dict[str, pd.DataFrame]:
    """Return the tables that hooks measured: ``runs``, one row per layer and direction, and those of :func:`rows`."""
    import pandas as pd

    table = pd.DataFrame(runs)
    for hook in hooks:
        summary = hook.summary()
        if len(summary):
            table = table.merge(summary, on=["layer", "direction"], how="left")
    return {"runs": table, **rows(hooks)}


def run_row(layer: int, direction: str, loss: float, overflow_step: int) -> dict[str, Any]:
    """Return the columns of ``runs`` that do not depend on hooks."""
    return {
        "layer": layer,
        "direction": direction,
        "status": "diverged" if overflow_step else "done",
        "loss": loss,
        "overflow_step": overflow_step,
    }


def frames(passes: Sequence[LayerPass], names: Iterable[str], loss: float = float("nan")) -> dict[str, pd.DataFrame]:
    """Return the tables of a study whose only runs are these layers and directions of one pass, without a seed."""
    hooks = make_hooks(names)
    call(hooks, passes)
    found = measured(hooks, [run_row(one.layer, one.direction, loss, 0) for one in passes])
    cells = [cell_row(one.cell, one.steps, one.tape.x.shape[-1]) for one in passes]
    return {name: table_of(found, name, cells) for name in schema.TABLES}


def cell_row(cell: Cell, length: int, batch: int) -> dict[str, Any]:
    """Return the columns of ``runs`` that describe the cell of a pass and its input, as the keys of a study do."""
    return {"cell": cell.name, "length": length, "hidden": cell.hidden_size, "batch": batch}


def table_of(found: Mapping[str, pd.DataFrame], name: str, cells: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return a table of `measured` with every column of the schema.

    Parameters
    ----------
    found : what the hooks measured, by table.
    name : "runs", "steps" or "spectra".
    cells : the columns of `cell_row`, one entry per row of ``runs``. The cell's name and the length stand before the
        layer, where the keys of a study stand.

    Raises
    ------
    InputError
        If there is no such table.
    """
    import pandas as pd

    from gradlab.tables.complete import completed

    schema.check_table(name)
    if name != "runs":
        return completed(found[name], name)
    keys = pd.DataFrame(list(cells), index=found[name].index)
    return completed(found[name].assign(**keys), name, own=("cell", "length"))
