"""The hook that records each quantity of ``steps`` and each column of ``runs``."""

from __future__ import annotations

from gradlab.schema import QUANTITIES
from gradlab.tables.tables import NotRecorded

#: Hooks by the prefixes of the names that they record in ``steps`` and in ``runs``.
HOOKS = {
    **dict.fromkeys(("gate_", "saturation", "keep_gate_mean"), "gates"),
    **dict.fromkeys(("lyapunov_", "kaplan_yorke", "entropy", "positive_exponents", "mean_exponent"), "lyapunov:8"),
    **dict.fromkeys(("state_power", "weight_sensitivity"), "sensitivity"),
    **dict.fromkeys(("adjoint", "last_adjoint", "dL/", "direct"), "gradients"),
    **dict.fromkeys(("rate", "window", "horizon_", "censored", "shape", "verdict"), "gradients"),
    "contribution_": "contributions",
    "jac_": "jacobians",
    "path_": "paths",
    "temporal": "temporal",
}


def hook_of(name: str) -> str | None:
    """Return the built-in hook that records a quantity of ``steps`` or a column of ``runs``; None if there is none."""
    return next((hook for start, hook in HOOKS.items() if name.startswith(start)), None)


def is_quantity(name: str) -> bool:
    """Return whether the quantity column of ``steps`` may hold ``name``."""
    return name in QUANTITIES or name.startswith(("dL/", "gate_", "saturation_", "contribution_"))


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
