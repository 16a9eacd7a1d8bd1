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
        return import_module("gradlab.native._steps")
    except ImportError:
        return None


_steps = _built()
Formula = Callable[..., Any]
#: Takes the steps of a loop (:mod:`gradlab.native.loop`); None without a compiler.
take: Formula | None = getattr(_steps, "take", None)
#: The plain formulas by name.
PLAIN: dict[str, Formula] = {}


def available() -> bool:
    """Return whether the formulas were compiled when gradlab was installed."""
    return _steps is not None


def describe() -> str:
    """Return what runs, in words."""
    return "compiled" if available() else "in NumPy (there was no C compiler when gradlab was installed)"


def ufunc(name: str) -> Formula | None:
    """Return the ufunc of a formula; None without a compiler, or where it was built before the formula was written."""
    return getattr(_steps, name, None)


def compiled(plain: Formula) -> Formula:
    """Return the formula that is the ufunc of its name for real numbers, and ``plain`` else.

    Where it takes ``out``, that is as a ufunc's: a tuple of arrays or Nones, one for each array that is returned.
    """
    PLAIN[plain.__name__] = plain
    fast = ufunc(plain.__name__)
    if fast is None:
        return plain

    @wraps(plain)
    def formula(*arrays: Any, **out: Any) -> Any:
        if arrays[0].dtype.char in "fd":
            try:
                return fast(*arrays, **out)
            except ValueError:  # the factors of one column for many: NumPy spreads them
                pass
        return plain(*arrays, **out)

    return formula
