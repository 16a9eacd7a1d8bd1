"""Derivatives of a plain function: the interface that a custom cell uses, and the two ways that need no library.

Arrays are rows here, as in a user's function: ``h (…, S)``, ``x (…, D)``, any leading axes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Self

import numpy as np

from gradlab.arrays.scaled import Array
from gradlab.errors import InputError

#: Small enough that its square vanishes; the complex step has no subtraction, hence no cancellation.
COMPLEX_STEP = 1e-30
#: The step of central differences that balances truncation against rounding, ε^(1/3).
DIFFERENCE_STEP = float(np.finfo(float).eps ** (1 / 3))


class Derivatives(ABC):
    """A function ``h_t = step(h_{t−1}, x_t)`` with its derivatives.

    Attributes
    ----------
    given : str
        The arguments of the function in words, for messages.
    error : float
        Relative error of the derivatives; 0 where they are exact.
    parameters : mapping of str to array
        The known parameters by name.
    """

    given: ClassVar[str]
    error: float = 0.0
    parameters: Mapping[str, Array] = MappingProxyType({})

    @abstractmethod
    def value(self, h: Array, x: Array) -> Array:
        """Return h_t, the value of the function."""

    @abstractmethod
    def slopes(self, h: Array, x: Array) -> tuple[Array, Array]:
        """Return ∂h_t/∂h_{t−1} ``(…, S, S)`` and ∂h_t/∂x_t ``(…, S, D)``."""

    def with_parameters(self, changed: Mapping[str, Array]) -> Self:
        """Return a copy with some parameters replaced."""
        raise NotImplementedError

    def parameter_slopes(self, h: Array, x: Array, adjoint: Array) -> Mapping[str, Array]:
        """Return each step's contribution to every parameter's gradient, ``(…, *shape)``, for ``adjoint (…, S)``."""
        raise InputError(
            "a custom cell has no parameter gradients without automatic differentiation: its parameters are inside a "
            'function that is only called; use derivative="torch" or "jax" with parameters=, or write a gl.Cell of '
            "its equations"
        )


@dataclass(frozen=True)
class Shifted(Derivatives):
    """Moves one entry at a time: the complex step ("complex") or central differences ("difference")."""

    step: Callable[[Array, Array], Array]
    method: str

    given = "it has to work on any leading axes"

    @property
    def error(self) -> float:  # type: ignore[override]
        """Error bound of central differences after truncation and rounding, 100 ε^(2/3); 0 for the complex step."""
        return 100.0 * DIFFERENCE_STEP**2 if self.method == "difference" else 0.0

    def value(self, h: Array, x: Array) -> Array:
        return np.asarray(self.step(h, x))

    def slopes(self, h: Array, x: Array) -> tuple[Array, Array]:
        by_state = [self._slope(lambda e: self.value(h + e, x), unit) for unit in np.eye(h.shape[-1])]
        by_input = [self._slope(lambda e: self.value(h, x + e), unit) for unit in np.eye(x.shape[-1])]
        return np.stack(by_state, axis=-1), np.stack(by_input, axis=-1)

    def _slope(self, shifted: Callable[[Array], Array], unit: Array) -> Array:
        if self.method == "difference":
            ahead, behind = shifted(DIFFERENCE_STEP * unit), shifted(-DIFFERENCE_STEP * unit)
            return (ahead - behind) / (2.0 * DIFFERENCE_STEP)
        moved = shifted(1j * COMPLEX_STEP * unit)
        if not np.iscomplexobj(moved):
            raise InputError(
                "step(h, x) returned real numbers for a complex h or x, so it is not analytic; "
                'use derivative="difference"'
            )
        return moved.imag / COMPLEX_STEP
