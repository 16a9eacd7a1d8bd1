"""Someone else's recurrence: a plain function becomes a cell, its Jacobians by complex step or differences."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from gradlab.cells.base import Array, Cell, Pair, Record, State
from gradlab.checks import choice, positive
from gradlab.errors import InputError

#: Any number small enough that its square vanishes: the complex step has no subtraction to cancel.
COMPLEX_STEP = 1e-30
#: The step of central differences that balances truncation against rounding, ε^(1/3).
DIFFERENCE_STEP = float(np.finfo(float).eps ** (1 / 3))
DERIVATIVES = ("complex", "difference")


class Local(NamedTuple):
    """Dense derivatives of the step, ``by_state (…, S, S, N)`` and ``by_input (…, S, D, N)``."""

    by_state: Array
    by_input: Array


@dataclass(frozen=True, eq=False, repr=False)
class CustomCell(Cell):
    """A recurrence ``h_t = function(h_{t−1}, x_t)``; made by :func:`custom_cell`."""

    function: Callable[[Array, Array], Array]
    size: int
    inputs: int
    derivative: str = "complex"

    name: ClassVar[str] = "custom"
    parameter_names: ClassVar[tuple[str, ...]] = ()

    @property
    def input_size(self) -> int:
        return self.inputs

    @property
    def hidden_size(self) -> int:
        return self.size

    @property
    def derivative_error(self) -> float:  # type: ignore[override]
        """What central differences leave after truncation and rounding, 100 ε^(2/3); nothing for the complex step."""
        return 100.0 * DIFFERENCE_STEP**2 if self.derivative == "difference" else 0.0

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype("float64")

    def drive(self, x: Array) -> Array:
        """Return x itself: what the function does with it is its own affair."""
        return x

    def step(self, drive: Array, state: State) -> tuple[State, Record]:
        return (self._call(state[0], drive),), {"x": drive}

    def _call(self, h: Array, x: Array) -> Array:
        after = np.asarray(self.function(np.swapaxes(h, -1, -2), np.swapaxes(x, -1, -2)))
        want = (*h.shape[:-2], h.shape[-1], h.shape[-2])
        if after.shape != want:
            raise InputError(
                f"step(h, x) must return h's shape (…, S) = {want} for x {np.swapaxes(x, -1, -2).shape}, "
                f"got {after.shape}; it has to work on any leading axes"
            )
        return np.swapaxes(after, -1, -2)

    def linearise(self, record: Record, before: State, after: State) -> Local:
        h, x = before[0], record["x"]
        by_state = [self._slope(lambda e: self._call(h + e, x), unit) for unit in _units(self.size)]
        by_input = [self._slope(lambda e: self._call(h, x + e), unit) for unit in _units(self.inputs)]
        return Local(np.stack(by_state, axis=-2), np.stack(by_input, axis=-2))

    def _slope(self, shifted: Callable[[Array], Array], unit: Array) -> Array:
        if self.derivative == "difference":
            ahead, behind = shifted(DIFFERENCE_STEP * unit), shifted(-DIFFERENCE_STEP * unit)
            return (ahead - behind) / (2.0 * DIFFERENCE_STEP)
        moved = shifted(1j * COMPLEX_STEP * unit)
        if not np.iscomplexobj(moved):
            raise InputError(
                "step(h, x) returned real numbers for a complex h or x, so it is not analytic; "
                'use derivative="difference"'
            )
        return moved.imag / COMPLEX_STEP

    def jvp(self, local: Any, tangent: State) -> State:
        return (np.einsum("...ijn,...jn->...in", local.by_state, tangent[0]),)

    def vjp(self, local: Any, adjoint: State) -> tuple[State, Array]:
        """Return Jᵀ δ and, in place of pre-activation gradients, dL/dx."""
        before, by_input = (np.einsum("...ijn,...in->...jn", part, adjoint[0]) for part in local)
        return (before,), by_input

    def input_vjp(self, pre_grad: Array) -> Array:
        return pre_grad

    def parameter_pairs(self, record: Record, before: State, pre_grad: Array, x: Array) -> dict[str, list[Pair]]:
        raise InputError(
            "a custom cell has no parameter gradients: its parameters are inside a function that is only called; "
            "write a gl.Cell of its equations to get them"
        )

    def __repr__(self) -> str:
        called = getattr(self.function, "__name__", type(self.function).__name__)
        return (
            f"custom_cell({called}, state_size={self.size}, input_size={self.inputs}, derivative={self.derivative!r})"
        )


def _units(size: int) -> Iterator[Array]:
    """Yield unit vectors as columns ``(size, 1)``."""
    for row in np.eye(size):
        yield row[:, None]


def custom_cell(
    step: Callable[[Array, Array], Array], *, state_size: int, input_size: int, derivative: str = "complex"
) -> CustomCell:
    """Return a cell of a plain function: state and input Jacobians, and all that follows from them.

    Parameters
    ----------
    step : ``step(h, x) -> h`` with ``h (…, S)``, ``x (…, D)``, any leading axes, as in ``np.tanh(h @ W.T + x @ U.T)``
    state_size, input_size : S and D
    derivative : "complex", exact for analytic functions (no ``abs``, ``maximum`` or comparison of h), or "difference",
        central differences, about ten digits

    Raises
    ------
    InputError
        for sizes below 1 or an unknown derivative; parameter gradients raise when asked for, with the reason.

    References
    ----------
    Squire & Trapp 1998 (the complex step).

    Examples
    --------
    >>> cell = custom_cell(lambda h, x: np.tanh(0.9 * h + x), state_size=2, input_size=2)
    """
    if not callable(step):
        raise InputError(f"step must be a function step(h, x) -> h, got {type(step).__name__}")
    choice("derivative", derivative, DERIVATIVES)
    return CustomCell(step, positive("state_size", state_size), positive("input_size", input_size), derivative)
