"""The tasks. A new one is one file beside these, and one line in :data:`TASKS`."""

from gradlab.tasks.base import Task
from gradlab.tasks.digits import Digits
from gradlab.tasks.noise import Noise
from gradlab.tasks.sum import Sum

TASKS: dict[str, type[Task]] = {"sum": Sum, "digits": Digits, "noise": Noise}

__all__ = ["TASKS", "Digits", "Noise", "Sum", "Task"]
