"""Networks: stacked cells, in one or both directions, and a readout. Structure only; :mod:`gradlab.bptt` runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from gradlab.arrays.checks import choice, float_array, positive
from gradlab.arrays.scaled import Array
from gradlab.cells import Cell
from gradlab.cells.activations import ACTIVATIONS
from gradlab.cells.base import checked_dtype, store_weights
from gradlab.cells.initialisers import Seed, input_weights, streams
from gradlab.errors import InputError
from gradlab.schema import DIRECTIONS

#: Prefix of the names of the readout's parameters.
READOUT = "readout."
READOUTS = ("identity", "tanh", "relu", "logistic", "softmax")


@dataclass(frozen=True, eq=False, repr=False)
class Readout:
    """The output layer ``y_t = g(W_hy h_t + b_y)``, g identity, tanh, relu, logistic or softmax.

    Parameters
    ----------
    W_hy : array (O, H)
    b_y : array (O,), optional
        Zeros where not given.
    activation : str
        The name of g.
    """

    W_hy: Array
    b_y: Array = None  # type: ignore[assignment]
    activation: str = "identity"

    def __post_init__(self) -> None:
        choice("readout activation", self.activation, READOUTS)
        weights = float_array("W_hy", self.W_hy, ("O", "H"))
        bias = np.zeros(len(weights), weights.dtype) if self.b_y is None else self.b_y
        bias = float_array("b_y", bias, (len(weights),))
        store_weights(self, {"W_hy": weights, "b_y": bias})

    @classmethod
    def init(
        cls,
        hidden_size: int,
        output_size: int,
        *,
        activation: str = "identity",
        scale: float = 1.0,
        rng: Seed = None,
        dtype: str = "float64",
    ) -> Self:
        """Draw W_hy from N(0, scale²/H), with b_y = 0."""
        rows = positive("output_size", output_size)
        (stream,) = streams(rng, 1)
        kind = checked_dtype(dtype)
        weights = input_weights(rows, positive("hidden_size", hidden_size), scale, stream)
        return cls(weights.astype(kind), np.zeros(rows, kind), activation)

    @property
    def parameters(self) -> dict[str, Array]:
        """The parameters by name."""
        return {"W_hy": self.W_hy, "b_y": self.b_y}

    def with_parameters(self, changed: Mapping[str, Array]) -> Self:
        """Return the readout with some of its parameters replaced."""
        return replace(self, **changed)  # type: ignore[arg-type]

    def forward(self, h: Array) -> tuple[Array, Array]:
        """Return pre-activations and outputs, ``(T, O, B)``, of all steps' ``h (T, H, B)``."""
        a = np.matmul(self.W_hy, h) + self.b_y[:, None]
        if self.activation == "softmax":
            weight = np.exp(a - a.max(axis=-2, keepdims=True))
            return a, weight / weight.sum(axis=-2, keepdims=True)
        return a, ACTIVATIONS[self.activation].value(a)

    def vjp(self, a: Array, y: Array, grad: Array) -> tuple[Array, Array]:
        """Return dL/dh ``(T, H, B)`` and dL/da ``(T, O, B)`` for ``grad`` = dL/dy."""
        if self.activation == "softmax":
            pre_grad = y * (grad - (grad * y).sum(axis=-2, keepdims=True))
        else:
            pre_grad = grad * ACTIVATIONS[self.activation].derivative(a, y)
        return np.matmul(self.W_hy.T, pre_grad), pre_grad

    def __repr__(self) -> str:
        O, H = self.W_hy.shape
        return f"Readout(hidden_size={H}, output_size={O}, activation={self.activation!r}, {self.W_hy.dtype})"


@dataclass(frozen=True, eq=False)
class Bidirectional:
    """Two cells on the same input, the second of which reads it from its end; their outputs are concatenated."""

    forward: Cell
    reverse: Cell

    def __post_init__(self) -> None:
        one, two = self.forward.input_size, self.reverse.input_size
        if one != two:
            raise InputError(f"both directions must have one input_size, got {one} forward and {two} reverse")


Layer = Cell | Bidirectional


@dataclass(frozen=True, eq=False)
class Network:
    """Layers from the input upward, each a cell or a :class:`Bidirectional` pair, and a readout of the top layer.

    Parameters
    ----------
    layers : sequence of Cell or Bidirectional
        The first reads the input; each other reads the output of the layer below it.
    readout : Readout, optional
        The output layer; without it the output is that of the top layer.

    Raises
    ------
    InputError
        if a layer's input size differs from the output size of the layer below it, or if dtypes differ.
    """

    layers: Sequence[Layer]
    readout: Readout | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.layers, list | tuple):
            raise InputError(f"layers must be a list of cells, got {type(self.layers).__name__}; write Network([cell])")
        object.__setattr__(self, "layers", tuple(self.layers))
        if not self.layers:
            raise InputError("a network needs at least one layer, got none")
        for index, layer in enumerate(self.layers):
            if not isinstance(layer, Cell | Bidirectional):
                raise InputError(f"layer {index} must be a Cell or a Bidirectional, got {type(layer).__name__}")
        self._check_sizes()

    def _check_sizes(self) -> None:
        for index, (below, layer) in enumerate(zip(self.layers[:-1], self.layers[1:], strict=True)):
            inputs = cells_of(layer)[0].input_size
            if inputs != output_size(below):
                raise InputError(
                    f"layer {index + 1} must have input_size {output_size(below)}, "
                    f"the output of layer {index}, got {inputs}"
                )
        top = output_size(self.layers[-1])
        if self.readout is not None and self.readout.W_hy.shape[1] != top:
            raise InputError(f"W_hy must have shape (O, {top}) for the top layer, got {self.readout.W_hy.shape}")
        kinds = {cell.dtype.name for layer in self.layers for cell in cells_of(layer)}
        kinds |= set() if self.readout is None else {self.readout.W_hy.dtype.name}
        if len(kinds) > 1:
            raise InputError(f"all parts of a network must have one dtype, got {', '.join(sorted(kinds))}")

    @property
    def input_size(self) -> int:
        """D, the number of inputs."""
        return cells_of(self.layers[0])[0].input_size

    @property
    def dtype(self) -> np.dtype[Any]:
        """The floating-point type in which the network runs."""
        return cells_of(self.layers[0])[0].dtype

    @property
    def parameters(self) -> dict[str, Array]:
        """The parameters by name: ``layers.0.W_hh``, ``layers.0.reverse.W_hh``, ``readout.W_hy``."""
        return {f"{place}{name}": array for place, part in self._parts() for name, array in part.parameters.items()}

    def with_parameters(self, changed: Mapping[str, Array]) -> Self:
        """Return the network with some of its parameters replaced."""
        parts = {place: _replaced(place, part, changed) for place, part in self._parts()}
        layers = []
        for index, layer in enumerate(self.layers):
            pair = [parts[where] for where in places(index, layer)]
            layers.append(Bidirectional(*pair) if isinstance(layer, Bidirectional) else pair[0])
        return replace(self, layers=layers, readout=parts.get(READOUT))

    def _parts(self) -> list[tuple[str, Cell | Readout]]:
        cells: list[tuple[str, Cell | Readout]] = [
            (place, cell)
            for index, layer in enumerate(self.layers)
            for place, cell in zip(places(index, layer), cells_of(layer), strict=True)
        ]
        return cells if self.readout is None else [*cells, (READOUT, self.readout)]


def cells_of(layer: Layer) -> tuple[Cell, ...]:
    """Return the layer's cell, or its two, forward first."""
    return (layer.forward, layer.reverse) if isinstance(layer, Bidirectional) else (layer,)


def place_of(index: int, direction: str) -> str:
    """Return the prefix of the parameter names of one layer and direction."""
    return f"layers.{index}." + ("reverse." if direction == "reverse" else "")


def places(index: int, layer: Layer) -> tuple[str, ...]:
    """Return the prefix of each of the layer's cells, forward first."""
    return tuple(place_of(index, direction) for direction in DIRECTIONS[: len(cells_of(layer))])


def _replaced(place: str, part: Any, changed: Mapping[str, Array]) -> Any:
    own = {name: changed[f"{place}{name}"] for name in part.parameters if f"{place}{name}" in changed}
    return part.with_parameters(own) if own else part


def output_size(layer: Layer) -> int:
    """Return the width of the layer's output sequence."""
    return sum(cell.hidden_size for cell in cells_of(layer))
