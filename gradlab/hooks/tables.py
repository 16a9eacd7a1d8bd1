"""Hooks called on the layers of a pass, and the tables that they leave."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gradlab import schema
from gradlab.errors import InputError, unknown
from gradlab.hooks.base import Hook, Info
from gradlab.layers import LayerTrace

if TYPE_CHECKING:
    import pandas as pd


def call_hooks(hooks: Sequence[Hook], passes: Sequence[LayerTrace]) -> None:
    """Show every hook the layers and directions of one pass, bottom up first and then, as the gradient ran, top down.

    Parameters
    ----------
    passes : every layer and direction, bottom up, forward before reverse.
    """
    T, _, B = passes[0].tape.x.shape
    for hook in hooks:
        hook.begin(Info([(one.layer, one.direction, one.cell) for one in passes], T, B))
        for one in passes:
            hook.forward(one)
        for one in reversed(passes):
            hook.segment(one)


def measured_tables(hooks: Sequence[Hook], runs: Sequence[dict[str, Any]]) -> dict[str, pd.DataFrame]:
    """Return what hooks measured by table: ``runs`` with the columns that they add, ``steps``, ``spectra``.

    Parameters
    ----------
    runs : one row a layer and direction, with those two as keys.

    Raises
    ------
    InputError
        for a hook whose ``table`` is none of these.
    """
    import pandas as pd

    parts: dict[str, list[pd.DataFrame]] = {name: [] for name in schema.TABLES if name != "runs"}
    for hook in hooks:
        if hook.table not in parts:
            raise InputError(f"{type(hook).__name__}.table: {unknown('table', hook.table, parts)}")
        parts[hook.table].append(hook.frame())
    filled = {name: [frame for frame in frames if len(frame)] for name, frames in parts.items()}
    joined = {name: pd.concat(f, ignore_index=True) if f else pd.DataFrame() for name, f in filled.items()}
    return {"runs": _with_summaries(pd.DataFrame(runs), hooks), **joined}


def _with_summaries(runs: pd.DataFrame, hooks: Sequence[Hook]) -> pd.DataFrame:
    for hook in hooks:
        summary = hook.summary()
        if len(summary):
            runs = runs.merge(summary, on=["layer", "direction"], how="left")
    return runs
