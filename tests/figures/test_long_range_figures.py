"""Figures of exponents, paths and temporal matrices by what is in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from synthetic import frames, make_frames, with_long_range

import gradlab as gl
from gradlab import figures
from gradlab.tables import tables

SIZES = with_long_range(*make_frames({"cell": ["rnn"], "scale": [1.0, 2.0], "hidden": [8, 16]}, seeds=3))
CELLS = with_long_range(*make_frames({"cell": ["rnn", "lstm", "gru"], "scale": [1.0, 2.0]}, seeds=3))
THEORY = pd.DataFrame({"cell": "rnn", "scale": [1.0, 1.5, 2.0], "theory": [0.1, 0.2, 0.3]})


def line(ax: Axes, label: str) -> Any:
    return next(found for found in ax.lines if found.get_label() == label)


def panels(figure: Figure) -> list[Axes]:
    return [ax for ax in figure.axes if ax.axison]


@pytest.mark.parametrize(("name", "hook"), [("lyapunov", "lyapunov:1"), ("spectrum", "lyapunov:k"), ("paths", "paths")])
def test_what_no_hook_recorded_names_the_hook(name: str, hook: str) -> None:
    with pytest.raises(tables.NotRecorded, match=rf'hooks = \["{hook}"\]'):
        figures.draw(name, frames(*make_frames({"cell": ["lstm"], "scale": [1.0, 2.0]}, seeds=1)))


def test_spectrum_is_over_the_rank_per_unit_a_line_a_size() -> None:
    figure = figures.draw("spectrum", SIZES)
    assert [ax.get_title() for ax in panels(figure)] == ["scale 1", "scale 2"]
    assert panels(figure)[0].get_xlabel() == "index i / H"
    assert panels(figure)[0].get_ylabel() == "exponent λᵢ (nats/step)"
    for hidden in (8, 16):
        drawn = line(panels(figure)[1], str(hidden))
        np.testing.assert_allclose(drawn.get_xdata(), np.arange(1, 9) / hidden)
        runs = SIZES["runs"].query("scale == 2 and hidden == @hidden")
        np.testing.assert_allclose(drawn.get_ydata(), runs["rate"].mean() - 0.1 * np.arange(8))


def test_spectrum_has_a_panel_a_cell_where_no_size_varies() -> None:
    table, layout = figures.spectrum.tabulate(CELLS)
    assert (layout.panel, layout.rows, layout.hue) == ("cell", (), "scale")
    assert figures.spectrum.finding(table, layout).startswith("Largest exponents ")


def test_lyapunov_draws_its_table_and_the_line_of_theory() -> None:
    table, layout = figures.lyapunov.tabulate(CELLS | {"theory": THEORY})
    (ax,) = panels(figures.draw("lyapunov", CELLS | {"theory": THEORY}))
    assert ax.get_ylabel() == "λ₁ (nats/step)"
    drawn = line(ax, "mean field, H → ∞")
    np.testing.assert_array_equal(drawn.get_xdata(), THEORY["scale"])
    np.testing.assert_array_equal(drawn.get_ydata(), THEORY["theory"])
    for cell, bars in zip(["rnn", "lstm", "gru"], ax.containers, strict=True):
        expected = table[(table["cell"] == cell) & table["theory"].isna()]["lyapunov_1"]
        np.testing.assert_array_equal(bars.lines[0].get_ydata(), expected)
    assert "The line is ½ ln χ of mean-field theory" in figures.lyapunov.finding(table, layout)
    assert "tied" not in figures.FIGURES["lyapunov"].caption
    assert "gated cells" in figures.FIGURES["lyapunov"].caption


def test_lyapunov_without_theory_says_so() -> None:
    table, layout = figures.lyapunov.tabulate(CELLS)
    assert "There is no line of theory" in figures.lyapunov.finding(table, layout)


def test_lyapunov_of_one_cell_has_a_line_a_size() -> None:
    (ax,) = panels(figures.draw("lyapunov", SIZES | {"theory": THEORY}))
    assert {"8", "16"} <= set(ax.get_legend_handles_labels()[1])


def test_paths_start_at_all_paths_and_have_a_panel_a_combination() -> None:
    figure = figures.draw("paths", CELLS)
    titles = [ax.get_title() for ax in panels(figure)]
    assert titles == ["lstm, scale 1", "lstm, scale 2", "gru, scale 1", "gru, scale 2"]
    ax = panels(figure)[0]
    whole, alone = (np.asarray(line(ax, name).get_ydata()) for name in ("all paths", "additive path alone"))
    lags = np.asarray(line(ax, "all paths").get_xdata())
    assert whole[0] == 0
    np.testing.assert_allclose(whole - alone, 0.2 * lags, atol=1e-9)
    table, layout = figures.paths.tabulate(CELLS)
    assert "the additive path alone has between e^−" in figures.paths.finding(table, layout)


def test_many_panels_are_broken_into_lines_of_three() -> None:
    many = with_long_range(*make_frames({"cell": ["lstm"], "scale": [0.5, 1.0, 1.2, 1.5, 2.0]}, seeds=1))
    figure = figures.draw("paths", many)
    assert [ax.axison for ax in figure.axes] == [True] * 5 + [False]
    named = [ax.get_xlabel() for ax in figure.axes]
    assert [bool(text) for text in named[:5]] == [False, False, True, True, True]


def test_temporal_is_a_map_of_the_matrix() -> None:
    cell = gl.RNN(np.ones((2, 1)), 0.5 * np.eye(2), activation="identity")
    trace = gl.trace(cell, np.ones((6, 2, 1)), gl.projection(np.ones((6, 2, 2))))
    ax = trace.plot("temporal").axes[0]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("state step s (steps)", "loss step t (steps)")
    shown = ax.collections[0].get_array().reshape(6, 7)
    t, s = np.indices(shown.shape)
    np.testing.assert_array_equal(np.ma.getmaskarray(shown), s > t + 1)
    assert [edge[0, 0] + 0.5 for edge in np.moveaxis(ax.collections[0].get_coordinates(), -1, 0)] == [0, 1]  # s, t
    known = ~np.ma.getmaskarray(shown)
    np.testing.assert_allclose(shown[known], ((t + 1 - s) * np.log(0.5) + 0.5 * np.log(2))[known], rtol=1e-12)
    own = Figure()
    assert trace.plot("temporal", ax=own.subplots()) is own


# --- theory's other lines, and who teaches whom, in a study ---------------------------------------------


def ran(tmp_path: Path, figure: str, hook: str, grid: dict[str, Any], **tables: Any) -> Figure:
    base = {"length": 30, "hidden": 6, "batch": 2, "hooks": [hook]} | tables.pop("base", {})
    base = {key: value for key, value in base.items() if key not in grid}
    study = gl.Study(name="x", grid=grid, base=base, task=tables.pop("task", {"name": "noise"}), **tables)
    results = study.run(tmp_path / "x", workers=0, progress=False)
    return results.plot(figure)


def test_gated_cells_have_the_line_of_their_rest(tmp_path: Path) -> None:
    """E12, E13: it crosses zero at g = 2 for both; nobody takes it for mean field's."""
    figure = ran(tmp_path, "lyapunov", "lyapunov:1", {"cell": ["lstm", "gru"], "scale": [0.5, 3.0]})
    (ax,) = panels(figure)
    for cell in ("lstm", "gru"):
        drawn = line(ax, f"{cell} at rest, tied weights")
        assert abs(np.interp(0.0, drawn.get_ydata(), drawn.get_xdata()) - 2.0) < 1e-3
    assert not [found for found in ax.lines if "mean field" in str(found.get_label())]


def test_a_spectrum_has_newmans_line_once(tmp_path: Path) -> None:
    grid = {"hidden": [4, 6], "scale": [1.5, 3.0]}
    figure = ran(tmp_path, "spectrum", "lyapunov:6", grid, base={"cell": "rnn"}, task={"name": "noise", "kick": True})
    for ax, scale in zip(panels(figure), (1.5, 3.0), strict=True):
        (drawn,) = [found for found in ax.lines if str(found.get_label()).startswith("null model")]
        np.testing.assert_allclose(drawn.get_ydata(), gl.theory.newman_exponents(6, scale=scale).exponents)
        assert len(line(ax, "4").get_xdata()) == 4


def test_paths_have_chronos_line_in_their_own_panels(tmp_path: Path) -> None:
    grid = {"cell": ["lstm"], "init.chrono": [10.0, 40.0]}
    figure = ran(tmp_path, "paths", "paths", grid, init={"recurrent": "gaussian"})
    ends = [line(ax, "chrono biases alone").get_ydata()[-1] for ax in panels(figure)]
    kept = [gl.theory.chrono_memory(T, 60).kept[0] for T in (10.0, 40.0)]
    np.testing.assert_allclose(ends, 0.5 * np.log(kept))


def test_a_study_maps_who_teaches_whom(tmp_path: Path) -> None:
    grid = {"cell": ["rnn", "lstm"]}
    figure = ran(tmp_path, "temporal", "temporal:4", grid, base={"at": "every"}, task={"name": "sum"})
    assert [ax.get_title() for ax in panels(figure)[:2]] == ["rnn", "lstm"]
    for ax in panels(figure)[:2]:
        shown = ax.collections[0].get_array().reshape(4, 31)
        assert np.ma.count(shown, axis=1).tolist() == [2, 12, 21, 31]  # loss steps 1, 11, 20, 30
