"""All step Jacobians at once against PyTorch and LAPACK: dense, spectral norms, all singular values, Frobenius norms.

    python tests/benchmarks/jacobians.py                  # results/benchmarks/jacobians.{csv,md}: about 5 minutes

PyTorch forms the Jacobians by `vmap(jacrev)` over all steps and sequences, and asks `torch.linalg` for what is wanted
of them. LAPACK is NumPy's SVD of matrices that are there already, matrices shared out over the cores and BLAS at one
thread each, which is the fastest way to use it. gradlab starts from a trace. Answers are compared, to 1e-10, before
anything is timed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

sys.path.append(str(Path(__file__).parents[1]))  # run as a script, too

from benchmarks import timing

import gradlab as gl

CELLS, SIZES = ("rnn", "lstm", "gru"), (32, 64, 128)
QUESTIONS = ("dense", "norm", "values", "frobenius")
COMMAND = "python tests/benchmarks/jacobians.py"
#: Steps of 32 sequences.
STEPS = {32: 32, 64: 16, 128: 8}
Work = tuple[Callable[[], Any], Callable[[Any], Any]]


def given(name: str, H: int) -> tuple[gl.Cell, np.ndarray]:
    made = {"rnn": gl.RNN, "lstm": gl.LSTM, "gru": gl.GRU}[name]
    return made.init(8, H, rng=1), np.random.default_rng(2).normal(size=(STEPS[H], 32, 8))


def gradlab(name: str, H: int, question: str) -> Work:
    cell, x = given(name, H)
    J = gl.trace(cell, x).jacobians
    return {
        "dense": lambda: J.dense(),
        "norm": lambda: J.norm(2),
        "values": lambda: J.singular_values(),
        "frobenius": lambda: J.norm("fro"),
    }[question], np.asarray


def torch_step(name: str, cell: gl.Cell) -> Callable[[Any, Any], Any]:
    """Return ``state (S,), drive (kH,) → state`` for PyTorch."""
    import torch

    H, W = cell.hidden_size, torch.tensor(cell.W_hh)

    def step(s: Any, d: Any) -> Any:
        if name == "rnn":
            return torch.tanh(d + W @ s)
        if name == "lstm":
            i, f, g, o = (d + W @ s[:H]).chunk(4)
            c = torch.sigmoid(f) * s[H:] + torch.sigmoid(i) * torch.tanh(g)
            return torch.cat([torch.sigmoid(o) * torch.tanh(c), c])
        r, z = torch.sigmoid(d[: 2 * H] + W[: 2 * H] @ s).chunk(2)
        n = torch.tanh(d[2 * H :] + W[2 * H :] @ (r * s))
        return (1 - z) * s + z * n

    return step


def pytorch(name: str, H: int, question: str) -> Work:
    import torch

    cell, x = given(name, H)
    tape = gl.trace(cell, x).layers[0].tape
    states = torch.tensor(np.moveaxis(tape.states[:-1], 1, 2).reshape(-1, cell.state_size))
    drives = torch.tensor(np.moveaxis(cell.input_drive(tape.x), 1, 2).reshape(len(states), -1))
    all_at_once = torch.func.vmap(torch.func.jacrev(torch_step(name, cell)))
    ask = {
        "dense": lambda J: J,
        "norm": lambda J: torch.linalg.matrix_norm(J, 2),
        "values": torch.linalg.svdvals,
        "frobenius": lambda J: torch.linalg.matrix_norm(J, "fro"),
    }[question]

    def work() -> Any:
        with torch.no_grad():
            return ask(all_at_once(states, drives))

    return work, lambda found: found.numpy().reshape(len(x), 32, *found.shape[1:])


def lapack(name: str, H: int, question: str) -> Work | None:
    from gradlab.arrays.threads import share_out

    cell, x = given(name, H)
    J = gl.trace(cell, x).jacobians
    dense = J._dense(np.arange(len(x)))
    if question in ("dense", "frobenius"):
        return (lambda: None), lambda _: None
    values = np.empty(dense.shape[:-1])

    def one(t: int) -> None:
        values[t] = np.linalg.svd(dense[t], compute_uv=False)

    def work() -> np.ndarray:
        share_out(one, range(len(dense)))
        return values[..., 0] if question == "norm" else values

    return work, np.array


def asked(row: dict[str, Any]) -> dict[str, float]:
    """Return what is asked of a row (issue: as fast as the machine allows): the least ratio, by rival."""
    size = 2.5 if row["H"] < 64 else 8.0
    return {
        "dense": {"pytorch": 5.0},
        "norm": {"pytorch": size},
        "values": {"lapack": 1 / 1.75 if row["cell"] == "gru" else 1 / 1.25},
        "frobenius": {},
    }[row["question"]]


def measured(made: dict[str, timing.Rival], question: str, H: int, name: str, rounds: int) -> dict[str, Any]:
    """Return one row."""
    found = {rival: one.take(name, H, question) for rival, one in made.items()}
    for rival, answer in found.items():
        if answer is not None:
            scale = np.abs(found["gradlab"]).max()
            error = np.abs(answer - found["gradlab"]).max() / scale
            assert error < 1e-10, f"{rival}, {name}, {question}: off by {error:.1e}"
    timed = {rival: one for rival, one in made.items() if found[rival] is not None}
    times = timing.in_turn(timed, rounds)
    own = times["gradlab"]
    row: dict[str, Any] = {"question": question, "cell": name, "H": H, "matrices": STEPS[H] * 32}
    row["μs a matrix"] = 1e6 * float(np.min(own)) / (STEPS[H] * 32)
    row |= {
        rival: timing.ratio(times[rival], own) if rival in times else float("nan") for rival in ("pytorch", "lapack")
    }
    least = asked(row)
    row["missed"] = ", ".join(f"{rival} ≥ {ratio:.3g}" for rival, ratio in least.items() if row[rival] < ratio)
    return row


NOTES = """*pytorch* and *lapack* say how many times longer these took; gradlab's own time is its shortest. A spectral
norm is right to 1e-10 by its residual. Asked: dense 5 or more of PyTorch; norms 8 (2.5 at H 32) of PyTorch, which forms
the matrices first (LAPACK is given them); all values 0.8 of LAPACK (0.57 of GRU). Frobenius norms of RNN and LSTM form
no matrix.

A residual of 1e-10 takes 24 to 32 steps, 40 to 48 for a GRU, whose gap is smaller; no weaker test is right for values
that are close. Each matrix is formed and iterated on while it lies in the cache, one reading of it a step. Tried: full
reorthogonalisation (several times dearer), `eigvalsh` of the Gram matrix (no faster than LAPACK's SVD), Lanczos on Gram
matrices, a step of all matrices at once by the cells' products, nothing formed, which is what runs beyond S 256 or
without a compiler (1.3 to 3 times as long). On more cores, chunks of steps are shared out.
"""


def page(_: pd.DataFrame, cores: int) -> str:
    return f"# Step Jacobians, against PyTorch and LAPACK\n\n{timing.header(COMMAND, cores)}\n\n{NOTES}"


if __name__ == "__main__":
    AXES = {"questions": QUESTIONS, "sizes": SIZES, "cells": CELLS}
    RIVALS: dict[str, timing.Build] = {"gradlab": gradlab, "pytorch": pytorch, "lapack": lapack}
    timing.table(__doc__, "jacobians", AXES, RIVALS, measured, page)
