"""What the speed tables share: rivals timed in turn, each in a process of its own, and what a table says of itself.

Only one rival computes at a time, so that none is slowed by another's threads; what else the machine does falls on all
alike, and a ratio is the median over rounds of two times taken one right after the other.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from itertools import product
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradlab.files import write_whole

#: Where the tables stand that were recorded, with the processor in the header of the page beside each.
RECORDED = Path(__file__).parents[2] / "results/benchmarks"
#: A time is slower than recorded where it is more than so many times as long.
SLACK = 1.25
#: Calls of which one time is the shortest: the first finds the caches full of another rival's arrays.
CALLS = 3
#: What a table says the versions of.
PACKAGES = ("gradlab", "numpy", "scipy", "torch", "jax")
#: What makes a rival of a case: a function that does its work once, and one that reads what the work gave.
Build = Callable[..., tuple[Callable[[], Any], Callable[[Any], Any]]]
Row, Page = Callable[..., dict[str, Any]], Callable[[pd.DataFrame, int], str]


class Rival:
    """One way of doing the work, in a process of its own."""

    def __init__(self, build: Build) -> None:
        spawn = get_context("spawn")
        self._pipe, there = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(there, build), daemon=True)
        self._process.start()
        there.close()

    def take(self, *case: Any) -> Any:
        """Make the case ready, do it twice, and return what is read of the work."""
        return self._ask(case)

    def seconds(self) -> float:
        """Return the time of one call, the shortest of a few."""
        return float(self._ask(None))

    def _ask(self, what: Any) -> Any:
        self._pipe.send(what)
        answer = self._pipe.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.join()


def _serve(pipe: Connection, build: Build) -> None:
    """Answer a case with what the work gives, None with the time of a call, until the other end is closed."""
    work: Callable[[], Any] = lambda: None  # noqa: E731
    while True:
        try:
            case = pipe.recv()
        except EOFError:
            return
        try:
            if case is None:
                pipe.send(min(_time(work) for _ in range(CALLS)))
                continue
            work, read = build(*case)
            work()
            pipe.send(read(work()))
        except Exception as error:
            pipe.send(RuntimeError(f"{build.__name__}{case}: {error!r}"))


def _time(work: Callable[[], Any]) -> float:
    """Return seconds; on one core the processor's, which do not count what else runs there meanwhile."""
    clock = time.process_time if _cores() == 1 else time.perf_counter
    start = clock()
    work()
    return clock() - start


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def rivals(builds: Mapping[str, Build], cores: int = 0) -> Iterator[dict[str, Rival]]:
    """Keep a process for each rival, by name; on so many cores, where not 0, and so with as many threads."""
    allowed = os.sched_getaffinity(0)
    if cores:
        os.sched_setaffinity(0, sorted(allowed)[-cores:])  # which the processes inherit, with their libraries' threads
    made = {name: Rival(build) for name, build in builds.items()}
    os.sched_setaffinity(0, allowed)
    try:
        yield made
    finally:
        for one in made.values():
            one.close()


def in_turn(made: Mapping[str, Rival], rounds: int) -> dict[str, NDArray[np.float64]]:
    """Return the times of all rivals, ``(rounds,)`` each, taken in turn."""
    times = [[one.seconds() for one in made.values()] for _ in range(rounds)]
    return dict(zip(made, np.array(times).T, strict=True))


def ratio(slow: NDArray[np.float64], fast: NDArray[np.float64]) -> float:
    """Return how many times longer ``slow`` took, the median over rounds."""
    return float(np.median(slow / fast))


def processor() -> str:
    """Return the processor's model, with its family and number, and the count of cores; no host name."""
    listed = Path("/proc/cpuinfo")
    return _described(listed.read_text(encoding="utf-8") if listed.exists() else "")


def _described(cpuinfo: str) -> str:
    """Return what the first core of ``/proc/cpuinfo`` is, and the count of cores of this machine."""
    pairs = [line.partition(":")[::2] for line in cpuinfo.partition("\n\n")[0].splitlines()]
    first = {key.strip(): value.strip() for key, value in pairs}
    numbers = ", ".join(f"{key} {first[key]}" for key in ("cpu family", "model", "stepping") if key in first)
    model = first.get("model name") or platform.processor() or platform.machine()
    return f"{model}{f' ({numbers})' if numbers else ''}, {os.cpu_count()} cores"


def versions(*packages: str) -> str:
    """Return Python's version and those of the packages."""
    return ", ".join([f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in packages)])


def header(command: str, cores: int, packages: Sequence[str] = PACKAGES) -> str:
    """Return what a table says of how it was made."""
    where = f"{cores} of its cores for each" if cores else "all of them for each"
    clock = "\n\nTimes are the processor's, to which other processes add little." if cores == 1 else ""
    made = versions(*packages)
    return f"`{command}{f' --cores {cores}' if cores else ''}` writes this. {processor()}, {where}; {made}.{clock}"


def cells(table: pd.DataFrame) -> str:
    """Return a table as markdown, numbers to three digits."""
    rows = [[f"{one:.3g}" if isinstance(one, float) else str(one) for one in row] for row in table.to_numpy(object)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (list(table), ["---"] * len(table.columns), *rows))


def table(
    doc: str | None,
    name: str,
    axes: Mapping[str, Sequence[Any]],
    builds: Mapping[str, Build],
    measured: Row,
    page: Page,
) -> None:
    """Be a command: measure every combination of the axes' values that are asked for, and write the table so far.

    ``doc`` is what the command says of itself; ``measured`` gives a row of the rivals, the values and the rounds,
    ``page`` what is written above the table, of it and of the cores.
    """
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    for axis, values in axes.items():
        parser.add_argument(f"--{axis}", nargs="+", default=list(values), choices=values, type=_one_of(values))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cores", type=int, default=0, help="of every rival; all where 0")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    say, found = parser.parse_args(), []
    before = recorded(name)
    with rivals(builds, say.cores) as made:
        for which in product(*(getattr(say, axis) for axis in axes)):
            row = measured(made, *which, say.rounds)
            print(" ".join(f"{one:.3g}" if isinstance(one, float) else str(one) for one in row.values()), flush=True)
            found.append(row)
            rows = pd.DataFrame(found)
            write(say.out, name, rows, f"{page(rows, say.cores)}\n\n{cells(rows)}")
    print(compared(rows, before))


def recorded(name: str, folder: Path = RECORDED) -> pd.DataFrame | str:
    """Return the table recorded on this model of processor, or the reason why there is nothing to compare with."""
    numbers, page = folder / f"{name}.csv", folder / f"{name}.md"
    if not (numbers.exists() and page.exists()):
        return f"{name}: nothing was recorded, so nothing can be compared"
    if processor() not in page.read_text(encoding="utf-8"):
        return f"{name}: recorded on another processor than this ({processor()}), so nothing can be compared"
    return pd.read_csv(numbers)


def compared(found: pd.DataFrame, before: pd.DataFrame | str) -> str:
    """Report the rows that have become slower than recorded, one per line, or the reason why that is unknown.

    Times are the columns ``ms`` and ``μs …``. Rows are matched by every column that names a case: text and integers
    that both tables have. A table of ratios alone has no times, and nothing to compare.
    """
    if isinstance(before, str):
        return before
    times = [column for column in found if column == "ms" or column.startswith("μs")]
    cases = [key for key in before if key in found and key not in (*times, "missed") and before[key].dtype.kind in "iO"]
    both = found.merge(before, on=cases, suffixes=("", " before"))
    if not times or both.empty:
        return "no time of the same case was recorded, so nothing can be compared"
    lines = [
        f"slower: {' '.join(str(row[key]) for key in cases)}: {row[one]:.3g} {one}, recorded {row[f'{one} before']:.3g}"
        for one in times
        for _, row in both.iterrows()
        if row[one] > SLACK * row[f"{one} before"]
    ]
    return "\n".join(lines or [f"none of {len(both)} cases is slower than recorded by more than {SLACK} times"])


def _one_of(values: Sequence[Any]) -> Callable[[str], Any]:
    return lambda said: {str(value): value for value in values}.get(said, said)


def write(folder: Path, name: str, table: pd.DataFrame, text: str) -> None:
    """Write ``name.csv``, the numbers, and ``name.md``, what is read."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / f"{name}.csv", table.to_csv(index=False, float_format="%.5g").encode())
    write_whole(folder / f"{name}.md", (text.rstrip() + "\n").encode())
