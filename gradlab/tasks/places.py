"""Places within a sequence, drawn so that they are stretched with its length."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gradlab.errors import InputError


def places(u: NDArray[np.float64], low: int, high: int) -> NDArray[np.int64]:
    """Return whole numbers in [low, high), uniform where ``u`` is on [0, 1); another range stretches them."""
    return low + np.floor(u * (high - low)).astype(np.int64)


def one_hot(symbols: NDArray[np.int64], size: int) -> NDArray[np.float64]:
    """Return ``(…, size)``: 1 at the symbol's place, 0 elsewhere."""
    return np.asarray(symbols[..., None] == np.arange(size), np.float64)


def at_least(task: str, length: int, least: int, why: str) -> int:
    """Return ``length``, or say that the task has no sequence so short."""
    if length < least:
        raise InputError(f"{task} needs a length of at least {least} ({why}), got {length}")
    return length
