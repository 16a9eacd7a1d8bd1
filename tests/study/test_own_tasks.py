"""Tasks of one's own in studies: known to worker processes, and their data part of every id."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from study.tiny import assert_same_tables, run, tables

import gradlab as gl
from gradlab.errors import InputError, SpecError, StoreError
from gradlab.options import Option
from gradlab.study import Study
from gradlab.study.worker import measure
from gradlab.tasks import TASKS
from gradlab.tasks.registry import packed

LAKE = Path(__file__).parents[1] / "tasks" / "lake.csv"


def ramp(length: int, batch: int, rng: np.random.Generator) -> Any:
    """At the top of a module, so that worker processes find it."""
    x = rng.standard_normal((length, batch, 1))
    return x, x[0]


class Echo(gl.tasks.Task):
    """The first input again."""

    name = "echo"
    input_size = output_size = 1
    KEYS = {"gain": Option(float, 1.0, meaning="the answer over the first input")}

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = gain

    def sample(self, length: int, batch: int, *, at: Any = "last", rng: Any) -> Any:
        x = rng.standard_normal((length, batch, 1))
        return x, gl.mse(self.gain * x[0], at=at)


def study(**changes: Any) -> Study:
    grid = {"cell": ["rnn"], "length": [6], "scale": [0.5, 1.5]}
    return Study(**tables(grid=grid, task={"name": "mine"}, **changes))


def ids(made: Study) -> list[str]:
    return [c.id for c in made.plan.configurations]


def test_a_function_gives_the_same_tables_in_every_executor(tmp_path: Path) -> None:
    gl.tasks.register("mine", gl.tasks.FunctionTask(ramp, 1, 1))
    inline = run(study(), tmp_path / "inline")
    assert (inline.frame("runs")["status"] == "done").all()
    assert_same_tables(inline, run(study(), tmp_path / "processes", workers=1))
    with ThreadPoolExecutor(1) as threads:
        assert_same_tables(inline, run(study(), tmp_path / "threads", workers=None, executor=threads))


def test_a_task_travels_with_each_group() -> None:
    """A worker that was started later, in the place of one that was killed, has been told nothing before."""
    gl.tasks.register("mine", gl.tasks.FunctionTask(ramp, 1, 1))
    own, (group, *_) = packed(["mine", "sum"]), study().plan.groups()
    assert packed(["sum"]) == b""
    del TASKS["mine"]
    assert set(measure(group, own=own).statuses.values()) == {"done"}


def test_a_class_has_keys_of_its_own(tmp_path: Path) -> None:
    gl.tasks.register("mine", Echo)
    made = Study(**tables(grid={"cell": ["rnn"], "length": [6], "task.gain": [1, 2.0]}, task={"name": "mine"}))
    runs = run(made, tmp_path / "r", workers=1).frame("runs")
    assert sorted(runs["task.gain"].unique()) == [1.0, 2.0]
    assert (runs["status"] == "done").all()
    with pytest.raises(SpecError, match='unknown key "gian"; did you mean "gain"'):
        Study(**tables(task={"name": "mine", "gian": 1.0}))


def test_what_worker_processes_cannot_find_is_one_error_before_anything_runs(tmp_path: Path) -> None:
    gl.tasks.register("mine", gl.tasks.FunctionTask(lambda *sizes: ramp(*sizes), 1, 1))
    with pytest.raises(InputError, match=r"task mine cannot travel to worker processes .*or give workers=0"):
        run(study(), tmp_path / "r", workers=1)
    assert not (tmp_path / "r").exists()
    assert (run(study(), tmp_path / "r").frame("runs")["status"] == "done").all()


def test_a_function_of_a_prompt_is_not_found_by_processes(tmp_path: Path) -> None:
    code = f"""
import gradlab as gl
def draw(length, batch, rng):
    x = rng.standard_normal((length, batch, 1))
    return x, x[0]
gl.tasks.register("mine", gl.tasks.FunctionTask(draw, 1, 1))
study = gl.Study(name="x", grid={{"cell": ["rnn"]}}, base={{"length": 5, "hidden": 2}}, task={{"name": "mine"}})
study.run(workers=1, out={str(tmp_path / "r")!r}, progress=False)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "InputError: a task of your own is not found by worker processes" in last
    assert "or give workers=0" in last


def test_a_study_that_names_a_task_imports_nothing() -> None:
    with pytest.raises(SpecError, match=r'unknown task "os:system"; \(sum, adding'):
        Study(**tables(task={"name": "os:system"}))


def test_ids_depend_on_the_data() -> None:
    series = np.sin(np.arange(40.0))
    gl.tasks.register("mine", gl.tasks.from_arrays(series, series))
    first = ids(study())
    gl.tasks.register("mine", gl.tasks.from_arrays(series, series))
    assert ids(study()) == first
    gl.tasks.register("mine", gl.tasks.from_arrays(series, series + 2**-40))
    assert not set(ids(study())) & set(first)


def of_file(path: Path) -> Study:
    return Study(**tables(grid={"cell": ["rnn"]}, task={"name": "file", "path": str(path), "target": "level"}))


def test_a_file_that_changes_is_measured_anew_and_what_was_measured_is_read_without_it(tmp_path: Path) -> None:
    data = tmp_path / "data.csv"
    data.write_bytes(LAKE.read_bytes())
    first = run(of_file(data), tmp_path / "r", workers=1)
    losses = first.frame("runs")["loss"].tolist()
    content = first.plan.configurations[0].values["task.content"]
    data.write_text(LAKE.read_text().replace("1990,10.000", "1990,11.000"))
    assert not set(ids(of_file(data))) & {c.id for c in first.plan.configurations}
    again = gl.load_results(tmp_path / "r")
    assert again.frame("runs")["loss"].tolist() == losses
    assert again.frame("runs")["task.content"].unique().tolist() == [content]
    with pytest.raises(SpecError, match=f"its data have changed: their content is .*, the study's is {content}"):
        run(Study.from_toml(tmp_path / "r" / "study.toml"), tmp_path / "other")
    data.unlink()
    assert gl.load_results(tmp_path / "r").frame("runs")["loss"].tolist() == losses
    with pytest.raises(SpecError, match=r"task: .*data.csv: no such file"):
        of_file(data).plan  # noqa: B018


def test_a_bad_file_leaves_with_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("a,b\n1,2\n2,x\n")
    toml = 'name = "x"\ngrid.cell = ["rnn"]\nbase.length = 1\ntask = {name = "file", path = "data.csv", target = "b"}'
    (tmp_path / "s.toml").write_text(toml)
    command = [sys.executable, "-m", "gradlab", "run", "s.toml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert 'data.csv: row 3, column "b": expected a number, got "x"' in done.stderr
    assert not (tmp_path / "results").exists()


TRAIN = {"steps": 4, "until": "score", "threshold": 2.0, "score_every": 2}
#: Each of them knows something of its results that the study's file does not say: data, a key's default, its length.
OWN: dict[str, tuple[Any, dict[str, Any]]] = {
    "function": (gl.tasks.FunctionTask(ramp, 1, 1), {}),
    "class": (Echo, {"grid": {"task.gain": [1.0, 2.0]}}),
    "default": (Echo, {"base": {"at": [2, 4]}}),
    "length": (gl.tasks.FunctionTask(ramp, 1, 1, steps=7), {"base": {"hidden": 3}}),
    "trained": (gl.tasks.from_arrays(np.ones((5, 40, 1)), np.arange(40) % 2), {"train": TRAIN}),
}


@pytest.mark.parametrize("case", OWN)
def test_results_of_a_task_that_is_not_registered_are_read_and_reported(case: str, tmp_path: Path) -> None:
    task, changes = OWN[case]
    grid = {"cell": ["rnn"], "seeds": 2, **changes.get("grid", {})}
    base = {"length": 6, "hidden": 4, "batch": 3, **changes.get("base", {})}
    if case in ("length", "trained"):
        del base["length"]
    gl.tasks.register("mine", task)
    made = Study(
        name="x",
        grid=grid,
        base=base,
        task={"name": "mine"},
        train=changes.get("train", {}),
        report={"figures": ["decay"]},
    )
    whole = run(made, tmp_path / "r")
    assert (whole.frame("runs")["status"] == "done").all()
    tables = whole.tables("csv")
    del TASKS["mine"]
    again = gl.load_results(tmp_path / "r")
    assert_same_tables(again, whole)
    assert list(again.frame("runs")) == list(whole.frame("runs"))
    assert again.tables("csv") == tables
    assert "The task mine is the user's own and was not registered" in again.report().read_text()
    with pytest.raises(SpecError, match=r'task mine: "mine" is not known here; first gl.tasks.register\("mine", …\)'):
        Study.from_toml(tmp_path / "r" / "study.toml").run(workers=0, out=tmp_path / "other")
    assert_same_tables(gl.load_results(tmp_path / "r"), whole)
    gl.tasks.register("mine", task)
    assert_same_tables(run(Study.from_toml(tmp_path / "r" / "study.toml"), tmp_path / "r"), whole)


def test_results_that_only_the_task_itself_can_tell_apart_say_so(tmp_path: Path) -> None:
    """A key that is left out by default stands in no row."""

    class Optional(Echo):
        KEYS = {"shift": Option(float, None, optional=True, meaning="what is added")}

        def __init__(self, shift: float | None = None) -> None:
            super().__init__()

    gl.tasks.register("mine", Optional)
    run(study(), tmp_path / "r")
    del TASKS["mine"]
    told = r'r: its runs cannot be identified without the task "mine"; gl.tasks.register it first$'
    with pytest.raises(StoreError, match=told):
        gl.load_results(tmp_path / "r")
