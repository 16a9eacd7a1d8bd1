"""What a notebook shows of each thing: HTML that closes and escapes all, made without another pass; and first plots."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from report.test_page import Read
from study.tiny import run, tiny

import gradlab as gl
from gradlab._trace.facade import LayerTrace
from gradlab._trace.trace import Trace
from gradlab.formatting.numbers import compact
from gradlab.verdicts.verdict import judge

QUESTION = '<script>alert("&")</script>'
FOUND = "At g < 1 it does."
rng = np.random.default_rng(0)
X = rng.normal(size=(30, 4, 3))
CELL = gl.LSTM.init(3, 5, rng=0)


def html(thing: Any) -> str:
    """Return what a notebook shows, by IPython's own formatter where it is installed."""
    try:
        from IPython.core.formatters import DisplayFormatter
    except ImportError:
        return str(thing._repr_html_())
    return str(DisplayFormatter().format(thing)[0]["text/html"])


def every_step() -> Trace:
    """Return a trace whose loss is read at every step: the last one's alone takes a backward pass of its own."""
    readout = gl.Readout.init(5, 1, activation="identity", rng=1)
    return gl.trace(gl.Network([CELL], readout=readout), X, gl.mse(np.zeros((30, 4, 1)), at="every"))


def deep() -> Trace:
    layers = [CELL, gl.Bidirectional(gl.GRU.init(5, 4, rng=1), gl.GRU.init(5, 4, rng=2)), gl.RNN.init(8, 4, rng=3)]
    return gl.trace(gl.Network(layers), X, gl.projection(np.ones((4, 4))))


def one_layer() -> Trace:
    return gl.trace(CELL, X, gl.projection(np.ones((4, 5))))


def results(folder: Path) -> Any:
    return run(tiny(question=QUESTION, found=FOUND, grid={"scale": [1.5], "length": [9], "seeds": 1}), folder)


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    trace = one_layer()
    training = gl.Training(gl.LSTM.init(3, 5, rng=0), lambda step: (X, gl.projection(np.ones((4, 5)))))
    with gl.watch(training, every=1) as watched:
        training.run(2)
    watched.refused["<script>"] = "is a name & no element"
    stepless = gl.custom_cell(lambda h, x: 0.5 * h + x, state_size=3, input_size=3)
    return {
        "trace": trace,
        "deep": deep(),
        "every step": every_step(),
        "no loss": gl.trace(CELL, X),
        "custom": gl.trace(stepless, X),
        "layer": trace.layers[0],
        "rate": trace.rate(),
        "spectrum": trace.spectrum(9),
        "horizon": trace.horizon(),
        "shape": trace.shape(),
        "paths": trace.paths(),
        "truncation": trace.truncation(),
        "sensitivity": trace.sensitivity(),
        "verdict": trace.verdict(),
        "selfcheck": gl.selfcheck(gl.RNN.init(2, 3, rng=0)),
        "training": training,
        "watch": watched,
        "study": tiny(question=QUESTION, found=FOUND),
        "results": results(tmp_path_factory.mktemp("results") / "a long name of a folder that goes on"),
    }


NAMES = [
    "trace",
    "deep",
    "every step",
    "no loss",
    "custom",
    "layer",
    "rate",
    "spectrum",
    "horizon",
    "shape",
    "paths",
    "truncation",
    "sensitivity",
    "verdict",
    "selfcheck",
    "training",
    "watch",
    "study",
    "results",
]


@pytest.mark.parametrize("name", NAMES)
def test_html_is_closed_and_escaped(things: dict[str, Any], name: str) -> None:
    read = Read(html(things[name]))
    assert not read.open
    assert {tag for tag, _ in read.tags} <= {"div", "p", "b", "table", "thead", "tbody", "tr", "th", "td"}
    assert len(read.words) >= 3
    assert name != "custom" or "custom_cell(<lambda>" in read.text
    assert name not in ("study", "results") or f"{QUESTION} found {FOUND}" in read.text


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("training", "watch")])
def test_text_fits_a_terminal(things: dict[str, Any], name: str) -> None:
    text = repr(things[name])
    assert text
    assert max(map(len, text.splitlines())) <= 80


def test_what_is_shown(things: dict[str, Any]) -> None:
    for line in str(things["verdict"]).splitlines():
        assert " ".join(line.split()) in Read(html(things["verdict"])).text
    for line in str(judge(things["layer"].evidence())).splitlines()[:2]:
        for name in ("trace", "layer"):
            assert " ".join(line.split()) in Read(html(things[name])).text
    assert f"Rate: {things['rate']}" in Read(html(things["rate"])).text
    assert str(things["rate"]).endswith("] nats/step")
    spectrum, paths = things["spectrum"], things["paths"]
    assert repr(spectrum).startswith("Spectrum: λ1 … λ9 in nats/step, ± two standard errors\n  λ1         −")
    assert f"λ9 {compact(spectrum.exponents[8])}" in Read(html(spectrum)).text
    assert repr(things["horizon"]).startswith(f"Horizon: {things['horizon'].steps:g} steps\n")
    assert repr(things["shape"]).startswith(f"Shape: {things['shape'].word}\n")
    assert f"all paths            {compact(paths.everything[0].mean(), 3)} nats at t = 0" in repr(paths)
    assert "  k 1   error 0." in repr(things["truncation"])
    assert f"{compact(things['sensitivity'].log_norm[-1, 0].mean(), 3)} nats" in repr(things["sensitivity"])
    assert "layer 1, reverse GRU(input_size=5" in Read(html(things["deep"])).text
    assert Read(html(things["no loss"])).text == "Trace: T 30, B 4, O 5, no loss layer 0, forward " + repr(CELL)
    assert "complex step" in html(things["selfcheck"])
    assert html(things["selfcheck"]).count("<tr>") == 1 + len(things["selfcheck"].checks)
    assert "0 planned, 2 done, 0 diverged, 0 failed" in html(things["results"])
    assert "rnn" in html(things["results"])
    assert "1.5" in html(things["study"])
    assert repr(things["study"]) == 'Study("tiny", 16 configurations)'


def test_showing_a_trace_runs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    traces = [one_layer(), deep(), every_step()]

    def refused(*words: object, **keys: object) -> None:
        raise AssertionError("a repr computes what is dear")

    monkeypatch.setattr(sys.modules["gradlab._trace.trace"], "run_backward", refused)
    monkeypatch.setattr(sys.modules["gradlab._trace.trace"], "run_forward", refused)
    for name in ("spectrum", "propagator", "temporal", "paths"):
        monkeypatch.setattr(LayerTrace, name, refused)
    for trace in traces:
        assert repr(trace)
        assert html(trace)
        assert html(trace.layers[0])
    assert "one more backward pass" in html(traces[2])
    monkeypatch.undo()
    word = traces[2].verdict().word
    monkeypatch.setattr(sys.modules["gradlab._trace.trace"], "run_backward", refused)
    assert word in html(traces[2])  # it has been made meanwhile


def test_a_plot_without_a_name_of_one_layer() -> None:
    trace = one_layer()
    ax = trace.plot().axes[0]
    lines = {line.get_label(): line for line in ax.get_lines()}
    assert set(lines) == {"total dL/dh", "direct dL/dh", "joint δ"}
    total = trace.log_norm("dL/dh").mean(axis=1)
    np.testing.assert_allclose(lines["total dL/dh"].get_ydata(), total[::-1])
    np.testing.assert_allclose(lines["total dL/dh"].get_xdata(), np.arange(31))
    np.testing.assert_allclose(lines["joint δ"].get_ydata(), trace.log_norm("adjoint").mean(axis=1)[::-1])
    assert np.isfinite(np.asarray(lines["direct dL/dh"].get_ydata())).sum() == 1
    assert ax.get_title() == f"{trace.verdict().word}: {trace.rate()}"
    assert ax.get_xlabel() == "lag k (steps)"
    rnn = gl.trace(gl.RNN.init(3, 4, rng=0), X, gl.projection(np.ones((4, 4))))
    assert {line.get_label() for line in rnn.plot().axes[0].get_lines()} == {"total dL/dh", "direct dL/dh"}


def test_a_plot_without_a_name_of_several_layers() -> None:
    trace = deep()
    ax = trace.plot().axes[0]
    assert len(ax.get_lines()) == 4
    for one, line in zip(trace.passes, ax.get_lines(), strict=True):
        assert line.get_label() == f"layer {one.layer}, {one.direction}, {one.verdict().word}"
        by_lag = one.by_lag("dL/dh").mean(axis=1)
        known = np.isfinite(by_lag)
        np.testing.assert_allclose(np.asarray(line.get_ydata())[known], by_lag[known])
    own = Figure()
    assert trace.plot(ax=own.subplots()) is own
    assert trace.layers[0].plot(ax=own.axes[0]) is own


def test_a_named_plot_of_several_layers_has_a_line_for_each() -> None:
    trace = deep()
    (ax,) = trace.plot("dL/dh").axes
    lines = {line.get_label(): line for line in ax.get_lines()}
    for one in trace.passes:
        drawn = lines[f"{one.cell.name}, layer {one.layer}, direction {one.direction}"]
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of lags at which no sequence has a gradient
            logs = one.by_lag("dL/dh")
            expected = np.nanmean(np.where(np.isneginf(logs), np.nan, logs), axis=1)
        np.testing.assert_allclose(drawn.get_ydata(), expected)
