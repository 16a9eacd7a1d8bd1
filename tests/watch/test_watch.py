"""What a watch keeps and says: tables, words, a picture, a folder, numbers for loggers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import gradlab as gl
from gradlab import figures, schema
from gradlab._watch.hooks import Schedule
from gradlab._watch.records import FACTS, as_study, noticed
from gradlab._watch.watch import load_watch
from gradlab.cli import app

T, B, D, H = 6, 3, 2, 4


def module(kind: str = "LSTM", **options: Any) -> Any:
    import torch

    torch.manual_seed(1)
    return getattr(torch.nn, kind)(D, H, dtype=torch.float64, **options)


def inputs(scale: float = 1.0) -> Any:
    import torch

    return torch.tensor(scale * np.random.default_rng(2).standard_normal((T, B, D)))


def watched(made: Any, passes: int = 3, *, loss: Any = None, **options: Any) -> gl.Watch:
    import torch

    loss = loss or (lambda output: output[-1].square().mean())
    optimiser = torch.optim.SGD(made.parameters(), lr=0.1)
    with gl.watch(made, every=1, **options) as w:
        for _ in range(passes):
            optimiser.zero_grad()
            loss(made(inputs())[0]).backward()
            optimiser.step()
    return w


# --- tables -----------------------------------------------------------------------------------------


@pytest.mark.torch_oracle
def test_every_built_in_hook_measures_what_it_measures_on_a_trace() -> None:
    """On the same weights and inputs a watch and a trace say the same; the user's batch mean is ln B of it."""
    import torch

    hooks = ["gradients", "jacobians:all", "gates", "lyapunov:8", "paths", "contributions"]
    made = module()
    v = torch.tensor(np.random.default_rng(3).standard_normal((T, B, H)))
    with gl.watch(made, hooks=hooks) as w:
        ((v * made(inputs())[0]).sum() / B).backward()
    trace = gl.trace(gl.from_torch(made), inputs().numpy(), gl.projection(v.numpy()), hooks=hooks)
    measured = trace.measured()
    for name in ("steps", "spectra"):
        found, expected = w.frame(name), measured[name]
        gradients = expected.get("quantity", pd.Series("", expected.index)).map(is_gradient)
        pd.testing.assert_frame_equal(
            found[expected.columns].drop(columns=LOGS, errors="ignore"), expected.drop(columns=LOGS, errors="ignore")
        )
        for column in [column for column in LOGS if column in expected]:
            shifted = expected[column] - np.log(B) * gradients
            np.testing.assert_allclose(found[column], shifted, rtol=1e-9, atol=1e-9, err_msg=f"{name} {column}")
    found, expected = w.frame("runs").iloc[0], measured["runs"].iloc[0]
    for column in expected.index.drop(["loss", "status", "direction", "verdict", "shape"]):
        np.testing.assert_allclose(found[column], expected[column], rtol=1e-9, atol=1e-9, err_msg=column)
    assert found[["verdict", "shape"]].tolist() == expected[["verdict", "shape"]].tolist()


LOGS = ["mean_log", "q05", "q50", "q95"]


def is_gradient(quantity: str) -> bool:
    """Whether the quantity grows with the loss; contributions are of the batch mean already."""
    return quantity in ("adjoint", "last_adjoint", "direct") or quantity.startswith(("dL/", "path_"))


@pytest.mark.torch_oracle
def test_columns_and_order_of_the_tables() -> None:
    w = watched(module("GRU", num_layers=2, bidirectional=True), hooks=["gradients", "lyapunov:2"])
    steps, runs, spectra = (w.frame(name) for name in ("steps", "runs", "spectra"))
    assert list(steps.columns) == ["id", "module", "step", "call", *list(schema.STEPS)[1:]]
    assert list(runs.columns)[:10] == ["id", "study", "module", "step", "call", *FACTS]
    assert list(spectra.columns) == ["id", "module", "step", "call", *list(schema.SPECTRA)[1:]]
    assert all(schema.described(column) for column in runs.columns if column != "cell")
    assert runs["step"].tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert runs["layer"].tolist() == [0, 0, 1, 1] * 3
    assert runs["direction"].tolist() == ["forward", "reverse"] * 6
    assert set(steps["id"]) == set(runs["id"]) == {"GRU/0/0", "GRU/1/0", "GRU/2/0"}
    assert (runs["length"] == T).all()
    with pytest.raises(gl.InputError, match=r'unknown table "step"; did you mean "steps"\?'):
        w.frame("step")


@pytest.mark.torch_oracle
def test_a_watch_that_has_seen_nothing(tmp_path: Path) -> None:
    w = gl.watch(module())
    for name in schema.TABLES:
        assert w.frame(name).empty
        assert {"module", "step", "layer"} <= set(w.frame(name).columns)
    assert "nothing measured yet" in repr(w)
    assert w.verdict().evidence == "no backward pass reached a layer while watching"
    with pytest.raises(gl.InputError, match="no watched pass was measured to its end"):
        w.plot("rate")
    with pytest.raises(gl.InputError, match="nothing was watched, so there is nothing to report"):
        w.report(tmp_path)


@pytest.mark.torch_oracle
def test_a_users_own_hook_is_called_for_every_pass() -> None:
    class Asleep(gl.Hook):
        def __init__(self) -> None:
            self.shares: list[float] = []

        def step(self, step: Any) -> None:
            self.shares.append(float((abs(step.state["h"]) < 0.1).mean()))
            assert step.grad["h"].shape == step.direct["h"].shape == (B, H)
            assert step.jacobian.shape == (B, 2 * H, 2 * H)
            assert set(step.gates) == set("ifgo")

    hook = Asleep()
    watched(module(), 2, hooks=[hook])
    assert len(hook.shares) == 2 * T


@pytest.mark.torch_oracle
def test_what_vanishes_is_said_and_drawn(tmp_path: Path) -> None:
    """A ReLU RNN with W = ½I and positive states: its gradient halves at every step."""
    import torch

    made = torch.nn.RNN(1, H, nonlinearity="relu", bias=False, dtype=torch.float64)
    with torch.no_grad():
        made.weight_ih_l0.fill_(1.0)
        made.weight_hh_l0.copy_(0.5 * torch.eye(H))
    with gl.watch(made, every=1) as w:
        for factor in (1.0, 2.2):
            with torch.no_grad():
                made.weight_hh_l0.mul_(factor)
            made(torch.ones(40, B, 1, dtype=torch.float64))[0][-1].sum().backward()
    np.testing.assert_allclose(w.frame("runs")["rate"], np.log([0.5, 1.1]), rtol=1e-12)
    words = w.frame("runs")["verdict"].tolist()
    assert words[0] == "VANISHING"
    found = w.verdict()
    assert found.word == words[1]
    assert found.finding.endswith("(0.0953 [0.0953, 0.0953] nats/step at step 1); VANISHING before, step 0")
    figure = w.plot("rate", x="step")
    figure.savefig(tmp_path / "rate.png")
    assert "rate" in figure.axes[0].get_ylabel()
    assert figure.axes[0].get_xlabel() == "training step"
    with pytest.raises(gl.InputError, match='"rate_lo"; did you mean "rate_low"'):
        w.plot("rate_lo")
    with pytest.raises(gl.InputError, match='unknown column "steps"; did you mean "step"'):
        w.plot("rate", x="steps")


# --- precision --------------------------------------------------------------------------------------


@pytest.mark.torch_oracle
def test_the_lag_at_which_the_gradient_is_lost_to_underflow() -> None:
    """‖δ‖ is 1.5·2^−k at lag k: below 2^−126 from lag 127 on, below 2^−14 from lag 15 on (a scale of 2^8: 23)."""
    import torch

    class Scaler:
        def get_scale(self) -> float:
            return 256.0

    made = torch.nn.RNN(1, 1, nonlinearity="relu", bias=False, dtype=torch.float64)
    with torch.no_grad():
        made.weight_ih_l0.fill_(1.0)
        made.weight_hh_l0.fill_(0.5)
    for scaler, half in ((None, 15), (Scaler(), 23)):
        with gl.watch(made, scaler=scaler) as w:
            (made(torch.ones(150, 1, 1, dtype=torch.float64))[0][-1].sum() * (384 if scaler else 1.5)).backward()
        row = w.frame("runs").iloc[0]
        assert (row["lost_float32"], row["lost_float16"]) == (127 + (8 if scaler else 0), half)
    with gl.watch(made) as w:
        made(torch.ones(20, 1, 1, dtype=torch.float64))[0][-1].sum().backward()
    assert np.isnan(w.frame("runs")["lost_float32"].iloc[0])


@pytest.mark.torch_oracle
@pytest.mark.parametrize("scale", [65536.0, 1000.0])
def test_a_loss_scale_is_divided_out(scale: float) -> None:
    """To the last bit where it is a power of two; else to rounding."""

    class Scaler:
        def get_scale(self) -> float:
            return scale

    class Keep(gl.Hook):
        def segment(self, segment: Any) -> None:
            found = (*segment.grad.values(), *segment.pre_grad.values(), *segment.direct.values())
            self.kept = [np.asarray(array) for array in found]

    made, plain, scaled = module(), Keep(), Keep()
    with gl.watch(made, hooks=[plain]):
        made(inputs())[0].sum().backward()
    with gl.watch(made, hooks=[scaled, "gradients"], scaler=Scaler()) as w:
        (scale * made(inputs())[0].sum()).backward()
    for one, other in zip(plain.kept, scaled.kept, strict=True):
        np.testing.assert_allclose(one, other, rtol=0 if scale == 65536 else 1e-10, atol=0)
    assert w.frame("runs")["loss_scale"].tolist() == [scale]


@pytest.mark.torch_oracle
def test_a_gradient_that_overflowed_is_a_finding() -> None:
    made = module()
    with gl.watch(made) as w:
        (made(inputs())[0].sum() * float("inf")).backward()
    row = w.frame("runs").iloc[0]
    assert (row["status"], row["error"]) == ("diverged", "the arriving gradient is not finite")
    assert not w.refused
    assert w.verdict().word == "DIVERGED"
    assert "at step 0: diverged, the arriving gradient is not finite" in w.verdict().evidence


@pytest.mark.torch_oracle
def test_a_real_grad_scaler_on_the_cpu() -> None:
    import torch

    def train(scaler: Any, told: Any) -> gl.Watch:
        made = torch.nn.LSTM(D, H)
        optimiser = torch.optim.SGD(made.parameters(), lr=0.1)
        torch.manual_seed(0)
        for parameter in made.parameters():
            torch.nn.init.normal_(parameter)
        with gl.watch(made, every=1, scaler=told) as w:
            for _ in range(3):
                optimiser.zero_grad()
                loss = made(inputs().float())[0].square().mean()
                scaler.scale(loss).backward()
                scaler.step(optimiser)
                scaler.update()
        return w

    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12, growth_interval=1)
    told = train(scaler, scaler)
    assert told.frame("runs")["loss_scale"].tolist() == [2.0**12, 2.0**13, 2.0**14]
    np.testing.assert_allclose(told.frame("runs")["kept"], 1.0, rtol=1e-6)
    assert told.noticed == {}
    silent = train(torch.amp.GradScaler("cpu", init_scale=2.0**12), None)
    assert "divided by 4096; if a GradScaler did this, pass it as scaler=" in silent.noticed["loss scale"]
    assert "divided by 4096" in repr(silent)


@pytest.mark.torch_oracle
def test_clipping_is_noticed_and_the_norms_are_before_it() -> None:
    import torch

    def train(clip: float) -> gl.Watch:
        made = module()
        optimiser = torch.optim.SGD(made.parameters(), lr=0.1)
        with gl.watch(made) as w:
            made(inputs())[0].sum().backward()
            torch.nn.utils.clip_grad_norm_(made.parameters(), clip)
            optimiser.step()
        return w

    free, clipped = train(1e9), train(1e-3)
    pd.testing.assert_frame_equal(free.frame("steps"), clipped.frame("steps"))
    np.testing.assert_allclose(free.frame("runs")["kept"], 1.0, rtol=1e-12)
    assert free.noticed == {}
    assert clipped.frame("runs")["kept"].iloc[0] < 1e-3
    assert "less than the whole gradient in 1 of 1 rows, as little as" in clipped.noticed["clipping"]
    assert "before any clipping" in repr(clipped)


def test_what_the_optimisers_share_says() -> None:
    one = pd.Series([1.0, 1.0, 1.0])
    assert noticed(pd.Series([1.0, np.nan, 1.0000001]), one) == {}
    assert noticed(pd.Series([2.5, 1.0, 1.0]), one) == {}  # gradients accumulated
    assert "in 2 of 3 rows, as little as 0.3 of" in noticed(pd.Series([0.3, 0.5, 1.0]), one)["clipping"]
    assert "divided by 1024;" in noticed(pd.Series([2.0**-10, 1.0, 1.0]), one)["loss scale"]
    assert "clipping" in noticed(pd.Series([2.0**-10, 1.0, 1.0]), 1024 * one)


# --- when -------------------------------------------------------------------------------------------


def test_every_so_manieth_pass() -> None:
    schedule, seen = Schedule(3), []
    for step in range(10):
        if schedule.watching:
            seen.append(step)
        schedule.passed()
    assert seen == [0, 3, 6, 9]


@pytest.mark.parametrize(("share", "cost", "most"), [(0.05, 2.0, 1 / 41), (0.5, 2.0, 1 / 5), (1.0, 0.5, 2 / 3)])
def test_watching_takes_no_more_than_its_share(monkeypatch: Any, share: float, cost: float, most: float) -> None:
    """A watched pass costs ``cost`` ordinary ones: it may come as often as its share of the others' time allows."""
    clock = [0.0]
    monkeypatch.setattr("gradlab._watch.hooks.time.perf_counter", lambda: clock[0])
    schedule, seen = Schedule(50, share), []
    for step in range(2000):
        if schedule.watching:
            seen.append(step)
            schedule.spent += cost
            clock[0] += cost
        clock[0] += 1.0
        schedule.passed()
    assert seen[0] == 0
    assert schedule.spent <= share * schedule.ordinary + cost
    np.testing.assert_allclose(len(seen) / 2000, most, rtol=0.1)


@pytest.mark.torch_oracle
def test_overhead_watches_the_first_pass_and_then_when_it_can_afford_to() -> None:
    made = module()
    with gl.watch(made, overhead=1e-9) as w:
        for _ in range(5):
            made(inputs())[0].sum().backward()
    assert w.frame("runs")["step"].tolist() == [0]
    with gl.watch(made, overhead=1e9) as w:
        for _ in range(5):
            made(inputs())[0].sum().backward()
    assert w.frame("runs")["step"].tolist() == [0, 2, 3, 4]  # after one ordinary pass anything is cheap


def test_a_training_of_gradlabs_own_is_recorded_pass_by_pass() -> None:
    cell = gl.LSTM.init(D, H, rng=0)
    x = np.random.default_rng(0).standard_normal((T, B, D))
    with gl.watch(cell, every=2, hooks=["gradients", "gates"]) as w:
        for _ in range(5):
            w.record(gl.trace(cell, x, gl.projection(np.ones((B, H)))))
    assert w.frame("runs")["step"].tolist() == [0, 2, 4]
    trace = gl.trace(cell, x, gl.projection(np.ones((B, H))), hooks=["gradients", "gates"])
    expected = trace.measured()["steps"]
    found = w.frame("steps").query("step == 4")[expected.columns].reset_index(drop=True)
    pd.testing.assert_frame_equal(found, expected)


# --- where it goes ----------------------------------------------------------------------------------


class Logger:
    """As a run of Weights & Biases or trackio."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, Any]]] = []

    def log(self, data: dict[str, Any], step: int) -> None:
        self.rows.append((step, data))


@pytest.mark.torch_oracle
def test_a_logger_gets_every_number_by_name() -> None:
    logger = Logger()
    made, hooks = module("GRU", bidirectional=True), ["gradients", "gates"]
    w = watched(made, 2, log=logger, hooks=hooks, loss=lambda output: output.square().mean())
    runs = w.frame("runs")
    assert [step for step, _ in logger.rows] == [0, 1]
    for step, row in logger.rows:
        assert all(isinstance(value, float) and np.isfinite(value) for value in row.values())
        for direction, name in (("forward", "layer0"), ("reverse", "layer0.reverse")):
            there = runs[(runs["step"] == step) & (runs["direction"] == direction)].iloc[0]
            assert row[f"GRU/{name}/rate"] == there["rate"]
            assert row[f"GRU/{name}/saturation"] == there["saturation"]


@pytest.mark.torch_oracle
def test_a_logger_that_fails_breaks_nothing() -> None:
    class Full(Logger):
        def log(self, data: dict[str, Any], step: int) -> None:
            raise OSError("disk full")

    with pytest.warns(UserWarning, match="gradlab: Full is not watched: OSError: disk full"):
        w = watched(module(), 2, log=Full())
    assert len(w.frame("runs")) == 2


@pytest.mark.torch_oracle
def test_tensorboards_writer_in_ten_lines() -> None:
    """The example in the documentation, with a writer that has ``add_scalar``."""

    class Writer:
        def __init__(self) -> None:
            self.scalars: list[tuple[str, float, int]] = []

        def add_scalar(self, tag: str, value: float, global_step: int) -> None:
            self.scalars.append((tag, value, global_step))

    class Board:
        def __init__(self, writer: Any) -> None:
            self.writer = writer

        def log(self, data: dict[str, float], step: int) -> None:
            for name, value in data.items():
                self.writer.add_scalar(name, value, step)

    writer = Writer()
    watched(module(), 2, log=Board(writer))
    assert {("LSTM/layer0/rate", 0), ("LSTM/layer0/rate", 1)} <= {(tag, step) for tag, _, step in writer.scalars}


@pytest.mark.torch_oracle
def test_what_is_saved_is_loaded_again(tmp_path: Path) -> None:
    w = watched(module(), hooks=["gradients", "lyapunov:2"])
    w.refused["other"] = "for a reason"
    folder = w.save(tmp_path / "run")
    found = load_watch(folder)
    for name in schema.TABLES:
        pd.testing.assert_frame_equal(found.frame(name), w.frame(name), check_dtype=False)
        pd.testing.assert_frame_equal(pd.read_parquet(folder / f"{name}.parquet"), w.frame(name), check_dtype=False)
    assert found.refused == {"other": "for a reason"}
    assert found.verdict() == w.verdict()
    told = json.loads((folder / "watch.json").read_text(encoding="utf-8"))
    assert "before any clipping" in told["notes"]["gradients"]


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(gl.GradlabError, match="holds no watched training that can be read"):
        load_watch(tmp_path)
    (tmp_path / "watch.json").write_text("[]", encoding="utf-8")
    with pytest.raises(gl.GradlabError, match="holds no watched training that can be read"):
        load_watch(tmp_path)
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(gl.GradlabError, match="cannot be written"):
        gl.watch(gl.RNN.init(1, 1, rng=0)).save(tmp_path / "file" / "below")


@pytest.mark.torch_oracle
def test_report(tmp_path: Path) -> None:
    folder = watched(module("LSTM", num_layers=2), hooks=["gradients", "gates"]).save(tmp_path / "run")
    done = CliRunner().invoke(app, ["report", str(folder)])
    assert done.exit_code == 0, done.output
    assert done.output.strip() == str(folder / "report.html")
    assert "before any clipping" in (folder / "report.html").read_text(encoding="utf-8")
    rates = pd.read_csv(folder / "tables" / "rates.csv")
    assert rates["step"].tolist() == [0, 0, 1, 1, 2, 2]
    assert rates["layer"].tolist() == [0, 1] * 3
    assert {"rates.png", "training.png"} <= {path.name for path in (folder / "figures").iterdir()}


@pytest.mark.torch_oracle
def test_a_report_shows_each_layers_decay_at_the_first_the_middle_and_the_last_step() -> None:
    w = watched(module("LSTM", num_layers=2), 12, hooks=["gradients", "lyapunov:2"])
    tables = as_study({name: w.frame(name) for name in schema.TABLES})
    table, layout = figures.training.tabulate(tables)
    assert (layout.panel, layout.hue) == ("setting", "step")
    assert list(table["setting"].cat.categories) == ["LSTM, layer 0", "LSTM, layer 1"]
    assert {0, 5, 11} <= set(table["step"])
    assert table["step"].nunique() == tables["spectra"]["step"].nunique() == 5
    steps = (
        w.frame("steps")
        .query("quantity == 'last_adjoint' and lag >= 1")
        .set_index(["layer", "step", "lag"])["mean_log"]
    )
    for row in table.to_dict("records"):
        layer, step = int(row["setting"][-1]), row["step"]
        assert row["change"] == steps[layer, step, row["lag"]] - steps[layer, step, 1]
    assert figures.gates.tabulate(tables | {"steps": with_gate(tables["steps"])})[0]["setting"].nunique() == 6
    rates, layout = figures.rates.tabulate(tables)
    assert (layout.x, rates["step"].nunique()) == ("step", 12)


@pytest.mark.torch_oracle
def test_a_report_without_rates_draws_none(tmp_path: Path) -> None:
    watched(module(), hooks=["lyapunov:2"]).report(tmp_path)
    drawn = {path.stem for path in (tmp_path / "figures").iterdir()}
    assert drawn == {"lyapunov", "spectrum"}


def with_gate(steps: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([steps, steps[steps["quantity"] == "last_adjoint"].assign(quantity="gate_f")])
