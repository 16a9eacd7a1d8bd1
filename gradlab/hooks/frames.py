"""The tables that hooks measure: of a whole trace, and of one layer for a figure of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from gradlab import schema
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
    """Return the measurements of hooks by table: ``runs``, one row per layer and direction, and those of :func:`rows`."""
    import pandas as pd

    return {"runs": _with_summaries(pd.DataFrame(runs), hooks), **rows(hooks)}


def run_row(layer: int, direction: str, loss: float, overflow_step: int) -> dict[str, Any]:
    """Return the columns of ``runs`` that do not depend on hooks."""
    return {
        "layer": layer,
        "direction": direction,
        "status": "diverged" if overflow_step else "done",
        "loss": loss,
        "overflow_step": overflow_step,
    }


def _with_summaries(runs: pd.DataFrame, hooks: Iterable[Hook]) -> pd.DataFrame:
    for hook in hooks:
        summary = hook.summary()
        if len(summary):
            runs = runs.merge(summary, on=["layer", "direction"], how="left")
    return runs


def frames(one: LayerPass, names: Iterable[str]) -> dict[str, pd.DataFrame]:
    """Return the tables of a study whose only run is this layer and direction, without a seed."""
    import pandas as pd

    hooks = make_hooks(names)
    call(hooks, [one])
    run = {
        "id": "",
        "study": "",
        "cell": one.cell.name,
        "length": one.tape.steps,
        "hidden": one.cell.hidden_size,
        "layer": one.layer,
        "direction": one.direction,
        "status": "done",
    }
    empty = {"steps": pd.DataFrame(columns=list(schema.STEPS)), "spectra": pd.DataFrame(columns=list(schema.SPECTRA))}
    found = measured(hooks, [run])
    return empty | {name: table.assign(id="") for name, table in found.items() if len(table)}
