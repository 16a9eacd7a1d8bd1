"""Backpropagation through time: forward → Tape, backward → Gradients. The loop knows no statistic."""

from gradlab.bptt.backward import Columns, Gradients, backward, contribution_norms, parameter_gradient
from gradlab.bptt.forward import Tape, forward
from gradlab.bptt.layers import Run, run_backward, run_forward, turned

__all__ = [
    "Columns",
    "Gradients",
    "Run",
    "Tape",
    "backward",
    "contribution_norms",
    "forward",
    "parameter_gradient",
    "run_backward",
    "run_forward",
    "turned",
]
