"""The text of a page about a study: provenance, commands, settings and how two studies differ in them."""

from __future__ import annotations

import shlex

import pytest
from synthetic import make_frames

from gradlab.report import source

PROVENANCE = {
    "started": "2024-01-01T00:00:00+00:00",
    "ended": None,
    "argv": ["gradlab", "run", "my studies/x.toml", "--workers", "2"],
    "versions": {"gradlab": "0.1.0", "python": "3.11"},
    "git": {"commit": "abc", "dirty": False},
    "machine": {"system": "Linux", "cpus": 2},
    "earlier": [],
}
RUNS = make_frames({"cell": ["rnn", "lstm"], "scale": [0.5, 1.0], "init.forget_bias": [-1.0]}, seeds=3)[0]


def test_provenance_as_lines() -> None:
    assert source.provenance_text(PROVENANCE) == {
        "started": "2024-01-01T00:00:00+00:00",
        "argv": "gradlab run 'my studies/x.toml' --workers 2",
        "versions": "gradlab 0.1.0, python 3.11",
        "git": "commit abc, dirty False",
        "machine": "system Linux, cpus 2",
    }


@pytest.mark.parametrize("program", ["gradlab", "__main__.py"])
def test_the_command_that_was_typed_can_be_typed_again(program: str) -> None:
    argv = [program, *PROVENANCE["argv"][1:]]
    assert shlex.split(source.original_command({"argv": argv})) == ["gradlab", *argv[1:]]


@pytest.mark.parametrize("argv", [[], ["mine.py"], ["-c"], ["mine.py", "report"], None])
def test_a_study_run_from_python_has_no_command_that_was_typed(argv: list[str] | None) -> None:
    assert source.original_command({"argv": argv}) == ""


@pytest.mark.parametrize(
    ("changes", "needed"),
    [
        ({}, ["# with gradlab at commit abc"]),
        ({"git": {"commit": "abc", "dirty": True}}, ["# with gradlab at commit abc, which had uncommitted changes"]),
        ({"git": None}, ["# with gradlab 0.1.0"]),
        ({"git": None, "versions": None}, []),
    ],
)
def test_what_runs_it_again(changes: dict[str, object], needed: list[str]) -> None:
    *comments, command = source.rerun_commands({"name": "x;y"}, PROVENANCE | changes)
    assert comments == needed
    assert shlex.split(command) == ["gradlab", "run", "study.toml", "--out", "../x;y_again"]


def test_what_it_was_run_with() -> None:
    assert source.versions(PROVENANCE) == {
        "version of gradlab": "0.1.0", "version of python": "3.11", "commit": "abc", "machine": "Linux",
    }  # fmt: skip
    assert source.versions({}) == {}


def test_every_key_with_its_values() -> None:
    assert source.varied_settings(RUNS) == {"cell": "rnn, lstm", "scale": "0.5, 1", "seed": "3 (0 … 2)"}
    assert source.page_context(source.Source({"runs": RUNS}, {"name": "x"}, {}), [])["fixed"] == {
        "init.forget_bias": "−1", "hidden": "64", "length": "64", "batch": "16", "at": "last", "precision": "float64",
        "task.name": "sum", "init.recurrent": "gaussian",
    }  # fmt: skip


def test_a_key_that_no_run_has_is_left_out_and_truth_is_no_number() -> None:
    runs = RUNS.assign(hidden=None, batch=True)
    found = source.settings(runs)
    assert "hidden" not in found
    assert found["batch"] == "True"


def test_one_seed_is_named() -> None:
    assert source.settings(RUNS[RUNS["seed"] == 2])["seed"] == "2"


def test_what_differs_and_what_only_one_has() -> None:
    table = source.differing_settings({"a": "1", "b": "2", "c": "3"}, {"b": "2", "c": "4", "d": "5"})
    assert table.to_numpy().tolist() == [["a", "1", "—"], ["c", "3", "4"], ["d", "—", "5"]]
    assert source.differing_settings({"a": "1"}, {"a": "1"}).empty
