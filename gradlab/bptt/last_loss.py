"""The gradients of the last loss step's loss alone: the δ from which rates are estimated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gradlab.arrays.scaled import Array
from gradlab.bptt.backward import Gradients
from gradlab.bptt.layers import Run, run_backward
from gradlab.schema import DIRECTIONS

#: Gradients that arrive at the last states, by layer and direction.
Final = Sequence[Sequence[Array]]


class LastLoss(Protocol):
    """The gradients of the last loss step's loss alone, for every layer and direction of one pass."""

    def gradients(self, layer: int, direction: str) -> Gradients:
        """Return the gradients of one layer; the last step is counted as ``direction`` runs."""
        ...

    def needs_pass(self, direction: str) -> bool:
        """Return whether :meth:`gradients` would run another backward pass."""
        ...


class Last:
    """A :class:`LastLoss` that is computed on demand, with one extra backward pass per direction.

    It holds no reference to the trace: such a cycle would keep all arrays alive until Python's garbage collection.
    """

    def __init__(
        self, run: Run, grad: Array, whole: list[tuple[Gradients, ...]], final: Final | None = None, *, first: int = 0
    ) -> None:
        self._run, self._grad, self._whole, self._final, self._first = run, grad, whole, final, first
        self._found: dict[int, list[tuple[Gradients, ...]]] = {}

    def gradients(self, layer: int, direction: str) -> Gradients:
        """Return the gradients of one layer; the last step is counted as ``direction`` runs."""
        place = DIRECTIONS.index(direction)
        if place not in self._found:
            alone = self._alone(place)
            self._found[place] = self._whole if alone is None else run_backward(self._run, *alone, first=self._first)[0]
        return self._found[place][layer][place]

    def needs_pass(self, direction: str) -> bool:
        """Return whether the gradients take an extra pass: not if one step is read, or if the result is cached."""
        place = DIRECTIONS.index(direction)
        return place not in self._found and self._alone(place) is not None

    def _alone(self, place: int) -> tuple[Array, Final | None] | None:
        ends = self._run.tapes[0][0].ends - self._first
        return _last_step_only(self._grad, self._final, ends, reverse=place == 1)


def _last_step_only(
    grad: Array, final: Final | None, ends: NDArray[np.int64], *, reverse: bool
) -> tuple[Array, Final | None] | None:
    """Return ``grad (n, O, B)`` and ``final`` with zeros at all but each sequence's last step; None if nothing changes.

    ``ends (B,)`` are the sequences' ends, counted in the steps of ``grad``.
    """
    n, _, B = grad.shape
    steps = np.arange(1, n + 1)[:, None]
    at = (ends, np.ones(B, np.int64))  # ends of the forward and the reverse direction, in true time
    arrives = np.asarray(grad.any(axis=1))
    for pair in final or ():
        for array, end in zip(pair, at, strict=False):
            arrives = arrives | ((steps == end) & array.any(axis=0))
    last = last_steps(arrives, reverse=reverse)
    if last is None:
        return None
    elsewhere = steps != last
    kept = [[np.where(end == last, array, 0.0) for array, end in zip(pair, at, strict=False)] for pair in final or ()]
    return np.where(elsewhere[:, None], 0.0, grad).astype(grad.dtype), kept if final else None


def last_steps(arrives: NDArray[np.bool_], *, reverse: bool) -> NDArray[np.int64] | None:
    """Return the last step, as a direction runs, at which a gradient ``arrives (T, B)``; None if it is the only one."""
    T = len(arrives)
    last = arrives.argmax(axis=0) + 1 if reverse else T - arrives[::-1].argmax(axis=0)
    elsewhere = np.arange(1, T + 1)[:, None] != last
    return last if (arrives & elsewhere).any() else None
