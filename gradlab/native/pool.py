"""Large arrays that are used again: what one pass leaves behind, the next one of the same size writes over.

New memory has to be found and cleared by the system, page by page, which takes as long as computing what goes there.
Memory from here is free again when nothing refers to it any more, no view of it either: every view of an array holds
the array that owns the memory, so its count of references says so. Nothing has to run when an array goes (in a
``__del__``, Ctrl-C would be lost).
"""

from __future__ import annotations

import sys
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]
#: Smaller arrays the allocator itself uses again.
LEAST = 2**16
#: Bytes kept for use at most, those in use among them; sizes that came first go first.
MOST = 2**27

#: Memory by size, in use or free. A thread that looks at a piece has taken it out, so that no other takes it too.
_shelves: dict[int, list[Array]] = {}


def _keep_temporaries() -> None:
    """Have GNU's allocator keep what temporary arrays leave: twice the largest block that it was ever given back.

    At first that is less than those of one stretch of steps take, and each would be found and cleared anew.
    """
    np.empty(2**24, np.uint8)


_keep_temporaries()


def _references(memory: Array) -> int:
    return sys.getrefcount(memory)


def _alone() -> int:
    memory = np.empty(1, np.uint8)
    return _references(memory)


#: How many references memory has that nobody uses.
ALONE = _alone()


def empty(shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """Return an array as :func:`numpy.empty` does, of memory used before where some of that size is there."""
    kind = np.dtype(dtype)
    size = prod(shape) * kind.itemsize
    if size < LEAST:
        return np.empty(shape, kind)
    return _memory(size).view(kind).reshape(shape)


def _memory(size: int) -> Array:
    shelf = _shelves.setdefault(size, [])
    for _ in range(len(shelf)):
        try:
            memory = shelf.pop(0)
        except IndexError:  # another thread has taken it
            break
        free = _references(memory) == ALONE
        shelf.append(memory)
        if free:
            return memory
    memory = np.empty(size, np.uint8)
    shelf.append(memory)
    _clear()
    return memory


def _clear() -> None:
    """Let go of what is more than :data:`MOST`; who uses it keeps it."""
    over = sum(size * len(_shelves[size]) for size in list(_shelves)) - MOST
    for size in list(_shelves):
        while over > 0 and _shelves[size]:
            del _shelves[size][:1]
            over -= size


def zeros(shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """Return :func:`empty` filled with zeros."""
    array = empty(shape, dtype)
    array[...] = 0
    return array


def release() -> None:
    """Drop all pooled buffers; those in use stay alive."""
    _shelves.clear()
