"""Losses, one value per sequence: ``loss.evaluate(y)`` returns the values ``(B,)`` and dL/dy ``(T, B, O)``.

``at`` selects the steps that are read: "last" (each sequence's own last step), "every", a list of steps 1 … T (T is
the last), or a mask ``(T, B)``. Means are over outputs and over the selected steps. A user's own loss is a function
``loss(y)`` that returns the same pair.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from gradlab.arrays.checks import float_array
from gradlab.arrays.scaled import Array
from gradlab.errors import InputError
from gradlab.native import pool

At = str | Sequence[int] | Array
Lengths = NDArray[np.int64]
#: A user's own loss: outputs ``(T, B, O)`` → values ``(B,)`` and gradient ``(T, B, O)``.
LossFunction = Callable[[Array], tuple[Array, Array]]
#: One kind of loss: y and targets ``(T, B, O)`` → value ``(T, B)`` and gradient ``(T, B, O)`` of each step.
StepLoss = Callable[[Array, Array], tuple[Array, Array]]


@dataclass(frozen=True, eq=False)
class Loss:
    """A loss that compares outputs with targets at selected steps; made by :func:`mse` and the functions below it."""

    kind: str
    targets: Array = field(repr=False)
    at: At
    per_step: StepLoss = field(repr=False)
    averaged: bool = True
    labels: bool = False

    def evaluate(self, y: Array, lengths: Lengths | None = None) -> tuple[Array, Array]:
        """Return the loss of each sequence ``(B,)`` and its gradient ``(T, B, O)`` for outputs ``y (T, B, O)``.

        Raises
        ------
        InputError
            if a step lies beyond T or a sequence's end, or the targets do not fit y.
        """
        value, first, slope = self.where_read(y, lengths)
        return value, _among_zeros(slope, first, len(y))

    def where_read(self, y: Array, lengths: Lengths | None = None) -> tuple[Array, int, Array]:
        """Return the loss ``(B,)``, the first step read (0-based), and dL/dy from there to the last, ``(n, B, O)``.

        Raises
        ------
        InputError
            if a step lies beyond T or a sequence's end, or the targets do not fit y.
        """
        mask = step_mask(self.at, len(y), y.shape[1], lengths)
        return self._read(y, slice(0, len(y)), mask, mask.sum(axis=0))

    def part(self, y: Array, steps: slice, mask: NDArray[np.bool_], counts: NDArray[np.int64]) -> tuple[Array, Array]:
        """Return the contribution of some steps to the loss, ``(B,)``, and dL/dy ``(n, B, O)``.

        Parameters
        ----------
        y : array (n, B, O)
            Outputs of ``steps``.
        steps : slice
            0-based.
        mask : array (T, B)
            The steps of the whole sequence that are read.
        counts : array (B,)
            The number of steps read per sequence.
        """
        value, first, slope = self._read(y, steps, mask, counts)
        return value, _among_zeros(slope, first, len(y))

    def _read(
        self, y: Array, steps: slice, mask: NDArray[np.bool_], counts: NDArray[np.int64]
    ) -> tuple[Array, int, Array]:
        """Return the loss ``(B,)``, the first step read, and dL/dy from the first to the last step read."""
        read = mask[steps]
        rows = np.flatnonzero(read.any(axis=1))
        if not rows.size:
            return np.zeros(y.shape[1], y.dtype), 0, np.zeros((0, *y.shape[1:]), y.dtype)
        first, last = int(rows[0]), int(rows[-1]) + 1
        inner, read = slice(first, last), read[first:last]
        targets = self._spread(y[inner], len(mask), slice(steps.start + first, steps.start + last))
        with np.errstate(all="ignore"):
            value, slope = self.per_step(y[inner], targets)
            weight = read / np.maximum(counts, 1) if self.averaged else read.astype(float)
            weight = weight.astype(y.dtype)
            loss = np.where(read, value * weight, 0).sum(axis=0)
            slope = np.where(read[..., None], slope * weight[..., None], 0)
            return loss.astype(y.dtype, copy=False), first, slope.astype(y.dtype, copy=False)

    def right(self, y: Array, tolerance: float | None = None) -> NDArray[np.float64]:
        """Return the share of the selected steps at which y is right, ``(B,)``; nan is never right.

        A label is right if its output is the largest. A target is right if every output is closer than ``tolerance``.

        Raises
        ------
        InputError
            if targets are numbers and no tolerance is given.
        """
        mask = step_mask(self.at, *y.shape[:2])
        targets = self._spread(y, len(y), slice(0, len(y)))
        if self.labels:
            right = y.argmax(axis=-1) == targets
        elif tolerance is not None:
            right = (abs(y - targets) < tolerance).all(axis=-1)
        else:
            raise InputError(f"{self.kind} has answers near and far, none right or wrong; give a tolerance")
        counted = mask & ~np.isnan(y).any(axis=-1)
        return np.asarray((right & counted).sum(axis=0) / mask.sum(axis=0))

    def _spread(self, y: Array, T: int, steps: slice) -> Array:
        """Return the targets of ``steps`` of T, whose outputs are y, ``(n, B, O)`` (labels ``(n, B)``)."""
        n, B, O = y.shape
        given, tail = self.targets, () if self.labels else (O,)
        if self.labels and given.max() >= O:
            raise InputError(f"labels must be 0 … {O - 1} for {O} outputs, got {given.max()}")
        if given.shape == (B, *tail):
            return np.broadcast_to(given, (n, B, *tail))
        if given.shape == (T, B, *tail):
            return given[steps]
        listed = not isinstance(self.at, str) and np.ndim(self.at) == 1
        if listed and given.shape == (len(self.at), B, *tail):
            spread, places = np.zeros((n, B, *tail), given.dtype), np.asarray(self.at) - 1
            within = (places >= steps.start) & (places < steps.stop)
            spread[places[within] - steps.start] = given[within]
            return spread
        letters = "(B,), (T, B) or (len(at), B)" if self.labels else "(B, O), (T, B, O) or (len(at), B, O)"
        raise InputError(
            f"{self.kind}: targets must have shape {letters} with T {T}, B {B}"
            f"{'' if self.labels else f', O {O}'}, got {given.shape}"
        )


def _among_zeros(slope: Array, first: int, steps: int) -> Array:
    """Return ``slope (n, B, O)`` of the steps from ``first`` on, padded with zeros to all steps, ``(T, B, O)``."""
    if len(slope) == steps:
        return slope
    whole = pool.zeros((steps, slope.shape[2], slope.shape[1]), slope.dtype).swapaxes(1, 2)  # as columns
    whole[first : first + len(slope)] = slope
    return whole


def step_mask(at: At, T: int, B: int, lengths: Lengths | None = None) -> NDArray[np.bool_]:
    """Return a mask of the steps that are read, ``(T, B)``.

    Raises
    ------
    InputError
        for an unknown word, a step outside 1 … T or beyond a sequence's end, a mask of another shape, no step at all.
    """
    ends = np.full(B, T) if lengths is None else lengths
    within = np.arange(1, T + 1)[:, None] <= ends
    if isinstance(at, str):
        if at == "every":
            return within
        if at == "last":
            return np.asarray(np.arange(1, T + 1)[:, None] == ends)
        raise InputError(f'at must be "last", "every", a list of steps or a (T, B) mask, got "{at}"')
    mask = _given_steps(np.asarray(at), T, B)
    beyond = mask & ~within
    if beyond.any():
        t, b = (int(i) for i in np.argwhere(beyond)[0])
        raise InputError(f"the loss names step {t + 1}, but sequence {b} has length {ends[b]}")
    return mask


def _given_steps(steps: Array, T: int, B: int) -> NDArray[np.bool_]:
    if steps.dtype == bool:
        if steps.shape != (T, B):
            raise InputError(f"a mask must have shape (T, B) = ({T}, {B}), got {steps.shape}")
        if not steps.any(axis=0).all():
            raise InputError(f"the mask reads no step of sequence {int(np.argmin(steps.any(axis=0)))}")
        return steps
    if steps.ndim != 1 or steps.size == 0 or steps.dtype.kind not in "iu":
        raise InputError(f"steps must be a non-empty list of whole numbers 1 … T, got {steps.tolist()!r}")
    outside = steps[(steps < 1) | (steps > T)]
    if outside.size:
        raise InputError(f"the loss names step {outside[0]}, but the sequence has steps 1 … {T}")
    if np.unique(steps).size < steps.size:
        raise InputError(f"steps must be named once each, got {steps.tolist()!r}")
    mask = np.zeros((T, B), bool)
    mask[steps - 1] = True
    return mask


def mse(targets: object, at: At = "last") -> Loss:
    """Return the mean squared error, ``1/(n·O) Σ (y − target)²`` over outputs and the n selected steps.

    Parameters
    ----------
    targets : array (B, O), (T, B, O) or (len(at), B, O)
        ``(B, O)`` is the same at every selected step.
    at : "last", "every", list of int or mask (T, B)
        The steps that are read. A list has steps 1 … T: ``at=[1]`` reads the first one, ``at=[T]`` the last.

    Examples
    --------
    >>> mse([[1.0]]).evaluate(np.zeros((2, 1, 1)))[0]
    array([1.])
    """

    def per_step(y: Array, target: Array) -> tuple[Array, Array]:
        error = y - target
        return (error * error).mean(axis=-1), 2.0 * error / y.shape[-1]

    return Loss("mse", _targets("targets", targets), at, per_step)


def cross_entropy(labels: object, at: At = "last") -> Loss:
    """Return the cross-entropy of logits, ``−ln softmax(y)[label]``, the mean over the selected steps, in nats.

    Parameters
    ----------
    labels : array of int (B,), (T, B) or (len(at), B)
        0 … O − 1.
    at : "last", "every", list of int or mask (T, B)
        The steps that are read. A list has steps 1 … T: ``at=[1]`` reads the first one, ``at=[T]`` the last.
    """

    def per_step(y: Array, label: Array) -> tuple[Array, Array]:
        logs = log_softmax(y, axis=-1)
        hot = np.arange(y.shape[-1]) == label[..., None]
        return -logs[hot].reshape(label.shape), np.exp(logs) - hot

    return Loss("cross_entropy", _labels(labels), at, per_step, labels=True)


def nll(labels: object, at: At = "last") -> Loss:
    """Return ``−ln y[label]`` for the probabilities of a softmax readout; parameters as in :func:`cross_entropy`."""

    def per_step(y: Array, label: Array) -> tuple[Array, Array]:
        hot = np.arange(y.shape[-1]) == label[..., None]
        with np.errstate(divide="ignore"):
            chosen = y[hot].reshape(label.shape)
            return -np.log(chosen), np.where(hot, -1.0 / chosen[..., None], 0.0)

    return Loss("nll", _labels(labels), at, per_step, labels=True)


def projection(v: object) -> Loss:
    """Return the loss ``v · y_T`` for ``v (B, O)``, ``Σ_t v_t · y_t`` for ``(T, B, O)``, so that dL/dy is v.

    For a bare cell y is h.
    """

    def per_step(y: Array, target: Array) -> tuple[Array, Array]:
        return (y * target).sum(axis=-1), target.astype(y.dtype)

    array = _targets("v", v)
    return Loss("projection", array, "last" if array.ndim == 2 else "every", per_step, averaged=False)


#: The losses by kind, as files name them.
LOSSES: dict[str, Callable[..., Loss]] = {
    "mse": mse,
    "cross_entropy": cross_entropy,
    "nll": nll,
    "projection": projection,
}


def described(loss: Loss) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return a loss of gradlab's as a page for JSON, and its arrays."""
    at = {"at": loss.at} if isinstance(loss.at, str) else {}
    arrays = {"targets": loss.targets} | ({} if at else {"at": np.asarray(loss.at)})
    return {"kind": loss.kind, **at}, arrays


def rebuilt(page: Mapping[str, Any], arrays: Mapping[str, Array]) -> Loss:
    """Return the loss from the results of :func:`described`."""
    make, at = LOSSES[page["kind"]], page.get("at", arrays.get("at"))
    return make(arrays["targets"]) if make is projection else make(arrays["targets"], at)


def _targets(name: str, value: object) -> Array:
    array = np.asarray(value)
    if array.ndim not in (2, 3):
        raise InputError(f"{name} must have shape (B, O), (T, B, O) or (len(at), B, O), got {array.shape}")
    return float_array(name, array, (None,) * array.ndim)


def _labels(value: object) -> Array:
    array = np.asarray(value)
    if array.dtype.kind not in "iu" or array.ndim not in (1, 2) or array.size == 0:
        raise InputError(
            f"labels must be whole numbers of shape (B,), (T, B) or (len(at), B), got {array.dtype} {array.shape}"
        )
    if array.min() < 0:
        raise InputError(f"labels must be 0 or more, got {array.min()}")
    return array


def evaluate(loss: Loss | LossFunction, y: Array, lengths: Lengths | None) -> tuple[Array, int, Array]:
    """Return the checked values ``(B,)`` of a loss, the first step read (0-based), and dL/dy from there on.

    dL/dy is ``(n, B, O)``, up to the last step read; for a user's loss it covers all steps.
    """
    if isinstance(loss, Loss):
        return loss.where_read(y, lengths)
    if not callable(loss):
        raise InputError(f"loss must be a gradlab loss or a function y -> (value, dL/dy), got {type(loss).__name__}")
    answer = loss(y)
    if not isinstance(answer, tuple) or len(answer) != 2:
        raise InputError(f"a loss must return the pair (value (B,), dL/dy (T, B, O)), got {type(answer).__name__}")
    value, grad = np.asarray(answer[0]), np.asarray(answer[1])
    if value.shape != y.shape[1:2] or grad.shape != y.shape:
        raise InputError(
            f"a loss must return value (B,) = {y.shape[1:2]} and dL/dy (T, B, O) = {y.shape}, "
            f"got {value.shape} and {grad.shape}"
        )
    for name, array in (("value", value), ("dL/dy", grad)):
        if np.isnan(array).any() and np.isfinite(y).all():
            place = tuple(int(i) for i in np.argwhere(np.isnan(array))[0])
            raise InputError(f"the loss returned nan in its {name} at index {place}, for outputs that are all finite")
    _nothing_beyond(grad, lengths)
    return value, 0, grad.astype(y.dtype, copy=False)


def mean_loss(value: Array | None) -> float:
    """Return the batch mean of a loss ``(B,)``, in float64; nan without a loss."""
    with np.errstate(all="ignore"):
        return float("nan") if value is None else float(value.astype(np.float64).mean())


def _nothing_beyond(grad: Array, lengths: Lengths | None) -> None:
    """Raise if dL/dy is not zero beyond a sequence's own end, where there is no output."""
    if lengths is None:
        return
    beyond = (np.arange(len(grad))[:, None] >= lengths) & (grad != 0).any(axis=-1)
    if beyond.any():
        t, b = (int(i) for i in np.argwhere(beyond)[0])
        raise InputError(
            f"dL/dy must be zero beyond a sequence's own end, but is not at step {t + 1} of sequence {b}, which has "
            f"length {lengths[b]}; leave those steps out of the loss with a mask"
        )


class Reading(ABC):
    """A loss that is evaluated stretch by stretch: all outputs are shown first, then dL/dy can be asked for.

    Attributes
    ----------
    value : array (B,)
        The loss, complete when all outputs have been shown.
    arrives : array (T, B)
        Where dL/dy is not zero.
    """

    def __init__(self, T: int, like: Array) -> None:
        B = like.shape[1]
        self.value, self.arrives = np.zeros(B, like.dtype), np.zeros((T, B), bool)

    @abstractmethod
    def show(self, steps: slice, y: Array) -> None:
        """Take in the outputs ``y (n, B, O)`` of ``steps`` (0-based)."""

    @abstractmethod
    def grad(self, steps: slice, y: Array) -> Array:
        """Return dL/dy ``(n, B, O)`` of ``steps``; y are their outputs again."""


class _ByStep(Reading):
    """A loss of gradlab's: the contributions of steps are independent, so nothing is kept."""

    def __init__(self, loss: Loss, T: int, like: Array, lengths: Lengths | None) -> None:
        super().__init__(T, like)
        self._loss, self._mask = loss, step_mask(loss.at, T, like.shape[1], lengths)
        self._counts = self._mask.sum(axis=0)
        loss._spread(like, T, slice(0, len(like)))  # refuses targets of a wrong shape before anything runs

    def show(self, steps: slice, y: Array) -> None:
        value, grad = self._loss.part(y, steps, self._mask, self._counts)
        self.value += value
        self.arrives[steps] = grad.any(axis=-1)

    def grad(self, steps: slice, y: Array) -> Array:
        return self._loss.part(y, steps, self._mask, self._counts)[1]


class _Whole(Reading):
    """A user's own loss, which needs all outputs at once: they are kept, and so is dL/dy."""

    def __init__(self, loss: LossFunction, T: int, like: Array, lengths: Lengths | None) -> None:
        super().__init__(T, like)
        self._loss, self._lengths, self._shown = loss, lengths, 0
        self._grad = np.empty((T, *like.shape[1:]), like.dtype)

    def show(self, steps: slice, y: Array) -> None:
        self._grad[steps] = y
        self._shown += len(y)
        if self._shown == len(self.arrives):
            self.value, _, self._grad = evaluate(self._loss, self._grad, self._lengths)
            self.arrives = np.asarray(self._grad.any(axis=-1))

    def grad(self, steps: slice, y: Array) -> Array:
        return self._grad[steps]


def reading(loss: Loss | LossFunction, T: int, like: Array, lengths: Lengths | None) -> Reading:
    """Return an evaluator of ``loss`` over T steps, stretch by stretch; ``like (n, B, O)`` are any n outputs."""
    if isinstance(loss, Loss):
        return _ByStep(loss, T, like, lengths)
    return _Whole(loss, T, like, lengths)
