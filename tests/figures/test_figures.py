"""Figures by what is in them: data, labels with units, limits, contour, hatches, keys; and the same bytes again."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from synthetic import make_frames, trained, with_long_range

from gradlab import figures
from gradlab.errors import InputError
from gradlab.figures import style
from gradlab.tables import tables

GRID = {"cell": ["rnn", "lstm"], "length": [10, 20, 40], "scale": [0.5, 1.0, 1.5, 2.0]}
FRAMES = make_frames(GRID, seeds=3)
STUDY = with_long_range(*FRAMES)
MADE = STUDY, trained(*FRAMES)
LOST = {("rnn", 40, 2.0): "diverged", ("lstm", 10, 0.5): "failed"}
IMAGES = {"cell": ["rnn", "lstm"], "task.order": ["rows", "pixels"], "scale": [0.5, 1.5]}


Tables = dict[str, pd.DataFrame]


def both(runs: pd.DataFrame, steps: pd.DataFrame) -> tuple[Tables, Tables]:
    """Return the tables that a figure may ask for: with what all hooks measure, and of a training."""
    return with_long_range(runs, steps), trained(runs, steps)


def made_for(name: str, made: tuple[Tables, Tables]) -> Tables:
    return made[name in ("training", "criterion", "prediction")]


def of(name: str, made: tuple[Tables, Tables]) -> Figure:
    return figures.draw(name, made_for(name, made))


def draw(name: str, runs: pd.DataFrame, steps: pd.DataFrame) -> Figure:
    return of(name, both(runs, steps))


@cache
def of_study(name: str) -> Figure:
    """Return a figure of the made-up study; drawn once, and only read by the tests that look at it."""
    return of(name, MADE)


def panels(figure: Figure) -> list[Axes]:
    return [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]


def texts(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.texts]


def contours(ax: Axes) -> list[ContourSet]:
    return [found for found in ax.collections if isinstance(found, ContourSet)]


def line(ax: Axes, label: str) -> Any:
    return next(found for found in ax.lines if found.get_label() == label)


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for found in figure.legends for text in found.get_texts()]


@pytest.mark.parametrize("name", sorted(set(figures.FIGURES) - {"phase", "criterion", "prediction"}))
def test_a_figure_without_the_length_says_which_it_shows(name: str) -> None:
    """Phase and criterion have it as an axis or as lines, prediction has a panel for each."""
    assert "for the longest sequences" in figures.FIGURES[name].caption


@pytest.mark.parametrize("name", figures.FIGURES)
def test_every_figure_fits_a_journal_and_is_small(name: str) -> None:
    figure = of_study(name)
    assert figure.get_size_inches()[0] in (figures.SINGLE, figures.DOUBLE)
    assert figure.get_size_inches()[1] < 9
    assert len(figures.svg(figure)) < 200_000
    for ax in panels(figure):
        assert ax.xaxis.label.get_fontsize() >= 6


@pytest.fixture(scope="module")
def small() -> tuple[Tables, Tables]:
    return both(*make_frames({"cell": ["lstm", "gru"], "length": [10, 20], "scale": [0.5, 2.0]}, seeds=2))


@pytest.mark.parametrize(("name", "kind"), [*((name, "svg") for name in figures.FIGURES), ("decay", "png")])
def test_drawn_again_the_bytes_are_the_same(name: str, kind: str, small: tuple[Tables, Tables]) -> None:
    first, again = (getattr(figures, kind)(of(name, small)) for _ in range(2))
    assert first == again


@pytest.fixture(
    scope="module",
    params=[
        (IMAGES, 2),
        ({"cell": ["rnn"], "length": [10], "scale": [0.5, 1.5]}, 1),
        ({"cell": ["rnn", "lstm"], "length": [10, 20], "scale": [0.5]}, 2),
        ({"cell": ["rnn", "lstm"], "task.order": ["rows", "pixels"]}, 2),
        (IMAGES | {"hidden": [8, 16]}, 1),
    ],
)
def sort(request: pytest.FixtureRequest) -> tuple[dict[str, list[Any]], int, tuple[Tables, Tables]]:
    """Return a sort of study: its grid, its seeds and its tables."""
    grid, seeds = request.param
    return grid, seeds, both(*make_frames(grid, seeds=seeds))


@pytest.mark.parametrize("name", figures.FIGURES)
def test_every_figure_of_every_kind_of_study(name: str, sort: tuple[Any, int, tuple[Tables, Tables]]) -> None:
    grid, seeds, made = sort
    if name == "phase" and "scale" in grid and len(grid["scale"]) == 1:
        with pytest.raises(InputError, match="no plane to draw"):
            of(name, made)
    elif name == "comparison" and seeds == 1:
        with pytest.raises(tables.NotRecorded, match="one setting or one seed"):
            of(name, made)
    elif name == "paths" and grid["cell"] == ["rnn"]:
        with pytest.raises(tables.NotRecorded, match=r'hooks = \["paths"\] records them, for cells with gates'):
            of(name, made)
    else:
        of(name, made).draw_without_rendering()


def test_every_figure_where_one_cell_lacks_the_key() -> None:
    runs, steps = make_frames({"cell": ["rnn", "lstm"], "length": [10, 20], "init.forget_bias": [0.0, 5.0]}, seeds=2)
    runs["init.forget_bias"] = runs["init.forget_bias"].where(runs["cell"] == "lstm")
    assert legend(draw("decay", runs, steps)) == ["no forget_bias", "0", "5"]
    assert [ax.get_title() for ax in panels(draw("phase", runs, steps))] == ["lstm"]
    (ax,) = panels(draw("rates", runs, steps))
    rate = tables.rates(runs[runs["length"] == 20]).iloc[0]["rate"]
    assert any(np.allclose(np.asarray(found.get_ydata(), dtype=float), rate) for found in ax.lines)


def test_every_figure_where_every_run_is_lost() -> None:
    grid = {"cell": ["rnn"], "length": [10, 20], "scale": [0.5, 1.5]}
    lost = {("rnn", length, scale): "diverged" for length in (10, 20) for scale in (0.5, 1.5)}
    runs, steps = make_frames(grid, seeds=1, lost=lost)
    figures.svg(draw("phase", runs, steps))
    figures.svg(draw("rates", runs, steps))
    with pytest.raises(InputError, match="no rows"):
        draw("decay", runs, steps)


def test_unknown_figure() -> None:
    with pytest.raises(InputError, match='unknown figure, quantity or column "fase"; did you mean "phase"'):
        draw("fase", *FRAMES)


def test_a_panel_without_data_is_not_drawn() -> None:
    runs, steps = make_frames({"cell": ["rnn", "lstm"], "hidden": [8, 16], "scale": [0.5, 1.5]}, seeds=1)
    kept = runs[(runs["cell"] == "rnn") | (runs["hidden"] == 8)]
    figure = draw("decay", kept, steps)
    assert [ax.axison for ax in figure.axes] == [True, True, True, False]


def test_decay_draws_its_table() -> None:
    table, layout = figures.decay.tabulate(STUDY)
    figure = of_study("decay")
    assert [ax.get_title() for ax in panels(figure)] == ["rnn", "lstm"]
    assert panels(figure)[0].get_ylabel() == "ln‖δₖ‖ − ln‖δ₁‖ (nats)"
    assert panels(figure)[1].get_ylabel() == ""
    assert {ax.get_xlabel() for ax in panels(figure)} == {"lag k (steps)"}
    assert legend(figure) == ["0.5", "1", "1.5", "2"]
    assert figure.legends[0].get_title().get_text() == "init scale g"
    for ax, cell in zip(panels(figure), ["rnn", "lstm"], strict=True):
        drawn, expected = line(ax, "1.5"), table[(table["cell"] == cell) & (table["scale"] == 1.5)]
        np.testing.assert_array_equal(drawn.get_xdata(), expected["lag"])
        np.testing.assert_array_equal(drawn.get_ydata(), expected["change"])
        np.testing.assert_allclose(ax.get_ylim(), panels(figure)[0].get_ylim())
        bands = [found.get_datalim(ax.transData) for found in ax.collections]
        assert min(band.y0 for band in bands) == pytest.approx(table.query("cell == @cell")["change_low"].min())
    assert layout.hue == "scale"


def test_a_picture_may_give_each_panel_a_y_of_its_own() -> None:
    """As that of the exponents, whose ends are far apart where the scale is large."""
    studied = figures.draw(
        "spectrum", with_long_range(*make_frames({"cell": ["rnn", "lstm"], "scale": [1.0]}, seeds=2))
    )
    one, two = panels(studied)
    assert one.get_ylim() != two.get_ylim()
    for ax in (one, two):
        low, high = ax.get_ylim()
        drawn = np.concatenate([found.get_ydata() for found in ax.lines])
        assert low <= drawn.min() < drawn.max() <= high
        assert any(label.get_visible() and label.get_text() for label in ax.get_yticklabels())
    assert "each panel has its own scale" in figures.FIGURES["spectrum"].caption


def test_decay_reads_in_grey() -> None:
    (ax, _) = panels(of_study("decay"))
    looks = [line(ax, label) for label in ("0.5", "1", "1.5", "2")]
    luma = [float(np.dot([0.2126, 0.7152, 0.0722], to_rgb(look.get_color()))) for look in looks]
    assert luma == sorted(luma)
    assert luma[-1] < 0.8
    assert len({look.get_marker() for look in looks}) == len({look.get_linestyle() for look in looks}) == 4


def test_levels_look_the_same_in_every_panel() -> None:
    """A level that one panel lacks does not shift the colours of the others."""
    runs, steps = make_frames(GRID, seeds=1, lost={("rnn", 40, 0.5): "diverged"})
    ax, other = panels(draw("decay", runs, steps))
    assert to_rgb(line(ax, "1").get_color()) == to_rgb(line(other, "1").get_color())
    assert line(ax, "1").get_marker() == line(other, "1").get_marker()


def test_phase_shows_every_rate_as_a_number() -> None:
    figure = of_study("phase")
    table, _ = figures.phase.tabulate(STUDY)
    for ax, cell in zip(panels(figure), ["rnn", "lstm"], strict=True):
        assert (ax.get_xlabel(), ax.get_title()) == ("length T (steps)", cell)
        assert [text.get_text() for text in ax.get_xticklabels()] == ["10", "20", "40"]
        expected = table[table["cell"] == cell].sort_values(["scale", "length"])["rate"]
        mesh = ax.collections[0]
        np.testing.assert_array_equal(np.ravel(mesh.get_array()), expected)
        assert len(ax.texts) == 12
        assert texts(ax)[0].startswith("−0.")
    first = panels(figure)[0]
    assert first.get_ylabel() == "init scale g"
    assert [text.get_text() for text in first.get_yticklabels()] == ["0.5", "1", "1.5", "2"]
    assert figure.axes[-1].get_ylabel() == "rate (nats/step)"


def test_phase_colours_are_centred_at_zero_and_shared() -> None:
    norms = [ax.collections[0].norm for ax in panels(of_study("phase"))]
    greatest = tables.rates(FRAMES[0])["rate"].abs().max()
    assert [(norm.vmin, norm.vmax) for norm in norms] == [(-greatest, greatest)] * 2


def test_phase_draws_zero_where_the_rate_is_zero() -> None:
    runs, steps = FRAMES
    rnn, lstm = panels(draw("phase", runs, steps))
    assert not contours(lstm)
    (zero,) = contours(rnn)
    (path,) = zero.get_paths()
    assert path.vertices[:, 0].min() == 0
    assert path.vertices[:, 0].max() == 3
    table = tables.rates(runs[(runs["cell"] == "rnn") & (runs["length"] == 20)])
    where = tables.crossing(table["scale"], table["rate"])
    drawn = np.interp(where, table["scale"], np.arange(4) + 0.5)
    at_20 = path.vertices[np.isclose(path.vertices[:, 0], 1.5), 1]
    np.testing.assert_allclose(at_20, drawn, rtol=1e-9)


def test_phase_does_not_join_what_has_no_order() -> None:
    rnn, _ = panels(draw("phase", *make_frames(IMAGES, seeds=1)))
    assert len(contours(rnn)) == 2


def test_phase_has_a_zero_line_for_a_single_length() -> None:
    (ax,) = panels(draw("phase", *make_frames({"cell": ["rnn"], "length": [10], "scale": [1.0, 2.0]}, seeds=1)))
    assert len(contours(ax)) == 1


def test_phase_hatches_what_was_lost_and_leaves_no_hole() -> None:
    rnn, lstm = panels(draw("phase", *make_frames(GRID, seeds=2, lost=LOST)))
    for ax, word, corner in ((rnn, "div.", (2, 3)), (lstm, "fail", (0, 0))):
        (patch,) = [found for found in ax.patches if isinstance(found, Rectangle)]
        assert patch.get_hatch()
        assert patch.get_xy() == corner
        assert texts(ax).count(word) == 1
        assert len(ax.texts) == 12
    assert len(contours(rnn)) == 1


def test_phase_hatches_over_the_rate_where_only_some_seeds_diverged() -> None:
    runs, steps = make_frames(GRID, seeds=3)
    at = (runs["cell"] == "rnn") & (runs["length"] == 10) & (runs["scale"] == 0.5) & (runs["seed"] == 1)
    runs.loc[at, "status"] = "diverged"
    rnn, _ = panels(draw("phase", runs, steps))
    (patch,) = rnn.patches
    assert patch.get_facecolor()[3] == 0
    assert "div." not in texts(rnn)


def test_numbers_stand_out_from_their_cells() -> None:
    for ax in panels(of_study("phase")):
        for text in ax.texts:
            face = text.get_bbox_patch().get_facecolor()[:3]
            ink, ground = (float(np.dot([0.2126, 0.7152, 0.0722], to_rgb(c))) for c in (text.get_color(), face))
            assert abs(ink - ground) > 0.4


def test_rates_draws_its_table_with_bars() -> None:
    table, _ = figures.rates.tabulate(STUDY)
    figure = of_study("rates")
    (ax,) = panels(figure)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("init scale g", "rate of ln‖δ‖ (nats/step)")
    assert legend(figure) == ["rnn", "lstm"]
    for cell, bars in zip(["rnn", "lstm"], ax.containers, strict=True):
        part = table[table["cell"] == cell]
        np.testing.assert_array_equal(bars.lines[0].get_ydata(), part["rate"])
        ends = np.array([segment[:, 1] for segment in bars.lines[2][0].get_segments()])
        np.testing.assert_allclose(ends, part[["rate_low", "rate_high"]])


def test_rates_marks_what_has_no_rate_on_the_edge() -> None:
    (ax,) = panels(draw("rates", *make_frames(GRID, seeds=2, lost=LOST)))
    (cross,) = [found for found in ax.lines if found.get_marker() == "x"]
    assert cross.get_xdata() == [2.0]
    assert cross.get_transform() != ax.transData


def test_phase_writes_the_sign_of_every_number() -> None:
    """A line that runs into a number must not read as its minus."""
    for ax in panels(of_study("phase")):
        assert {text[0] for text in texts(ax)} <= {"+", "−"}


def with_theory(runs: pd.DataFrame, steps: pd.DataFrame, **keys: Any) -> dict[str, pd.DataFrame]:
    """Return the tables with a line of theory for the RNN that crosses at scale 1.2."""
    scales = np.linspace(0.5, 2.0, 61)
    return with_long_range(runs, steps) | {
        "theory": pd.DataFrame({"cell": "rnn", **keys, "scale": scales, "theory": np.log(scales / 1.2)})
    }


def test_phase_has_the_edge_of_theory_where_it_has_one() -> None:
    frames = with_theory(*FRAMES)
    figure = figures.draw("phase", frames)
    rnn, lstm = panels(figure)
    edge = [found for found in rnn.lines if found.get_label() == figures.phase.CRITICAL]
    assert [tuple(found.get_xdata()) for found in edge] == [(0, 1), (1, 2), (2, 3)]
    where = np.interp(1.2, [0.5, 1.0, 1.5, 2.0], np.arange(4) + 0.5)
    np.testing.assert_allclose([found.get_ydata() for found in edge], where, atol=1e-3)
    assert {found.get_linestyle() for found in edge} == {"--"}
    assert not [found for found in lstm.lines if found.get_label() == figures.phase.CRITICAL]
    assert legend(figure) == [figures.phase.ZERO, figures.phase.CRITICAL]
    text = figures.phase.finding(*figures.phase.tabulate(frames))
    assert text.endswith("Theory's edge for the RNN as H → ∞ is at scale 1.200.")
    assert "which has no such line for gated cells" in figures.FIGURES["phase"].caption


def test_phase_draws_the_edge_of_theory_over_the_cells_and_the_numbers_beside_it() -> None:
    frames = with_theory(*FRAMES)
    frames["theory"] = frames["theory"].assign(theory=np.log(frames["theory"]["scale"]))  # through the row of scale 1
    rnn, lstm = panels(figures.draw("phase", frames))
    edge = [found for found in rnn.lines if found.get_label() == figures.phase.CRITICAL]
    assert min(line.get_zorder() for line in edge) > max(text.get_zorder() for text in rnn.texts)
    away = [abs(text.get_position()[1] - line.get_ydata()[0]) for text in rnn.texts for line in edge]
    assert min(away) == pytest.approx(figures.phase.CLEAR)
    assert {text.get_position()[1] % 1 for text in lstm.texts} == {0.5}


def test_phase_has_no_edge_that_lies_beyond_what_was_studied() -> None:
    frames = with_theory(*FRAMES)
    above = frames | {"theory": frames["theory"].assign(theory=-1.0)}
    assert not legend(figures.draw("phase", above))
    assert "Theory" not in figures.phase.finding(*figures.phase.tabulate(above))


def test_phase_draws_no_edge_outside_of_what_has_run() -> None:
    runs, steps = FRAMES
    begun = runs.assign(status=runs["status"].where(runs["scale"] <= 1.0, "planned"))
    rnn, _ = panels(figures.draw("phase", with_theory(begun, steps)))  # the edge lies at 1.2
    assert [label.get_text() for label in rnn.get_yticklabels()] == ["0.5", "1"]
    assert not [found for found in rnn.lines if found.get_label() == figures.phase.CRITICAL]


def test_theory_that_does_not_depend_on_a_panel_is_in_each() -> None:
    grid = {"cell": ["rnn", "lstm"], "hidden": [8, 16], "scale": [0.5, 1.0, 2.0]}
    figure = figures.draw("lyapunov", with_theory(*make_frames(grid, seeds=2)))
    assert [ax.get_title() for ax in panels(figure)] == ["hidden 8", "hidden 16"]
    for ax in panels(figure):
        np.testing.assert_allclose(line(ax, "mean field, H → ∞").get_xdata()[[0, -1]], [0.5, 2.0])
    assert legend(figure) == ["rnn", "lstm", "mean field, H → ∞"]


def test_horizon_stands_beside_the_lag_that_the_task_needs() -> None:
    table, layout = figures.horizon.tabulate(STUDY)
    figure = of_study("horizon")
    (ax,) = panels(figure)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("init scale g", "horizon (1 %) (steps)")
    assert ax.get_yscale() == "log"
    assert legend(figure) == ["rnn", "lstm", figures.horizon.BEYOND, figures.horizon.NEEDED]
    np.testing.assert_array_equal(line(ax, figures.horizon.NEEDED).get_ydata(), 39)
    for cell, bars, shift in zip(["rnn", "lstm"], ax.containers, [-1, 1], strict=True):
        part = table[table["cell"] == cell]
        np.testing.assert_allclose(np.asarray(bars.lines[0].get_ydata(), float), part["horizon_1pct"])
        moved = part["scale"] + shift * style.DODGE / 4
        np.testing.assert_allclose(np.asarray(bars.lines[0].get_xdata(), float), moved)
    beyond = [found for found in ax.lines if found.get_label() == figures.horizon.BEYOND]
    assert [(found.get_marker(), found.get_markerfacecolor()) for found in beyond] == [("^", "white")]
    np.testing.assert_allclose(beyond[0].get_xdata(), [1.5 - 0.015, 2.0 - 0.015])  # a rate of 0.14 and 0.43
    np.testing.assert_array_equal(beyond[0].get_ydata(), [39, 39])
    assert figures.horizon.finding(table, layout).startswith("2 of 8 combinations keep 1 % of the gradient for the lag")


def test_horizon_bars_end_where_no_bound_is_known() -> None:
    table, layout = figures.horizon.tabulate(STUDY)
    known = table.assign(horizon_1pct=10.0, horizon_1pct_low=8.0, horizon_1pct_high=[np.nan, 15.0] * 4)
    ax = figures.horizon.draw(known, layout)
    ends = np.array([segment[:, 1] for segment in ax.containers[0].lines[2][0].get_segments()])
    np.testing.assert_allclose(ends, [[8, 10], [8, 15]] * 2)


def test_horizon_marks_what_was_lost() -> None:
    (ax,) = panels(draw("horizon", *make_frames(GRID, seeds=2, lost=LOST)))
    (cross,) = [found for found in ax.lines if found.get_marker() == "x"]
    assert cross.get_xdata()[0] == pytest.approx(2.0, abs=0.05)
    assert cross.get_transform() != ax.transData


def test_a_panel_of_horizons_beyond_every_sequence_is_not_hatched() -> None:
    """Nothing was lost in it: half of the runs have more than 1 % left at T."""
    runs, steps = FRAMES
    kept = runs.assign(horizon_1pct=float("inf"), censored=1.0)
    (ax,) = panels(draw("horizon", kept, steps))
    assert figures.horizon.tabulate(with_long_range(kept, steps))[0]["horizon_1pct"].isna().all()
    assert ax.patch.get_hatch() is None
    assert "beyond T" in legend(ax.figure)


def test_comparison_draws_every_difference_with_its_interval() -> None:
    table, layout = figures.comparison.tabulate(STUDY)
    figure = of_study("comparison")
    (ax,) = panels(figure)
    assert ax.get_xlabel() == "rate of b − rate of a (nats/step)"
    assert [text.get_text() for text in ax.get_yticklabels()] == ["scale 0.5", "scale 1", "scale 1.5", "scale 2"]
    assert ax.get_ylim() == (3.5, -0.5)
    assert figures.comparison.tabulate(STUDY)[0]["pair"].unique().tolist() == ["lstm − rnn"]
    bars = [found for found in ax.lines if found.get_marker() == "|"]
    points = [found for found in ax.lines if found.get_marker() == "o"]
    np.testing.assert_array_equal([bar.get_xdata() for bar in bars], table[["difference_low", "difference_high"]])
    np.testing.assert_array_equal([point.get_xdata()[0] for point in points], table["difference"])
    apart = (table["difference_low"] > 0) | (table["difference_high"] < 0)
    assert [point.get_markerfacecolor() != "white" for point in points] == apart.tolist()
    runs = FRAMES[0].query("length == 40 and scale == 1").pivot(index="seed", columns="cell", values="rate")
    assert points[1].get_xdata()[0] == pytest.approx((runs["lstm"] - runs["rnn"]).mean())
    assert "differences have an interval that excludes zero; the largest: LSTM" in figures.comparison.finding(
        table, layout
    )


def test_comparison_of_three_cells_has_a_panel_a_pair_and_hatches_what_was_lost() -> None:
    grid = {"cell": ["rnn", "lstm", "gru"], "scale": [0.5, 1.5]}
    figure = draw("comparison", *make_frames(grid, seeds=3, lost={("rnn", 1.5): "diverged"}))
    assert [ax.get_title() for ax in panels(figure)] == ["lstm − rnn", "gru − rnn", "gru − lstm"]
    for ax, hatched in zip(panels(figure), [1, 1, 0], strict=True):
        assert len([patch for patch in ax.patches if patch.get_hatch()]) == hatched


def test_comparison_of_one_cell_is_of_what_is_turned() -> None:
    (ax,) = panels(draw("comparison", *make_frames({"cell": ["rnn"], "scale": [0.5, 1.0, 1.5, 2.0]}, seeds=2)))
    assert [text.get_text() for text in ax.get_yticklabels()] == ["1 − 0.5", "2 − 0.5", "2 − 1"]


def test_a_single_line_needs_no_key() -> None:
    figure = draw("rates", *make_frames({"cell": ["rnn"], "scale": [0.5, 1.0]}, seeds=1))
    assert not figure.legends


def test_one_panel_into_the_users_own_axes() -> None:
    for name in figures.FIGURES:
        ax = Figure().subplots()
        table, layout = figures.FIGURES[name].table(made_for(name, MADE))
        part = table[table[layout.panel] == table[layout.panel].iloc[0]] if layout.panel else table
        assert figures.FIGURES[name].draw(part, layout, ax=ax) is ax
        own = figures.FIGURES[name].draw(part, layout)
        assert own is not ax


def test_the_steps_of_a_training_stand_in_one_line() -> None:
    """Before and after: four panels a line, where three would part them."""
    one = with_long_range(*make_frames({"cell": ["rnn", "lstm", "gru"], "scale": [0.5, 1.0]}, seeds=2))
    both = {name: pd.concat([one[name].assign(step=step) for step in (0, 100)]) for name in ("runs", "steps")}
    figure = figures.draw("gates", {**one, **{name: table.reset_index(drop=True) for name, table in both.items()}})
    lines: dict[int, list[str]] = {}
    for ax in panels(figure):
        if ax.get_title():
            lines.setdefault(ax.get_subplotspec().rowspan.start, []).append(ax.get_title().replace("\n", " "))
    settings = [[title.partition(", scale")[0] + title.split(",")[1] for title in line] for line in lines.values()]
    assert [len(line) for line in settings] == [4, 4, 4]
    assert all(line[0] == line[1] and line[2] == line[3] for line in settings)


def test_each_name_has_a_colour_of_its_own() -> None:
    colours = style._colours(list("abcdefgh"))
    assert len({to_hex(colour) for colour in colours}) == len(colours)


def test_names_stand_side_by_side_and_numbers_where_they_are() -> None:
    table = pd.DataFrame({"cell": ["rnn", "lstm", "rnn"], "scale": [0.5, 2.0, 0.5]})
    assert style.places(table, "cell") == {"lstm": 0.0, "rnn": 1.0}
    assert style.places(table, "scale") == {0.5: 0.5, 2.0: 2.0}
