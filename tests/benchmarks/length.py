"""What a pass costs against its length: seconds of the processor, and memory above the input, for T from 10² to 10⁶.

    python tests/benchmarks/length.py                  # results/benchmarks/length.*: 5 minutes on a core
    python tests/benchmarks/length.py --one 1000000    # one length, one line of JSON

A vanilla RNN of 64 units, a batch of 4, a readout of one output read at the last step; forward, the total gradients of
all states, their norms, the rate, λ₁ and the parameters' gradients. Beyond 1024 steps the pass is in segments of 1024.
Each length has a process of its own, on one thread; memory is the peak of its resident set above that of before, when
all libraries and the input are there. Seconds are the processor's, which do not count what else runs on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

SEGMENT, BATCH, UNITS = 1024, 4, 64
LENGTHS = (100, 300, 1000, 3000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
#: Seconds over which a short pass is repeated; the shortest counts.
ENOUGH = 1.0
HOOKS = ("gradients", "lyapunov:1")
#: At most so many times the time per step of so many steps, kept whole, and bytes above the input (issue 8).
MOST_TIMES, AGAINST, MOST_BYTES = 2.0, 10_000, 2**30
COMMAND = "python tests/benchmarks/length.py"


def peak() -> int:
    """Return the peak of this process's resident set, in bytes; unlike ru_maxrss, nothing of who started it."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def measured(steps: int, segment: int) -> dict[str, Any]:
    """Return what one pass of ``steps`` takes, in segments of ``segment`` steps."""
    import numpy as np

    import gradlab as gl

    model = gl.Network([gl.RNN.init(1, UNITS, rng=0)], readout=gl.Readout.init(UNITS, 1, rng=1))
    x, loss = np.random.default_rng(0).standard_normal((steps, BATCH, 1)), gl.mse(np.zeros((BATCH, 1)))
    gl.trace(model, x[:50], loss, hooks=HOOKS, segment_length=20).measured()  # loads every library
    before, took = peak(), list[float]()
    while sum(took) < ENOUGH:
        start = time.process_time()
        found = gl.trace(model, x, loss, hooks=HOOKS, segment_length=segment).measured()
        took.append(time.process_time() - start)
    run = found["runs"].iloc[0]
    return {
        "T": steps,
        "segment_length": min(segment, steps),
        "seconds": min(took),
        "microseconds_per_step": 1e6 * min(took) / steps,
        "bytes_above_input": peak() - before,
        "rows": len(found["steps"]),
        "rate": float(run["rate"]),
        "lyapunov_1": float(run["lyapunov_1"]),
    }


def in_a_process(steps: int, segment: int = SEGMENT) -> dict[str, Any]:
    """Return :func:`measured` of a new process on one thread."""
    one_thread = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--one", str(steps), "--segment", str(segment)]
    done = subprocess.run(command, env=os.environ | one_thread, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def draw(table: Any, path: Path) -> None:
    """Draw seconds and memory over T."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
    cut = table[table["segment_length"] < table["T"]]
    for ax, column, scale, label in (
        (axes[0], "seconds", 1.0, "processor time (s)"),
        (axes[1], "bytes_above_input", 2.0**-20, "memory above the input (MiB)"),
    ):
        kept = table[table["segment_length"] == table["T"]]
        ax.plot(kept["T"], kept[column] * scale, "o-", label="kept whole")
        ax.plot(cut["T"], cut[column] * scale, "s-", label=f"segments of {SEGMENT}")
        ax.set(xlabel="T (steps)", ylabel=label, xscale="log", yscale="log")
    last = table.iloc[-1]
    line = last["seconds"] / last["T"] * table["T"]
    axes[0].plot(table["T"], line, ":", color="0.5", label="slope 1")
    axes[1].axhline(MOST_BYTES / 2**20, ls=":", color="0.5")
    axes[1].annotate("1 GiB", (LENGTHS[0], MOST_BYTES / 2**20), xytext=(0, -12), textcoords="offset points")
    axes[0].legend()
    figure.savefig(path, dpi=150)


def main() -> None:
    """Measure every length, and write the table and the figure."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--one", type=int, metavar="T")
    options.add_argument("--segment", type=int, default=SEGMENT)
    options.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    given = options.parse_args()
    if given.one:
        print(json.dumps(measured(given.one, given.segment)))
        return
    import pandas as pd

    whole = {steps: steps for steps in (AGAINST,)}
    sizes = sorted([*((steps, SEGMENT) for steps in LENGTHS), *whole.items()])
    table = pd.DataFrame([print_one(in_a_process(steps, segment)) for steps, segment in sizes])
    given.out.mkdir(parents=True, exist_ok=True)
    table.to_csv(given.out / "length.csv", index=False)
    (given.out / "length.md").write_text(markdown(table), encoding="utf-8")
    draw(table, given.out / "length.png")


def print_one(row: dict[str, Any]) -> dict[str, Any]:
    """Print what was measured of one length, and return it."""
    print(f"T {row['T']}: {row['seconds']:.3g} s, {row['bytes_above_input'] / 2**20:.0f} MiB", flush=True)
    return row


def markdown(table: Any) -> str:
    """Return the table with its slope, its targets, and what made it."""
    import numpy as np

    per_step = "microseconds_per_step"
    against = table[(table["T"] == AGAINST) & (table["segment_length"] == AGAINST)][per_step].iloc[0]
    last, long = table.iloc[-1], table[table["T"] >= 1000]
    slope = np.polyfit(np.log(long["T"]), np.log(long["seconds"]), 1)[0]
    lines = ["| T | segments of | processor time (s) | µs per step | MiB above the input |", "|---|---|---|---|---|"]
    for row in table.itertuples():
        held = "whole" if row.segment_length == row.T else str(row.segment_length)
        size = row.bytes_above_input / 2**20
        lines.append(f"| {row.T} | {held} | {row.seconds:.3g} | {getattr(row, per_step):.1f} | {size:.0f} |")
    found = (
        f"Seconds grow as T^{slope:.3f} from 1000 steps on. T = {last['T']:.0f} takes {last[per_step] / against:.2f} "
        f"times the time per step of T = {AGAINST} kept whole (at most {MOST_TIMES:g} is wanted), and "
        f"{last['bytes_above_input'] / 2**30:.2f} GiB above the input (at most 1 is wanted), of which most are the "
        f"{last['rows']:.0f} rows of its table."
    )
    made = (
        f"`{COMMAND}`: RNN, H {UNITS}, B {BATCH}, float64, hooks {', '.join(HOOKS)}, one thread, "
        f"Python {platform.python_version()}, NumPy {version('numpy')}, pandas {version('pandas')}, "
        f"{platform.machine()}."
    )
    lines += ["", found, "", made, ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
