"""Forward in time: one cell over T steps, and its tape.

The tape holds what the backward pass needs. Together with the weights that is every Jacobian J_t in factored form.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradlab.arrays.scaled import Array
from gradlab.cells import Cell
from gradlab.cells.base import Record, State
from gradlab.native import pool
from gradlab.native.loop import Loop

#: Numbers per coefficient array of one stretch of steps, so that a stretch stays in the second-level cache.
STRETCH = 2**15


@dataclass(frozen=True, eq=False)
class Tape:
    """The record of a forward pass, as columns.

    Attributes
    ----------
    cell : Cell
        The cell that ran.
    x : array (T, D, B)
        Inputs.
    states : array (T+1, S, B)
        Joint states; beyond a sequence's own end its state stays constant, and nothing reads it.
    record : dict of arrays (T, ·, B)
        Pre-activations, gates and whatever else the cell's derivatives need, by name.
    lengths : int array (B,), optional
        The sequences' own lengths; None if all have T steps.
    """

    cell: Cell
    x: Array
    states: Array
    record: Record
    lengths: NDArray[np.int64] | None

    @property
    def steps(self) -> int:
        """T, the number of steps."""
        return len(self.x)

    @property
    def ends(self) -> NDArray[np.int64]:
        """Each sequence's last step, ``(B,)``."""
        return np.full(self.x.shape[-1], self.steps) if self.lengths is None else self.lengths

    @property
    def output(self) -> Array:
        """The output sequence, columns ``(T, H, B)``."""
        return self.cell.split(self.states)[0][1:]

    def linearise(self, stretch: slice) -> Any:
        """Return the local derivatives of steps ``stretch`` (0-based), factored, ``(n, F, B)`` each."""
        before, after = self._split(stretch, 0), self._split(stretch, 1)
        return self.cell.linearise({name: array[stretch] for name, array in self.record.items()}, before, after)

    def _split(self, stretch: slice, offset: int) -> State:
        return self.cell.split(self.states[stretch.start + offset : stretch.stop + offset])

    def stretches(self) -> list[slice]:
        """Return the steps as stretches whose coefficients fit the cache, forward in time."""
        B, T = self.x.shape[-1], self.steps
        length = max(1, STRETCH // (self.cell.state_size * B))
        return [slice(start, min(start + length, T)) for start in range(0, T, length)]

    def overflow_step(self) -> NDArray[np.int64]:
        """Return the first t at which a sequence's state is not finite, ``(B,)``; 0 if all are finite."""
        broken = ~np.isfinite(self.states).all(axis=1)
        return np.where(broken.any(axis=0), broken.argmax(axis=0), 0)


def forward(cell: Cell, x: Array, initial: Array, lengths: NDArray[np.int64] | None = None) -> Tape:
    """Run ``cell`` over ``x (T, D, B)`` from the joint state ``initial (S, B)``."""
    T, _, B = x.shape
    states = pool.empty((T + 1, cell.state_size, B), cell.dtype)
    states[0] = initial
    with np.errstate(all="ignore"):
        some = cell.probe_columns("step")
        _, first = cell.step(cell.input_drive(x[:1, :, some])[0], cell.split(initial[:, some]))
        record = {name: pool.empty((T, *array.shape[:-1], B), array.dtype) for name, array in first.items()}
        tape = Tape(cell, x, states, record, lengths)
        loop = Loop(partial(_step, cell, tuple(record)), cell.constants, ("step", cell.kind))
        for stretch in tape.stretches():
            _run(tape, stretch, loop)
    return tape


def _step(cell: Cell, names: tuple[str, ...], before: Array, after: Array, drive: Array, *kept: Array) -> None:
    cell.step_into(drive, cell.split(before), (cell.split(after), dict(zip(names, kept, strict=True))))


def _run(tape: Tape, stretch: slice, loop: Loop) -> None:
    """Execute the steps ``stretch`` (0-based), writing into the tape's arrays."""
    lengths, states = tape.lengths, tape.states[stretch.start : stretch.stop + 1]
    drive = tape.cell.input_drive(tape.x[stretch])
    arrays = (states[:-1], states[1:], drive, *(array[stretch] for array in tape.record.values()))
    all_go_on = len(drive) if lengths is None else int(np.clip(lengths.min() - stretch.start, 0, len(drive)))
    loop.take(*(array[:all_go_on] for array in arrays))
    for t in range(all_go_on, len(drive)):
        loop.act(*(array[t] for array in arrays))
        states[t + 1] = np.where(stretch.start + t < lengths, states[t + 1], states[t])


def follow(
    cell: Cell, x: Array, initial: Array, output: Array, lengths: NDArray[np.int64] | None = None
) -> tuple[Tape, Array]:
    """Execute every step of ``cell`` from the output sequence of a pass that ran elsewhere.

    All steps are executed at once, which is cheaper than :func:`forward`.

    Parameters
    ----------
    x : array (T, D, B)
        Inputs of that pass.
    initial : array (S, B)
        Its joint initial state.
    output : array (T, H, B)
        Its outputs h_1 … h_T.
    lengths : int array (B,), optional
        The sequences' own lengths.

    Returns
    -------
    tape : Tape
        The tape of the pass, with ``output`` as its h.
    given : array (T, H, B)
        The h that each step computes from the h before it. It equals ``output`` up to the rounding of one step if
        weights and inputs are those of the pass.
    """
    T, _, B = output.shape
    states = np.empty((T + 1, cell.state_size, B), cell.dtype)
    states[0] = initial
    cell.split(states)[0][1:] = output
    record, given = _followed(cell, x, states)
    if lengths is not None:
        steps = np.minimum(np.arange(T + 1)[:, None], lengths)[:, None]
        states = np.take_along_axis(states, np.broadcast_to(steps, states.shape), axis=0)
    return Tape(cell, x, states, record, lengths), given


def _followed(cell: Cell, x: Array, states: Array) -> tuple[Record, Array]:
    """Compute the states other than h, a few steps at a time so that they stay in the cache."""
    T, B = len(x), x.shape[-1]
    record: Record = {}
    given = np.empty((T, cell.hidden_size, B), cell.dtype)
    length = max(1, 4 * STRETCH // (cell.state_size * B))
    with np.errstate(all="ignore"):
        for start in range(0, T, length):
            steps = slice(start, min(start + length, T))
            kept, given[steps] = cell.teacher_force(cell.input_drive(x[steps]), states[start : steps.stop + 1])
            for name, array in kept.items():
                record.setdefault(name, np.empty((T, *array.shape[1:]), array.dtype))[steps] = array
    return record, given
