"""Reused memory for large arrays: a pass overwrites the buffers that an earlier pass of the same size left.

The system finds and clears new memory page by page, which takes as long as computing its contents. A buffer is free
when only the pool refers to it. Every view refers to the array that owns the memory, so the reference count shows
views too. No code runs when an array is dropped: a ``__del__`` would lose Ctrl-C. :mod:`gradlab.native` lists the
invariants.
"""

from __future__ import annotations

import sys
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]
#: Bytes below which an array is not pooled: the allocator reuses small blocks itself.
LEAST = 2**16
#: Most bytes that the pool refers to, those in use included; the oldest sizes are dropped first.
MOST = 2**27

#: Buffers by size, in use or free. A thread removes a buffer before it inspects it, so no other thread can take it.
_shelves: dict[int, list[Array]] = {}


# GNU's allocator keeps up to twice the largest block ever returned to it. Without this block, the temporary arrays of
# one stretch of steps exceed the limit, and each is found and cleared anew.
np.empty(2**24, np.uint8)


def _references(memory: Array) -> int:
    return sys.getrefcount(memory)


def _alone() -> int:
    memory = np.empty(1, np.uint8)
    return _references(memory)


#: Reference count of a buffer that nobody uses.
ALONE = _alone()


def empty(shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """Return an uninitialised array as :func:`numpy.empty` does, in reused memory if a buffer of that size is free."""
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
        except IndexError:  # another thread took the last one
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
    """Drop buffers beyond :data:`MOST` bytes; those in use stay alive with their users."""
    over = sum(size * len(_shelves[size]) for size in list(_shelves)) - MOST
    for size in list(_shelves):
        while over > 0 and _shelves[size]:
            del _shelves[size][:1]
            over -= size


def zeros(shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """Return an array as :func:`empty` does, filled with zeros."""
    array = empty(shape, dtype)
    array[...] = 0
    return array


def release() -> None:
    """Drop all pooled buffers; those in use stay alive."""
    _shelves.clear()
