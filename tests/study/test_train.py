"""Studies that train: their keys, what is measured before, during and after, how a training ends, and who reads it."""

from __future__ import annotations

import re
import signal
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from study.tiny import ONE, assert_same_tables, run, tiny

import gradlab as gl
from gradlab.errors import InputError, SpecError
from gradlab.study import Results, Study, load_results
from gradlab.study.plan import GROUP, TRAINED
from gradlab.study.train import BRINGS, training
from gradlab.study.worker import DATA, TESTED, TRAIN, data, network, task_of
from gradlab.tasks import FunctionTask, register
from gradlab.training import Training
from gradlab.training.optimisers import OPTIMISERS

GRID = {"cell": ["rnn", "lstm"], "length": [6], "scale": [1.0], "seeds": 2}
ADDING = {"name": "adding"}


def trained(**changes: Any) -> Study:
    """Return the tiny study, trained for twelve steps unless ``train`` says otherwise."""
    train = {"steps": 12, "learning_rate": 0.01, "measure_at": [0, 5, 12]} | changes.pop("train", {})
    grid = GRID | changes.pop("grid", {})
    return tiny(**{"grid": grid, "task": ADDING, "train": {k: v for k, v in train.items() if v is not None}, **changes})


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return run(trained(), tmp_path_factory.mktemp("trained") / "r")


# --- keys -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("train", "complaint"),
    [
        ({"steps": None}, r"train.steps: missing"),
        ({"steps": 0}, r"train.steps: expected a whole number, at least 1, got 0"),
        ({"stpes": 3}, r'train.stpes: unknown key "stpes"; did you mean "steps"'),
        ({"optimiser": "adm"}, r'train.optimiser: .*"adm"; did you mean "adam"'),
        ({"momentum": 0.9}, r'train.momentum: train.optimiser "adam" has .*; it belongs to momentum and rmsprop'),
        ({"optimiser": "momentum", "momentum": 1.5}, r"train: momentum must be at least 0 and below 1, got 1.5"),
        ({"optimiser": "sgd", "learning_rate": None}, r"train.learning_rate: missing; sgd has none of its own"),
        ({"clip_value": -1}, r'^train\.clip_value: must be above 0, got -1\.0; "none" is no clipping$'),
        ({"clip_norm": 0.0}, r'^train\.clip_norm: must be above 0, got 0\.0; "none" is no clipping$'),
        ({"clip_norm": 1.0, "clip_value": 1.0}, r"train: give clip_norm or clip_value, not both"),
        (
            {"threshold": 0.1},
            r"train.threshold: a study without train.until has no such key; it belongs to loss and score",
        ),
        ({"until": "loss"}, r'train.threshold: missing; until = "loss" needs it'),
        (
            {"until": "loss", "threshold": 0.1, "score_every": 2},
            r"train.score_every: train.until \"loss\" has no such key",
        ),
        ({"schedule_over": 3}, r'train.schedule_over: train.schedule "constant" has no such key; it belongs to cosine'),
        ({"measure_at": [0, 13]}, r"train.measure_at: step 13 is beyond the last, 12 \(steps\)"),
        ({"measure_at": [0, 0]}, r"train.measure_at: a step is repeated"),
        ({"measure_at": [-1]}, r"train.measure_at: expected a list of steps, each at least 0"),
        ({"measure_at": 3}, r"train.measure_at: expected a list of steps, each at least 0, got 3"),
    ],
)
def test_a_slip_is_one_line_that_names_the_key(train: dict[str, Any], complaint: str) -> None:
    with pytest.raises(SpecError, match=complaint) as error:
        trained(train=train).plan  # noqa: B018
    assert "\n" not in str(error.value)


def test_a_slip_in_the_task_is_not_said_to_be_one_of_training() -> None:
    lake = str(Path(__file__).parents[1] / "tasks" / "lake.csv")
    with pytest.raises(InputError, match=f'^{re.escape(lake)}: unknown column "levl"; did you mean "level"'):
        trained(task={"name": "file", "path": lake, "target": "levl"}).plan()


def test_omega_is_of_rnns_alone() -> None:
    with pytest.raises(SpecError, match=r'train.omega: cell "lstm" has no such key; it belongs to rnn'):
        trained(grid={"cell": ["lstm"]}, train={"omega": 1.0}).plan  # noqa: B018
    plan = trained(grid={"train.omega": [0.0, 1.0]}).plan
    assert [c.values.get("train.omega") for c in plan.configurations[::2]] == [0.0, 1.0, None]


def test_a_score_is_asked_only_of_tasks_that_have_one() -> None:
    with pytest.raises(SpecError, match=r"train: mse has answers near and far"):
        trained(task={"name": "sum"}, train={"until": "score", "threshold": 0.9}).plan  # noqa: B018


def test_an_optimisers_own_keys_have_its_defaults() -> None:
    """Momentum keeps 0.9 and RMSprop 0 unless told; each is what the class says, and Adam has no such key."""
    plan = trained(grid={"train.optimiser": list(OPTIMISERS), "cell": ["rnn"], "seeds": 1}).plan
    found = {c.values["train.optimiser"]: c.section("train") for c in plan.configurations}
    assert {name: one.get("momentum") for name, one in found.items()} == {
        "sgd": None,
        "momentum": 0.9,
        "rmsprop": 0.0,
        "adam": None,
    }
    for name, kind in OPTIMISERS.items():
        own = {key: found[name][key] for key in BRINGS["optimiser", name]}
        assert training_of(plan.configurations[list(found).index(name)]).optimiser == kind(lr=0.01, **own)


def test_what_is_not_given_follows_from_the_rest() -> None:
    values = (
        trained(train={"measure_at": None, "learning_rate": None, "schedule": "cosine"}).plan.configurations[0].values
    )
    assert values["train.measure_at"] == (0, 12)
    assert values["train.learning_rate"] == 1e-3
    assert values["train.schedule_over"] == 12


def test_the_example_of_the_readme_is_a_study() -> None:
    blocks = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8").split("```")
    (example,) = [block.removeprefix("toml") for block in blocks if block.startswith("toml") and "[train]" in block]
    assert Study(**tomllib.loads(example)).plan.spec.trains


def test_without_a_table_nothing_is_trained_and_no_key_is_there() -> None:
    values = tiny().plan.configurations[0].values
    assert not [key for key in values if key.startswith("train.")]


def test_a_specification_reads_back_as_the_same() -> None:
    study = trained(grid={"train.clip_norm": ["none", 1.0]})
    assert Study(**study.spec.tables()).spec == study.spec


def test_what_is_trained_long_is_few_in_a_group() -> None:
    groups = {steps: trained(grid={"seeds": 20}, train={"steps": steps}).plan.groups() for steps in (12, TRAINED // 12)}
    assert [max(map(len, found)) for found in groups.values()] == [GROUP, 2]


# --- what is measured -------------------------------------------------------------------------------------


def training_of(config: Any) -> gl.Training:
    seed = np.random.SeedSequence(config.values["seed"], spawn_key=(TRAIN,)).generate_state(1, np.uint64)[0]
    return training(config.values, network(config), task_of(config), int(seed))


def test_rows_are_those_of_a_training_by_hand(results: Results) -> None:
    """The same network trained step by step and traced where it stands gives the rows, to the last bit."""
    config = results.plan.configurations[0]
    x, loss = data(config)
    model, task = network(config), gl.tasks.Adding()
    seed = np.random.SeedSequence(0, spawn_key=(3,)).generate_state(1, np.uint64)[0]
    by_hand = gl.Training(model, task, length=6, batch=3, optimiser=gl.Adam(0.01), seed=int(seed))
    runs = results.frame("runs", where={"id": config.id}).set_index("step")
    steps = results.frame("steps", where={"id": config.id, "quantity": "adjoint"})
    for step in (0, 5, 12):
        seen = gl.trace(by_hand.run(step).model, x, loss, hooks=("gradients",))
        measured = seen.measured()
        assert runs.loc[step, "rate"] == measured["runs"]["rate"].iloc[0]
        expected = measured["steps"].query("quantity == 'adjoint'")["mean_log"].to_numpy()
        np.testing.assert_array_equal(steps[steps["step"] == step]["mean_log"], expected)
    assert runs.index.tolist() == [0, 5, 12]
    assert runs["trained"].tolist() == [0.0, 5.0, 12.0]


def test_loss_and_score_are_over_test_sequences(results: Results) -> None:
    """At least so many of them, the same at every step, as the task's own words have them."""
    config = results.plan.configurations[-1]
    row = results.frame("runs", where={"id": config.id, "step": 0}).iloc[0]
    task, model = gl.tasks.Adding(), network(config)
    seed = int(np.random.SeedSequence(1, spawn_key=(4,)).generate_state(1, np.uint64)[0])
    found = []
    for n in range(-(-TESTED // 3)):
        x, loss = next(task.test.batches(6, 3, seed=seed, start=n))
        y = gl.trace(model, x).outputs
        error = np.abs(y[-1, :, 0] - loss.targets[:, 0])
        found.append([np.mean(error**2), np.mean(error < task.tolerance)])
    np.testing.assert_allclose([row["loss"], row["score"]], np.mean(found, axis=0), rtol=1e-12)


def test_a_task_without_a_score_has_none_and_trains_all_the_same(tmp_path: Path) -> None:
    runs = run(trained(task={"name": "sum"}), tmp_path / "r").frame("runs")
    assert runs["score"].isna().all()
    assert (runs["status"] == "done").all()


def test_what_is_measured_is_kept_from_training() -> None:
    """Of data that end, the batch of the diagnostics is of the test part."""
    config = Study(
        name="d", grid={"cell": ["rnn"]}, base={"batch": 450}, task={"name": "digits"}, train={"steps": 1}
    ).plan.configurations[0]
    x, _ = data(config)
    theirs, _ = gl.tasks.Digits().test.sample(8, 450, rng=np.random.default_rng(1))
    assert {image.tobytes() for image in x.swapaxes(0, 1)} == {image.tobytes() for image in theirs.swapaxes(0, 1)}


def test_the_batches_of_training_are_not_those_of_other_purposes() -> None:
    config = trained().plan.configurations[0]
    x, _ = data(config)
    assert not any(np.array_equal(training_of(config).stream(n)[0], x) for n in range(5))
    assert DATA not in (TRAIN,)


# --- how a training ends ------------------------------------------------------------------------------------


def test_a_criterion_ends_it_and_later_rows_show_the_end(tmp_path: Path) -> None:
    study = trained(
        grid={"cell": ["rnn"]}, train={"steps": 400, "until": "loss", "threshold": 0.3, "measure_at": [0, 200, 400]}
    )
    results = run(study, tmp_path / "r")
    runs, steps = results.frame("runs"), results.frame("steps")
    for config in study.plan.configurations:
        ended = training_of(config).run(400)
        mine = runs[runs["id"] == config.id].set_index("step")
        assert ended.status == "solved"
        assert ended.step < 200
        assert mine["trained"].tolist() == [0.0, ended.step, ended.step]
        assert (mine[["solved", "steps_to_criterion"]] == [1.0, ended.step]).all(axis=None)
        assert mine.loc[200, "rate"] == mine.loc[400, "rate"] != mine.loc[0, "rate"]
        own = steps[steps["id"] == config.id]
        parts = [own[own["step"] == step].drop(columns="step").reset_index(drop=True) for step in (200, 400)]
        pd.testing.assert_frame_equal(*parts)


def test_a_criterion_that_is_not_met_is_zero_and_infinite_and_none_is_nan(tmp_path: Path, results: Results) -> None:
    runs = run(trained(train={"until": "loss", "threshold": 1e-9}), tmp_path / "r").frame("runs")
    assert (runs[["solved", "steps_to_criterion"]] == [0.0, np.inf]).all(axis=None)
    assert results.frame("runs")[["solved", "steps_to_criterion"]].isna().all(axis=None)


def test_training_goes_on_to_its_last_step_where_that_is_not_measured(tmp_path: Path) -> None:
    one, all_of = (
        run(
            trained(grid={"cell": ["rnn"]}, train={"steps": 200, "until": "loss", "threshold": 0.3, "measure_at": at}),
            tmp_path / str(len(at)),
        ).frame("runs")
        for at in ([0], [0, 200])
    )
    assert one["steps_to_criterion"].tolist() == all_of[all_of["step"] == 0]["steps_to_criterion"].tolist()
    assert (one["trained"] == 0).all()


def test_one_that_diverges_is_a_finding_of_the_rows_after_it(tmp_path: Path) -> None:
    study = tiny(
        grid={"cell": ["rnn"], "length": [6], "scale": [1.0], "seeds": 2},
        rnn={"activation": "identity"},
        task=ADDING,
        train={"steps": 50, "optimiser": "sgd", "learning_rate": 1e6, "measure_at": [0, 50]},
    )
    results = run(study, tmp_path / "r")
    runs = results.frame("runs")
    assert runs["status"].tolist() == ["done", "diverged"] * 2
    assert runs[runs["step"] == 50]["error"].str.match(r"step \d+: ").all()
    assert (runs[runs["step"] == 0]["error"] == "").all()
    assert (runs[runs["step"] == 50]["trained"] < 50).all()
    assert results.status() == {"planned": 0, "done": 0, "diverged": 2, "failed": 0}


def breaks(length: int, batch: int, rng: np.random.Generator) -> tuple[Any, Any]:
    x = rng.standard_normal((length, batch, 1))
    if CALLS and (CALLS.append(1) or len(CALLS) > 8):
        raise ZeroDivisionError("the well is dry")
    return x, x[-1]


CALLS: list[int] = []


def test_one_that_fails_has_a_row_for_every_step(tmp_path: Path) -> None:
    register("dry", FunctionTask(breaks, input_size=1, output_size=1))
    CALLS.clear()
    study = trained(grid={"cell": ["rnn"], "seeds": 1}, task={"name": "dry"})
    study.plan  # noqa: B018
    CALLS.append(1)
    runs = run(study, tmp_path / "r").frame("runs")
    CALLS.clear()
    assert runs["step"].tolist() == [0, 5, 12]
    assert (runs["status"] == "failed").all()
    assert (runs["error"] == "ZeroDivisionError: the well is dry").all()
    assert runs["solved"].isna().all()


# --- the same to the last bit ---------------------------------------------------------------------------------


def echo(length: int, batch: int, rng: np.random.Generator) -> tuple[Any, Any]:
    x = rng.standard_normal((length, batch, 2))
    return x, x[0, :, :1]


def test_workers_change_no_bit_and_own_tasks_train_there(tmp_path: Path) -> None:
    register("echo", FunctionTask(echo, input_size=2, output_size=1))
    study = trained(task={"name": "echo"}, train={"until": "loss", "threshold": 0.5, "clip_norm": 1.0})
    assert_same_tables(run(study, tmp_path / "two", 2), run(study, tmp_path / "none", 0))


def test_a_stop_changes_no_bit(tmp_path: Path, results: Results) -> None:
    """Half of the grid first, then all of it: only what is missing trains."""
    run(trained(grid={"cell": ["lstm"]}), tmp_path / "r")
    assert_same_tables(run(trained(), tmp_path / "r"), results)


def test_ctrl_c_ends_a_long_training_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal comes at the twentieth step of ten million, and no step follows it."""
    advance, steps = Training._advance, list[int]()

    def interrupted(training: Training) -> None:
        steps.append(len(steps))
        assert len(steps) <= 20
        if len(steps) == 20:
            signal.raise_signal(signal.SIGINT)
        advance(training)

    monkeypatch.setattr(Training, "_advance", interrupted)
    study = trained(grid={"cell": ["rnn"], "seeds": 1}, train={"steps": 10_000_000, "measure_at": [0]})
    with pytest.raises(KeyboardInterrupt):
        run(study, tmp_path / "r")
    assert len(steps) == 20
    assert load_results(tmp_path / "r").status()["planned"] == 1


# --- who reads it ----------------------------------------------------------------------------------------------


def test_tables_are_read_by_step(results: Results) -> None:
    assert len(results.frame("runs")) == 4 * 3
    for name in ("runs", "steps", "spectra"):
        whole, some = results.frame(name), results.frame(name, where={"step": [0, 12]})
        assert list(whole.columns[: list(whole.columns).index("step")])[-1] == "direction"
        pd.testing.assert_frame_equal(some, whole[whole["step"].isin([0, 12])].reset_index(drop=True))
        assert whole["step"].dtype == "int64"
    assert set(results.frame("steps", columns=["step"])) == {"step"}


def test_before_anything_has_run_the_columns_are_there(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(trained().spec.toml())
    planned = load_results(tmp_path)
    assert planned.frame("steps", columns=["step", "lag"]).columns.tolist() == ["step", "lag"]
    assert (planned.frame("runs")["status"] == "planned").all()


def test_the_report_says_how_many_are_solved_and_the_verdict_says_when(tmp_path: Path) -> None:
    train = {"steps": 200, "until": "loss", "threshold": 0.3, "measure_at": None}
    study = trained(grid={"length": [6, 9]}, train=train, report={"figures": ["criterion"]})
    results = run(study, tmp_path / "r")
    page = results.report()
    assert (page.parent / "tables" / "criterion.csv").is_file()
    assert (page.parent / "figures" / "criterion.svg").is_file()
    assert "lstm after 200 steps: " in str(results.verdict())
    assert "rnn before training: " in str(results.verdict())


def test_a_published_number_says_after_how_many_steps(tmp_path: Path) -> None:
    entry = {"claim": "c", "source": "s", "column": "loss", "value": 0.0, "bound": "above", "reason": "r"}
    where = {"cell": "rnn", "step": 12}
    results = run(trained(published=[{**entry, "where": where}], report=ONE), tmp_path / "r")
    results.report()
    row = pd.read_csv(tmp_path / "r" / "tables" / "published.csv").iloc[0]
    runs = results.frame("runs", where=where)
    assert row["measured"] == pytest.approx(runs["loss"].mean(), rel=1e-3)
    assert "after 12 steps" in row["setup"]
    with pytest.raises(SpecError, match=r"published\[0\].where.step: nothing is measured after 7 steps"):
        trained(published=[{**entry, "where": where | {"step": 7}}]).plan  # noqa: B018
    with pytest.raises(SpecError, match=r'unknown column "solved"'):
        tiny(published=[{**entry, "column": "solved", "where": {"cell": "rnn"}}])
