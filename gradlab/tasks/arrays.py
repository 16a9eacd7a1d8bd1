"""Data that are there: a set of sequences, or windows of one long series."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from gradlab.arrays.checks import as_array, finite, positive
from gradlab.errors import InputError, unknown
from gradlab.models.losses import At, Loss
from gradlab.tasks.base import DataTask, places
from gradlab.tasks.targets import TRAINED, checksum, constant_cost, is_label, loss_of

Array = NDArray[Any]


@dataclass(frozen=True, eq=False, repr=False)
class _Arrays(DataTask):
    """Inputs and targets of examples, the first three quarters of which are ``train``, the rest ``test``."""

    x: Array
    y: Array
    output_size: int

    name: ClassVar[str] = "arrays"

    @property
    def input_size(self) -> int:  # type: ignore[override]
        """D."""
        return int(self.x.shape[-1])

    @property
    def train(self) -> Self:
        """The first three quarters of the data."""
        return self._only(slice(None, self._trained))

    @property
    def test(self) -> Self:
        """The last quarter of the data."""
        return self._only(slice(self._trained, None))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(x {self.x.shape}, y {self.y.shape}, output_size={self.output_size})"

    def checksum(self) -> str:
        """Return the checksum of the arrays."""
        return checksum(self.x, self.y)

    @property
    def _trained(self) -> int:
        return int(TRAINED * self.x.shape[-2])

    @abstractmethod
    def _only(self, part: slice) -> Self:
        """Return the task of some of the examples."""


@dataclass(frozen=True, eq=False, repr=False)
class Sequences(_Arrays):
    """N sequences of T steps, of which a batch is drawn without replacement.

    Parameters
    ----------
    x : ``(T, N, D)``.
    y : classes ``(N,)`` or ``(T, N)``, or numbers ``(N, O)`` or ``(T, N, O)``.

    ``train`` is the first three quarters of them, ``test`` the rest. What has to be bridged is not known: the lag is
    that to the first step.
    """

    @property
    def fixed_length(self) -> int:
        """T."""
        return len(self.x)

    def sample(self, length: int, batch: int, *, at: At = "last", rng: np.random.Generator) -> tuple[Array, Loss]:
        """Return ``x (T, B, D)`` of ``batch`` sequences, and their targets' loss."""
        T, N = self.x.shape[:2]
        if length != T:
            raise InputError(f"the sequences have length {T}, got {length}")
        if positive("batch", batch) > N:
            raise InputError(f"batch must be at most {N}, the number of sequences, got {batch}")
        chosen = rng.permutation(N)[:batch]
        return np.ascontiguousarray(self.x[:, chosen]), loss_of(self._of(chosen), at)

    def constant_loss(self, length: int) -> Array:
        """Return the classes' entropy, or the targets' variance, over the sequences, ``(T,)``."""
        if self._by_step:
            return np.array([constant_cost(y) for y in self.y])
        return np.full(length, constant_cost(self.y))

    @property
    def _by_step(self) -> bool:
        return self.y.ndim == (2 if is_label(self.y) else 3)

    def _of(self, chosen: slice | NDArray[np.int64]) -> Array:
        return self.y[:, chosen] if self._by_step else self.y[chosen]

    def _only(self, part: slice) -> Self:
        return type(self)(self.x[:, part], self._of(part), self.output_size)


@dataclass(frozen=True, eq=False, repr=False)
class Windows(_Arrays):
    """Stretches of ``length`` rows of one series, their starts uniform over all that fit, drawn with replacement.

    Parameters
    ----------
    x : ``(n, D)``, the inputs of each row.
    y : classes ``(n,)`` or numbers ``(n, O)``: what is to be said at each row.

    ``train`` is the first three quarters of the rows, ``test`` the rest, and no window lies in both. What has to be
    bridged is not known: the lag is that to the window's first row. A longer window begins elsewhere, since fewer fit:
    it is no prefix.
    """

    def sample(self, length: int, batch: int, *, at: At = "last", rng: np.random.Generator) -> tuple[Array, Loss]:
        """Return ``x (T, B, D)`` of ``batch`` windows, and their targets' loss."""
        starts = places(rng.random(positive("batch", batch)), 0, self._starts(length))
        rows = starts + np.arange(length)[:, None]
        return self.x[rows], loss_of(self.y[rows], at)

    def constant_loss(self, length: int) -> Array:
        """Return the classes' entropy, or the targets' variance, over the windows, ``(T,)``."""
        starts = self._starts(length)
        return np.array([constant_cost(self.y[t : t + starts]) for t in range(length)])

    def _only(self, part: slice) -> Self:
        return type(self)(self.x[part], self.y[part], self.output_size)

    def _starts(self, length: int) -> int:
        """Return how many windows there are."""
        if positive("length", length) > len(self.x):
            raise InputError(f"length must be at most {len(self.x)}, the rows that have a target, got {length}")
        return len(self.x) - length + 1


def from_arrays(x: object, y: object) -> Sequences | Windows:
    """Return the task of a user's own arrays; targets that are whole numbers are classes 0, 1 …

    Parameters
    ----------
    x : sequences ``(T, N, D)``, or one series ``(n, D)`` or ``(n,)``, of which windows are drawn.
    y : of sequences, classes ``(N,)`` or ``(T, N)``, or numbers ``(N, O)`` or ``(T, N, O)``; of a series, classes or
        numbers ``(n,)``, or numbers ``(n, O)``: the target of each row.

    Raises
    ------
    InputError
        where the shapes do not fit, or something is not finite.

    Examples
    --------
    >>> series = np.sin(np.arange(200.0))
    >>> round(from_arrays(series[:-1], series[1:]).baseline(length=20), 2)  # the variance of a sine
    0.5
    """
    inputs, targets = _numbers("x", x), _targets(y)
    if inputs.ndim == 3 and _fits(targets, inputs.shape[:2]):
        return Sequences(inputs, targets, _outputs(targets, targets.ndim - 1))
    if inputs.ndim in (1, 2) and targets.ndim in (1, 2) and len(targets) == len(inputs):
        if targets.ndim == 1 and not is_label(targets):
            targets = targets[:, None]
        if targets.ndim == 1 or not is_label(targets):
            return Windows(inputs.reshape(len(inputs), -1), targets, _outputs(targets, 1))
    raise InputError(
        f"x must be (T, N, D) with classes (N,), (T, N) or numbers (N, O), (T, N, O), or (n, D) with y (n,) or (n, O); "
        f"got x {inputs.shape} and y {targets.shape} of {targets.dtype}"
    )


def from_frame(
    frame: Any,
    target: str | Sequence[str],
    *,
    inputs: Sequence[str] = (),
    ahead: int = 1,
    standardise: bool = False,
    classes: bool = False,
) -> Windows:
    """Return the task of predicting columns of a table from the rows up to now.

    Parameters
    ----------
    frame : a pandas DataFrame, or anything else that gives columns by name, rows in the order of time.
    target : the column, or the columns, to predict.
    inputs : the columns that are read; by default all.
    ahead : how many rows after the one that is read the target lies; 0 is the same row.
    standardise : each column less its mean, over its standard deviation, both of the first three quarters of the rows;
        not the target where it is a class.
    classes : the target is a class, 0, 1 …

    Raises
    ------
    InputError
        naming the column that is not there, is not of finite numbers, or is constant and to be standardised.
    """
    wanted = [target] if isinstance(target, str) else list(target)
    if isinstance(ahead, bool) or not isinstance(ahead, int) or ahead < 0:
        raise InputError(f"ahead must be a whole number of rows, 0 or more, got {ahead!r}")
    x = _columns(frame, list(inputs) or list(frame), standardise)
    y = _columns(frame, wanted, standardise and not classes)
    if ahead >= len(x):
        raise InputError(f"ahead must be less than the {len(x)} rows, got {ahead}")
    if classes:
        y = _classes(wanted, y)
    return Windows(x[: len(x) - ahead], y[ahead:], _outputs(y, 1))


def _columns(frame: Any, names: list[str], standardise: bool) -> Array:
    """Return columns ``(n, k)`` of a table."""
    known = [str(name) for name in frame]
    found = []
    for name in names:
        if name not in known:
            raise InputError(unknown("column", name, known))
        column = _numbers(f'column "{name}"', frame[name])
        found.append(_standard(name, column) if standardise else column)
    if not found or found[0].size == 0 or len({column.shape for column in found}) > 1 or found[0].ndim != 1:
        raise InputError(f"columns must be as long as each other and not empty, got {[len(c) for c in found]}")
    return np.stack(found, axis=1)


def _standard(name: str, column: Array) -> Array:
    first = column[: max(1, int(TRAINED * len(column)))]
    if first.std() == 0.0:
        raise InputError(f'column "{name}" is constant in the first three quarters of its rows: it has no deviation')
    return np.asarray((column - first.mean()) / first.std())


def _classes(names: list[str], y: Array) -> Array:
    if y.shape[1] != 1 or (y != np.round(y)).any() or (y < 0).any():
        raise InputError(f"classes are one column of whole numbers 0, 1 …, got {', '.join(names)}")
    return y[:, 0].astype(np.int64)


def _numbers(name: str, value: object) -> Array:
    array = as_array(name, value)
    if array.dtype.kind not in "iuf":
        raise InputError(f"{name} must be of numbers, got {array.dtype}")
    array = array.astype(np.float64)
    finite(name, array)
    return array


def _targets(value: object) -> Array:
    array = as_array("y", value)
    if not is_label(array):
        return _numbers("y", array)
    if array.size == 0 or array.min() < 0:
        raise InputError(f"classes must be 0, 1 …, got {array.min() if array.size else 'none'}; numbers, as floats")
    return array.astype(np.int64)


def _outputs(y: Array, axis: int) -> int:
    """Return O: how many classes there are, or numbers at a step."""
    return int(y.max()) + 1 if is_label(y) else int(y.shape[axis])


def _fits(y: Array, steps_and_count: tuple[int, ...]) -> bool:
    whole = y.shape if is_label(y) else y.shape[:-1]
    return whole in (steps_and_count, steps_and_count[1:])
