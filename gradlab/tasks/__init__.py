"""The tasks, which generate batches. A new task is one file in this folder and one line in :data:`TASKS`."""

from gradlab.tasks.adding import Adding
from gradlab.tasks.arrays import Sequences, Windows, from_arrays, from_frame
from gradlab.tasks.base import DataTask, Task
from gradlab.tasks.baselines import Baseline
from gradlab.tasks.copy import Copy
from gradlab.tasks.delayed_xor import DelayedXor
from gradlab.tasks.digits import Digits
from gradlab.tasks.file import File
from gradlab.tasks.function import FunctionTask
from gradlab.tasks.noise import Noise
from gradlab.tasks.registry import TASKS, register
from gradlab.tasks.sum import Sum
from gradlab.tasks.sunspots import Sunspots
from gradlab.tasks.temporal_order import TemporalOrder
from gradlab.tasks.two_sequence import TwoSequence

__all__ = [
    "TASKS",
    "Adding",
    "Baseline",
    "Copy",
    "DataTask",
    "DelayedXor",
    "Digits",
    "File",
    "FunctionTask",
    "Noise",
    "Sequences",
    "Sum",
    "Sunspots",
    "Task",
    "TemporalOrder",
    "TwoSequence",
    "Windows",
    "from_arrays",
    "from_frame",
    "register",
]
