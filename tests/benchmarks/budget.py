"""How right `gradlab plan` is: the memory and the time that it expects of studies, and what running them takes.

    python tests/benchmarks/budget.py studies/forget_bias.toml studies/digits.toml studies/init_scale.toml

Every study is run whole, into a folder that is thrown away, without its report. Memory is the peak of the largest
worker, as Linux keeps it (VmHWM); ``core`` are processor seconds of all workers, ``wall`` those on the clock, which
means something only where nothing else runs.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd

from gradlab.study import Study
from gradlab.study import run as running
from gradlab.study.budget import Need, expected
from gradlab.study.plan import Group
from gradlab.study.store import Part
from gradlab.study.worker import measure


def peak() -> float:
    """Return the most bytes that this process has held; unlike ru_maxrss, nothing of who started it."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(float(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


class Watched:
    """Measures a group, and notes in a folder what this process has taken so far."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __call__(self, group: Group, **keys: Any) -> Part:
        start = time.process_time()
        part = measure(group, **keys)
        spent, name = time.process_time() - start, f"{time.time_ns()}-{group[0].id}"
        (Path(self.folder) / name).write_text(f"{peak()} {spent}", encoding="ascii")
        return part


def compared(path: str) -> dict[str, object]:
    """Return one row of the table."""
    plan = Study.from_toml(path).plan
    need = Need(plan)
    workers = need.workers
    core, wall = expected(plan, workers)
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as notes:
        running.measure = Watched(notes)  # type: ignore[assignment]
        start = time.perf_counter()
        running.run_plan(plan, Path(folder) / "r", workers=workers, progress=False)
        took = time.perf_counter() - start
        found = pd.DataFrame([map(float, note.read_text().split()) for note in Path(notes).iterdir()])
    measured = {"GB": found[0].max() / 1e9, "core (s)": found[1].sum(), "wall (s)": took}
    row: dict[str, object] = {"study": plan.spec.name, "workers": workers}
    for (name, real), said in zip(measured.items(), (need.bytes / 1e9, core, wall), strict=True):
        row |= {f"{name}, plan": said, name: real, f"plan / {name.split()[0]}": said / real}
    return row


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("studies", nargs="+")
    rows = [compared(path) for path in parser.parse_args().studies]
    print(pd.DataFrame(rows).to_string(index=False, float_format="%.3g"))


if __name__ == "__main__":
    main()
