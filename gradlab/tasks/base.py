"""The interface of a task: its sizes, its batches, its lag, and the score of an answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import count
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from gradlab.arrays.scaled import Array
from gradlab.errors import InputError
from gradlab.models.losses import At, Loss, LossFunction, step_mask
from gradlab.options import Option
from gradlab.tasks.baselines import Baseline

#: The key of tasks whose data come from a file or a user.
CONTENT = Option(str, "", meaning="checksum of the data, filled in by a study; where given, the data must have it")


class Task(ABC):
    """A source of batches: a frozen dataclass whose fields are the keys in ``KEYS``.

    A task defines its sizes and :meth:`sample`. It defines :meth:`constant_loss`, ``tolerance``, :meth:`lag` and
    :meth:`baselines` if they are known. A task of finite data defines ``train`` and ``test``; a :class:`DataTask` takes
    its data from a file or a user.

    Attributes
    ----------
    input_size, output_size : int
        D and O.
    readout : str
        Activation of the output layer.
    tolerance : float, optional
        The error below which a number is right; None if only classes can be right or wrong.
    fixed_length : int, optional
        T if the data determine it, else None.
    """

    name: ClassVar[str]
    KEYS: ClassVar[Mapping[str, Option]] = {}
    input_size: int
    output_size: int
    readout: ClassVar[str] = "identity"
    tolerance: ClassVar[float | None] = None

    @property
    def fixed_length(self) -> int | None:
        """T if the data determine it, else None."""
        return None

    @abstractmethod
    def sample(self, length: int, batch: int, *, at: At = "last", rng: np.random.Generator) -> tuple[Array, Loss]:
        """Return one batch.

        Under the same generator a shorter sequence is a prefix of a longer one; a class that deviates documents why.

        Parameters
        ----------
        length, batch : int
            T and B.
        at : str, sequence of int or mask
            The steps at which the loss is read, as in :mod:`gradlab.models.losses`.
        rng : numpy.random.Generator
            The source of all randomness.

        Returns
        -------
        x : array (T, B, D)
            Inputs.
        loss : Loss
            The loss with its targets.
        """

    def batches(
        self, length: int, batch: int, *, at: At = "last", seed: int = 0, start: int = 0
    ) -> Iterator[tuple[Array, Loss]]:
        """Yield batch ``start`` and all later ones; batch n is drawn by ``SeedSequence(seed, spawn_key=(n,))``.

        Batch n does not depend on the batches before it, so a training can continue at step n.

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
        """The task on its training data; the task itself if its data are unlimited."""
        return self

    @property
    def test(self) -> Self:
        """The task on held-out data; the task itself if its data are unlimited."""
        return self

    def lag(self, length: int) -> int:
        """Return the largest number of steps from an input that the last answer needs to that answer."""
        return length - 1

    def constant_loss(self, length: int) -> Array:
        """Return the least expected loss per step, ``(T,)``, of outputs that do not depend on the inputs.

        Raises
        ------
        InputError
            If the task does not define it.
        """
        raise InputError(f'task "{self.name}" does not define the loss of a constant prediction')

    def baseline(self, length: int, at: At = "last") -> float:
        """Return the least expected loss, read at ``at``, of outputs that do not depend on the inputs."""
        return float(self.constant_loss(length)[step_mask(at, length, 1)[:, 0]].mean())

    def baselines(self) -> tuple[Baseline, ...]:
        """Return baselines fitted to ``train``, which a network should beat on ``test``; none by default."""
        return ()

    def score(self, outputs: Array, loss: Loss | LossFunction) -> NDArray[np.float64]:
        """Return the share of right answers among the steps read, per sequence.

        A class is right if its output is the largest. Numbers are right if all errors of the step are below
        ``tolerance``.

        Parameters
        ----------
        outputs : array (T, B, O)
            Outputs y of a network.
        loss : Loss
            The loss that :meth:`sample` returned with that batch.

        Returns
        -------
        array (B,)
            Shares in [0, 1].

        Raises
        ------
        InputError
            If answers are numbers and the task has no tolerance, or the loss is a function.
        """
        if not isinstance(loss, Loss):
            raise InputError(f'task "{self.name}" has a loss that is a function; it defines no right answer')
        return loss.right(outputs, self.tolerance)


class SplitTask(Task):
    """A task of finite data; its field ``part`` selects the data to draw from: "all", "train" or "test"."""

    part: str

    @property
    def train(self) -> Self:
        """The task on its training data."""
        return replace(self, part="train")  # type: ignore[type-var]

    @property
    def test(self) -> Self:
        """The task on its held-out data."""
        return replace(self, part="test")  # type: ignore[type-var]


class DataTask(Task):
    """A task whose data come from a file or a user; the ids of a study depend on them through the key ``content``."""

    @abstractmethod
    def checksum(self) -> str:
        """Return a checksum of the data as they are now."""


# --- places within a sequence -----------------------------------------------------------------------


def places(u: NDArray[np.float64], low: int, high: int) -> NDArray[np.int64]:
    """Return integers in [low, high), uniform if ``u`` is uniform on [0, 1); another range stretches them."""
    return low + np.floor(u * (high - low)).astype(np.int64)


def one_hot(symbols: NDArray[np.int64], size: int) -> NDArray[np.float64]:
    """Return ``(…, size)``, 1 at the symbol's place and 0 elsewhere."""
    return np.asarray(symbols[..., None] == np.arange(size), np.float64)


def at_least(task: str, length: int, least: int, why: str) -> int:
    """Return ``length`` after checking that the task has sequences so short."""
    if length < least:
        raise InputError(f"{task} needs a length of at least {least} ({why}), got {length}")
    return length
