"""What a study was set to, as text, and how two studies differ."""

from __future__ import annotations

from synthetic import make_frames

from gradlab.report import settings

RUNS = make_frames({"cell": ["rnn", "lstm"], "scale": [0.5, 1.0], "init.forget_bias": [-1.0]}, seeds=3)[0]


def test_every_key_with_its_values() -> None:
    assert settings.varied(RUNS) == {"cell": "rnn, lstm", "scale": "0.5, 1", "seed": "3 (0 … 2)"}
    assert settings.kept(RUNS) == {
        "init.forget_bias": "−1", "hidden": "64", "length": "64", "batch": "16", "at": "last", "precision": "float64",
        "task.name": "sum", "init.recurrent": "gaussian",
    }  # fmt: skip


def test_a_key_that_no_run_has_is_left_out_and_truth_is_no_number() -> None:
    runs = RUNS.assign(hidden=None, batch=True)
    told = settings.settings(runs)
    assert "hidden" not in told
    assert told["batch"] == "True"


def test_one_seed_is_named() -> None:
    assert settings.settings(RUNS[RUNS["seed"] == 2])["seed"] == "2"


def test_what_differs_and_what_only_one_has() -> None:
    table = settings.differing({"a": "1", "b": "2", "c": "3"}, {"b": "2", "c": "4", "d": "5"})
    assert table.to_numpy().tolist() == [["a", "1", "—"], ["c", "3", "4"], ["d", "—", "5"]]
    assert settings.differing({"a": "1"}, {"a": "1"}).empty
