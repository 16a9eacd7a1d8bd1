"""A results folder that is not this study's, or cannot be read, is named, refused and left as it is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from filelock import FileLock
from study.test_fuzz import assert_one_line, command
from study.tiny import run, tiny

from gradlab import load_results
from gradlab.errors import StoreError
from gradlab.study.lock import holder
from gradlab.study.store import STORE, _digest, _parquet

TINY = tiny().spec.toml()
QUESTIONS = ("status", "report", "export")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tiny(), tmp_path_factory.mktemp("finished") / "r", progress=False).folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the results of the tiny study, ``r`` in the working folder, beside its file ``tiny.toml``."""
    monkeypatch.chdir(tmp_path)
    Path("tiny.toml").write_text(TINY, encoding="utf-8")
    return Path(shutil.copytree(finished, "r"))


def contents(folder: Path) -> dict[str, str]:
    """Return the digest of every file below ``folder``; "" for folders."""
    return {str(p): sha256(p.read_bytes()).hexdigest() if p.is_file() else "" for p in sorted(folder.rglob("*"))}


def refused(*words: str, naming: str) -> None:
    """Check that a command is refused in one line that names a path, and that no file has changed."""
    before = contents(Path())
    code, said = command(*words)
    assert (code, said.startswith(f"gradlab: {naming}")) == (2, True), said
    assert_one_line(said)
    assert contents(Path()) == before


def runs_of(folder: Path) -> Path:
    return sorted((folder / "parts" / "runs").iterdir())[0]


def with_note(note: Any) -> Callable[[Path], None]:
    """Return what gives the first part another note, under the name that its bytes ask for."""

    def forge(folder: Path) -> None:
        path = runs_of(folder)
        content = _parquet(pq.read_table(path), note)
        path.unlink()
        (path.parent / f"00000001-{_digest(content)}.parquet").write_bytes(content)

    return forge


def newer_without_runs(folder: Path) -> None:
    """A newer layout may keep parts that have no runs file, which are no leftovers of ours."""
    with_note({"store": STORE + 1})(folder)
    (folder / "parts" / "steps" / "00000099-0123456789abcdef.parquet").write_bytes(b"measured by a newer version")


def junk(folder: Path) -> None:
    (folder / "parts" / "runs" / f"00000099-{_digest(b'junk')}.parquet").write_bytes(b"junk")


def instead(name: str, content: bytes | None, lost: bool = True) -> Callable[[Path], None]:
    """Return what puts a file, or an empty folder, in the place of one; ``lost``: so that there is something to run."""

    def put(folder: Path) -> None:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.mkdir() if content is None else path.write_bytes(content)
        if lost:
            runs_of(folder).unlink()

    return put


BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "newer layout": (with_note({"store": STORE + 1}), "r/parts/runs/00000001-"),
    "newer layout without runs": (newer_without_runs, "r/parts/runs/00000001-"),
    "no layout": (with_note({}), "r/parts/runs/00000001-"),
    "note of another kind": (with_note([1]), "r/parts/runs/00000001-"),
    "layout of another kind": (with_note({"store": "4"}), "r/parts/runs/00000001-"),
    "junk by the right name": (junk, "r/parts/runs/00000099-"),
    "a part is a folder": (instead("parts/runs/00000099-0123456789abcdef.parquet", None, lost=False), "r/parts/runs/"),
    "runs is a file": (instead("parts/runs", b"mine", lost=False), "r/parts/runs: "),
    "parts is a file": (instead("parts", b"mine", lost=False), "r/parts/"),
    "study.toml is empty": (instead("study.toml", b""), "r/study.toml: "),
    "study.toml is no text": (instead("study.toml", b"\xff"), "r/study.toml: "),
    "study.toml has a number for a name": (instead("study.toml", b"name = 3"), "r/study.toml: "),
    "study.toml is nested": (instead("study.toml", b"x = " + b"[" * 5000), "r/study.toml: "),
    "study.toml of a newer schema": (instead("study.toml", b"schema = 99\n" + TINY.encode()), "r/study.toml: "),
    "study.toml is a folder": (instead("study.toml", None), "r"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_folder_that_cannot_be_used_is_refused_and_left_as_it_is(folder: Path, case: str) -> None:
    spoil, named = BAD[case]
    spoil(folder)
    refused("run", "tiny.toml", "--workers", "0", "--out", "r", naming=named)
    for word in QUESTIONS:
        refused(word, "r", naming=named)
    with pytest.raises(StoreError, match=f"^{named}"):
        load_results("r").frame("runs")


@pytest.mark.parametrize("content", ["{", "[1]", '{"earlier": 3}', "\xff", "[" * 5000], ids=lambda text: text[:9])
def test_a_broken_provenance_is_refused_and_left_as_it_is(folder: Path, content: str) -> None:
    instead("provenance.json", content.encode("latin-1"))(folder)
    refused("run", "tiny.toml", "--workers", "0", "--out", "r", naming="r/provenance.json: ")
    refused("report", "r", naming="r/provenance.json: ")


def test_the_folder_of_another_study_is_refused_and_left_as_it_is(folder: Path) -> None:
    Path("other.toml").write_text(tiny(name="other").spec.toml(), encoding="utf-8")
    refused("run", "other.toml", "--workers", "0", "--out", "r", naming='r: holds the study "tiny", not "other"')


@pytest.mark.parametrize("out", ["tiny.toml", "tiny.toml/below", "/dev/null/x", "/proc/x", "loop", "x" * 300])
def test_a_path_that_cannot_be_written_is_refused_and_nothing_is_there_after(folder: Path, out: str) -> None:
    os.symlink("loop", "loop")
    refused("run", "tiny.toml", "--workers", "0", "--out", out, naming=f"{out}: ")
    refused("export", "r", "--out", out, naming=out)
    for word in QUESTIONS:
        refused(word, out, naming=f"{out}: ")


@pytest.mark.parametrize(
    "error",
    [PermissionError(13, "Permission denied"), OSError(30, "Read-only file system"), NotImplementedError("no flock")],
)
def test_a_folder_that_takes_no_lock_is_refused(
    folder: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def acquire(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(FileLock, "acquire", acquire)
    refused("run", "tiny.toml", "--workers", "0", "--out", "r", naming="r: cannot be written (")


@pytest.mark.parametrize("name", ["../x", "/abs", "a/b", "a\\b", "..", ".", "", " ", ".x", "-x", "x\n", "x" * 101])
def test_a_name_that_would_leave_the_results_folder_is_refused(folder: Path, name: str) -> None:
    Path("tiny.toml").write_text("name = " + repr(name).replace("'", '"') + "\n" + TINY.partition("\n")[2])
    refused("run", "tiny.toml", "--workers", "0", naming="tiny.toml: name: expected a name fit for a folder")


@pytest.mark.parametrize("spec", ["/dev/zero", "x" * 300, "r", "loop", "tiny.toml/x"])
def test_a_path_that_is_no_file_of_a_study_is_refused(folder: Path, spec: str) -> None:
    os.symlink("loop", "loop")
    refused("plan", spec, naming=spec)


@pytest.mark.parametrize(
    "left",
    [
        "{",
        "[1]",
        "\xff",
        '{"host": 1, "pid": "x"}',
        '{"host": "HERE", "pid": 1e999}',
        '{"host": "HERE", "pid": 99999999999999999999}',
    ],
)
def test_a_broken_note_on_the_holder_names_nobody(tmp_path: Path, left: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "HERE")
    (tmp_path / ".lock.json").write_bytes(left.encode("latin-1"))
    assert holder(tmp_path) == ""
