"""Formulas that run compiled: one reading of memory for all of a formula's operations, in place of one for each.

A formula is written in NumPy, beside its cell, and once more in C (``formulas.h``), as a ufunc of the same name. The
plain one is what the compiled one is tested against; it runs for complex numbers, and where there was no C compiler.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from importlib import import_module
from types import ModuleType
from typing import Any


def _built() -> ModuleType | None:
    try:
        return import_module("gradlab.cells._steps")
    except ImportError:
        return None


_steps = _built()
Formula = Callable[..., Any]
#: The plain formulas by name.
PLAIN: dict[str, Formula] = {}


def available() -> bool:
    """Return whether the formulas were compiled when gradlab was installed."""
    return _steps is not None


def compiled(plain: Formula) -> Formula:
    """Return the formula that is the ufunc of its name for real numbers, and ``plain`` else.

    Where it takes ``out``, that is as a ufunc's: a tuple of arrays or Nones, one for each array that is returned.
    """
    name = plain.__name__
    PLAIN[name] = plain
    if _steps is None:
        return plain
    fast = getattr(_steps, name)

    @wraps(plain)
    def formula(*arrays: Any, **out: Any) -> Any:
        return (fast if arrays[0].dtype.char in "fd" else plain)(*arrays, **out)

    return formula
