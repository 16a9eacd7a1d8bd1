"""The hook that records each quantity of ``steps`` and each column of ``runs``."""

from __future__ import annotations

from gradlab.schema import QUANTITIES, RECORDED
from gradlab.tables.tables import NotRecorded

#: Hooks by the beginning of the names that they record, in ``steps`` and in ``runs``.
_HOOKS = {
    name.removesuffix("*"): hook
    for hook, recorded in RECORDED.items()
    for name in (*recorded.columns, *recorded.quantities)
}


def hook_of(name: str) -> str | None:
    """Return the built-in hook that records a quantity of ``steps`` or a column of ``runs``; None if there is none.

    A table may derive more columns from a recorded one, ``horizon_e_mean`` from ``horizon_e``: the longest beginning
    that a hook records decides.
    """
    return _HOOKS.get(max((start for start in _HOOKS if name.startswith(start)), key=len, default=""))


def is_quantity(name: str) -> bool:
    """Return whether the quantity column of ``steps`` may hold ``name``."""
    return name in QUANTITIES or any(name.startswith(key[:-1]) for key in QUANTITIES if key.endswith("*"))


def not_recorded(table: str, name: str) -> NotRecorded:
    """Return the error for a quantity that is not in a table; its message names the hook that records it.

    Parameters
    ----------
    table : "runs" or "steps"
        The table that lacks it.
    name : str
        The quantity or column.
    """
    hook = hook_of(name)
    advice = f'; hooks = ["{hook}"] records them' if hook else ""
    return NotRecorded(f'{table}: no {"rows" if table == "steps" else "numbers"} of "{name}"{advice}')
