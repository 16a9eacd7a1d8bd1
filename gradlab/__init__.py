"""gradlab: what gradients do on their way back through time in recurrent networks.

Data flows one way: a *cell* runs forward and leaves a tape, the backward pass walks the tape, *trace* answers
questions about both, *hooks* measure during it, a *study* repeats it over a grid and leaves tables, and analysis
turns tables into rates, verdicts and figures. Names are loaded when they are first used.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

__version__ = "0.1.0"

_MAP = {
    # recurrences
    "RNN": "gradlab.cells",
    "LSTM": "gradlab.cells",
    "GRU": "gradlab.cells",
    "MinimalRNN": "gradlab.cells",
    "LeakyRNN": "gradlab.cells",
    "Cell": "gradlab.cells",
    "KeepGate": "gradlab.cells",
    "custom_cell": "gradlab.cells.custom",
    "from_torch": "gradlab.weights.weights",
    "to_torch": "gradlab.weights.weights",
    "load_weights": "gradlab.weights.load",
    # networks of them
    "Network": "gradlab.models.network",
    "Bidirectional": "gradlab.models.network",
    "Readout": "gradlab.models.network",
    # losses
    "mse": "gradlab.models.losses",
    "cross_entropy": "gradlab.models.losses",
    "nll": "gradlab.models.losses",
    "projection": "gradlab.models.losses",
    # what is to be learnt
    "tasks": "gradlab.tasks",
    # one pass
    "trace": "gradlab._trace.trace",
    "Trace": "gradlab._trace.trace",
    "SegmentedTrace": "gradlab._trace.segmented",
    "load_trace": "gradlab._trace.trace",
    "Scaled": "gradlab.arrays.scaled",
    "selfcheck": "gradlab._selfcheck",
    # training
    "Training": "gradlab.training",
    "load_training": "gradlab.training",
    "SGD": "gradlab.training",
    "Momentum": "gradlab.training",
    "RMSprop": "gradlab.training",
    "Adam": "gradlab.training",
    "Schedule": "gradlab.training",
    "Until": "gradlab.training",
    # many passes
    "watch": "gradlab._watch.watch",
    "Watch": "gradlab._watch.watch",
    "load_watch": "gradlab._watch.watch",
    # what is known without a network
    "theory": "gradlab.theory",
    # instruments
    "Hook": "gradlab.hooks",
    # studies
    "Study": "gradlab.study",
    "load_results": "gradlab.study",
    # what is refused
    "GradlabError": "gradlab.errors",
    "InputError": "gradlab.errors",
    "SpecError": "gradlab.errors",
}

__all__ = ["__version__", *_MAP]


def __getattr__(name: str) -> Any:
    if name not in _MAP:
        raise AttributeError(f"module 'gradlab' has no attribute {name!r}")
    module = import_module(_MAP[name])
    return getattr(module, name, module)


def __dir__() -> list[str]:
    return sorted(__all__)


class _Package(ModuleType):
    """Keeps ``gl.trace`` the function: importing the module of the same name must not take its place."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _MAP and isinstance(value, ModuleType) and hasattr(value, name)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
