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
    "Cell": "gradlab.cells",
    "custom_cell": "gradlab.cells.custom",
    "from_torch": "gradlab.adapters.weights",
    "to_torch": "gradlab.adapters.weights",
    "load_weights": "gradlab.adapters.load",
    # networks of them
    "Network": "gradlab.network",
    "Bidirectional": "gradlab.network",
    "Readout": "gradlab.network",
    # losses
    "mse": "gradlab.losses",
    "cross_entropy": "gradlab.losses",
    "nll": "gradlab.losses",
    "projection": "gradlab.losses",
    # what is to be learnt
    "tasks": "gradlab.tasks",
    # one pass
    "trace": "gradlab.trace",
    "Trace": "gradlab.trace",
    "SegmentedTrace": "gradlab.segmented",
    "load_trace": "gradlab.trace",
    "Scaled": "gradlab.scaled",
    "selfcheck": "gradlab.selfcheck",
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
    "watch": "gradlab.watch",
    "Watch": "gradlab.watch",
    "load_watch": "gradlab.watch",
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
