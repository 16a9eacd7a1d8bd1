"""The tasks. A new one is one file beside these, and one line in :data:`TASKS`."""

from gradlab.tasks.adding import Adding
from gradlab.tasks.base import Task
from gradlab.tasks.copy import Copy
from gradlab.tasks.delayed_xor import DelayedXor
from gradlab.tasks.digits import Digits
from gradlab.tasks.noise import Noise
from gradlab.tasks.sum import Sum
from gradlab.tasks.temporal_order import TemporalOrder
from gradlab.tasks.two_sequence import TwoSequence

TASKS: dict[str, type[Task]] = {
    "sum": Sum,
    "adding": Adding,
    "copy": Copy,
    "temporal_order": TemporalOrder,
    "delayed_xor": DelayedXor,
    "two_sequence": TwoSequence,
    "digits": Digits,
    "noise": Noise,
}

__all__ = [
    "TASKS",
    "Adding",
    "Copy",
    "DelayedXor",
    "Digits",
    "Noise",
    "Sum",
    "Task",
    "TemporalOrder",
    "TwoSequence",
]
