"""What a run says while it runs: a bar on a terminal, a line a minute elsewhere, both on stderr."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

#: Seconds between two lines where there is no terminal.
EVERY = 60.0


class ProgressReporter:
    """Counts configurations by status, those of earlier runs too, and says how long the rest will take.

    Parameters
    ----------
    name : the study's name, which starts every line.
    quiet : say nothing at all.
    """

    def __init__(self, name: str, *, quiet: bool = False) -> None:
        self.name, self.quiet = name, quiet
        self.counts: Counter[str] = Counter()
        self.earlier: Counter[str] = Counter()
        self.total, self.work, self.worked = 0, 0.0, 0.0
        self._pace: float | None = None
        self._start = self._said = time.monotonic()
        self._bar: Progress | None = None

    def say(self, text: str) -> None:
        """Write one line to stderr."""
        if not self.quiet:
            print(f"{self.name}: {text}", file=sys.stderr, flush=True)

    def begin(self, known: Mapping[str, int], work: float, pace: float | None = None) -> Self:
        """Set out; use as a context.

        Parameters
        ----------
        known : configurations by status; those to be run now are ``planned``.
        work : what they take, in estimated seconds.
        pace : seconds that an estimated second took in earlier runs.
        """
        self.earlier = Counter(known)
        self.total, self.work, self._pace = self.earlier.pop("planned", 0), work, pace
        self._start = self._said = time.monotonic()
        return self

    def advance(self, statuses: Sequence[str], work: float) -> None:
        """Count finished configurations."""
        self.counts.update(statuses)
        self.worked += work
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self._finished, **self._fields())
        elif time.monotonic() - self._said > EVERY:
            self._said = time.monotonic()
            self.say(f"{self.summary()}, {self.remaining} remaining, {self.left()}")

    @property
    def remaining(self) -> int:
        """How many configurations are still to come."""
        return self.total - sum(self.counts.values())

    @property
    def _finished(self) -> int:
        return sum((self.counts + self.earlier).values())

    def summary(self) -> str:
        """Return ``12 of 20 done, 1 diverged, 0 failed``, earlier runs counted in."""
        counts = self.counts + self.earlier
        whole = self.total + sum(self.earlier.values())
        return f"{self._finished} of {whole} done, {counts['diverged']} diverged, {counts['failed']} failed"

    def left(self) -> str:
        """Return ``about 3 min 20 s left``, from this run's pace, before its first group from earlier runs'."""
        spent = time.monotonic() - self._start
        pace = spent / self.worked if self.worked else self._pace
        return "" if pace is None else f"about {duration(pace * (self.work - self.worked))} left"

    def __enter__(self) -> Self:
        console = Console(stderr=True)
        if not self.quiet and console.is_terminal:
            text = "{task.fields[done]} done  {task.fields[failed]} failed  {task.fields[remaining]} remaining"
            columns = (TextColumn(self.name), BarColumn(), TextColumn(text), TimeElapsedColumn(), _Left(self))
            self._bar = Progress(*columns, console=console)
            whole = self.total + sum(self.earlier.values())
            self._bar.add_task("", total=whole, completed=self._finished, **self._fields())
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _fields(self) -> dict[str, Any]:
        failed = (self.counts + self.earlier)["failed"]
        return {"done": self._finished - failed, "failed": failed, "remaining": self.remaining}


class _Left(ProgressColumn):
    """The time that is left, as the talk knows it."""

    def __init__(self, talk: ProgressReporter) -> None:
        super().__init__()
        self._talk = talk

    def render(self, task: Task) -> Text:
        return Text(self._talk.left())


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
