"""Backpropagation through time: forward → Tape, backward → Gradients. The loop computes no statistic."""

from gradlab.bptt.backward import (
    Arriving,
    Columns,
    Gradients,
    backward,
    contribution_norms,
    parameter_gradients,
    sequence_norms,
)
from gradlab.bptt.forward import Tape, follow, forward
from gradlab.bptt.last_loss import Last, LastLoss
from gradlab.bptt.layers import Run, output_of, run_backward, run_forward, turned
from gradlab.bptt.segments import Segment, SegmentedRun, continued, readout_gradients

__all__ = [
    "Arriving",
    "Columns",
    "Gradients",
    "Last",
    "LastLoss",
    "Run",
    "Segment",
    "SegmentedRun",
    "Tape",
    "backward",
    "continued",
    "contribution_norms",
    "follow",
    "forward",
    "output_of",
    "parameter_gradients",
    "readout_gradients",
    "run_backward",
    "run_forward",
    "sequence_norms",
    "turned",
]
