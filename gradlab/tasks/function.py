"""A task defined by a function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from gradlab.arrays.checks import float_array, positive
from gradlab.arrays.scaled import Array
from gradlab.errors import InputError
from gradlab.models.losses import At, Loss
from gradlab.tasks.base import DataTask
from gradlab.tasks.targets import checksum, loss_of

#: Length and batch of the sample that identifies a function's data.
PROBE = (32, 4)


@dataclass(frozen=True, eq=False)
class FunctionTask(DataTask):
    """A task whose batches a function draws.

    A study identifies a function by its sample of 4 sequences of 32 steps (or of ``steps``) from a fixed generator.

    Parameters
    ----------
    draw : callable
        ``draw(length, batch, rng)`` returns ``x (T, B, D)`` and y: integer classes ``(B,)`` or ``(T, B)``, or numbers
        ``(B, O)`` or ``(T, B, O)``. All randomness comes from ``rng``, a numpy Generator.
    input_size, output_size : int
        D and O.
    steps : int, optional
        T, if only one length is possible.

    Examples
    --------
    >>> def echo(length, batch, rng):
    ...     x = rng.standard_normal((length, batch, 1))
    ...     return x, x[0]
    >>> x, loss = next(FunctionTask(echo, 1, 1).batches(length=30, batch=2, seed=0))
    >>> x.shape, loss.kind
    ((30, 2, 1), 'mse')
    """

    draw: Callable[[int, int, np.random.Generator], tuple[Any, Any]]
    input_size: int
    output_size: int
    steps: int | None = None

    name: ClassVar[str] = "function"

    def __post_init__(self) -> None:
        if not callable(self.draw):
            raise InputError(f"draw must be a function (length, batch, rng) -> (x, y), got {type(self.draw).__name__}")
        positive("input_size", self.input_size)
        positive("output_size", self.output_size)

    @property
    def fixed_length(self) -> int | None:
        """T if only one length is possible, else None."""
        return self.steps

    def checksum(self) -> str:
        """Return the checksum of a sample from a fixed generator."""
        x, loss = self.sample(self.steps or PROBE[0], PROBE[1], rng=np.random.default_rng(0))
        return checksum(x, loss.targets)

    def sample(self, length: int, batch: int, *, at: At = "last", rng: np.random.Generator) -> tuple[Array, Loss]:
        """Return the function's ``x (T, B, D)``, checked, and the loss of its targets."""
        answer = self.draw(positive("length", length), positive("batch", batch), rng)
        if not isinstance(answer, tuple) or len(answer) != 2:
            raise InputError(f"a task's function must return the pair (x, y), got {type(answer).__name__}")
        x = np.asarray(answer[0], np.float64)
        float_array("x of the task's function", x, (length, batch, self.input_size))
        return x, loss_of(np.asarray(answer[1]), at)
