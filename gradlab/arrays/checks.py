"""Checks of arguments: dtype, shape and finiteness of arrays, ranges of numbers, names. Each raises one clear error."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradlab.errors import InputError, unknown

Array = NDArray[Any]
FLOATS = ("float64", "float32")
#: A whole number of at least 1 as text, short enough for int().
COUNT = re.compile(r"[1-9][0-9]{0,8}")


def float_array(name: str, value: object, shape: Sequence[int | str | None]) -> Array:
    """Return ``value`` as an array after checking dtype, rank, sizes and finiteness.

    Parameters
    ----------
    name : str
        The argument's name, for messages.
    value : array_like
        An array of float64 or float32.
    shape : sequence of int or str
        One entry per axis: its exact size, or a letter for any size of at least 1.

    Returns
    -------
    array
        ``value`` itself if it is an array.

    Raises
    ------
    InputError
        If a check fails; the message names the argument, what was expected and what came.
    """
    array = as_array(name, value)
    if array.dtype.name not in FLOATS:
        raise InputError(
            f"{name} must be an array of float64 or float32, got {array.dtype.name}; "
            f'convert it with np.asarray({name}, dtype="float64")'
        )
    _check_shape(name, array, shape)
    finite(name, array)
    return array


def as_array(name: str, value: object) -> Array:
    """Return ``value`` as an array; raise ``InputError`` for nested lists of unequal lengths."""
    try:
        return np.asarray(value)
    except ValueError as ragged:
        raise InputError(f"{name} must be an array, got nested lists of unequal lengths ({ragged})") from ragged


def _check_shape(name: str, array: Array, shape: Sequence[int | str | None]) -> None:
    letters = "(" + ", ".join(str(s) for s in shape) + ("," if len(shape) == 1 else "") + ")"
    if array.ndim != len(shape):
        raise InputError(f"{name} must have shape {letters}, got {array.ndim} axes: {array.shape}")
    for axis, (want, have) in enumerate(zip(shape, array.shape, strict=True)):
        if have == 0:
            raise InputError(f"{name} must have shape {letters} with no empty axis, got {array.shape}")
        if isinstance(want, int) and have != want:
            raise InputError(f"{name} must have shape {letters}, got {array.shape}: axis {axis} is {have}, not {want}")


def finite(name: str, array: Array) -> None:
    """Raise ``InputError`` with the index of the first value that is NaN or infinite."""
    if np.isfinite(array).all():
        return
    place = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
    raise InputError(f"{name} must be finite, got {array[place]} at index {place}")


def positive(name: str, value: object) -> int:
    """Return ``value`` after checking that it is a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise InputError(f"{name} must be a whole number, got {value!r}")
    if value < 1:
        raise InputError(f"{name} must be at least 1, got {value}")
    return int(value)


def number(name: str, value: object, *, least: float = -np.inf) -> float:
    """Return ``value`` after checking that it is a finite real number, and no less than ``least``."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise InputError(f"{name} must be a number, got {value!r}")
    if not np.isfinite(value):
        raise InputError(f"{name} must be finite, got {value}")
    if value < least:
        raise InputError(f"{name} must be {least:g} or more, got {value}")
    return float(value)


def choice(kind: str, value: object, known: Iterable[str]) -> str:
    """Return ``value`` after checking that it is one of ``known``."""
    names = list(known)
    if value not in names:
        raise InputError(unknown(kind, value, names))
    return str(value)
