"""Large arrays that are used again: what one pass leaves behind, the next one of the same size writes over.

New memory has to be found and cleared by the system, page by page, which takes as long as computing what goes there.
An array from here goes back when nothing refers to it any more, no view of it either; it is never shared before.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]
#: Smaller arrays the allocator itself uses again.
LEAST = 2**16
#: Bytes kept for use at most; those left longest ago go first.
MOST = 2**27

#: By id, in the order in which they were left. Threads and the garbage collector change it at any time: whoever looks
#: takes a list of it first, which nothing can come between.
_left: dict[int, Array] = {}


def _keep_temporaries() -> None:
    """Have GNU's allocator keep what temporary arrays leave: twice the largest block that it was ever given back.

    At first that is less than those of one stretch of steps take, and each would be found and cleared anew.
    """
    np.empty(2**24, np.uint8)


_keep_temporaries()


class _Lent:
    """Memory under an array, which comes back when the array and its views are gone."""

    def __init__(self, memory: Array) -> None:
        self._memory = memory
        self.__array_interface__ = memory.__array_interface__

    def __del__(self) -> None:
        _left[id(self._memory)] = self._memory
        kept = list(_left.values())
        over = sum(one.nbytes for one in kept) - MOST
        for memory in kept:
            if over <= 0:
                break
            _left.pop(id(memory), None)
            over -= memory.nbytes


def empty(shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """Return an array as :func:`numpy.empty` does, of memory used before where some of that size is there."""
    kind = np.dtype(dtype)
    size = prod(shape) * kind.itemsize
    if size < LEAST:
        return np.empty(shape, kind)
    return np.asarray(_Lent(_memory(size))).view(kind).reshape(shape)


def _memory(size: int) -> Array:
    for memory in reversed(list(_left.values())):
        if memory.nbytes == size and _left.pop(id(memory), None) is not None:
            return memory
    return np.empty(size, np.uint8)


def zeros(shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """Return :func:`empty` filled with zeros."""
    array = empty(shape, dtype)
    array[...] = 0
    return array
