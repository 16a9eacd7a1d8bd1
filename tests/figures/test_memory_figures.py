"""Figures of memory and of the attractor: sensitivity and agreement, by what is in them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from synthetic import frames, make_frames, with_long_range

from gradlab import figures
from gradlab.figures.laws import draw_laws
from gradlab.tables import tables

STUDY = with_long_range(*make_frames({"cell": ["rnn", "lstm"], "length": [20, 40], "scale": [0.5, 0.7, 2.0]}, seeds=3))
LINE = pd.DataFrame({"cell": "rnn", "memory": [2.0, 4.0], "theory": [1.0, 8.0], "law": "exact"})


def panel(figure: Figure, title: str) -> Axes:
    return next(ax for ax in figure.axes if ax.get_title() == title)


def runs_of(cell: str, scale: float) -> pd.DataFrame:
    return STUDY["runs"].query("cell == @cell and scale == @scale and length == 40")


def drawn(ax: Axes, label: str) -> Any:
    return next(found for found in ax.containers if found.get_label() == label).lines[0]


def test_sensitivity_draws_means_over_the_memory_of_what_decays() -> None:
    """The RNN's gradient grows at scale 2: it has no place; the LSTM's decays at every scale."""
    figure = figures.draw("sensitivity", STUDY)
    for cell, scales in (("rnn", [0.5, 0.7]), ("lstm", [0.5, 0.7, 2.0])):
        found = [runs_of(cell, scale) for scale in scales]
        for label, name in (("mean square of h", "state_power"), ("mean square of ∂h/∂w", "weight_sensitivity")):
            dots = drawn(panel(figure, cell), label)
            memory = [(1 / (1 - np.exp(runs["rate"]))).mean() for runs in found]
            np.testing.assert_allclose(dots.get_xdata(orig=False), memory, rtol=1e-12)
            np.testing.assert_allclose(dots.get_ydata(orig=False), [runs[name].mean() for runs in found], rtol=1e-12)


def test_sensitivity_draws_the_exact_lines_and_says_the_growth() -> None:
    table, layout = figures.sensitivity.tabulate(STUDY | {"diagonal": LINE})
    figure = figures.draw("sensitivity", STUDY | {"diagonal": LINE})
    (line,) = [found for found in panel(figure, "rnn").lines if found.get_label() == "exact"]
    np.testing.assert_array_equal(line.get_xdata(), LINE["memory"])
    np.testing.assert_array_equal(line.get_ydata(), LINE["theory"])
    assert not [found for found in panel(figure, "lstm").lines if found.get_label() == "exact"]
    measured = table[(table["cell"] == "rnn") & table["theory"].isna()]
    few = figures.sensitivity.finding(measured, layout)
    state = runs_of("rnn", 0.7)["state_power"].mean() / runs_of("rnn", 0.5)["state_power"].mean()
    assert f"mean square of h {state:.2f}-fold" in few
    assert (
        figures.sensitivity.finding(measured.head(1), layout)
        == "There is only one value of the memory, so no growth can be computed."
    )


def test_sensitivity_of_gradients_that_do_not_decay() -> None:
    grown = with_long_range(*make_frames({"cell": ["rnn"], "scale": [2.0, 3.0]}, seeds=2))
    with pytest.raises(tables.NotRecorded, match="no gradient decays"):
        figures.draw("sensitivity", grown)


@pytest.mark.parametrize(("name", "hook"), [("sensitivity", "sensitivity"), ("agreement", "lyapunov:1")])
def test_what_no_hook_recorded_names_the_hook(name: str, hook: str) -> None:
    with pytest.raises(tables.NotRecorded, match=rf'hooks = \["gradients", "{hook}"\]'):
        figures.draw(name, frames(*make_frames({"cell": ["lstm"], "scale": [1.0, 2.0]}, seeds=1)))


def test_agreement_has_a_point_a_run_beside_the_line() -> None:
    apart = STUDY | {"runs": STUDY["runs"].assign(lyapunov_1=STUDY["runs"]["rate"] + 0.25)}
    figure = figures.draw("agreement", apart)
    for cell in ("rnn", "lstm"):
        for scale in (0.5, 0.7, 2.0):
            (dots,) = [ax for ax in panel(figure, cell).lines if ax.get_label() == f"{scale:g}"]
            runs = runs_of(cell, scale)
            np.testing.assert_array_equal(dots.get_ydata(), runs["rate"])
            np.testing.assert_array_equal(dots.get_xdata(), runs["rate"] + 0.25)
            assert dots.get_linestyle() == "None"
    assert figures.agreement.finding(*figures.agreement.tabulate(apart)).endswith(
        "the median difference is 0.25 nats/step, the largest 0.25."
    )


def test_agreement_counts_the_signs_and_leaves_out_what_is_lost() -> None:
    lost = make_frames({"cell": ["rnn"], "scale": [0.5, 2.0]}, seeds=4, lost={("rnn", 2.0): "diverged"})
    study = with_long_range(*lost)
    study["runs"]["lyapunov_1"] = [0.1, -0.1, -0.1, -0.1, *[np.nan] * 4]
    table, layout = figures.agreement.tabulate(study)
    assert len(table) == 4
    assert figures.agreement.finding(table, layout).startswith("The rate and λ₁ have the same sign in 3 of 4 runs")


def test_a_law_looks_the_same_in_every_panel() -> None:
    """The second panel has one of the two laws alone."""
    laws = [
        LINE.assign(law=law, scale=[0.5, 0.7], cell=cell) for cell, law in (("rnn", "a"), ("rnn", "b"), ("lstm", "b"))
    ]
    table = pd.concat(laws, ignore_index=True)
    styles = []
    for cell in ("rnn", "lstm"):
        ax = Figure().subplots()
        draw_laws(ax, table[table["cell"] == cell].drop(columns="cell"), "scale", table.drop(columns="cell"))
        styles.append({line.get_label(): line.get_linestyle() for line in ax.lines})
    assert len(set(styles[0].values())) == 2
    assert styles[1]["b"] == styles[0]["b"]
