"""When a training's gradients start to vanish, on made-up tables and on a network that is really trained."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

import gradlab as gl
from gradlab.errors import InputError
from gradlab.verdicts.of_training import training_verdict


def table(words: dict[int, str], **columns: Any) -> pd.DataFrame:
    rows = [
        {"step": step, "layer": 0, "direction": "forward", "rate": -0.01 * i, "rate_low": -0.01 * i - 0.002,
         "rate_high": -0.01 * i + 0.002, "verdict": word}
        for i, (step, word) in enumerate(words.items())
    ]  # fmt: skip
    return pd.DataFrame(rows).assign(**columns)


def test_the_step_at_which_it_starts() -> None:
    words = {0: "STABLE", 100: "STABLE", 200: "STABLE", 300: "VANISHING", 400: "VANISHING"}
    found = training_verdict(table(words, saturation=[0.1, 0.1, 0.2, 0.5, 0.6]))
    first, second = str(found).splitlines()
    rated = "−0.0400 [−0.0420, −0.0380] nats/step at step 400"
    assert first == f"VANISHING   starts to vanish at step 300 ({rated}); STABLE before, steps 0 to 200"
    assert second == "because     from step 200 to 300 the rate −0.020 → −0.030, the share saturated 20 % → 50 %"


def test_a_step_in_doubt_ends_nothing() -> None:
    words = {0: "STABLE", 100: "UNCERTAIN", 200: "STABLE", 300: "UNCERTAIN", 400: "EXPLODING"}
    found = training_verdict(table(words))
    assert found.finding.startswith("starts to explode at step 400 ")
    assert found.finding.endswith("; STABLE before, steps 0 to 200")
    assert training_verdict(table({0: "UNCERTAIN", 10: "UNCERTAIN"})).word == "UNCERTAIN"


def test_one_word_throughout_and_turns_that_went_before() -> None:
    found = training_verdict(table(dict.fromkeys((0, 50, 90), "STABLE")))
    assert found.word == "STABLE"
    assert found.finding.startswith("at all 3 steps seen, 0 to 90: −0.0200 [")
    turns = training_verdict(table({0: "STABLE", 1: "VANISHING", 2: "STABLE", 3: "VANISHING"}))
    assert turns.finding.endswith("STABLE before, step 2, after 2 other turns")


def test_the_order_of_the_rows_does_not_matter() -> None:
    runs = table({0: "STABLE", 100: "STABLE", 200: "DIVERGED"})
    assert training_verdict(runs.iloc[::-1]) == training_verdict(runs)
    assert training_verdict(runs).finding.startswith("diverges at step 200 ")


def test_layers_are_parts() -> None:
    runs = pd.concat([table({0: "STABLE", 5: "VANISHING"}), table({0: "STABLE", 5: "STABLE"}, layer=1)])
    found = training_verdict(runs)
    assert found.word == "VANISHING"
    assert [(name, part.word) for name, part in found.parts] == [("layer 0", "VANISHING"), ("layer 1", "STABLE")]


def test_what_is_refused() -> None:
    runs = table({0: "STABLE", 5: "STABLE"})
    with pytest.raises(InputError, match=r"missing \['step', 'verdict'\]"):
        training_verdict(runs.drop(columns=["step", "verdict"]))
    with pytest.raises(InputError, match="missing every row"):
        training_verdict(runs.iloc[:0])
    with pytest.raises(InputError, match="some have two"):
        training_verdict(pd.concat([runs, runs]))


def trained(decay: float, steps: int = 40) -> pd.DataFrame:
    """Return ``runs`` of an RNN that learns to say its input's mean by gradient descent, W_hh shrinking besides."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 8, 2))
    loss = gl.mse(x.mean(axis=0) @ np.ones((2, 1)))
    cell = gl.RNN.init(2, 16, recurrent="orthogonal", input_scale=0.1, rng=1)
    readout = gl.Readout.init(16, 1, rng=2)
    rows = []
    for step in range(steps):
        trace = gl.trace(gl.Network([cell], readout), x, loss, hooks=["gradients", "gates"])
        if step % 5 == 0:
            rows.append(trace.measured()["runs"].assign(step=step))
        grads = trace.param_grads
        cell = replace(cell, W_hh=(1 - decay) * cell.W_hh - 0.01 * grads["layers.0.W_hh"])
        readout = replace(readout, W_hy=readout.W_hy - 0.01 * grads["readout.W_hy"])
    return pd.concat(rows, ignore_index=True)


def test_a_network_whose_weights_decay_starts_to_vanish() -> None:
    """Orthogonal weights lose a factor of .99 a step: over 59 steps back 1 % is left where −ln .99 · n = 4.6/59."""
    runs = trained(0.01)
    found = training_verdict(runs)
    assert found.word == "VANISHING"
    start = int(found.finding.split("at step ")[1].split(" ")[0])
    assert 0 < start < 15  # n = 7.8 in a linear network; tanh units lose a little themselves
    assert found.finding.startswith(f"starts to vanish at step {start} ")
    assert "; STABLE before, step" in found.finding


def test_the_same_network_without_decay_stays_stable() -> None:
    assert training_verdict(trained(0.0, 20)).word == "STABLE"
