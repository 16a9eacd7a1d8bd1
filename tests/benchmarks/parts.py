"""Where the time of a pass goes: its parts, in µs a step, beside the floor of `one_pass.py`.

    python tests/benchmarks/parts.py --cores 1           # results/benchmarks/parts.{csv,md}: about a minute

``forward``: states, pre-activations, gates. ``derivatives``: the local derivatives of all steps. ``back``: adjoints,
total gradients, gradients at the pre-activations. ``parameters``: their gradients. ``rest``: what else `gl.trace` does:
checks, the loss, bringing x and dL/dy into columns, views for the reader.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

sys.path.append(str(Path(__file__).parents[1]))  # run as a script, too

from benchmarks import one_pass, timing

from gradlab.bptt import backward, forward, parameter_gradients

COMMAND = "python tests/benchmarks/parts.py"
PARTS = ("forward", "derivatives", "back", "parameters", "all")


def part(name: str, case: one_pass.Case, what: str) -> one_pass.Work:
    cell, xs, arriving = one_pass.as_columns(name, case)
    initial = np.zeros((cell.state_size, case.B))
    tape = forward(cell, xs, initial)
    found = backward(tape, arriving)
    works = {
        "forward": lambda: forward(cell, xs, initial),
        "derivatives": lambda: [tape.linearise(stretch) for stretch in tape.stretches()],
        "back": lambda: backward(tape, arriving),
        "parameters": lambda: parameter_gradients(found.pairs, found.exponent[1:]),
        "all": one_pass.gradlab(name, case, "float64")[0],
    }
    return works[what], lambda _: None


def measured(made: dict[str, timing.Rival], case: one_pass.Case, name: str, rounds: int) -> dict[str, Any]:
    """Return one row."""
    times = {}
    for what in PARTS:
        made["part"].take(name, case, what)
        times[what] = float(timing.in_turn({"part": made["part"]}, rounds)["part"].min()) * 1e6 / case.T
    for rival in ("product", "tanh"):
        made[rival].take(name, case, "float64")
    floors = timing.in_turn({rival: made[rival] for rival in ("product", "tanh")}, rounds)
    least = one_pass.floor(name, case, floors["product"].min(), floors["tanh"].min()) * 1e6 / case.T
    times["back"] -= times["derivatives"]
    rest = times["all"] - sum(times[what] for what in PARTS[:-1])
    return {"cell": name, **case._asdict(), **times, "rest": rest, "floor": least}


def page(_: pd.DataFrame, cores: int) -> str:
    return f"# Where the time of a pass goes, in µs a step\n\n{timing.header(COMMAND, cores)}"


if __name__ == "__main__":
    RIVALS: dict[str, timing.Build] = {"part": part, "product": one_pass.product, "tanh": one_pass.tanh}
    timing.table(__doc__, "parts", {"cases": one_pass.CASES, "cells": one_pass.CELLS}, RIVALS, measured, page)
