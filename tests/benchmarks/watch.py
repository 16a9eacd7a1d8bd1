"""What watching costs: between watched passes, and of one that is watched, in units of an ordinary training step.

    python tests/benchmarks/watch.py

An LSTM (T 200, B 32, H 128, float32, CPU) under Adam, and an LSTM cell in a loop of the same sizes. Times are the
processor's, of one thread, and all kinds of steps take turns in one run, so that what else the machine does counts
little and falls on all alike; medians over ``--rounds``, and of the slowdown between watched passes its standard error.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

import gradlab as gl


class Loop(nn.Module):
    """An LSTM cell over a sequence."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(inputs, hidden)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, Any]:
        state, outputs = None, []
        for step in x:
            state = self.cell(step, state)
            outputs.append(state[0])
        return torch.stack(outputs), state


def training_step(model: nn.Module, x: torch.Tensor, at: str) -> Callable[[], None]:
    """Return one training step of ``model`` under a readout; the loss is read ``at`` the last or at every step."""
    head = nn.Linear(128, 1)
    optimiser = torch.optim.Adam([*model.parameters(), *head.parameters()])

    def step() -> None:
        optimiser.zero_grad()
        y = head(model(x)[0])
        (y[-1] if at == "last" else y).square().mean().backward()
        optimiser.step()

    return step


def seconds(step: Callable[[], None], context: Any) -> float:
    """Return the time of one step inside a context that stays open meanwhile."""
    with context:
        start = time.process_time()
        step()
        return time.process_time() - start


class Between:
    """A watch that is open and does not watch what runs now."""

    def __init__(self, model: nn.Module) -> None:
        self.watch = gl.watch(model, every=10**9)

    def __enter__(self) -> None:
        self.watch.schedule.count = 1
        self.watch.__enter__()

    def __exit__(self, *exception: object) -> None:
        self.watch.__exit__(*exception)


def measured(name: str, model: nn.Module, at: str, hooks: Sequence[str], rounds: int) -> dict[str, Any]:
    """Return a row of the table."""
    x = torch.randn(200, 32, 128)
    step = training_step(model, x, at)
    times: dict[str, list[float]] = {"ordinary": [], "between": [], "watched": []}
    for _ in range(rounds + 1):
        times["ordinary"].append(seconds(step, nullcontext()))
        times["between"].append(seconds(step, Between(model)))
        times["watched"].append(seconds(step, gl.watch(model, hooks=hooks)))
    ordinary, between, watched = (np.array(found[1:]) for found in times.values())
    slower = between / ordinary - 1
    return {
        "model": name,
        "loss at": at,
        "hooks": ", ".join(hooks),
        "step (ms)": 1e3 * np.median(ordinary),
        "between, slower by (%)": f"{100 * np.median(slower):.1f} ± {125 * slower.std() / np.sqrt(slower.size):.1f}",
        "a watched step adds (steps)": np.median(watched / ordinary - 1),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=31)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = [
        measured("nn.LSTM", nn.LSTM(128, 128), "last", ["gradients"], given.rounds),
        measured("nn.LSTM", nn.LSTM(128, 128), "every", ["gradients"], given.rounds),
        measured("nn.LSTMCell", Loop(128, 128), "every", ["gradients"], given.rounds),
    ]
    print(pd.DataFrame(rows).to_string(index=False, float_format="%.2f"))


if __name__ == "__main__":
    main()
