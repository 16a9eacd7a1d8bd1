"""Where a study came from, in lines; the command that made it, and the one that makes it again."""

from __future__ import annotations

import shlex

import pytest

from gradlab.report import origin

PROVENANCE = {
    "started": "2024-01-01T00:00:00+00:00",
    "ended": None,
    "argv": ["gradlab", "run", "my studies/x.toml", "--workers", "2"],
    "versions": {"gradlab": "0.1.0", "python": "3.11"},
    "git": {"commit": "abc", "dirty": False},
    "machine": {"system": "Linux", "cpus": 2},
    "earlier": [],
}


def test_provenance_as_lines() -> None:
    assert origin.provenance_lines(PROVENANCE) == {
        "started": "2024-01-01T00:00:00+00:00",
        "argv": "gradlab run 'my studies/x.toml' --workers 2",
        "versions": "gradlab 0.1.0, python 3.11",
        "git": "commit abc, dirty False",
        "machine": "system Linux, cpus 2",
    }


@pytest.mark.parametrize("program", ["gradlab", "__main__.py"])
def test_the_command_that_was_typed_can_be_typed_again(program: str) -> None:
    argv = [program, *PROVENANCE["argv"][1:]]
    assert shlex.split(origin.typed({"argv": argv})) == ["gradlab", *argv[1:]]


@pytest.mark.parametrize("argv", [[], ["mine.py"], ["-c"], ["mine.py", "report"], None])
def test_a_study_run_from_python_has_no_command_that_was_typed(argv: list[str] | None) -> None:
    assert origin.typed({"argv": argv}) == ""


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
    *comments, command = origin.again({"name": "x;y"}, PROVENANCE | changes)
    assert comments == needed
    assert shlex.split(command) == ["gradlab", "run", "study.toml", "--out", "../x;y_again"]


def test_what_it_was_run_with() -> None:
    assert origin.versions(PROVENANCE) == {
        "version of gradlab": "0.1.0", "version of python": "3.11", "commit": "abc", "machine": "Linux",
    }  # fmt: skip
    assert origin.versions({}) == {}
