"""The common part of PyTorch's and JAX' automatic differentiation: the step of one sequence, mapped over all."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, Self

import numpy as np

from gradlab.arrays.scaled import Array
from gradlab.cells.derivatives import Derivatives
from gradlab.errors import InputError, printable


class Autodiff(Derivatives):
    """A step ``(h (S,), x (D,)) -> h (S,)`` on float64 arrays of a library, or with ``parameters`` as a third."""

    given = "it is called with one sequence's vectors, h (S,) and x (D,), and mapped over sequences"
    library: ClassVar[str]

    def __init__(self, step: Callable[..., Any], parameters: Mapping[str, Array]) -> None:
        self.step, self.parameters = step, dict(parameters)

    @abstractmethod
    def mapped(self, question: str, *stacked: Array) -> Any:
        """Return "value", "slopes" (a pair) or "parameter_slopes" (a dict) for stacks of N vectors, as NumPy arrays."""

    def call(self, h: Any, x: Any, parameters: Any) -> Any:
        """Return the step of one sequence, in the library's arrays."""
        return self.step(h, x, parameters) if parameters else self.step(h, x)

    def with_parameters(self, changed: Mapping[str, Array]) -> Self:
        return type(self)(self.step, {**self.parameters, **changed})

    def value(self, h: Array, x: Array) -> Array:
        after = self._rows("value", h, x)
        if not isinstance(after, np.ndarray):
            raise InputError(f"step(h, x) must return one array, the new h, got {type(after).__name__}")
        if after.dtype != np.float64:
            raise InputError(f"step(h, x) must stay in the float64 that it is given, got {after.dtype}: it would round")
        return after

    def slopes(self, h: Array, x: Array) -> tuple[Array, Array]:
        by_state, by_input = self._rows("slopes", h, x)
        return by_state, by_input

    def parameter_slopes(self, h: Array, x: Array, adjoint: Array) -> Mapping[str, Array]:
        if not self.parameters:
            return super().parameter_slopes(h, x, adjoint)
        found: dict[str, Array] = self._rows("parameter_slopes", h, x, adjoint)
        return found

    def _rows(self, question: str, *rows: Array) -> Any:
        """Return the answer to a question for rows with any leading axes; the answer has the same leading axes."""
        if any(np.iscomplexobj(array) for array in rows):
            raise InputError(f"a step in {self.library} takes real numbers, got complex ones")
        lead = rows[0].shape[:-1]
        with self._blamed():
            found = self.mapped(question, *(np.ascontiguousarray(array.reshape(-1, array.shape[-1])) for array in rows))
        if isinstance(found, dict):
            return {name: array.reshape(*lead, *array.shape[1:]) for name, array in found.items()}
        if question == "slopes":
            return [array.reshape(*lead, *array.shape[1:]) for array in found]
        return found.reshape(*lead, *found.shape[1:]) if isinstance(found, np.ndarray) else found

    @contextmanager
    def _blamed(self) -> Iterator[None]:
        try:
            yield
        except Exception as failed:
            reason = printable(str(failed) or type(failed).__name__, 300)
            raise InputError(f"step(h, x) failed in {self.library} ({self.given}): {reason}") from failed
