"""The formulas in NumPy in the place of the compiled ones."""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable
from typing import Any

from gradlab.cells.activations import ACTIVATIONS
from gradlab.native import compiled


def run_plain(
    set_name: Callable[[Any, str, Any], None] = setattr, set_item: Callable[..., None] = operator.setitem
) -> None:
    """Put the plain formulas where the cells look for them, and take loops step by step, as without a compiler.

    With ``monkeypatch``'s setters, until a test is over.
    """
    set_name(compiled, "take", None)
    for module in [module for name, module in sys.modules.items() if name.startswith("gradlab.cells.")]:
        for key, plain in compiled.PLAIN.items():
            if key in vars(module) and not module.__name__.endswith("_steps"):
                set_name(module, key, plain)
    derivative = compiled.PLAIN["tanh_derivative"]
    set_item(ACTIVATIONS, "tanh", ACTIVATIONS["tanh"]._replace(derivative=derivative))
