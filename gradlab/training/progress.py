"""What a training says while it runs: a bar on a terminal, a line a minute elsewhere, both on stderr."""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

#: Seconds between two lines where there is no terminal.
EVERY = 60.0


class ProgressReporter:
    """Says how far a training is, and how long the rest will take; a context. ``quiet``: nothing at all."""

    def __init__(self, step: int, total: int, *, quiet: bool) -> None:
        self._first, self._step, self._total, self._quiet = step, step, total, quiet
        self._start = self._said = time.monotonic()
        self._bar: Progress | None = None

    def advance(self, step: int, loss: float) -> None:
        """Say that ``step`` steps are done, the last with this loss."""
        self._step = step
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=step, loss=f"{loss:.4g}")
        elif not self._quiet and time.monotonic() - self._said > EVERY:
            self._said = time.monotonic()
            self._say(f"step {step} of {self._total}, loss {loss:.4g}, about {self._left()} left")

    def _left(self) -> timedelta:
        spent = time.monotonic() - self._start
        return timedelta(seconds=round(spent / (self._step - self._first) * (self._total - self._step)))

    def _say(self, text: str) -> None:
        print(f"training: {text}", file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        console = Console(stderr=True)
        if not self._quiet and console.is_terminal:
            text = TextColumn("loss {task.fields[loss]}")
            count, times = MofNCompleteColumn(), (TimeElapsedColumn(), TimeRemainingColumn())
            self._bar = Progress(TextColumn("training"), BarColumn(), count, text, *times, console=console)
            self._bar.add_task("", total=self._total, completed=self._step, loss="—")
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def end(self, text: str) -> None:
        """Say how it ended."""
        if not self._quiet:
            self._say(text)
