"""Compiled formulas: one pass over memory for all operations of a formula, in place of one pass each.

Each formula is written in NumPy, next to its cell, and again in C (``formulas.h``), as a ufunc of the same name. The
NumPy form is the oracle of the compiled one. It also runs for complex numbers, and on installations without a compiler.
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
#: Executes the steps of a loop (:mod:`gradlab.native.loop`); None without a compiler.
take: Formula | None = getattr(_steps, "take", None)
#: The plain formulas by name.
PLAIN: dict[str, Formula] = {}


def available() -> bool:
    """Return whether the formulas were compiled when gradlab was installed."""
    return _steps is not None


def describe() -> str:
    """Describe which formulas run."""
    return "compiled" if available() else "in NumPy (there was no C compiler when gradlab was installed)"


def ufunc(name: str) -> Formula | None:
    """Return the ufunc of a formula; None without a compiler, or if the extension is older than the formula."""
    return getattr(_steps, name, None)


def compiled(plain: Formula) -> Formula:
    """Decorate a formula: the ufunc of its name serves real numbers, ``plain`` all others.

    An ``out`` argument follows the convention of ufuncs: a tuple with one array or None per returned array.
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
            except ValueError:  # one column of factors for many: NumPy broadcasts core axes, a ufunc does not
                pass
        return plain(*arrays, **out)

    return formula
