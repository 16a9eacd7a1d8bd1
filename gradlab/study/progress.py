"""What a run says while it runs: a bar on a terminal, a line a minute elsewhere, both on stderr."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

#: Seconds between two lines where there is no terminal.
EVERY = 60.0


class Talk:
    """Counts configurations by status; ``work`` is what is left, in estimated seconds, from which the ETA comes.

    Parameters
    ----------
    name : the study's name, which starts every line.
    quiet : say nothing at all.
    """

    def __init__(self, name: str, *, quiet: bool = False) -> None:
        self.name, self.quiet = name, quiet
        self.counts: Counter[str] = Counter()
        self.total, self.work, self.worked = 0, 0.0, 0.0
        self._start = self._said = time.monotonic()
        self._bar: Progress | None = None

    def say(self, text: str) -> None:
        """Write one line to stderr."""
        if not self.quiet:
            print(f"{self.name}: {text}", file=sys.stderr, flush=True)

    def begin(self, total: int, work: float) -> Self:
        """Set out on ``total`` configurations; use as a context."""
        self.total, self.work = total, work
        return self

    def advance(self, statuses: Sequence[str], work: float) -> None:
        """Count finished configurations."""
        self.counts.update(statuses)
        self.worked += work
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self.worked, **self._fields())
        elif time.monotonic() - self._said > EVERY:
            self._said = time.monotonic()
            self.say(f"{self.summary()}, {self.remaining} remaining, {self._left()}")

    @property
    def remaining(self) -> int:
        """How many configurations are still to come."""
        return self.total - sum(self.counts.values())

    def summary(self) -> str:
        """Return ``12 of 20 done, 1 diverged, 0 failed``."""
        finished = sum(self.counts.values())
        return f"{finished} of {self.total} done, {self.counts['diverged']} diverged, {self.counts['failed']} failed"

    def __enter__(self) -> Self:
        console = Console(stderr=True)
        if not self.quiet and console.is_terminal:
            text = "{task.fields[done]} done  {task.fields[failed]} failed  {task.fields[remaining]} remaining"
            columns = (TextColumn(self.name), BarColumn(), TextColumn(text), TimeElapsedColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=console)
            self._bar.add_task("", total=self.work, **self._fields())
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _fields(self) -> dict[str, Any]:
        finished, failed = sum(self.counts.values()), self.counts["failed"]
        return {"done": finished - failed, "failed": failed, "remaining": self.remaining}

    def _left(self) -> str:
        spent = time.monotonic() - self._start
        left = spent * (self.work - self.worked) / self.worked if self.worked else 0.0
        return f"about {duration(left)} left"


def counted(number: int, noun: str) -> str:
    """Return ``1 group`` or ``2 groups``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def duration(seconds: float) -> str:
    """Return ``45 s``, ``3 min 20 s`` or ``2 h 5 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
