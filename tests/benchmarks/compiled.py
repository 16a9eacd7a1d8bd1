"""What C gains: a pass as it is, against the same pass with the formulas in NumPy and its loops step by step.

    python tests/benchmarks/compiled.py --cores 1        # results/benchmarks/compiled.{csv,md}: about three minutes

Parts as in `parts.py`; both are gradlab, the products the same.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pandas as pd

sys.path.append(str(Path(__file__).parents[1]))  # run as a script, too

from benchmarks import one_pass, parts, timing
from oracles.plain import run_plain

PARTS = ("forward", "derivatives", "back", "all")
COMMAND = "python tests/benchmarks/compiled.py"


def in_numpy(name: str, case: one_pass.Case, part: str) -> one_pass.Work:
    run_plain()
    return parts.part(name, case, part)


def measured(made: dict[str, timing.Rival], case: one_pass.Case, name: str, rounds: int) -> dict[str, Any]:
    """Return one row: how many times longer each part takes in NumPy."""
    row: dict[str, Any] = {"cell": name, **case._asdict()}
    for part in PARTS:
        for one in made.values():
            one.take(name, case, part)
        times = timing.in_turn(made, rounds)
        row[part] = timing.ratio(times["in NumPy"], times["compiled"])
    return row | {"ms": 1e3 * float(times["compiled"].min())}


def page(table: pd.DataFrame, cores: int) -> str:
    """Return what the table is."""
    return f"""# What C gains

{timing.header(COMMAND, cores)}

How many times longer each part of a pass takes with the formulas in NumPy and its loops step by step; *ms* is the whole
pass, compiled. In the median {table["all"].median():.2f}.

What it costs: the formulas of three cells stand twice, in NumPy beside each cell and in C in
`gradlab/cells/formulas.h`, and are tested against each other; a loop's C (`gradlab/cells/loop.h`) calls what a first
step in Python was seen to call, with the same bits; installing compiles for some seconds, and goes on without where
there is no compiler.

Numba was measured before: five times NumPy's installation, a wait for the compiler in every process, and a `tanh` that
goes one number after the other, so that its way forward took two to three times as long as NumPy's."""


if __name__ == "__main__":
    RIVALS: dict[str, timing.Build] = {"compiled": parts.part, "in NumPy": in_numpy}
    timing.table(__doc__, "compiled", {"cases": one_pass.CASES, "cells": one_pass.CELLS}, RIVALS, measured, page)
