"""Lines beside mean field's: at the numbers of TRUTHS, and on networks that are as their laws want them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import gradlab as gl
from gradlab.tables.theory_lines import (
    CHRONO,
    NEWMAN,
    RESTING,
    SENSITIVITY,
    STATE,
    chrono_lines,
    diagonal_lines,
    newman_lines,
    resting_lines,
)


def runs_of(grid: dict[str, Any], **tables: Any) -> pd.DataFrame:
    base = {"length": 40} | tables.pop("base", {})
    task = tables.pop("task", {"name": "noise"})
    base, grid = {key: value for key, value in base.items() if key not in grid}, {"scale": [0.5, 2.0]} | grid
    frame = gl.Study(name="x", grid=grid, base=base, task=task, **tables).plan.frame()
    return frame.assign(layer=0, direction="forward", status="planned")


def crossing(line: pd.DataFrame, along: str) -> float:
    return float(np.interp(0.0, line["theory"], line[along]))


@pytest.mark.parametrize(("bias", "edge"), [(0.0, 2.0), (1.0, 1.075766), (2.0, 0.476812)])
def test_the_resting_lstm_crosses_zero_at_its_edge(bias: float, edge: float) -> None:
    """E12; the line bends, so that the interpolated crossing is right to 1e-3."""
    grid = {"cell": ["lstm"], "scale": [0.1, 2.5]}
    lines = resting_lines(runs_of(grid, init={"forget_bias": bias}))
    assert set(lines["law"]) == {RESTING}
    assert abs(crossing(lines, "scale") - edge) < 1e-3


def test_the_resting_gru_crosses_zero_at_two() -> None:
    """E13, beside the LSTM, each with a line of its own."""
    lines = resting_lines(runs_of({"cell": ["rnn", "gru", "lstm"], "scale": [0.5, 3.0]}))
    assert set(lines["cell"]) == {"gru", "lstm"}
    assert abs(crossing(lines[lines["cell"] == "gru"], "scale") - 2.0) < 1e-3


def test_along_the_forget_bias_it_is_what_common_libraries_networks_have_below_the_edge() -> None:
    """TRUTHS §3: −.439 and −.140 at b_f = 0 and 1, to .02, nearly at rest; at 2 and 5 the line is too high."""
    grid = {"cell": ["lstm", "gru"], "scale": [1.0], "init.forget_bias": [0.0, 1.0, 2.0, 5.0]}
    lines = resting_lines(runs_of(grid, init={"recurrent": "uniform", "bias": "uniform"}), "init.forget_bias")
    assert set(lines["cell"]) == {"lstm"}  # a GRU has no such key
    found = np.interp([0.0, 1.0, 2.0, 5.0], lines["init.forget_bias"], lines["theory"])
    assert np.all(np.abs(found[:2] - [-0.439, -0.140]) < 0.02)
    assert np.all(found[2:] > [-0.010, 0.009])


@pytest.mark.parametrize("cell", [gl.LSTM, gl.GRU])
def test_a_network_at_rest_has_the_exponent_of_the_line(cell: Any) -> None:
    """H = 256, no input: λ₁ to H^−½, by which the largest eigenvalue scatters."""
    lines = resting_lines(runs_of({"cell": [cell.name], "scale": [0.5, 1.0, 1.5]}))
    for scale in (0.5, 1.0, 1.5):
        trace = gl.trace(cell.init(1, 256, scale=scale, rng=0), np.zeros((400, 1, 1)))
        expected = np.interp(scale, lines["scale"], lines["theory"])
        assert abs(trace.spectrum(1, warmup=200).exponents[0] - expected) < 256**-0.5


def test_newmans_line_is_over_the_rank_of_each_size_and_scale() -> None:
    lines = newman_lines(runs_of({"cell": ["rnn", "lstm"], "scale": [1.5, 3.0], "hidden": [4, 8]}))
    assert set(lines["law"]) == {NEWMAN}
    assert set(lines["cell"]) == {"rnn"}
    for (hidden, scale), part in lines.groupby(["hidden", "scale"]):
        np.testing.assert_allclose(part["index_share"], np.arange(1, hidden + 1) / hidden)
        np.testing.assert_array_equal(part["theory"], gl.theory.newman_exponents(hidden, scale=scale).exponents)


@pytest.mark.parametrize("cell", [gl.LSTM, gl.GRU])
def test_chronos_line_is_the_additive_path_of_a_cell_that_has_nothing_else(cell: Any) -> None:
    """No input, no recurrent weights, 500 units, mean over 32 random gradients: √E f^2k, to 4 standard errors."""
    lines = chrono_lines(runs_of({"cell": [cell.name]}, base={"length": 50}, init={"chrono": 50.0}))
    assert set(lines["law"]) == {CHRONO}
    drawn = cell.init(1, 500, scale=0.0, chrono=50.0, rng=0)
    v = np.random.default_rng(0).standard_normal((32, 500))
    found = gl.trace(drawn, np.zeros((50, 32, 1)), gl.projection(v)).paths()
    gates = gl.trace(drawn, np.zeros((1, 1, 1))).gates
    keep = gates["f"][0, 0] if cell is gl.LSTM else 1.0 - gates["z"][0, 0]
    for lag, expected in zip(lines["lag"], lines["theory"], strict=True):
        change = (found.additive[50 - lag] - found.additive[50]).mean()
        power = keep ** (2 * lag)
        error = 0.5 * power.std() / power.mean() / np.sqrt(500)
        assert abs(change - expected) < 4 * error + 1e-2  # the gradients' own scatter
    assert found.share[0].min() > 0.99


DIAGONAL: dict[str, Any] = {
    "base": {"cell": "rnn"},
    "rnn": {"activation": "identity"},
    "init": {"recurrent": "identity", "input_scale": 2.0},
    "task": {"name": "noise", "std": 0.5},
}


def test_diagonal_lines_are_over_the_memory() -> None:
    """The input's variance is 1; at λ = .9, memory 10, E15's numbers. A scale of 1 and more has no memory to draw."""
    lines = diagonal_lines(runs_of({"scale": [0.5, 0.9, 0.99, 1.0]}, **DIAGONAL))
    assert set(lines["law"]) == {STATE, SENSITIVITY}
    for law, known in ((STATE, 5.263), (SENSITIVITY, 263.9)):
        line = lines[lines["law"] == law]
        np.testing.assert_allclose(line["memory"].agg(["min", "max"]), [2.0, 100.0], rtol=1e-12)
        found = np.exp(np.interp(np.log(10.0), np.log(line["memory"]), np.log(line["theory"])))
        np.testing.assert_allclose(found, known, rtol=1e-3)


@pytest.mark.parametrize(
    "other",
    [
        {"rnn": {"activation": "tanh"}},
        {"init": {"recurrent": "cyclic"}},
        {"init": {"recurrent": "identity", "bias": "uniform"}},
        {"task": {"name": "noise", "kick": True}},
        {"task": {"name": "sum"}},
        {"base": {"cell": "gru"}, "rnn": {}},
    ],
)
def test_diagonal_lines_speak_of_nothing_else(other: dict[str, Any]) -> None:
    assert diagonal_lines(runs_of({"scale": [0.5, 0.9]}, **DIAGONAL | other)).empty
