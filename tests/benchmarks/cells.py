"""The cells against the GRU of the same size, and the plain form of a cell against its tuned form.

    python tests/benchmarks/cells.py

Each ratio is the median over rounds of two passes timed one right after the other in this process: `gl.trace` with
gradients, T 200, B 32, one input, one thread. The plain form is the cell that CONTRIBUTING.md prints.
"""

from __future__ import annotations

import argparse
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy is imported

import numpy as np

import gradlab as gl
from gradlab.cells import CELLS

T, B = 200, 32
SIZES = (64, 128)


def plain_cell() -> Any:
    """Return the class that CONTRIBUTING.md prints."""
    text = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {"__name__": "contributing"}
    for code in re.findall(r"^```python\n(.*?)^```", text, flags=re.M | re.S):
        exec(compile(code, "CONTRIBUTING.md", "exec", dont_inherit=True), names)
    return names["PlainMinimalRNN"]


def work(kind: Any, hidden: int) -> Callable[[], None]:
    """Return a function that runs one pass with gradients."""
    rng = np.random.default_rng(0)
    cell, x = kind.init(1, hidden, rng=0), rng.standard_normal((T, B, 1))
    loss = gl.projection(rng.standard_normal((B, hidden)))

    def run() -> None:
        _ = gl.trace(cell, x, loss).grad["h"]

    return run


def seconds(run: Callable[[], None]) -> float:
    """Return the processor time of one call."""
    start = time.process_time()
    run()
    return time.process_time() - start


def main() -> None:
    """Print one row per size and cell."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=11)
    rounds = parser.parse_args().rounds
    print("H    cell           ms     over GRU  over tuned")
    for hidden in SIZES:
        runs = {name: work(kind, hidden) for name, kind in (*CELLS.items(), ("plain_minimal", plain_cell()))}
        for run in runs.values():
            run()
            run()
        times = [{name: seconds(run) for name, run in runs.items()} for _ in range(rounds)]
        for name in runs:
            over = [median(one[name] / one[other] for one in times) for other in ("gru", "minimal_rnn")]
            tuned = f"{over[1]:.2f}" if name == "plain_minimal" else ""
            print(f"{hidden:<4} {name:14} {1e3 * median(one[name] for one in times):<6.1f} {over[0]:<9.2f} {tuned}")


if __name__ == "__main__":
    main()
