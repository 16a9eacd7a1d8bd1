"""All parameters of a model as one vector, so that an optimiser and clipping are one line each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradlab._trace.trace import Trace
from gradlab.arrays.scaled import ldexp
from gradlab.cells import Cell
from gradlab.errors import InputError
from gradlab.models.network import Network

Array = NDArray[Any]


@dataclass(frozen=True)
class Layout:
    """Where each parameter lies in the vector ``(P,)``."""

    shapes: Mapping[str, tuple[int, ...]]

    @classmethod
    def of(cls, model: Cell | Network) -> Layout:
        """Return the layout of a model's parameters; refuse a model that has none."""
        shapes = {name: array.shape for name, array in model.parameters.items()}
        if not shapes:
            raise InputError(f"there is nothing to train: {model!r} has no parameters")
        return cls(shapes)

    def pack(self, arrays: Mapping[str, Array], *, rest: float | None = None) -> Array:
        """Return the arrays as one new vector, those that are not there filled with ``rest`` if that is given."""
        if rest is not None:
            arrays = {name: np.full(shape, rest) for name, shape in self.shapes.items()} | dict(arrays)
        return np.concatenate([arrays[name].ravel() for name in self.shapes])

    def unpack(self, vector: Array) -> dict[str, Array]:
        """Return the parameters by name, views of the vector."""
        ends = np.cumsum([int(np.prod(shape)) for shape in self.shapes.values()])
        parts = np.split(vector, ends[:-1])
        return {name: part.reshape(shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)}

    def gradient(self, trace: Trace) -> tuple[Array, int]:
        """Return the gradient of the batch-mean loss, ``vector · 2^exponent``; above 0 where plain floats overflow."""
        found = trace.scaled_param_grads
        shift = max(0, *(exponent for _, exponent in found.values()))
        with np.errstate(all="ignore"):
            plain = {name: ldexp(array, np.asarray(e - shift)) for name, (array, e) in found.items()}
        return self.pack(plain), shift
