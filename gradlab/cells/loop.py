"""A loop over steps in one call: what one step does with its arrays is noted, and done in C for all the others.

A step at H = 64 is a product of six microseconds and a formula of three; Python takes five more to find the arrays of
a step and to call NumPy twice. What one step calls the next one calls, too, some bytes further on. So the first step is
taken with arrays that note which ufuncs are called with them, and ``loop.h`` calls the loops that NumPy would call: the
bits are the same. A step that cannot be noted is taken as it stands, time and again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradlab.cells import compiled

Array = NDArray[Any]
#: Calls of ufuncs, with all operands, those that are written last.
Notes = list[tuple[Any, list[Array]]]
#: An axis: how long it is, and the stride of each operand.
Axis = tuple[int, tuple[int, ...]]
#: A note of what is not a call of a ufunc.
SOMETHING_ELSE: tuple[Any, list[Array]] = (None, [])


class NotNoted(Exception):
    """A step does something else than to call ufuncs on views of its arrays, the weights, and what they gave."""


class Loop:
    """Steps of one kind, taken one after the other.

    Parameters
    ----------
    act : takes one step: is given each array's part of it, and writes into some of them.
    constants : the other arrays that ``act`` reads; None where it may do more than call ufuncs on views of arrays.
    """

    def __init__(self, act: Callable[..., None], constants: Iterable[Array] | None) -> None:
        self.act = act
        self._constants = None if constants is None or compiled.take is None else list(constants)
        self.noted: Noted | None = None

    def take(self, *arrays: Array) -> None:
        """Take the steps of ``arrays``, ``(n, …)`` each, the first step first."""
        if self._constants is not None and len(arrays[0]) > 1:
            form = _form(arrays)
            if self.noted is None or self.noted.form != form:
                self.noted, arrays = self._note(arrays, self._constants), tuple(array[1:] for array in arrays)
            if self.noted is not None:
                compiled.take(self.noted.calls, arrays, len(arrays[0]))
                return
        for one in zip(*arrays, strict=True):
            self.act(*one)

    def _note(self, arrays: tuple[Array, ...], constants: list[Array]) -> Noted | None:
        """Take the first step, and return what it called; None, also of later steps, where that cannot be noted."""
        notes: Notes = []
        first = [array[0] for array in arrays]
        self.act(*(_watched(array, notes) for array in first))
        try:
            found = Noted(_form(arrays), _calls(notes, first, constants), list(notes))
        except NotNoted:
            found = self._constants = None
        notes.clear()  # which the arrays hold, and it them
        return found


class Noted(NamedTuple):
    """What a step calls with arrays of a form; ``kept`` is what the calls point to."""

    form: tuple[Any, ...]
    calls: tuple[tuple[Any, int, NDArray[np.intp]], ...]
    kept: Notes


def _form(arrays: Sequence[Array]) -> tuple[Any, ...]:
    return tuple((array.shape[1:], array.strides[1:], array.dtype) for array in arrays)


def _calls(notes: Notes, first: list[Array], constants: list[Array]) -> tuple[Any, ...]:
    moving, known = [_bounds(array) for array in first], [_bounds(array) for array in constants]
    return tuple(_call(*note, moving, known) for note in notes)


class _Watched(np.ndarray[Any, Any]):
    """An array that notes the ufuncs called with it, its views, and what they gave."""

    notes: Notes

    def __array_finalize__(self, parent: Any) -> None:
        self.notes = getattr(parent, "notes", [])

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: tuple[Any, ...] = (), **options: Any) -> Any:
        written = {"out": tuple(_plain(one) for one in out)} if out else {}
        arrays = [_plain(one) for one in inputs]
        found = getattr(ufunc, method)(*arrays, **written, **options)
        if method != "__call__" or options:
            self.notes.append(SOMETHING_ELSE)
            return found
        given = found if isinstance(found, tuple) else (found,)
        self.notes.append((ufunc, [*(np.asarray(one, self.dtype) for one in arrays), *given]))
        watched = tuple(_watched(one, self.notes) for one in given)
        return watched if isinstance(found, tuple) else watched[0]

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if function is not np.empty_like:
            self.notes.append(SOMETHING_ELSE)
        return super().__array_function__(function, types, args, kwargs)

    def __setitem__(self, index: Any, value: Any) -> None:
        self.notes.append(SOMETHING_ELSE)
        super().__setitem__(index, value)


def _watched(array: Array, notes: Notes) -> Array:
    watched = array.view(_Watched)
    watched.notes = notes
    return watched


def _plain(one: Any) -> Any:
    return one.view(np.ndarray) if isinstance(one, _Watched) else one


def _bounds(array: Array) -> tuple[int, int]:
    """Return the addresses between which an array lies."""
    start: int = array.__array_interface__["data"][0]
    return start, start + sum((n - 1) * s for n, s in zip(array.shape, array.strides, strict=True)) + array.itemsize


def _call(
    ufunc: Any, operands: list[Array], moving: list[tuple[int, int]], known: list[tuple[int, int]]
) -> tuple[Any, int, NDArray[np.intp]]:
    """Return ufunc, the place of its loop among its loops, and where that finds the numbers, as loop.h reads it."""
    if ufunc is None:
        raise NotNoted
    kind = operands[0].dtype.char
    loop = f"{kind * ufunc.nin}->{kind * ufunc.nout}"
    if kind not in "fd" or loop not in ufunc.types or any(one.dtype.char != kind for one in operands):
        raise NotNoted
    cores = _cores(ufunc.signature) if ufunc.signature else [()] * len(operands)
    sizes: dict[str, int] = {}
    core_strides: list[int] = []
    for one, core in zip(operands, cores, strict=True):
        if one.ndim < len(core):
            raise NotNoted
        lengths = one.shape[one.ndim - len(core) :]
        sizes |= zip(core, lengths, strict=True)
        core_strides += one.strides[one.ndim - len(core) :]
    axes = _axes(operands, [len(core) for core in cores])
    outer, (count, strides) = axes[:-1], axes[-1]
    code = [len(outer), *(n for n, _ in outer), count, *sizes.values(), *strides, *core_strides]
    for place, one in enumerate(operands):
        start, end = _bounds(one)
        where = next((i for i, (low, high) in enumerate(moving) if low <= start and end <= high), -1)
        if where < 0 and place < ufunc.nin and one.ndim and not any(low <= start and end <= high for low, high in known):
            raise NotNoted
        code += [where, start - moving[where][0] if where >= 0 else start, *(s[place] for _, s in outer)]
        if place >= ufunc.nin:
            known.append((start, end))
    return ufunc, ufunc.types.index(loop), np.array(code, np.intp)


@cache
def _cores(signature: str) -> list[tuple[str, ...]]:
    """Return the names of each operand's own axes."""
    return [tuple(core.replace("?", "").split(",")) for core in re.findall(r"\(([^)]*)\)", signature)]


def _axes(operands: list[Array], cores: list[int]) -> list[Axis]:
    """Return the axes that all operands share, those that lie densely in one another as one; at least one."""
    shapes = [one.shape[: one.ndim - core] for one, core in zip(operands, cores, strict=True)]
    shared = shapes[-1]
    spread = [
        (0,) * (len(shared) - len(shape)) + tuple(s if n > 1 else 0 for n, s in zip(shape, one.strides))
        for one, shape in zip(operands, shapes, strict=True)
    ]
    axes: list[Axis] = []
    own = [(n, strides) for n, strides in zip(shared, zip(*spread, strict=True), strict=True) if n > 1]
    for n, strides in sorted(own, key=lambda axis: -axis[1][-1]):
        if axes and all(before == n * s for before, s in zip(axes[-1][1], strides, strict=True)):
            axes[-1] = (axes[-1][0] * n, strides)
        else:
            axes.append((n, strides))
    return axes or [(1, (0,) * len(operands))]
