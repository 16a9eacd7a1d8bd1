"""A loop over steps in one call: what one step does with its arrays is noted, and done in C for all the others.

A step at H = 64 is a product of six microseconds and a formula of three; Python takes five more to find the arrays of
a step and to call NumPy twice. What one step calls the next one calls, too, some bytes further on. So a first step is
taken with arrays that note which ufuncs are called with them, and ``loop.h`` calls the loops that NumPy would call: the
bits are the same. What was noted serves all loops of its kind, in later passes too. A step that cannot be noted is
taken as it stands, time and again.
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
#: A ufunc that was called, and all its operands, those that it wrote last.
Note = tuple[Any, list[Array]]
#: A note of what is not such a call.
SOMETHING_ELSE: Note = (None, [])
#: Types whose loops are called: of this machine's byte order, too.
FLOATS = (np.dtype("float64"), np.dtype("float32"))
#: What loop.h has room for: calls, arrays; of a call, outer axes and operands.
MOST_CALLS, MOST_ARRAYS, MOST_AXES, MOST_OPERANDS = 32, 64, 4, 16
#: What looks at shapes and types, not at numbers.
LOOKS_ALONE = (np.empty_like, np.result_type)
#: The addresses between which an array lies.
Bounds = tuple[int, int]
#: An axis: how long it is, and the stride of each operand.
Axis = tuple[int, tuple[int, ...]]


class NotNoted(Exception):
    """A step did something else than to call ufuncs on views of its arrays, of the constants, and of what they gave."""


class Plan(NamedTuple):
    """What a step calls, as loop.h reads it; bytes of the arrays that it made itself, and the numbers that it named."""

    calls: tuple[tuple[Any, int, NDArray[np.intp]], ...]
    rooms: tuple[int, ...]
    numbers: tuple[Array, ...]


#: What steps of a kind, with arrays of a form, call; None where that cannot be noted.
PLANS: dict[Hashable, Plan | None] = {}
NOT_YET = Plan((), (), ())
#: At most so many are kept.
MOST = 1000


class Loop:
    """Steps of one kind, taken one after the other.

    Parameters
    ----------
    act : takes one step: is given each array's part of it, and writes into some of them.
    constants : the other arrays that ``act`` reads; None where it may do more than call ufuncs on views of arrays. If
        they overlap, nothing is noted: where a view of one lies would not say which of them is meant.
    kind : what tells its calls from those of another loop with arrays and constants of the same shapes.
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
        self._standing: tuple[Array, ...] = ()

    def take(self, *arrays: Array) -> None:
        """Take the steps of ``arrays``, ``(n, …)`` each, the first step first."""
        if self._take is not None and self._constants is not None and len(arrays[0]) > 1:
            if (form := _form(arrays, 1)) != self._form:
                arrays = self._prepare(form, arrays, self._constants)
            if self.plan is not None:
                self._take(self.plan.calls, arrays, self._standing, len(arrays[0]))
                return
        for one in zip(*arrays, strict=True):
            self.act(*one)

    def _prepare(self, form: Hashable, arrays: tuple[Array, ...], constants: tuple[Array, ...]) -> tuple[Array, ...]:
        """Find the plan, of a first step that is taken unless it is there already; return what is left to be taken."""
        key = (self._kind, form)
        plan = PLANS.get(key, NOT_YET)
        if plan is NOT_YET:
            if len(PLANS) >= MOST:
                PLANS.clear()
            plan = PLANS[key] = _noted(self.act, [array[0] for array in arrays], constants)
            arrays = tuple(array[1:] for array in arrays)
        self._form, self.plan = form, plan
        if plan is not None:
            self._standing = (*constants, *plan.numbers, *(np.empty(size, np.uint8) for size in plan.rooms))
        return arrays


def _form(arrays: Sequence[Array], axis: int = 0) -> Hashable:
    return tuple((array.shape[axis:], array.strides[axis:], array.dtype.str) for array in arrays)


def _overlap(arrays: Sequence[Array]) -> bool:
    return any(np.may_share_memory(one, other) for i, one in enumerate(arrays) for other in arrays[:i])


def _noted(act: Callable[..., None], first: list[Array], constants: Sequence[Array]) -> Plan | None:
    """Take the first step, and return what it called; None where that cannot be noted."""
    notes: list[Note] = []
    act(*(_watched(array, notes) for array in first))
    try:
        return _plan(notes, [*first, *constants])
    except NotNoted:
        return None
    finally:
        notes.clear()  # the arrays hold it, and it them


class _Watched(np.ndarray[Any, Any]):
    """An array that notes the ufuncs called with it, its views, and what they gave."""

    notes: list[Note]

    def __array_finalize__(self, parent: Any) -> None:
        self.notes = getattr(parent, "notes", [])

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: tuple[Any, ...] = (), **options: Any) -> Any:
        arrays, options = [_plain(one) for one in inputs], {key: _plain(one) for key, one in options.items()}
        written = {"out": tuple(_plain(one) for one in out)} if out else {}
        found = getattr(ufunc, method)(*arrays, **written, **options)
        if method != "__call__" or options:
            self.notes.append(SOMETHING_ELSE)
            return found
        given = found if isinstance(found, tuple) else (found,)
        self.notes.append((ufunc, [*(np.asarray(one, self.dtype) for one in arrays), *given]))
        watched = tuple(_watched(one, self.notes) for one in given)
        return watched if isinstance(found, tuple) else watched[0]

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if function not in LOOKS_ALONE:
            self.notes.append(SOMETHING_ELSE)
        return super().__array_function__(function, types, args, kwargs)

    def __setitem__(self, index: Any, value: Any) -> None:
        self.notes.append(SOMETHING_ELSE)
        super().__setitem__(index, value)


def _watched(array: Array, notes: list[Note]) -> Array:
    watched = array.view(_Watched)
    watched.notes = notes
    return watched


def _plain(one: Any) -> Any:
    return one.view(np.ndarray) if isinstance(one, _Watched) else one


class _Places:
    """Where operands are: in an array that was given, in one that the step made, or numbers that it named."""

    def __init__(self, given: list[Array]) -> None:
        self.given = [_bounds(array) for array in given]
        self.rooms: list[Bounds] = []
        self.numbers: list[Array] = []

    def of(self, operand: Array, written: bool) -> tuple[str, int, int]:
        """Return the kind of its array, the number of that, and the offset in it."""
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
            raise NotNoted
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
        for ufunc, operands in map(_checked, notes)
    ]
    first = {"given": 0, "number": len(given), "room": len(given) + len(places.numbers)}
    calls = tuple(
        _call(ufunc, operands, [(first[kind] + index, offset) for kind, index, offset in where])
        for ufunc, operands, where in found
    )
    if len(calls) > MOST_CALLS or len(given) + len(places.numbers) + len(places.rooms) > MOST_ARRAYS:
        raise NotNoted
    return Plan(calls, tuple(high - low for low, high in places.rooms), tuple(places.numbers))


def _checked(note: Note) -> Note:
    ufunc, operands = note
    if ufunc is None or operands[0].dtype not in FLOATS or len({one.dtype for one in operands}) > 1:
        raise NotNoted
    for read, written in product(operands[: ufunc.nin], operands[ufunc.nin :]):
        if np.shares_memory(read, written) and not (_by_element(ufunc) and _same(read, written)):
            raise NotNoted  # NumPy copies what is read first
    return note


def _by_element(ufunc: Any) -> bool:
    """Return whether element k of each output depends on element k of the inputs alone; our formulas do so by block."""
    return ufunc.signature is None or ufunc is compiled.ufunc(ufunc.__name__)


def _same(one: Array, other: Array) -> bool:
    return _form([one]) == _form([other]) and _bounds(one) == _bounds(other)


def _call(ufunc: Any, operands: list[Array], where: list[tuple[int, int]]) -> tuple[Any, int, NDArray[np.intp]]:
    """Return ufunc, the place of its loop among its loops, and where that finds the numbers, as loop.h reads it."""
    kind = operands[0].dtype.char
    loop = f"{kind * ufunc.nin}->{kind * ufunc.nout}"
    cores = _cores(ufunc.signature) if ufunc.signature else [()] * len(operands)
    if loop not in ufunc.types or any(one.ndim < len(core) for one, core in zip(operands, cores, strict=True)):
        raise NotNoted
    sizes: dict[str, int] = {}
    core_strides: list[int] = []
    for one, core in zip(operands, cores, strict=True):
        own = slice(one.ndim - len(core), None)
        sizes |= zip(core, one.shape[own], strict=True)
        core_strides += one.strides[own]
    *outer, (count, strides) = _axes(operands, [len(core) for core in cores])
    if len(outer) > MOST_AXES or len(operands) > MOST_OPERANDS:
        raise NotNoted
    code = [len(outer), *(n for n, _ in outer), count, *sizes.values(), *strides, *core_strides]
    for place, (array, offset) in enumerate(where):
        code += [array, offset, *(along[place] for _, along in outer)]
    return ufunc, ufunc.types.index(loop), np.array(code, np.intp)


@cache
def _cores(signature: str) -> list[tuple[str, ...]]:
    """Return the names of each operand's own axes."""
    return [tuple(core.replace("?", "").split(",")) for core in re.findall(r"\(([^)]*)\)", signature)]


def _axes(operands: list[Array], cores: list[int]) -> list[Axis]:
    """Return the axes that all operands share, those that lie densely in one another as one; at least one."""
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
