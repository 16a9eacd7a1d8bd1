"""Progress of a study or a training: a bar on a terminal, a table in a notebook, elsewhere one line per minute."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from gradlab.formatting import markup

#: Seconds between two lines without a terminal.
EVERY = 60.0
#: Seconds between two updates of a notebook's table.
EVERY_UPDATE = 1.0


class NotebookDisplay:
    """The HTML representation of an object below a notebook's cell, updated in place.

    Outside of a notebook it does nothing, and ``bool`` of it is False.

    Parameters
    ----------
    shown : object
        Anything with ``_repr_html_``.
    """

    def __init__(self, shown: object) -> None:
        self._shown, self._handle, self._last = shown, self._open(shown), time.monotonic()

    @staticmethod
    def _open(shown: object) -> Any:
        found = sys.modules.get("IPython")
        if found is None or not hasattr(found.get_ipython(), "kernel"):
            return None
        return found.display.display(shown, display_id=True)

    def __bool__(self) -> bool:
        return self._handle is not None

    def update(self, *, now: bool = False) -> None:
        """Show the object as it is; at most once per second unless ``now``."""
        if self._handle is not None and (now or time.monotonic() - self._last > EVERY_UPDATE):
            self._last = time.monotonic()
            self._handle.update(self._shown)


class ProgressReporter:
    """Count finished configurations or steps by status, those of earlier runs too, and estimate the time left.

    Use it as a context after :meth:`begin`.

    Parameters
    ----------
    name : str
        The start of every line, such as the study's name.
    unit : str
        The counted thing if it has no status, such as ``step``: ``step 3 of 20``. Without a unit the counts by status
        are reported: ``3 of 20 done, 1 diverged, 0 failed``.
    quiet : bool
        Write nothing.
    """

    def __init__(self, name: str, *, unit: str = "", quiet: bool = False) -> None:
        self.name, self.unit, self.quiet = name, unit, quiet
        self.counts: Counter[str] = Counter()
        self.earlier: Counter[str] = Counter()
        self.total, self.work, self.worked, self.note = 0, 0.0, 0.0, ""
        self._pace: float | None = None
        self._start = self._last_line = time.monotonic()
        self._bar: Progress | None = None
        self._display: NotebookDisplay | None = None

    def say(self, text: str) -> None:
        """Write one line to stderr."""
        if not self.quiet:
            print(f"{self.name}: {text}", file=sys.stderr, flush=True)

    def begin(self, known: Mapping[str, int], work: float, pace: float | None = None) -> Self:
        """Start the clock.

        Parameters
        ----------
        known : mapping
            The number of configurations or steps by status; this run has to do those that are ``planned``.
        work : float
            The estimated work of this run, such as estimated seconds or a number of steps.
        pace : float, optional
            Seconds per unit of work in earlier runs.
        """
        self.earlier = Counter(known)
        self.total, self.work, self._pace = self.earlier.pop("planned", 0), work, pace
        self._start = self._last_line = time.monotonic()
        return self

    def advance(self, statuses: Sequence[str], work: float, note: str = "") -> None:
        """Count finished configurations or steps by status, and their work; report ``note`` with them."""
        self.counts.update(statuses)
        self.worked += work
        self.note = note
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self.finished, text=self.describe())
        elif self._display:
            self._display.update()
        elif time.monotonic() - self._last_line > EVERY:
            self._last_line = time.monotonic()
            self.say(self.describe())

    @property
    def finished(self) -> int:
        """Finished configurations or steps, those of earlier runs too."""
        return sum((self.counts + self.earlier).values())

    @property
    def whole(self) -> int:
        """All configurations or steps, those of earlier runs too."""
        return self.total + sum(self.earlier.values())

    @property
    def remaining(self) -> int:
        """Configurations or steps that this run has still to do."""
        return self.total - sum(self.counts.values())

    def summary(self) -> str:
        """Return ``12 of 20 done, 1 diverged, 0 failed``, or ``step 12 of 20``, earlier runs included."""
        if self.unit:
            return f"{self.unit} {self.finished} of {self.whole}"
        counts = self.counts + self.earlier
        return f"{self.finished} of {self.whole} done, {counts['diverged']} diverged, {counts['failed']} failed"

    def describe(self) -> str:
        """Return the state in one line, for the bar, a line of output, and any other view of it."""
        return ", ".join(filter(None, [self.summary(), self.note, self.left()]))

    def left(self) -> str:
        """Return ``about 3 min 20 s left`` from this run's pace, or from ``pace`` before any work is done."""
        spent = time.monotonic() - self._start
        pace = spent / self.worked if self.worked else self._pace
        return "" if pace is None else f"about {duration(pace * (self.work - self.worked))} left"

    def __enter__(self) -> Self:
        console = Console(stderr=True)
        if not self.quiet and console.is_terminal:
            bar = BarColumn(None)  # as wide as the line allows
            self._bar = Progress(TextColumn(self.name), bar, TextColumn("{task.fields[text]}"), console=console)
            self._bar.add_task("", total=self.whole, completed=self.finished, text=self.describe())
            self._bar.start()
        elif not self.quiet:
            self._display = NotebookDisplay(self)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        if self._display:
            self._display.update(now=True)
            self._display = None

    def _repr_html_(self) -> str:
        rows = [("progress", self.summary()), ("last", self.note), ("time", self.left() if self.remaining else "")]
        return markup.html(self.name, [row for row in rows if row[1]])


def duration(seconds: float) -> str:
    """Return ``45 s``, ``3 min 20 s`` or ``2 h 5 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
