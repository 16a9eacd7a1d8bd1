"""Figures of what hooks measure of a pass, and of one trace, by what is in them; training with weights that trained."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from synthetic import frames, make_frames, trained, with_long_range

import gradlab as gl
from gradlab import figures
from gradlab.hooks.frames import frames as measured
from gradlab.tables import tables

T, B, D, H = 30, 6, 2, 8
CELLS = {"rnn": gl.RNN, "lstm": gl.LSTM, "gru": gl.GRU}
STUDY = with_long_range(*make_frames({"cell": ["lstm", "gru"], "length": [20], "scale": [1.0, 2.0]}, seeds=3))


def traced(cell: str = "lstm", at: Any = "last", **init: Any) -> gl.Trace:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((T, B, D)), rng.standard_normal((T, B, H) if at == "every" else (B, H))
    return gl.trace(CELLS[cell].init(D, H, rng=1, **init), x, gl.mse(y, at=at))


def line(ax: Axes, label: str) -> Any:
    return next(found for found in ax.lines if found.get_label() == label)


def edges(ax: Axes, label: str) -> tuple[Any, Any]:
    """Return the lower and the upper edge of a band by x."""
    (band,) = [found for found in ax.collections if found.get_label() == label]
    points = pd.DataFrame(band.get_paths()[0].vertices, columns=["x", "y"]).groupby("x")["y"]
    return points.min().to_numpy(), points.max().to_numpy()


def twin(ax: Axes) -> Axes:
    (other,) = [found for found in ax.figure.axes if found is not ax and found.get_label() != "<colorbar>"]
    return other


def legend(found: Any) -> list[str]:
    return [text.get_text() for one in found.legends for text in one.get_texts()]


# --- what hooks measured ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("jacobians", r'hooks = \["jacobians"\]'),
        ("gates", r'hooks = \["gates"\]'),
        ("contributions", r'hooks = \["contributions"\]'),
        ("training", 'no column "step"'),
        ("criterion", r'\[train\] until = "loss" or "score"'),
        ("prediction", r'\[train\] until = "loss" or "score"'),
        ("temporal", r'hooks = \["temporal"\]'),
    ],
)
def test_what_was_not_recorded_says_what_would(name: str, missing: str) -> None:
    with pytest.raises(tables.NotRecorded, match=missing):
        figures.draw(name, frames(*make_frames({"cell": ["lstm"], "scale": [1.0, 2.0]}, seeds=1)))


def test_gates_without_gradients_ask_for_gradients() -> None:
    steps = STUDY["steps"]
    with pytest.raises(tables.NotRecorded, match=r'hooks = \["gradients"\]'):
        figures.draw("gates", STUDY | {"steps": steps[steps["quantity"] != "last_adjoint"]})


def test_jacobians_are_bands_over_t() -> None:
    figure = figures.draw("jacobians", STUDY)
    assert [ax.get_title() for ax in figure.axes] == [f"{c}, scale {g}" for c in ("lstm", "gru") for g in (1, 2)]
    ax = figure.axes[0]
    assert (figure.axes[2].get_xlabel(), ax.get_ylabel()) == ("t (steps)", "ln σ(Jₜ) (nats)")
    assert legend(figure) == ["all", "middle half", "largest", "median"]
    for label, low, high in (("all", -3.0, 0.2), ("middle half", -1.0, -0.1)):
        np.testing.assert_allclose(edges(ax, label), np.broadcast_to([[low], [high]], (2, 21)))
    np.testing.assert_array_equal(line(ax, "median").get_xdata(), np.arange(21))
    np.testing.assert_allclose(line(ax, "median").get_ydata(), -0.5)
    assert "lstm, scale 1 0.20 and −0.50" in figures.jacobians.finding(*figures.jacobians.tabulate(STUDY))


def test_gates_stand_beside_the_gradient() -> None:
    table, _ = figures.gates.tabulate(STUDY)
    figure = figures.draw("gates", STUDY)
    ax, right = figure.axes[0], next(a for a in figure.axes[4:] if a.bbox.bounds == figure.axes[0].bbox.bounds)
    assert (ax.get_ylabel(), ax.get_ylim()) == ("mean |gate|", (0, 1))
    np.testing.assert_allclose(line(ax, "f").get_ydata(), 0.7)
    gradient = table[table["gate"].isna() & (table["setting"] == "lstm, scale 1")]
    drawn = line(right, "gradient (right)")
    np.testing.assert_array_equal(drawn.get_ydata(), gradient["change"])
    assert drawn.get_ydata()[0] == 0
    assert legend(figure) == ["f", "i", "gradient (right)"]
    low, high = right.get_ylim()
    assert low < table["change_low"].min() < table["change_high"].max() < high
    assert {other.get_ylim() for other in figure.axes[4:]} == {(low, high)}
    outer = [other for other in figure.axes[4:] if other.get_ylabel()]
    assert {other.get_ylabel() for other in outer} == {"ln‖δₖ‖ − ln‖δ₁‖ (nats)"}
    assert "f 0.70 to 0.70" in figures.gates.finding(table, figures.gates.tabulate(STUDY)[1])


def test_gates_that_are_no_shares_have_a_logarithmic_scale() -> None:
    steps = STUDY["steps"]
    raised = steps.assign(mean_log=steps["mean_log"].mask(steps["quantity"] == "gate_i", 4.0))
    ax = figures.draw("gates", STUDY | {"steps": raised}).axes[0]
    assert ax.get_yscale() == "log"
    assert ax.get_ylim()[1] > np.exp(4.0)


def test_contributions_have_a_line_a_parameter() -> None:
    table, layout = figures.contributions.tabulate(STUDY)
    figure = figures.draw("contributions", STUDY)
    ax = figure.axes[0]
    assert (ax.get_ylabel(), figure.axes[-1].get_xlabel()) == ("ln‖part of step t‖ (nats)", "t (steps)")
    assert legend(figure) == ["W_hh", "b_h"]
    part = table[(table["setting"] == "lstm, scale 1") & (table["parameter"] == "b_h")]
    np.testing.assert_array_equal(line(ax, "b_h").get_ydata(), part["part"])
    gap = np.subtract(line(ax, "W_hh").get_ydata(), line(ax, "b_h").get_ydata())
    np.testing.assert_allclose(gap, 1.0)
    assert "a step's part changes by between" in figures.contributions.finding(table, layout)


def test_gradients_have_a_line_a_state_and_a_gate() -> None:
    walks = STUDY["steps"].query("quantity == 'last_adjoint'")
    shifts = {"dL/dh": 0.0, "dL/dc": 1.0, "dL/da_f": -2.0, "dL/dx": 5.0}
    parts = [walks.assign(quantity=name, mean_log=walks["mean_log"] + by) for name, by in shifts.items()]
    study = STUDY | {"steps": pd.concat(parts)}
    figure = figures.draw("gradients", study)
    ax = figure.axes[0]
    assert (ax.get_ylabel(), figure.axes[-1].get_xlabel()) == ("ln‖gradient‖ (nats)", "lag k (steps)")
    assert legend(figure) == ["dL/dh", "dL/dc", "dL/da_f"]
    runs = STUDY["runs"].query("cell == 'lstm' and scale == 1")
    means = walks[walks["id"].isin(runs["id"]) & (walks["lag"] >= 0)].groupby("lag")["mean_log"].mean()
    for name in ("dL/dh", "dL/dc", "dL/da_f"):
        np.testing.assert_array_equal(line(ax, name).get_xdata(), means.index)
        np.testing.assert_allclose(line(ax, name).get_ydata(), means + shifts[name], rtol=1e-12)
    said = figures.gradients.finding(*figures.gradients.tabulate(study))
    assert said.startswith("From the last step to the first, a gradient's logarithm changes by between")


def test_many_values_of_what_is_turned_are_shown_at_three() -> None:
    grid = {"cell": ["lstm"], "length": [10], "scale": [0.5, 0.7, 1.0, 1.5, 2.0]}
    study = with_long_range(*make_frames(grid, seeds=1))
    for name in ("jacobians", "gates", "gradients", "contributions"):
        titles = [ax.get_title() for ax in figures.draw(name, study).axes if ax.get_title()]
        assert titles == ["lstm, scale 0.5", "lstm, scale 1", "lstm, scale 2"]


def test_every_layer_has_its_panel_and_its_own_numbers() -> None:
    """Both layers have one id: each keeps its own line, and none is the mean of the two."""
    one = with_long_range(*make_frames({"cell": ["lstm"], "length": [10]}, seeds=2))
    two = {name: pd.concat([table.assign(layer=1), table]) for name, table in one.items()}
    logs, upper = two["steps"]["mean_log"], two["steps"]["layer"] == 1
    two["steps"]["mean_log"] = logs.mask(upper, 3 * logs)
    shown = {"jacobians": "jac_sigma", "gates": "change", "contributions": "part", "paths": "travelled"}
    for name, value in shown.items():
        titles = [ax.get_title() for ax in figures.draw(name, two).axes if ax.get_title()]
        assert titles == ["lstm, layer 0", "lstm, layer 1"], name
        table, _ = figures.FIGURES[name].table(two)
        lower, above = (part[value].to_numpy() for _, part in table.groupby("setting", observed=True))
        np.testing.assert_allclose(above, 3 * lower, rtol=1e-12, atol=1e-12, err_msg=name)


def test_a_panel_of_which_every_run_diverged_is_hatched_and_says_so() -> None:
    runs = STUDY["runs"]
    lost = runs.assign(status=runs["status"].mask((runs["cell"] == "gru") & (runs["scale"] == 2.0), "diverged"))
    for name in ("jacobians", "gates", "contributions"):
        figure = figures.draw(name, STUDY | {"runs": lost})
        hatched = [ax.get_title() for ax in figure.axes if ax.patch.get_hatch()]
        assert hatched == ["gru, scale 2"]
        (ax,) = [ax for ax in figure.axes if ax.get_title() == "gru, scale 2"]
        assert [text.get_text() for text in ax.texts] == ["diverged or failed"]


# --- training --------------------------------------------------------------------------------------


def trained_frames(steps: int = 100, rate: float = 0.05) -> dict[str, pd.DataFrame]:
    """Return the tables of a tiny RNN on the sum of its inputs, before and after plain gradient descent."""
    rng = np.random.default_rng(3)
    x = rng.uniform(-1, 1, (12, 32, 1))
    model = gl.Network([gl.RNN.init(1, 12, scale=0.6, rng=2)], readout=gl.Readout.init(12, 1, rng=4))
    loss = gl.mse(x.sum(axis=0))
    found, losses = [], []
    for step in range(steps + 1):
        trace = gl.trace(model, x, loss)
        losses.append(float(trace.loss.mean()))
        if step in (0, steps // 2, steps):
            found.append(measured([trace.layers[0]], ["gradients"])["steps"].assign(step=step))
            runs = measured([trace.layers[0]], ["gradients"])["runs"]
        g = trace.param_grads
        (cell,), head = model.layers, model.readout
        cell = gl.RNN(**{name: getattr(cell, name) - rate * g[f"layers.0.{name}"] for name in cell.parameters})
        head = gl.Readout(W_hy=head.W_hy - rate * g["readout.W_hy"], b_y=head.b_y - rate * g["readout.b_y"])
        model = gl.Network([cell], readout=head)
    assert losses[-1] < 0.5 * losses[0]
    return {"runs": runs, "steps": pd.concat(found, ignore_index=True)}


def test_training_draws_the_same_decay_before_and_after() -> None:
    study = trained_frames()
    table, layout = figures.training.tabulate(study)
    (ax,) = figures.draw("training", study).axes
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("lag k (steps)", "ln‖δₖ‖ − ln‖δ₁‖ (nats)")
    assert legend(ax.figure) == ["0", "50", "100"]
    assert ax.figure.legends[0].get_title().get_text() == "training step"
    rows = study["steps"].query("quantity == 'last_adjoint' and lag >= 1").sort_values("lag")
    for step in (0, 50, 100):
        logs = rows[rows["step"] == step]["mean_log"].to_numpy()
        np.testing.assert_allclose(line(ax, str(step)).get_ydata(), logs - logs[0], atol=1e-12)
    before, after = (line(ax, step).get_ydata()[-1] for step in ("0", "100"))
    assert after > before + 1  # to sum its inputs the network has to remember them
    assert "nats before training and" in figures.training.finding(table, layout)


def test_training_of_a_study_has_intervals_over_the_seeds() -> None:
    runs, steps = make_frames({"cell": ["lstm"], "length": [10], "scale": [1.0, 2.0]}, seeds=3)
    table, _ = figures.training.tabulate(trained(runs, steps))
    wide = table.pivot_table(index=["setting", "lag"], columns="step", values=["change", "change_low"], observed=True)
    np.testing.assert_allclose(wide["change"][100], wide["change"][0] / 2, atol=1e-12)
    assert (wide["change_low"] <= wide["change"]).all().all()


# --- one trace -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", figures.OF_A_PASS)
@pytest.mark.parametrize("cell", CELLS)
def test_every_figure_of_a_pass_draws_one_trace(name: str, cell: str) -> None:
    trace = traced(cell)
    if (name, cell) == ("paths", "rnn"):
        with pytest.raises(
            gl.InputError, match=r"^a vanilla RNN has no additive path to draw; these cells have one: lstm, gru, "
        ):
            trace.plot(name)
        return
    figure = trace.plot(name)
    ax = figure.axes[0]
    assert figure.get_size_inches()[0] == figures.SINGLE
    assert ax.get_xlabel()
    assert ax.get_ylabel()
    figures.svg(figure)
    own = Figure()
    assert trace.plot(name, ax=own.subplots()) is own
    assert own.axes[0].get_ylabel() == ax.get_ylabel()
    assert trace.layers[0].plot(name).axes[0].get_ylabel() == ax.get_ylabel()


def test_a_trace_shows_the_spread_of_its_sequences() -> None:
    trace = traced()
    ax = trace.plot("gates").axes[0]
    activity = np.abs(trace.gates["f"]).mean(axis=-1)
    np.testing.assert_allclose(line(ax, "f").get_ydata(), np.exp(np.log(activity).mean(axis=-1))[::-1][1:], rtol=1e-12)
    band = ax.collections[1].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx(np.exp(np.quantile(np.log(activity[:-1]), 0.95, axis=-1)).max(), rel=1e-12)
    logs = trace.layers[0].by_lag()[1:]
    drawn = line(twin(ax), "gradient (right)").get_ydata()
    np.testing.assert_allclose(drawn, logs.mean(axis=-1) - logs[0].mean(), atol=1e-12)


ENDS = [T, 25, 20, 12, 8, 3]


def unequal() -> tuple[gl.LayerTrace, gl.LayerTrace]:
    """Return a GRU's two directions over sequences of unequal lengths."""
    rng = np.random.default_rng(0)
    cells = gl.Bidirectional(gl.GRU.init(D, H, rng=1), gl.GRU.init(D, H, rng=2))
    loss = gl.projection(rng.standard_normal((T, B, 2 * H)))
    (layer,) = gl.trace(gl.Network([cells]), rng.standard_normal((T, B, D)), loss, lengths=ENDS).layers
    assert layer.reverse is not None
    return layer, layer.reverse


@pytest.mark.parametrize("place", [0, 1])
def test_of_unequal_lengths_a_line_has_one_point_a_lag(place: int) -> None:
    """Mean and quantiles are over the sequences that reach the lag, each counted from its own end."""
    layer = unequal()[place]
    logs = layer.by_lag("dL/dh")
    profile = layer.profile("dL/dh").sort_values("lag")
    np.testing.assert_array_equal(profile["lag"], np.arange(T + 1))
    np.testing.assert_array_equal(profile["t"], profile["lag"] + 1 if place else T - profile["lag"])
    for name, quantile in (("q05", 0.05), ("q50", 0.5), ("q95", 0.95)):
        np.testing.assert_allclose(profile[name], np.nanquantile(logs, quantile, axis=1), rtol=1e-12)
    drawn = line(layer.plot().axes[0], "total dL/dh")
    np.testing.assert_allclose(drawn.get_ydata(), np.nanmean(logs, axis=1), rtol=1e-12)


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("name", ["decay", "gates", "paths", "jacobians", "contributions"])
def test_of_unequal_lengths_no_picture_has_two_points_at_one_place(name: str, place: int) -> None:
    ax = unequal()[place].plot(name).axes[0]
    assert ax.get_xlabel().startswith("t (" if name in ("jacobians", "contributions") else "lag k (")
    for found in (*ax.lines, *(found for other in ax.figure.axes if other is not ax for found in other.lines)):
        if len(found.get_xdata()) > 2:
            assert (np.diff(found.get_xdata()) > 0).all()


def test_of_unequal_lengths_gates_and_jacobians_are_those_of_the_sequences_that_are_there() -> None:
    layer, there = unequal()
    step = np.arange(1, T + 1)[:, None]
    activity = np.log(np.abs(layer.gates["z"]).mean(axis=-1))
    means = [activity[layer.lag[1:] == lag].mean() for lag in range(1, T)]
    np.testing.assert_allclose(line(layer.plot("gates").axes[0], "z").get_ydata(), np.exp(means), rtol=1e-12)
    for one in (layer, there):
        logs = np.log(np.median(one.jacobians.singular_values(), axis=-1))
        means = [logs[(one.t[1:] == t) & (one.lag[1:] >= 0)].mean() for t in step.ravel()]
        np.testing.assert_allclose(line(one.plot("jacobians").axes[0], "median").get_ydata(), means, rtol=1e-9)


def test_of_unequal_lengths_contributions_are_those_of_a_true_step_in_both_directions() -> None:
    """Against the sum over the sequences of a parameter whose part of a step is its pre-activation's gradient."""
    for one in unequal():
        pre = np.concatenate([np.asarray(one.pre_grad[name]) for name in one.cell.block_names], axis=-1)
        inside = one.lag[1:] >= 0
        parts = [pre[(one.t[1:] == t) & inside].sum(axis=0) / B for t in range(1, T + 1)]
        drawn = line(one.plot("contributions").axes[0], "b_h")
        np.testing.assert_array_equal(drawn.get_xdata(), np.arange(1, T + 1))
        np.testing.assert_allclose(drawn.get_ydata(), np.log(np.linalg.norm(parts, axis=-1)), atol=1e-11)


def test_jacobians_of_a_trace_are_its_singular_values() -> None:
    trace = traced("gru")
    ax = trace.plot("jacobians").axes[0]
    values = trace.jacobians.singular_values()
    low, high = edges(ax, "all")
    np.testing.assert_allclose(low, np.log(values[..., -1]).mean(axis=-1), rtol=1e-9)
    np.testing.assert_allclose(high, np.log(values[..., 0]).mean(axis=-1), rtol=1e-9)
    np.testing.assert_allclose(line(ax, "median").get_ydata(), np.log(np.median(values, axis=-1)).mean(axis=-1))


def test_a_figure_of_one_of_two_layers_in_one_direction() -> None:
    cells = [gl.LSTM.init(D, H, rng=1), gl.Bidirectional(gl.GRU.init(H, H, rng=2), gl.GRU.init(H, H, rng=3))]
    x = np.random.default_rng(0).standard_normal((T, B, D))
    trace = gl.trace(gl.Network(cells), x, gl.projection(np.ones((T, B, 2 * H))))
    assert legend(trace.layers[1].reverse.plot("gates")) == ["r", "z", "n", "gradient (right)"]
    titles = ["lstm, layer 0, direction forward", "gru, layer 1, direction forward", "gru, layer 1, direction reverse"]
    found = [ax.get_title().replace("\n", " ") for ax in trace.plot("gates").axes if ax.get_title()]
    assert found == titles


def test_where_one_step_has_a_loss_the_temporal_map_has_one_row() -> None:
    ax = traced().plot("temporal").axes[0]
    mesh = ax.collections[0]
    assert mesh.get_array().reshape(-1).shape == (T + 1,)
    assert ax.get_ylim() == (T - 0.5, T + 0.5)
    assert [tick for tick in ax.get_yticks() if abs(tick - T) <= 0.5] == [T]
    assert ax.figure.axes[1].get_ylabel() == "ln‖∂Lₜ/∂sₛ‖ (nats)"


def test_theory_is_a_line_of_its_slope_from_lag_one() -> None:
    trace = traced("rnn", scale=1.2)
    ax = trace.plot("dL/dh", theory=True).axes[0]
    slope = gl.theory.driven.rate_of(trace.layers[0].tape)
    (drawn,) = [found for found in ax.lines if "mean field" in str(found.get_label())]
    np.testing.assert_allclose(np.diff(drawn.get_ydata()), slope, rtol=1e-9)
    assert drawn.get_xdata()[0] == 1
    assert drawn.get_ydata()[0] == pytest.approx(trace.log_norm("dL/dh")[T - 1].mean())
    assert f"½ ln χ = −{abs(slope):.2f}"[:-1] in drawn.get_label()


@pytest.mark.parametrize(
    ("trace", "quantity", "reason"),
    [
        (traced("lstm"), "dL/dh", "LSTM has gates"),
        (traced("rnn"), "direct", "it is of a state's gradient, not of direct"),
        (traced("rnn", at="every"), "dL/dh", "the loss is read at several steps"),
        (traced("rnn", recurrent="identity"), "adjoint", "not as if drawn at random"),
    ],
)
def test_where_theory_does_not_hold_the_axes_say_why(trace: gl.Trace, quantity: str, reason: str) -> None:
    ax = trace.plot(quantity, theory=True).axes[0]
    assert reason in ax.get_legend().get_title().get_text().replace("\n", " ")
    assert not [found for found in ax.lines if "mean field" in str(found.get_label())]


def test_theory_of_the_last_loss_alone_holds_where_every_step_has_a_loss() -> None:
    ax = traced("rnn", at="every").plot("last_adjoint", theory=True).axes[0]
    assert [found for found in ax.lines if "mean field" in str(found.get_label())]


def test_a_quantity_of_one_lag_is_a_point_that_is_seen() -> None:
    ax = traced("rnn").plot("direct").axes[0]
    (drawn,) = ax.lines
    assert drawn.get_markevery() == (0, 1)
    assert ax.get_xlim()[1] > T


def test_the_title_says_where_the_word_was_measured_and_not_the_rates() -> None:
    """A slow wave in the input correlates the increments: the interval holds 0, though e^−13 is left of them all."""
    rng = np.random.default_rng(0)
    x = np.sin(0.2 * np.arange(60))[:, None] + 0.3 * rng.standard_normal((60, 8))
    trace = gl.trace(gl.LSTM.init(1, 24, rng=0), x[..., None], gl.mse(np.zeros((8, 24))))
    low, high = trace.rate().low, trace.rate().high
    assert low * 59 < -np.log(100) < high * 59
    assert max(trace.evidence().left) < -13
    assert trace.plot().axes[0].get_title() == f"VANISHING (measured): {trace.rate()}"
    assert "too wide to say it; in all 8 sequences less than 1 % is left" in str(trace.verdict(rerun=False))
