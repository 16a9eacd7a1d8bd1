"""Optimisers with PyTorch's formulas: parameters as one vector, options in a frozen dataclass, memory in slots."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np

from gradlab._trace.trace import Trace
from gradlab.arrays.checks import number
from gradlab.arrays.scaled import Array, ldexp
from gradlab.cells import Cell
from gradlab.errors import InputError
from gradlab.models.network import Network

Slots = tuple[Array, ...]


@dataclass(frozen=True)
class Layout:
    """The place of each parameter in one vector ``(P,)``."""

    shapes: Mapping[str, tuple[int, ...]]

    @classmethod
    def of(cls, model: Cell | Network) -> Layout:
        """Return the layout of a model's parameters; raise ``InputError`` for a model without any."""
        shapes = {name: array.shape for name, array in model.parameters.items()}
        if not shapes:
            raise InputError(f"there is nothing to train: {model!r} has no parameters")
        return cls(shapes)

    def pack(self, arrays: Mapping[str, Array], *, rest: float | None = None) -> Array:
        """Return the arrays as one new vector; with ``rest``, missing arrays are filled with it."""
        if rest is not None:
            arrays = {name: np.full(shape, rest) for name, shape in self.shapes.items()} | dict(arrays)
        return np.concatenate([arrays[name].ravel() for name in self.shapes])

    def unpack(self, vector: Array) -> dict[str, Array]:
        """Return the parameters by name, views of the vector."""
        ends = np.cumsum([int(np.prod(shape)) for shape in self.shapes.values()])
        parts = np.split(vector, ends[:-1])
        return {name: part.reshape(shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)}

    def gradient(self, trace: Trace) -> tuple[Array, int]:
        """Return the gradient of the batch-mean loss, ``vector · 2^exponent``; exponent 0 unless floats overflow."""
        found = trace.scaled_param_grads
        shift = max(0, *(exponent for _, exponent in found.values()))
        with np.errstate(all="ignore"):
            plain = {name: ldexp(array, np.asarray(e - shift)) for name, (array, e) in found.items()}
        return self.pack(plain), shift


@dataclass(frozen=True)
class Optimiser(ABC):
    """A pure function from a gradient to a change of the parameters; fields are options, memory is passed along.

    Attributes
    ----------
    lr : float
        Learning rate η; a :class:`~gradlab.training.Schedule` multiplies it.
    slots : tuple of str
        Names of the vectors ``(P,)`` that are remembered from step to step, zeros at first.
    shares : tuple of str
        Names of the options that must be at least 0 and below 1.
    """

    lr: float

    slots: ClassVar[tuple[str, ...]] = ()
    shares: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        for name in (option.name for option in fields(self)):
            value = getattr(self, name)
            if isinstance(value, bool):
                continue
            least = 0.0 if name in ("lr", "eps", *self.shares) else -np.inf
            object.__setattr__(self, name, number(name, value, least=least))  # NumPy's float64 would widen float32
            if name in self.shares and value >= 1.0:
                raise InputError(f"{name} must be at least 0 and below 1, got {value}")

    @abstractmethod
    def change(self, grad: Array, slots: Slots, n: int, lr: float) -> tuple[Array, Slots]:
        """Return the vector to subtract from the parameters ``(P,)`` in step n = 1, 2 …, and the new slots."""


@dataclass(frozen=True)
class SGD(Optimiser):
    """Gradient descent, ``θ ← θ − η g``.

    Examples
    --------
    >>> SGD(0.1)
    SGD(lr=0.1)
    """

    def change(self, grad: Array, slots: Slots, n: int, lr: float) -> tuple[Array, Slots]:
        return lr * grad, ()


@dataclass(frozen=True)
class Momentum(Optimiser):
    """Gradient descent with momentum, ``b ← μ b + g``, ``θ ← θ − η b``; Nesterov's ``θ ← θ − η (g + μ b)``.

    There is no dampening: the first b is g. η is outside b, as in PyTorch, so a smaller η also scales old gradients.

    References
    ----------
    Polyak 1964; Sutskever, Martens, Dahl & Hinton 2013 (Nesterov's, with η inside b).
    """

    momentum: float = 0.9
    nesterov: bool = False

    slots: ClassVar[tuple[str, ...]] = ("buffer",)
    shares: ClassVar[tuple[str, ...]] = ("momentum",)

    def change(self, grad: Array, slots: Slots, n: int, lr: float) -> tuple[Array, Slots]:
        buffer = self.momentum * slots[0] + grad
        return lr * (grad + self.momentum * buffer if self.nesterov else buffer), (buffer,)


@dataclass(frozen=True)
class RMSprop(Optimiser):
    """``v ← α v + (1 − α) g²``, ``b ← μ b + g/(√v + ε)``, ``θ ← θ − η b``; ε outside the root, v from 0, uncorrected.

    References
    ----------
    Tieleman & Hinton 2012, lecture 6.5 (without momentum, no ε given); PyTorch's ``RMSprop`` (ε, momentum).
    """

    lr: float = 1e-2
    alpha: float = 0.99
    eps: float = 1e-8
    momentum: float = 0.0

    slots: ClassVar[tuple[str, ...]] = ("square", "buffer")
    shares: ClassVar[tuple[str, ...]] = ("alpha", "momentum")

    def change(self, grad: Array, slots: Slots, n: int, lr: float) -> tuple[Array, Slots]:
        square = self.alpha * slots[0] + (1.0 - self.alpha) * grad * grad
        buffer = self.momentum * slots[1] + grad / (np.sqrt(square) + self.eps)
        return lr * buffer, (square, buffer)


@dataclass(frozen=True)
class Adam(Optimiser):
    """``m ← β₁ m + (1 − β₁) g``, ``v ← β₂ v + (1 − β₂) g²``, ``θ ← θ − η m̂/(√v̂ + ε)``.

    ``m̂ = m/(1 − β₁ⁿ)`` and ``v̂ = v/(1 − β₂ⁿ)`` in step n = 1, 2 …: ε is added to the corrected root.

    References
    ----------
    Kingma & Ba 2015, algorithm 1.
    """

    lr: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    slots: ClassVar[tuple[str, ...]] = ("mean", "square")
    shares: ClassVar[tuple[str, ...]] = ("beta1", "beta2")

    def change(self, grad: Array, slots: Slots, n: int, lr: float) -> tuple[Array, Slots]:
        mean = self.beta1 * slots[0] + (1.0 - self.beta1) * grad
        square = self.beta2 * slots[1] + (1.0 - self.beta2) * grad * grad
        root = np.sqrt(square) / float(np.sqrt(1.0 - self.beta2**n)) + self.eps
        return lr / (1.0 - self.beta1**n) * mean / root, (mean, square)


#: The optimisers by name.
OPTIMISERS: dict[str, type[Optimiser]] = {"sgd": SGD, "momentum": Momentum, "rmsprop": RMSprop, "adam": Adam}
