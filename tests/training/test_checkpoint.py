"""A training as a file: on to the last bit, whole or not at all, and nothing in it runs."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracles.family import FAMILY, make
from training.small import assert_same, model, training

import gradlab as gl
from gradlab.errors import StoreError
from gradlab.tasks import Sum

OPTIMISERS = [gl.SGD(0.01), gl.Momentum(0.01, nesterov=True), gl.RMSprop(momentum=0.5), gl.Adam(0.02, eps=1e-6)]


def stopped(path: Path, t: gl.Training, at: int, total: int, task: Any = None) -> gl.Training:
    """Run, save, load and run on."""
    t.run(at).save(path)
    return gl.load_training(path, task).run(total)


@pytest.mark.parametrize("optimiser", OPTIMISERS, ids=lambda one: type(one).__name__)
def test_stopped_is_as_never_stopped(tmp_path: Path, optimiser: Any) -> None:
    options: dict[str, Any] = {
        "optimiser": optimiser,
        "schedule": gl.Schedule("cosine", warmup=3, over=20, least=0.1),
        "clip_norm": 0.5,
        "omega": 0.1,
        "until": gl.Until("loss", below=1e-9, window=3),
    }
    assert_same(stopped(tmp_path / "t.npz", training(**options), 4, 9), training(**options).run(9))


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_every_cell_stacked_in_both_directions(tmp_path: Path, name: str, dtype: str) -> None:
    layers = [
        gl.Bidirectional(make(name, 1, 3, dtype=dtype), make(name, 1, 3, rng=1, dtype=dtype)),
        make(name, 6, 2, dtype=dtype),
    ]
    network = gl.Network(layers, readout=gl.Readout.init(2, 1, activation="tanh", rng=2, dtype=dtype))
    again = stopped(tmp_path / "t.npz", training(network=network, at=[2, 5]), 2, 5)
    assert_same(again, training(network=network, at=[2, 5]).run(5))
    assert repr(again.model.layers) == repr(network.layers)
    assert repr(again.model.readout) == repr(network.readout)


def test_a_bare_cell_on_a_function(tmp_path: Path) -> None:
    def task(step: int) -> Any:
        rng = np.random.default_rng(step)
        return rng.standard_normal((5, 3, 1)), gl.mse(rng.standard_normal((3, 4)))

    cell = gl.GRU.init(1, 4, reset="after", rng=0)
    assert_same(stopped(tmp_path / "t.npz", gl.Training(cell, task), 3, 6, task), gl.Training(cell, task).run(6))
    with pytest.raises(gl.InputError, match="the file cannot hold the task it was trained on; give task="):
        gl.load_training(tmp_path / "t.npz")


def test_a_mask_of_steps(tmp_path: Path) -> None:
    mask = np.arange(5)[:, None] >= np.array([0, 1, 2, 3])
    assert_same(stopped(tmp_path / "t.npz", training(at=mask), 2, 4), training(at=mask).run(4))


def test_how_it_ended_is_kept(tmp_path: Path) -> None:
    diverged = training(network=model(activation="identity"), optimiser=gl.SGD(50.0)).run(100)
    solved = training(until=gl.Until("loss", below=100.0, window=2)).run(9)
    for t in (diverged, solved, training()):
        again = gl.load_training(t.save(tmp_path / "t.npz"))
        assert_same(again, t)
        assert repr(again) == repr(t)


def test_checkpoints_on_the_way(tmp_path: Path) -> None:
    path, saved = tmp_path / "deep" / "t.npz", []
    t = training()
    t.observers.append(lambda trace, step, facts: saved.append(gl.load_training(path).step if path.exists() else 0))
    t.run(7, checkpoint=path, checkpoint_every=3)
    assert saved == [0, 0, 0, 3, 3, 3, 6]
    assert_same(gl.load_training(path), t)
    assert [one.name for one in path.parent.iterdir()] == ["t.npz"]


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        training().save(tmp_path / "file" / "t.npz")


def test_what_no_file_can_hold() -> None:
    cell = gl.custom_cell(lambda h, x: np.tanh(h + x), state_size=1, input_size=1)
    t = training()
    object.__setattr__(t.training_state, "model", cell)
    with pytest.raises(gl.InputError, match="a file cannot hold the equations of"):
        t.save("never")

    class Own(gl.SGD):
        """A rule of the user's."""

    with pytest.raises(gl.InputError, match=r"a file cannot hold the formulas of .*Own"):
        training(optimiser=Own(0.1)).save("never")


# --- files that are not ours ------------------------------------------------------------------------


@pytest.fixture
def whole(tmp_path: Path) -> bytes:
    return training().run(3).save(tmp_path / "whole.npz").read_bytes()


def refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"t\.npz: holds no training that can be read \(") as told:
        gl.load_training(path)
    assert "\n" not in str(told.value)


def test_cut_short_anywhere(tmp_path: Path, whole: bytes) -> None:
    for length in range(0, len(whole) - 1, 97):
        refused(tmp_path / "t.npz", whole[:length])


def test_a_byte_changed_anywhere_is_seen_or_harmless(tmp_path: Path, whole: bytes) -> None:
    """What is read is what was written, or nothing is: the archive's checksums."""
    good = training().run(3)
    for place in range(0, len(whole), 61):
        path = tmp_path / "t.npz"
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            found = gl.load_training(path)
        except StoreError:
            continue
        assert_same(found, good)


class Bomb:
    """Pickled, it would run code when it is opened."""

    def __reduce__(self) -> Any:
        return (Path.touch, (Path("ran"),))


def test_nothing_in_a_file_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: bytes) -> None:
    monkeypatch.chdir(tmp_path)
    refused(tmp_path / "t.npz", pickle.dumps(Bomb()))
    bomb, archive = io.BytesIO(), dict(np.load(io.BytesIO(whole)))
    np.savez(bomb, **archive | {"slots/mean": np.array([Bomb()], object)})
    refused(tmp_path / "t.npz", bomb.getvalue())
    assert not (tmp_path / "ran").exists()


def changed(whole: bytes, **pages: Any) -> bytes:
    """Return the file with keys of its page replaced."""
    archive, file = dict(np.load(io.BytesIO(whole))), io.BytesIO()
    page = json.loads(archive["page"].tobytes()) | pages
    np.savez(file, **archive | {"page": np.frombuffer(json.dumps(page).encode(), np.uint8)})
    return file.getvalue()


@pytest.mark.parametrize(
    "pages",
    [
        {"format": "gradlab training 0"},
        {"model": {"layers": [[{"cell": "lsmt", "options": {}}]], "readout": None, "bare": False}},
        {"model": {"layers": [[{"cell": "lstm", "options": {}}]], "readout": None, "bare": False}},
        {"optimiser": {"name": "adam", "options": {"lr": "fast"}}},
        {"optimiser": {"name": "rmsprop", "options": {}}},
        {"standing": {"step": 4, "status": "running", "reason": "", "scores": []}},
        {"standing": {"step": 3, "status": "asleep", "reason": "", "scores": []}},
        {"task": {"name": "no such task", "options": {}}},
        {"stream": None},
    ],
)
def test_what_does_not_fit_together(tmp_path: Path, whole: bytes, pages: dict[str, Any]) -> None:
    assert gl.load_training(_written(tmp_path, changed(whole))).step == 3
    refused(tmp_path / "t.npz", changed(whole, **pages))


def _written(folder: Path, content: bytes) -> Path:
    path = folder / "same.npz"
    path.write_bytes(content)
    return path


def test_foreign_files(tmp_path: Path) -> None:
    file = io.BytesIO()
    np.savez(file, W=np.zeros(3))
    refused(tmp_path / "t.npz", file.getvalue())
    array = io.BytesIO()
    np.save(array, np.zeros(3))
    refused(tmp_path / "t.npz", array.getvalue())
    with pytest.raises(StoreError, match="holds no training that can be read"):
        gl.load_training(tmp_path / "nowhere.npz")
    with pytest.raises(StoreError, match="holds no training that can be read"):
        gl.load_training(tmp_path)


# --- a task that no file holds ----------------------------------------------------------------------


class Twice(gl.tasks.Task):
    """Registered, and known in this process alone."""

    name = "twice"
    input_size = output_size = 1

    def sample(self, length: int, batch: int, *, at: Any = "last", rng: Any) -> Any:
        x = rng.standard_normal((length, batch, 1))
        return x, gl.mse(2.0 * x[0], at=at)


def drawn(gain: float) -> gl.tasks.FunctionTask:
    return gl.tasks.FunctionTask(lambda length, batch, rng: (x := rng.random((length, batch, 1)), gain * x[0]), 1, 1)


SERIES = np.sin(np.arange(60.0))
#: A task, one that differs from it in its targets alone, and one that differs in its inputs.
GIVEN: dict[str, tuple[Any, Any, Any]] = {
    "function": (drawn(1.0), drawn(1.001), Twice()),
    "arrays": (gl.tasks.from_arrays(SERIES, SERIES), gl.tasks.from_arrays(SERIES, -SERIES), drawn(1.0)),
    "class": (Twice(), drawn(2.0), gl.tasks.from_arrays(SERIES, SERIES)),
    "steps": (lambda n: next(Sum().batches(5, 4, start=n)), lambda n: next(Sum().batches(5, 4, start=n + 1)), Sum()),
}


@pytest.mark.parametrize("case", GIVEN)
def test_a_task_that_no_file_holds_is_given_again(tmp_path: Path, case: str) -> None:
    gl.tasks.register("twice", Twice)
    task, *others = GIVEN[case]
    made = lambda: gl.Training(model(), task, length=5, batch=4, seed=3)  # noqa: E731
    path = made().run(3).save(tmp_path / "t.npz")
    assert_same(gl.load_training(path, task).run(6), made().run(6))
    with pytest.raises(gl.InputError, match=r"t\.npz: the file cannot hold the task it was trained on; give task=$"):
        gl.load_training(path)
    for other in others:
        with pytest.raises(gl.InputError, match=r"t\.npz: task= draws other batches than the one it was trained on"):
            gl.load_training(path, other)


def test_a_task_that_a_file_holds_may_be_given_but_no_other(tmp_path: Path) -> None:
    path = training().run(2).save(tmp_path / "t.npz")
    assert_same(gl.load_training(path, Sum()).run(4), training().run(4))
    with pytest.raises(gl.InputError, match="task= draws other batches"):
        gl.load_training(path, lambda step: next(Sum().batches(9, 2, seed=8, start=step)))


def test_a_task_that_rounds_otherwise_is_the_same(tmp_path: Path) -> None:
    path = gl.Training(model(), drawn(1.0), length=5, seed=3).run(2).save(tmp_path / "t.npz")
    assert gl.load_training(path, drawn(1.0 + 1e-12)).run(3).step == 3
