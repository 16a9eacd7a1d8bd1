"""What the runner costs beside the measuring: seconds a configuration, files, bytes, and how soon the tables are read.

    python tests/benchmarks/runner.py 1000 10000 100000

Nothing is measured anew: every configuration gets the rows of one that really ran, so packing, writing, merging and
reading are all there is. ``--length`` is T of that one; without ``steps`` rows unless ``--steps`` is given.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gradlab.study import Plan, Study, load_results
from gradlab.study.executors import Inline
from gradlab.study.plan import Group
from gradlab.study.run import run_plan
from gradlab.study.store import Part, pack
from gradlab.study.worker import _rows


class Known(Inline):
    """Answers every group with rows that are known already."""

    def __init__(self, rows: dict[str, pd.DataFrame]) -> None:
        self.rows, self.spent = rows, 0.0
        self._rng = np.random.default_rng(0)

    def _other(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the rows with other numbers, so that they are as hard to compress as real ones."""
        floats = frame.select_dtypes("float64")
        return frame.assign(**(floats + self._rng.normal(size=floats.shape)))

    def submit(self, task: Callable[..., Any], /, *args: Any, **keys: Any) -> Future[Any]:
        return super().submit(self._pack if args else task, *args)

    def _pack(self, group: Group) -> Part:
        start = time.perf_counter()
        part = pack(group, [{n: self._other(f).assign(id=c.id) for n, f in self.rows.items()} for c in group])
        self.spent += time.perf_counter() - start
        return part


def study(count: int, length: int) -> Plan:
    """Return a plan of ``count`` configurations: 5 scales, 2 cells, the rest seeds."""
    grid = {"cell": ["rnn", "gru"], "scale": [0.5, 0.8, 1.0, 1.2, 1.5], "seeds": max(count // 10, 1)}
    base = {"length": length, "hidden": 4, "batch": 2, "hooks": ["gradients"]}
    return Study(name="many", grid=grid, base=base, task={"name": "sum"}).plan


def measured(count: int, length: int, steps: bool) -> dict[str, Any]:
    """Return one row of the table."""
    start = time.perf_counter()
    plan = study(count, length)
    planned = time.perf_counter() - start
    rows = _rows(plan.configurations[0], plan.thin)
    executor = Known({name: frame for name, frame in rows.items() if name == "runs" or steps})
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        run_plan(plan, Path(folder) / "r", executor=executor, progress=False)
        ran = time.perf_counter() - start
        files = list((Path(folder) / "r").rglob("*.parquet"))
        size = sum(path.stat().st_size for path in files)
        results = load_results(Path(folder) / "r")
        start = time.perf_counter()
        assert len(results.frame("runs")) == count
        whole = time.perf_counter() - start
        start = time.perf_counter()
        assert len(results.frame("runs", where={"cell": "gru", "scale": 1.0})) == count // 10
        part = time.perf_counter() - start
    return {
        "configurations": count,
        "plan (s)": planned,
        "packing (ms each)": executor.spent / count * 1e3,
        "runner (ms each)": (ran - executor.spent) / count * 1e3,
        "files": len(files),
        "MB per 10⁴": size / count * 1e4 / 1e6,
        "runs (s)": whole,
        "a tenth of runs (s)": part,
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("counts", type=int, nargs="+")
    parser.add_argument("--length", type=int, default=100)
    parser.add_argument("--steps", action="store_true", help="with rows of the table steps too")
    given = parser.parse_args()
    rows = [measured(count, given.length, given.steps) for count in given.counts]
    print(pd.DataFrame(rows).to_string(index=False, float_format="%.3g"))


if __name__ == "__main__":
    main()
