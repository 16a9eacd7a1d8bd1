"""What a task says: its sizes, its readout, and a batch drawn from a generator."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gradlab.initialise import Option
from gradlab.losses import At, Loss

Array = NDArray[Any]


class Task(ABC):
    """A source of batches. A frozen dataclass whose fields are the keys in ``KEYS``.

    Attributes
    ----------
    input_size, output_size : D and O.
    readout : the output layer's activation.
    fixed_length : T where the data set it, else None.
    """

    name: ClassVar[str]
    KEYS: ClassVar[Mapping[str, Option]] = {}
    input_size: int
    output_size: int
    readout: ClassVar[str] = "identity"

    @property
    def fixed_length(self) -> int | None:
        """T where the data set it, else None."""
        return None

    @abstractmethod
    def sample(self, length: int, batch: int, *, at: At = "last", rng: np.random.Generator) -> tuple[Array, Loss]:
        """Return inputs ``x (T, B, D)`` and the loss with its targets; a shorter length is a prefix of a longer one."""
