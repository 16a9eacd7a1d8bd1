"""Tasks made of arrays: a set of sequences, or windows of one long series."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from gradlab.arrays.checks import as_array, finite, positive
from gradlab.arrays.scaled import Array
from gradlab.errors import InputError, unknown
from gradlab.models.losses import At, Loss
from gradlab.tasks.base import DataTask, places
from gradlab.tasks.targets import TRAINED, checksum, constant_cost, is_label, loss_of


@dataclass(frozen=True, eq=False, repr=False)
class _Arrays(DataTask):
    """Inputs and targets of examples; the first three quarters are ``train``, the rest ``test``."""

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
    """N sequences of T steps; a batch is drawn without replacement.

    ``train`` is the first three quarters of them, ``test`` the rest. The time span of the dependence is unknown, so the
    lag is the one to the first step.

    Parameters
    ----------
    x : array (T, N, D)
        Inputs.
    y : array
        Classes ``(N,)`` or ``(T, N)``, or numbers ``(N, O)`` or ``(T, N, O)``.
    output_size : int
        O.
    """

    @property
    def fixed_length(self) -> int:
        """T."""
        return len(self.x)

    def sample(self, length: int, batch: int, *, at: At = "last", rng: np.random.Generator) -> tuple[Array, Loss]:
        """Return ``x (T, B, D)`` of ``batch`` sequences, and the loss of their targets."""
        T, N = self.x.shape[:2]
        if length != T:
            raise InputError(f"the sequences have length {T}, got {length}")
        if positive("batch", batch) > N:
            raise InputError(f"batch must be at most {N}, the number of sequences, got {batch}")
        chosen = rng.permutation(N)[:batch]
        return np.ascontiguousarray(self.x[:, chosen]), loss_of(self._of(chosen), at)

    def constant_loss(self, length: int) -> Array:
        """Return the entropy of the classes, or the variance of the targets, over the sequences, ``(T,)``."""
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
    """Windows of ``length`` rows of one series, drawn with replacement, uniformly over all starts that fit.

    ``train`` is the first three quarters of the rows, ``test`` the rest; no window lies in both. The time span of the
    dependence is unknown, so the lag is the one to the window's first row. A shorter window is no prefix of a longer
    one: fewer long ones fit, so they begin elsewhere.

    Parameters
    ----------
    x : array (n, D)
        Inputs per row.
    y : array
        Targets per row: classes ``(n,)`` or numbers ``(n, O)``.
    output_size : int
        O.
    """

    def sample(self, length: int, batch: int, *, at: At = "last", rng: np.random.Generator) -> tuple[Array, Loss]:
        """Return ``x (T, B, D)`` of ``batch`` windows, and the loss of their targets."""
        starts = places(rng.random(positive("batch", batch)), 0, self._starts(length))
        rows = starts + np.arange(length)[:, None]
        return self.x[rows], loss_of(self.y[rows], at)

    def constant_loss(self, length: int) -> Array:
        """Return the entropy of the classes, or the variance of the targets, over the windows, ``(T,)``."""
        starts = self._starts(length)
        return np.array([constant_cost(self.y[t : t + starts]) for t in range(length)])

    def _only(self, part: slice) -> Self:
        return type(self)(self.x[part], self.y[part], self.output_size)

    def _starts(self, length: int) -> int:
        """Return the number of windows."""
        if positive("length", length) > len(self.x):
            raise InputError(f"length must be at most {len(self.x)}, the rows that have a target, got {length}")
        return len(self.x) - length + 1


def from_arrays(x: object, y: object) -> Sequences | Windows:
    """Return a task made of arrays; integer targets are classes 0, 1 …

    Parameters
    ----------
    x : array_like
        Sequences ``(T, N, D)``, or one series ``(n, D)`` or ``(n,)``, from which windows are drawn.
    y : array_like
        Targets of sequences: classes ``(N,)`` or ``(T, N)``, or numbers ``(N, O)`` or ``(T, N, O)``. Targets of a
        series, per row: classes or numbers ``(n,)``, or numbers ``(n, O)``.

    Returns
    -------
    Sequences or Windows
        The task.

    Raises
    ------
    InputError
        If the shapes do not fit, or a value is not finite.

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
    """Return the task of predicting columns of a table from the rows so far.

    Parameters
    ----------
    frame : pandas.DataFrame or mapping
        Columns by name, with rows in order of time.
    target : str or sequence of str
        The column or columns to predict.
    inputs : sequence of str
        The input columns; all by default.
    ahead : int
        Number of rows from the input row to its target; 0 is the same row.
    standardise : bool
        Subtract each column's mean and divide by its standard deviation, both of the first three quarters of the rows.
        Classes are left as they are.
    classes : bool
        Whether the target is a class 0, 1 …

    Returns
    -------
    Windows
        The task.

    Raises
    ------
    InputError
        If a column is missing, has values that are not finite numbers, or is constant and to be standardised.
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
    """Return O: the number of classes, or of numbers per step."""
    return int(y.max()) + 1 if is_label(y) else int(y.shape[axis])


def _fits(y: Array, steps_and_count: tuple[int, ...]) -> bool:
    whole = y.shape if is_label(y) else y.shape[:-1]
    return whole in (steps_and_count, steps_and_count[1:])
