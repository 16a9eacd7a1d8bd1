"""The questions that a trace of one layer passes on to that layer, declared with their types and docstrings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from gradlab._trace.facade import LayerTrace
from gradlab.arrays.scaled import Array, Scaled
from gradlab.bptt import Columns
from gradlab.cells import Cell
from gradlab.jacobians.steps import Jacobians
from gradlab.verdicts.decay import Decay

P = ParamSpec("P")
R = TypeVar("R")


def _method(of: Callable[Concatenate[LayerTrace, P], R]) -> Callable[Concatenate[OneLayer, P], R]:
    """Return a method of :class:`LayerTrace` as one that calls it on the one layer."""

    @wraps(of)
    def ask(trace: OneLayer, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return of(trace._only(of.__name__), *args, **kwargs)

    return ask


def _attribute(name: str) -> property:
    """Return an attribute of :class:`LayerTrace` as a property that reads it from the one layer."""
    return property(lambda trace: getattr(trace._only(name), name), doc=getattr(LayerTrace, name).__doc__)


class OneLayer(ABC):
    """Every question to a layer, asked of a whole pass.

    Each attribute and method is that of :class:`LayerTrace`. If the pass has several layers or directions, they raise
    an InputError that names the layer to ask.
    """

    @abstractmethod
    def _only(self, name: str) -> LayerTrace:
        """Return the one layer, or raise an InputError that shows how to ask a layer for ``name``."""

    # read-only: the loop below the class makes them properties
    steps: int
    ends: NDArray[np.int64]
    t: NDArray[np.int64]
    lag: NDArray[np.int64]
    cell: Cell
    states: dict[str, Array]
    gates: dict[str, Array]
    jacobians: Jacobians
    grad: dict[str, Scaled]
    adjoint: dict[str, Scaled]
    last_adjoint: Columns
    direct: dict[str, Scaled]
    pre_grad: dict[str, Scaled]
    input_grad: Scaled
    quantities: tuple[str, ...]
    decay: Decay

    param_sensitivity = _method(LayerTrace.param_sensitivity)
    by_lag = _method(LayerTrace.by_lag)
    from_loss = _method(LayerTrace.from_loss)
    profile = _method(LayerTrace.profile)
    rows = _method(LayerTrace.rows)
    rate = _method(LayerTrace.rate)
    shape = _method(LayerTrace.shape)
    horizon = _method(LayerTrace.horizon)
    evidence = _method(LayerTrace.evidence)
    word = _method(LayerTrace.word)
    describe = _method(LayerTrace.describe)
    spectrum = _method(LayerTrace.spectrum)
    propagator = _method(LayerTrace.propagator)
    propagator_norms = _method(LayerTrace.propagator_norms)
    temporal = _method(LayerTrace.temporal)
    sensitivity = _method(LayerTrace.sensitivity)
    truncation = _method(LayerTrace.truncation)
    paths = _method(LayerTrace.paths)


for _name in OneLayer.__annotations__:
    setattr(OneLayer, _name, _attribute(_name))
