"""Data of a user's own: arrays, frames, files and functions, all through one door."""

from __future__ import annotations

import contextlib
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gradlab as gl
from gradlab.errors import InputError
from gradlab.tasks import TASKS, File, FunctionTask, from_arrays, from_frame

RNG = np.random.default_rng
LAKE = Path(__file__).with_name("lake.csv")


# --- arrays ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by_step", [False, True])
@pytest.mark.parametrize("labels", [False, True])
def test_sequences_keep_their_targets(by_step: bool, labels: bool) -> None:
    """x carries its sequence's number, and y is a function of it (and of the step)."""
    T, N = 4, 30
    x = np.broadcast_to(np.arange(float(N))[:, None], (T, N, 1))
    y = np.arange(N) % 3 if labels else np.arange(float(N))[:, None]
    if by_step:
        y = np.stack([y + t for t in range(T)])
    task = from_arrays(x, y)
    assert (task.fixed_length, task.input_size, task.output_size) == (T, 1, int(y.max()) + 1 if labels else 1)
    drawn, loss = task.sample(T, N, rng=RNG(0))
    which = drawn[0, :, 0].astype(int)
    np.testing.assert_array_equal(np.sort(which), np.arange(N))
    np.testing.assert_array_equal(loss.targets, y[:, which] if by_step else y[which])
    kept = {float(v) for v in task.test.x[0, :, 0]}
    assert kept == set(np.arange(22.0, 30.0))
    assert {float(v) for v in task.train.x[0, :, 0]} == set(np.arange(22.0))
    assert task.test.sample(T, 8, rng=RNG(0))[1].targets.shape == task.test.y.shape


def test_windows_are_rows_in_a_row() -> None:
    task = from_arrays(np.arange(50.0), 100 + np.arange(50.0))
    x, loss = task.sample(8, 400, rng=RNG(0))
    np.testing.assert_array_equal(np.diff(x[..., 0], axis=0), 1.0)
    np.testing.assert_array_equal(loss.targets, x + 100)
    assert set(x[0, :, 0]) == set(range(43))
    assert (task.train.x.max(), task.test.x.min()) == (36, 37)


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (from_arrays(np.arange(500.0), np.arange(500.0)), "Windows(x (500, 1), y (500, 1), output_size=1)"),
        (from_arrays(np.zeros((4, 30, 2)), np.arange(30) % 3), "Sequences(x (4, 30, 2), y (30,), output_size=3)"),
    ],
)
def test_data_are_shown_by_their_shape(task: Any, said: str) -> None:
    assert repr(task) == said
    assert len(repr(task.sample(4, 20, rng=RNG(0))[1])) < 100


def test_labels_of_a_series() -> None:
    task = from_arrays(np.arange(60.0).reshape(30, 2), np.arange(30) % 4)
    x, loss = task.sample(5, 10, at="every", rng=RNG(0))
    assert (task.input_size, task.output_size, loss.kind) == (2, 4, "cross_entropy")
    np.testing.assert_array_equal(loss.targets, x[..., 0] / 2 % 4)


@pytest.mark.parametrize(
    ("x", "y", "said"),
    [
        (np.ones((4, 5, 1)), np.ones(5), r"got x \(4, 5, 1\) and y \(5,\) of float64"),
        (np.ones((4, 5, 1)), np.ones((6, 1)), r"got x \(4, 5, 1\) and y \(6, 1\)"),
        (np.ones(4), np.ones(5), r"got x \(4,\) and y \(5,\)"),
        (np.ones(4), np.ones((4, 1), int), r"got x \(4,\) and y \(4, 1\) of int64"),
        (np.array([1.0, np.nan]), np.ones(2), "x must be finite, got nan at index"),
        (np.array(["a", "b"]), np.ones(2), "x must be of numbers, got <U1"),
        (np.ones(2), np.array([0, -1]), "classes must be 0, 1 …, got -1"),
        ([[1.0], [1.0, 2.0]], np.ones(2), "x must be an array, got nested lists of unequal lengths"),
    ],
)
def test_arrays_that_do_not_fit(x: Any, y: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        from_arrays(x, y)


def test_more_than_there_is() -> None:
    task = from_arrays(np.ones((4, 5, 1)), np.arange(5))
    with pytest.raises(InputError, match="the sequences have length 4, got 3"):
        task.sample(3, 1, rng=RNG(0))
    with pytest.raises(InputError, match="batch must be at most 5, the number of sequences, got 6"):
        task.sample(4, 6, rng=RNG(0))


# --- frames and files -----------------------------------------------------------------------------------


def written(folder: Path, name: str, frame: pd.DataFrame) -> str:
    path = folder / name
    if name.endswith(".csv"):
        frame.to_csv(path, index=False)
    else:
        np.savez(path, **{str(column): frame[column].to_numpy() for column in frame})
    return str(path)


@pytest.mark.parametrize("ahead", [0, 1, 5])
@pytest.mark.parametrize("standardise", [False, True])
@pytest.mark.parametrize("kind", ["frame", "csv", "npz", "csv;"])
def test_a_frame_and_its_files_give_the_same(tmp_path: Path, kind: str, standardise: bool, ahead: int) -> None:
    """The target is that of `ahead` rows later; standardised by the mean and deviation of the first three quarters."""
    frame = pd.read_csv(LAKE)
    if kind == "frame":
        task: Any = from_frame(frame, "level", inputs=["rain", "level"], ahead=ahead, standardise=standardise)
    else:
        path = written(tmp_path, f"lake.{kind.rstrip(';')}", frame)
        if kind == "csv;":
            Path(path).write_text("\ufeff" + Path(path).read_text().replace(",", ";"), encoding="utf-8")
        task = File(path=path, inputs="rain, level", target="level", ahead=ahead, standardise=standardise)
    if standardise:
        frame = (frame - frame[:45].mean()) / frame[:45].std(ddof=0)
    x, loss = task.sample(60 - ahead, 1, rng=RNG(0))
    np.testing.assert_allclose(x[:, 0], frame[["rain", "level"]].to_numpy()[: 60 - ahead], rtol=1e-12)
    np.testing.assert_allclose(loss.targets[:, 0, 0], frame["level"].to_numpy()[ahead:], rtol=1e-12)
    assert (task.input_size, task.output_size) == (2, 1)


def test_a_files_classes_and_its_columns() -> None:
    task = File(path=str(LAKE), target="season", classes=True, standardise=True, ahead=0)
    x, loss = task.sample(60, 1, rng=RNG(0))
    assert (task.input_size, task.output_size, loss.kind) == (4, 3, "cross_entropy")  # all columns are read
    np.testing.assert_array_equal(loss.targets[:, 0], np.arange(60) % 3)
    np.testing.assert_allclose(x[:45].std(axis=0), 1.0, rtol=1e-12)


def test_an_npz_of_sequences(tmp_path: Path) -> None:
    x, y = RNG(0).standard_normal((6, 20, 2)), np.arange(20) % 5
    np.savez(tmp_path / "set.npz", x=x, y=y, other=x)
    drawn, loss = File(path=str(tmp_path / "set.npz")).sample(6, 4, rng=RNG(1))
    wanted, same = from_arrays(x, y).sample(6, 4, rng=RNG(1))
    np.testing.assert_array_equal(drawn, wanted)
    np.testing.assert_array_equal(loss.targets, same.targets)


def test_a_pickle_in_an_npz_is_never_loaded(tmp_path: Path) -> None:
    class Runs:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "it ran"),)

    evil = np.empty(1, object)
    evil[0] = Runs()
    np.savez(tmp_path / "evil.npz", x=evil, y=np.ones(1))
    with pytest.raises(InputError, match=r"evil.npz: is no npz of plain arrays \(Object arrays cannot be loaded"):
        File(path=str(tmp_path / "evil.npz"), target="y").sample(1, 1, rng=RNG(0))
    (tmp_path / "evil2.npz").write_bytes(pickle.dumps(Runs()))
    with pytest.raises(InputError, match="is no npz of plain arrays"):
        File(path=str(tmp_path / "evil2.npz"), target="y").sample(1, 1, rng=RNG(0))
    assert not (tmp_path / "it ran").exists()


BAD = {
    "a,b\n1,2\n2,3\n1,x\n": 'row 4, column "b": expected a number, got "x"; mend it, or name the columns to read',
    "a,b\n1,2\n2,3\n1,nan\n": 'row 4, column "b": expected a number, got "nan"',
    "a,b\n1,2\n1\n": "row 3: expected 2 fields, as in the header, got 1",
    "a,a\n1,2\n": "a header of names, each once",
    "a,b\n": "and rows of numbers below it",
    "": "expected a csv with a header",
    "a,c\n1,2\n2,3\n3,3\n": 'unknown column "b"',
    "a,b\n1,2\n1,3\n": 'column "a" is constant in the first three quarters',
    'a,b\n1,"2\n': "is no csv of UTF-8 text",
}


@pytest.mark.parametrize("text", BAD)
def test_bad_files_are_named_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(InputError) as refused:
        File(path=str(path), target="b", standardise=True).sample(1, 1, rng=RNG(0))
    assert str(refused.value).startswith(f"{path}: ")
    assert BAD[text] in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({}, "path is missing; name a csv or npz file"),
        ({"path": "data.xlsx"}, "data.xlsx: expected a file whose name ends in .csv or .npz"),
        ({"path": "none.csv"}, "none.csv: no such file, from the folder"),
        ({"path": str(LAKE)}, r"name the column to predict, target = … \(year, level, rain, season\)"),
        ({"path": str(LAKE), "target": "levl"}, 'unknown column "levl"; did you mean "level"'),
        ({"path": str(LAKE), "target": "level", "ahead": 60}, "ahead must be less than the 60 rows, got 60"),
        ({"path": str(LAKE), "target": "rain", "classes": True}, "classes are one column of whole numbers 0, 1 …"),
        ({"path": str(LAKE), "target": "rain", "content": "0" * 16}, "has changed since; the study was planned with"),
    ],
)
def test_keys_that_cannot_be(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        File(**keys).sample(5, 1, rng=RNG(0))


@given(st.binary(max_size=300), st.sampled_from(["csv", "npz"]))
def test_no_bytes_do_more_than_be_refused(tmp_path_factory: Any, content: bytes, kind: str) -> None:
    path = tmp_path_factory.mktemp("any") / f"any.{kind}"
    path.write_bytes(content)
    with contextlib.suppress(InputError):
        File(path=str(path), target="b").sample(1, 1, rng=RNG(0))


# --- functions ------------------------------------------------------------------------------------------


def echo(length: int, batch: int, rng: np.random.Generator) -> Any:
    x = rng.standard_normal((length, batch, 2))
    return x, x[0, :, :1]


def test_a_function_is_a_task() -> None:
    task = FunctionTask(echo, input_size=2, output_size=1)
    x, loss = next(task.batches(20, 3, seed=5))
    wanted, y = echo(20, 3, np.random.default_rng(np.random.SeedSequence(5, spawn_key=(0,))))
    np.testing.assert_array_equal(x, wanted)
    np.testing.assert_array_equal(loss.targets, y)
    assert task.checksum() == FunctionTask(echo, 2, 1).checksum()
    other = FunctionTask(lambda length, batch, rng: (echo(length, batch, rng)[0], np.zeros((batch, 1))), 2, 1)
    assert other.checksum() != task.checksum()


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        (lambda T, B, rng: np.zeros((T, B, 2)), "must return the pair \\(x, y\\), got ndarray"),
        (
            lambda T, B, rng: (np.zeros((T, B)), np.zeros(B, int)),
            "x of the task's function must have shape \\(5, 3, 2\\)",
        ),
        (lambda T, B, rng: (np.zeros((T, B, 2)), np.zeros(B)), "targets must have shape"),
    ],
)
def test_functions_that_give_something_else(draw: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        FunctionTask(draw, 2, 1).sample(5, 3, rng=RNG(0))


@pytest.mark.parametrize(
    ("name", "task", "said"),
    [
        ("sum", FunctionTask(echo, 2, 1), "'sum', which is a shipped task"),
        ("a b", FunctionTask(echo, 2, 1), "'a b', which is no name"),
        ("mine", echo, r"task must be gl.tasks.FunctionTask\(draw, input_size, output_size\).*got function"),
        ("mine", TASKS["sum"](), "got Sum"),
    ],
)
def test_what_cannot_be_registered(name: str, task: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        gl.tasks.register(name, task)
    assert "mine" not in TASKS
