"""Paths of a gradient: along the additive state of a gated cell alone, or through its gates."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradlab.arrays.scaled import Array, finite_mean, normalise
from gradlab.bptt import Columns, Tape
from gradlab.cells.base import Cell
from gradlab.errors import InputError
from gradlab.formatting import markup
from gradlab.formatting.numbers import compact, significant


class Paths(NamedTuple):
    """The gradient at s_t on the additive path alone, and on all paths, ``(T+1, B)`` each, in nats.

    Attributes
    ----------
    additive : array (T+1, B)
        ln‖a_t‖ with a_{t−1} = D_t ⊙ a_t, where D_t is the kept share: f_t in an LSTM, 1 − w_t in a GRU. a_T is the
        total gradient of the additive state at the last loss step: dL/dc_T in an LSTM, dL/dh_T in a GRU.
    everything : array (T+1, B)
        ln‖dL/dc_t‖ or ln‖dL/dh_t‖, the total gradient of the same loss.
    gates : array (T+1, B)
        ln of the norm of their difference, the part that passed through a gate at least once.
    """

    additive: NDArray[np.float64]
    everything: NDArray[np.float64]
    gates: NDArray[np.float64]

    def __repr__(self) -> str:
        return markup.plain(*self._shown())

    def _repr_html_(self) -> str:
        return markup.html(*self._shown())

    def _shown(self) -> tuple[str, list[tuple[str, object]]]:
        T, B = len(self.additive) - 1, self.additive.shape[1]
        rows: list[tuple[str, object]] = [
            ("all paths", f"{compact(finite_mean(self.everything[0]), 3)} nats at t = 0, mean over the sequences"),
            ("additive path alone", f"{compact(finite_mean(self.additive[0]), 3)} nats"),
            ("through a gate", f"{compact(finite_mean(self.gates[0]), 3)} nats"),
            ("additive share", f"{significant(float(self.share[0].mean()))} at t = 0"),
        ]
        return f"Paths: ln‖gradient‖ by path, T {T}, B {B}", rows

    @property
    def share(self) -> NDArray[np.float64]:
        """‖a‖/(‖a‖ + ‖rest‖), ``(T+1, B)``: 1 if all of it is additive, 0 if all of it passed through gates."""
        with np.errstate(all="ignore"):
            return np.asarray(1.0 / (1.0 + np.exp(self.gates - self.additive)))


def paths(tape: Tape, adjoint: Columns) -> Paths:
    """Return the norms of a gradient on the additive path of a gated cell alone, and on all paths.

    ``∏f`` is not the gradient of an LSTM, and ``∏(1 − w)`` not that of a GRU: each is one path among all. The path
    starts with the total gradient at each sequence's last loss step. The additive share is 1 without recurrent weights.
    It is close to 0 with large ones, which amplify the paths through the gates.

    Parameters
    ----------
    tape : Tape
        The forward pass of one layer and direction.
    adjoint : Columns (T+1, S, B)
        δ of the last loss step's loss alone, from which rates are estimated.

    Returns
    -------
    Paths
        Log norms in nats, ``(T+1, B)`` each.

    Raises
    ------
    InputError
        If the cell has no additive state.
    """
    return PathWalk(tape.cell, tape.x.shape[-1]).take(tape, adjoint, whole=True)


class PathWalk:
    """The additive path on its way back in time; the tape may come in pieces, the last one first."""

    def __init__(self, cell: Cell, batch: int) -> None:
        if cell.additive_state is None:
            raise InputError(f"paths are those of a gated cell with an additive state, got {cell!r}")
        self.cell, self.state = cell, cell.additive_state
        self._column, self._exponent = np.zeros((cell.hidden_size, batch), cell.dtype), np.zeros(batch, np.int64)
        self._begun = np.zeros(batch, bool)

    def take(self, tape: Tape, adjoint: Columns, *, whole: bool) -> Paths:
        """Return the norms at the states 1 … n of ``tape``; also at state 0 if ``whole``, with nothing before it."""
        logs: list[tuple[Array, Array, Array]] = []
        cell, column, exponent = self.cell, self._column, self._exponent
        live = np.asarray(adjoint.mantissa.any(axis=1))
        begins = ~self._begun & live.any(axis=0)
        start = np.where(begins, tape.steps - live[::-1].argmax(axis=0), -1)
        with np.errstate(all="ignore"):
            for stretch in reversed(tape.stretches()):
                local = tape.linearise(stretch)
                for t in range(stretch.stop, stretch.start, -1):
                    step = type(local)(*(array[t - 1 - stretch.start] for array in local))
                    total = cell.total(step, cell.split(adjoint.mantissa[t]))[self.state]
                    column = np.where(start == t, total, column)
                    exponent = np.where(start == t, adjoint.exponent[t], exponent)
                    logs.append(_log_norms(Columns(column, exponent), Columns(total, adjoint.exponent[t])))
                    column = cell.additive(step) * column
                    normalise(column, exponent)
            if whole:
                last = cell.split(adjoint.mantissa[0])[self.state]
                logs.append(_log_norms(Columns(column, exponent), Columns(last, adjoint.exponent[0])))
        self._column, self._exponent, self._begun = column, exponent, self._begun | begins
        return Paths(*(np.stack(of_path[::-1]) for of_path in zip(*logs, strict=True)))


def _log_norms(part: Columns, whole: Columns) -> tuple[Array, Array, Array]:
    """Return the log norms of the additive part, of the whole gradient, and of the rest, ``(B,)`` each."""
    rest = whole.plus(Columns(-part.mantissa, part.exponent))
    return part.log_norm(), whole.log_norm(), rest.log_norm()
