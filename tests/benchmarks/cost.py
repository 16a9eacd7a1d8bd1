"""What a pass costs over H, B and T, beside PyTorch and JAX: a figure with slopes.

    python tests/benchmarks/cost.py                  # results/benchmarks/cost.{csv,png}: about 10 minutes

The passes are those of `one_pass.py` (forward, every total gradient, parameter gradients; float64), of an LSTM unless
told.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

sys.path.append(str(Path(__file__).parents[1]))  # run as a script, too

from benchmarks import one_pass, timing

COMMAND = "python tests/benchmarks/cost.py"
#: What is varied, over which values, and what stays.
ALONG = {
    "H": (16, 32, 64, 128, 256, 512, 1024),
    "B": (1, 4, 16, 64, 256),
    "T": (30, 100, 300, 1000, 3000),
}
BASE = one_pass.Case(50, 16, 64, 8)
RIVALS: dict[str, timing.Build] = {"gradlab": one_pass.gradlab, "PyTorch": one_pass.eager, "JAX": one_pass.jax}
LABELS = {"H": "units H", "B": "sequences B", "T": "steps T"}
#: The slope is fitted to this many of the largest values.
LAST = 3


def rows(name: str, rounds: int, cores: int) -> Iterator[dict[str, Any]]:
    """Yield one row a rival and size."""
    with timing.rivals(RIVALS, cores) as made:
        for axis, values in ALONG.items():
            for value in values:
                case = BASE._replace(**{axis: value})
                for one in made.values():
                    one.take(name, case, "float64")
                for rival, found in timing.in_turn(made, rounds).items():
                    row = {"axis": axis, **case._asdict(), "rival": rival, "ms": 1e3 * float(found.min())}
                    print(*row.values(), flush=True)
                    yield {"cell": name, **row}


def slope(values: Any, times: Any) -> float:
    """Return d ln time / d ln value over the largest values."""
    return float(np.polyfit(np.log(values[-LAST:]), np.log(times[-LAST:]), 1)[0])


def draw(table: pd.DataFrame, made_with: str) -> Any:
    """Return a figure: one panel an axis, one line a rival, its slope in the legend."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(ALONG), figsize=(11, 3.6), layout="constrained")
    for axis, ax in zip(ALONG, axes, strict=True):
        for rival, part in table[table["axis"] == axis].groupby("rival", sort=False):
            x, y = part[axis].to_numpy(), part["ms"].to_numpy()
            ax.loglog(x, y, "o-", markersize=4, label=f"{rival}, slope {slope(x, y):.2f}")
        kept = ", ".join(f"{key} {value}" for key, value in BASE._asdict().items() if key != axis)
        ax.set(xlabel=LABELS[axis], ylabel="one pass (ms)", title=kept)
        ax.legend(frameon=False, fontsize=8)
    figure.suptitle(
        f"{table['cell'].iloc[0].upper()}: every gradient of one pass; slopes of the last {LAST} points. {made_with}"
    )
    return figure


def main() -> None:
    """Write the table and the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--cell", default="lstm", choices=one_pass.CELLS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cores", type=int, default=0, help="of every rival; all where 0")
    parser.add_argument("--draw", action="store_true", help="only the figure, of the table that is there")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    say = parser.parse_args()
    if say.draw:
        table = pd.read_csv(say.out / "cost.csv")
    else:
        table = pd.DataFrame(rows(say.cell, say.rounds, say.cores))
        heading = f"# What a pass costs, beside PyTorch and JAX\n\n{timing.header(COMMAND, say.cores)}\n\n"
        timing.write(say.out, "cost", table, heading + timing.cells(table))
    import matplotlib

    matplotlib.use("Agg")
    cores = f"{say.cores} of them used" if say.cores else "all of them used"
    draw(table, f"{timing.processor()}, {cores}").savefig(say.out / "cost.png", dpi=150)


if __name__ == "__main__":
    main()
