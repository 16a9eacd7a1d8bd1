"""What a task says: its sizes, its batches, how far it has to remember, and what an answer is worth."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import count
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from gradlab.errors import InputError
from gradlab.models.losses import At, Loss, LossFunction, step_mask
from gradlab.options import Option
from gradlab.tasks.baselines import Baseline

Array = NDArray[Any]
#: The key of a task whose data a file or a user holds.
CONTENT = Option(str, "", meaning="checksum of the data, filled in by a study; where given, the data must have it")


class Task(ABC):
    """A source of batches. A frozen dataclass whose fields are the keys in ``KEYS``.

    A task says its sizes and :meth:`sample`, and as far as there is such a thing :meth:`constant_loss`, ``tolerance``,
    :meth:`lag` and :meth:`baselines`. One whose data end says ``train`` and ``test``; one whose data a file or a user
    holds is a :class:`DataTask`.

    Attributes
    ----------
    input_size, output_size : D and O.
    readout : the output layer's activation.
    tolerance : the error below which a number is right; None where only classes are right or wrong.
    fixed_length : T where the data set it, else None.
    """

    name: ClassVar[str]
    KEYS: ClassVar[Mapping[str, Option]] = {}
    input_size: int
    output_size: int
    readout: ClassVar[str] = "identity"
    tolerance: ClassVar[float | None] = None

    @property
    def fixed_length(self) -> int | None:
        """T where the data set it, else None."""
        return None

    @abstractmethod
    def sample(self, length: int, batch: int, *, at: At = "last", rng: np.random.Generator) -> tuple[Array, Loss]:
        """Return inputs ``x (T, B, D)`` and the loss with its targets.

        A shorter length is a prefix of a longer one under the same generator, or says in its class why it is not.
        """

    def batches(
        self, length: int, batch: int, *, at: At = "last", seed: int = 0, start: int = 0
    ) -> Iterator[tuple[Array, Loss]]:
        """Yield batch ``start`` and all after it, each :meth:`sample` of ``SeedSequence(seed, spawn_key=(n,))``.

        Batch n is the same whether those before it are drawn or not: a training goes on at step n from there.

        Examples
        --------
        >>> from gradlab.tasks import Sum
        >>> x, loss = next(Sum().batches(length=50, batch=4, seed=1, start=300))
        >>> x.shape
        (50, 4, 1)
        """
        for step in count(start):
            rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(step,)))
            yield self.sample(length, batch, at=at, rng=rng)

    @property
    def train(self) -> Self:
        """The task on the data that may be trained on: itself where data are drawn without end."""
        return self

    @property
    def test(self) -> Self:
        """The task on data kept from training: itself where data are drawn without end."""
        return self

    def lag(self, length: int) -> int:
        """Return the steps from the earliest input that the last answer needs to that answer, at most."""
        return length - 1

    def constant_loss(self, length: int) -> Array:
        """Return the least expected loss at each step, ``(T,)``, of outputs that do not depend on the inputs.

        Raises
        ------
        InputError
            where there is no such thing, or nobody has said it.
        """
        raise InputError(f'task "{self.name}" does not say what a constant prediction costs')

    def baseline(self, length: int, at: At = "last") -> float:
        """Return the least expected loss of outputs that do not depend on the inputs, of the loss read at ``at``."""
        return float(self.constant_loss(length)[step_mask(at, length, 1)[:, 0]].mean())

    def baselines(self) -> tuple[Baseline, ...]:
        """Return plain methods, fitted to ``train``, that a network should beat on ``test``; by default none."""
        return ()

    def score(self, outputs: Array, loss: Loss | LossFunction) -> NDArray[np.float64]:
        """Return the share of the steps read whose answer is right, by sequence, ``(B,)``.

        A class is right where its output is the largest; numbers are right where every one of the step's errors is
        below ``tolerance``.

        Parameters
        ----------
        outputs : ``y (T, B, O)``.
        loss : what :meth:`sample` gave for that batch.

        Raises
        ------
        InputError
            where answers are numbers and the task has no tolerance, or the loss is a function of the user's.
        """
        if not isinstance(loss, Loss):
            raise InputError(f'task "{self.name}" has a loss of its own, which does not say what is right')
        return loss.right(outputs, self.tolerance)


class SplitTask(Task):
    """A task of finite data, of which its field ``part`` says which it draws from: "all", "train" or "test"."""

    part: str

    @property
    def train(self) -> Self:
        """The task on the part that is trained on."""
        return replace(self, part="train")  # type: ignore[type-var]

    @property
    def test(self) -> Self:
        """The task on the part that is kept from training."""
        return replace(self, part="test")  # type: ignore[type-var]


class DataTask(Task):
    """A task whose data a file or a user holds; a study's ids depend on them by the key ``content``."""

    @abstractmethod
    def checksum(self) -> str:
        """Return a text that is another one where the data are others, as they are now."""


# --- places within a sequence -----------------------------------------------------------------------


def places(u: NDArray[np.float64], low: int, high: int) -> NDArray[np.int64]:
    """Return whole numbers in [low, high), uniform where ``u`` is on [0, 1); another range stretches them."""
    return low + np.floor(u * (high - low)).astype(np.int64)


def one_hot(symbols: NDArray[np.int64], size: int) -> NDArray[np.float64]:
    """Return ``(…, size)``: 1 at the symbol's place, 0 elsewhere."""
    return np.asarray(symbols[..., None] == np.arange(size), np.float64)


def at_least(task: str, length: int, least: int, why: str) -> int:
    """Return ``length``, or say that the task has no sequence so short."""
    if length < least:
        raise InputError(f"{task} needs a length of at least {least} ({why}), got {length}")
    return length
