"""A loop over steps in one call: the first step is recorded in Python and replayed in C for all others.

At H = 64 a step's product takes six microseconds and its formula three. Python takes five more to index the arrays of a
step and to call NumPy twice. Every step calls the same ufuncs at addresses a fixed stride further. The first step
therefore runs on arrays that record the ufunc calls; ``loop.h`` then calls the same inner loops, so all bits are equal.
A recorded plan serves all loops of its kind, also in later passes. A step that cannot be recorded is executed in
Python every time. :mod:`gradlab.native` lists the invariants.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence
from functools import cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradlab.native import compiled

Array = NDArray[Any]
#: A recorded ufunc call: the ufunc and its operands, inputs first.
Note = tuple[Any, list[Array]]
#: The record of an operation other than a plain ufunc call.
OTHER: Note = (None, [])
#: Dtypes that are replayed, in native byte order.
FLOATS = (np.dtype("float64"), np.dtype("float32"))
#: Limits of loop.h: calls and arrays per step, outer axes and operands per call.
MOST_CALLS, MOST_ARRAYS, MOST_AXES, MOST_OPERANDS = 32, 64, 4, 16
#: Array functions that read shapes and dtypes only.
SHAPES_ALONE = (np.empty_like, np.result_type)
#: First address of an array, and the address behind its end.
Bounds = tuple[int, int]
#: Length of an axis, and the stride of each operand along it.
Axis = tuple[int, tuple[int, ...]]


class NotRecordable(Exception):
    """A step did more than call ufuncs on views of its arrays, of the constants, and of earlier results."""


class Plan(NamedTuple):
    """The calls of a step in the form that loop.h reads.

    calls : ufunc, index of its inner loop, and integers that give axes, strides and places.
    rooms : bytes of each array that the step allocates.
    numbers : the scalars that the step uses.
    """

    calls: tuple[tuple[Any, int, NDArray[np.intp]], ...]
    rooms: tuple[int, ...]
    numbers: tuple[Array, ...]


#: The plan per kind of loop and form of arrays; None if the step cannot be recorded.
PLANS: dict[Hashable, Plan | None] = {}
UNKNOWN = Plan((), (), ())
#: All plans are dropped when there would be more than this many.
MOST = 1000


class Loop:
    """Steps of one kind, executed one after the other.

    Parameters
    ----------
    act : callable
        Executes one step. It receives each array's entry for that step and writes into some of them.
    constants : sequence of arrays, optional
        The other arrays that ``act`` reads. None if ``act`` may do more than call ufuncs on views of arrays. Constants
        that overlap are not recorded, because an address would not determine which of them is meant.
    kind : hashable
        Distinguishes this loop from others whose arrays and constants have the same form.
    """

    def __init__(self, act: Callable[..., None], constants: Sequence[Array] | None, kind: Hashable) -> None:
        self.act = act
        self._take = compiled.take
        self._constants: tuple[Array, ...] | None = None
        if constants is not None and self._take is not None and not _overlap(constants):
            self._constants = tuple(constants)
        self._kind = kind if self._constants is None else (kind, _form(self._constants))
        self._form: Hashable = None
        self.plan: Plan | None = None
        self._fixed: tuple[Array, ...] = ()

    def take(self, *arrays: Array) -> None:
        """Execute the steps of ``arrays``, ``(n, …)`` each, the first step first."""
        if self._take is not None and self._constants is not None and len(arrays[0]) > 1:
            if (form := _form(arrays, 1)) != self._form:
                arrays = self._prepare(form, arrays, self._constants)
            if self.plan is not None:
                self._take(self.plan.calls, arrays, self._fixed, len(arrays[0]))
                return
        for one in zip(*arrays, strict=True):
            self.act(*one)

    def _prepare(self, form: Hashable, arrays: tuple[Array, ...], constants: tuple[Array, ...]) -> tuple[Array, ...]:
        """Find the plan, or execute the first step to record one; return the arrays of the steps that remain."""
        key = (self._kind, form)
        plan = PLANS.get(key, UNKNOWN)
        if plan is UNKNOWN:
            if len(PLANS) >= MOST:
                PLANS.clear()
            plan = PLANS[key] = _recorded(self.act, [array[0] for array in arrays], constants)
            arrays = tuple(array[1:] for array in arrays)
        self._form, self.plan = form, plan
        if plan is not None:
            self._fixed = (*constants, *plan.numbers, *(np.empty(size, np.uint8) for size in plan.rooms))
        return arrays


def _form(arrays: Sequence[Array], axis: int = 0) -> Hashable:
    return tuple((array.shape[axis:], array.strides[axis:], array.dtype.str) for array in arrays)


def _overlap(arrays: Sequence[Array]) -> bool:
    return any(np.may_share_memory(one, other) for i, one in enumerate(arrays) for other in arrays[:i])


def _recorded(act: Callable[..., None], first: list[Array], constants: Sequence[Array]) -> Plan | None:
    """Execute the first step and return its plan; None if it cannot be recorded."""
    notes: list[Note] = []
    act(*(_recording(array, notes) for array in first))
    try:
        return _plan(notes, [*first, *constants])
    except NotRecordable:
        return None
    finally:
        notes.clear()  # breaks the reference cycle between arrays and notes


class _Recording(np.ndarray[Any, Any]):
    """An array that records the ufunc calls on itself, on its views, and on their results."""

    notes: list[Note]

    def __array_finalize__(self, parent: Any) -> None:
        self.notes = getattr(parent, "notes", [])

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: tuple[Any, ...] = (), **options: Any) -> Any:
        arrays, options = [_unwrapped(one) for one in inputs], {key: _unwrapped(one) for key, one in options.items()}
        written = {"out": tuple(_unwrapped(one) for one in out)} if out else {}
        found = getattr(ufunc, method)(*arrays, **written, **options)
        if method != "__call__" or options:
            self.notes.append(OTHER)
            return found
        given = found if isinstance(found, tuple) else (found,)
        self.notes.append((ufunc, [*(np.asarray(one, self.dtype) for one in arrays), *given]))
        watched = tuple(_recording(one, self.notes) for one in given)
        return watched if isinstance(found, tuple) else watched[0]

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if function not in SHAPES_ALONE:
            self.notes.append(OTHER)
        return super().__array_function__(function, types, args, kwargs)

    def __setitem__(self, index: Any, value: Any) -> None:
        self.notes.append(OTHER)
        super().__setitem__(index, value)


def _recording(array: Array, notes: list[Note]) -> Array:
    watched = array.view(_Recording)
    watched.notes = notes
    return watched


def _unwrapped(one: Any) -> Any:
    return one.view(np.ndarray) if isinstance(one, _Recording) else one


class _Places:
    """The place of each operand: in an array handed to the step, in one that it allocated, or a scalar."""

    def __init__(self, given: list[Array]) -> None:
        self.given = [_bounds(array) for array in given]
        self.rooms: list[Bounds] = []
        self.numbers: list[Array] = []

    def of(self, operand: Array, written: bool) -> tuple[str, int, int]:
        """Return the kind of the operand's array, its index among that kind, and the offset in bytes."""
        start, end = _bounds(operand)
        for kind, known in (("given", self.given), ("room", self.rooms)):
            for index, (low, high) in enumerate(known):
                if low <= start and end <= high:
                    return kind, index, start - low
        if written:
            low, high = _bounds(_owner(operand))
            self.rooms.append((low, high))
            return "room", len(self.rooms) - 1, start - low
        if operand.ndim:
            raise NotRecordable
        self.numbers.append(operand)
        return "number", len(self.numbers) - 1, 0


def _owner(array: Array) -> Array:
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _bounds(array: Array) -> Bounds:
    start: int = array.__array_interface__["data"][0]
    return start, start + sum((n - 1) * s for n, s in zip(array.shape, array.strides, strict=True)) + array.itemsize


def _plan(notes: list[Note], given: list[Array]) -> Plan:
    places = _Places(given)
    found = [
        (ufunc, operands, [places.of(one, i >= ufunc.nin) for i, one in enumerate(operands)])
        for ufunc, operands in map(_accepted, notes)
    ]
    first = {"given": 0, "number": len(given), "room": len(given) + len(places.numbers)}
    calls = tuple(
        _call(ufunc, operands, [(first[kind] + index, offset) for kind, index, offset in where])
        for ufunc, operands, where in found
    )
    if len(calls) > MOST_CALLS or len(given) + len(places.numbers) + len(places.rooms) > MOST_ARRAYS:
        raise NotRecordable
    return Plan(calls, tuple(high - low for low, high in places.rooms), tuple(places.numbers))


def _accepted(note: Note) -> Note:
    ufunc, operands = note
    if ufunc is None or operands[0].dtype not in FLOATS or len({one.dtype for one in operands}) > 1:
        raise NotRecordable
    for read, written in product(operands[: ufunc.nin], operands[ufunc.nin :]):
        if np.shares_memory(read, written) and not (_by_element(ufunc) and _same(read, written)):
            raise NotRecordable  # NumPy copies what is read first
    return note


def _by_element(ufunc: Any) -> bool:
    """Return whether each output element depends on the same element of the inputs alone; true of our formulas."""
    return ufunc.signature is None or ufunc is compiled.ufunc(ufunc.__name__)


def _same(one: Array, other: Array) -> bool:
    return _form([one]) == _form([other]) and _bounds(one) == _bounds(other)


def _call(ufunc: Any, operands: list[Array], where: list[tuple[int, int]]) -> tuple[Any, int, NDArray[np.intp]]:
    """Return the ufunc, the index of its inner loop, and axes, strides and places in the form that loop.h reads."""
    kind = operands[0].dtype.char
    loop = f"{kind * ufunc.nin}->{kind * ufunc.nout}"
    cores = _cores(ufunc.signature) if ufunc.signature else [()] * len(operands)
    if loop not in ufunc.types or any(one.ndim < len(core) for one, core in zip(operands, cores, strict=True)):
        raise NotRecordable
    sizes: dict[str, int] = {}
    core_strides: list[int] = []
    for one, core in zip(operands, cores, strict=True):
        own = slice(one.ndim - len(core), None)
        sizes |= zip(core, one.shape[own], strict=True)
        core_strides += one.strides[own]
    *outer, (count, strides) = _axes(operands, [len(core) for core in cores])
    if len(outer) > MOST_AXES or len(operands) > MOST_OPERANDS:
        raise NotRecordable
    code = [len(outer), *(n for n, _ in outer), count, *sizes.values(), *strides, *core_strides]
    for place, (array, offset) in enumerate(where):
        code += [array, offset, *(along[place] for _, along in outer)]
    return ufunc, ufunc.types.index(loop), np.array(code, np.intp)


@cache
def _cores(signature: str) -> list[tuple[str, ...]]:
    """Return the names of the core axes of each operand."""
    return [tuple(core.replace("?", "").split(",")) for core in re.findall(r"\(([^)]*)\)", signature)]


def _axes(operands: list[Array], cores: list[int]) -> list[Axis]:
    """Return the axes that all operands share, at least one; axes that are dense in each other are merged."""
    shared = operands[-1].shape[: operands[-1].ndim - cores[-1]]
    heads: list[tuple[Any, ...]] = [(Ellipsis, *[0] * core) for core in cores]
    spread = [np.broadcast_to(one[head], shared).strides for one, head in zip(operands, heads, strict=True)]
    axes: list[Axis] = []
    own = [(n, strides) for n, strides in zip(shared, zip(*spread, strict=True), strict=True) if n > 1]
    for n, strides in sorted(own, key=lambda axis: -axis[1][-1]):
        if axes and all(before == n * s for before, s in zip(axes[-1][1], strides, strict=True)):
            axes[-1] = (axes[-1][0] * n, strides)
        else:
            axes.append((n, strides))
    return axes or [(1, (0,) * len(operands))]
