"""The table of published numbers, from runs or from the tables kept without them; the command `gradlab check`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from study.test_published import ENTRY
from study.tiny import tiny

import published
from gradlab import cli, selfcheck
from gradlab.cells import CELLS, LSTM
from gradlab.cells.variants import variants
from gradlab.errors import InputError, StoreError
from published_text import number
from truths import TRUTHS, Truth

#: The cells with all their options.
COUNT = sum(len(list(variants(name))) for name in CELLS)
WHERE = ENTRY["where"]
ENTRIES = [
    ENTRY | {"claim": "far off", "value": 5.0, "explanation": "nobody is this small"},
    ENTRY | {"claim": "by algebra", "kind": "exact", "bound": "below", "value": 9.0},
    ENTRY | {"claim": "a line", "statistic": "slope", "against": "scale", "where": {"cell": "rnn"}, "absolute": 99.0},
    ENTRY | {"claim": "elsewhere", "where": WHERE | {"length": 40}},
]
for entry in ENTRIES[1:3]:
    del entry["tolerance"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder ``results`` with one study that has run, and its report."""
    folder = tmp_path_factory.mktemp("made") / "results"
    figures = {"figures": ["decay"]}
    tiny(published=ENTRIES, full={"length": [9, 40]}, report=figures).run(folder / "tiny", workers=0, progress=False)
    return folder


@pytest.fixture
def results(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(made, tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    few = {name: TRUTHS[name] for name in ("E01 state", "E13 before", "E20 theory")}
    for name in set(TRUTHS) - set(few):
        monkeypatch.delitem(TRUTHS, name)
    return Path("results")


def script(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = published.main(words)
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def check(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["gradlab", "check", *words])
    with pytest.raises(SystemExit) as end:
        cli.main()
    said = capsys.readouterr()
    return int(end.value.code or 0), said.out, said.err


def without_runs(results: Path) -> Path:
    """Leave what is committed of a study: its file, its tables."""
    for path in (results / "tiny").iterdir():
        if path.is_dir() and path.name != "tables":
            shutil.rmtree(path)
        elif path.is_file() and path.name != "study.toml":
            path.unlink()
    return results / "tiny" / "tables" / "published.csv"


@pytest.mark.parametrize(("value", "text"), [(0.9999996, "0.9999996"), (0.31, "0.31"), (1.0, "1"), (0.97003, "0.97")])
def test_a_number_that_is_bounded_is_told_apart_from_its_bound(value: float, text: str) -> None:
    assert number(value, {"published": 1.0, "tolerance": "below 1"}) == text


def test_from_runs_and_from_the_tables_kept_it_is_the_same(results: Path) -> None:
    (of_runs,) = published.collect()
    path = without_runs(results)
    before = path.read_bytes()
    (of_table,) = published.collect([results / "tiny"])
    pd.testing.assert_frame_equal(of_runs.table, of_table.table, check_dtype=False, rtol=1e-11)
    assert of_runs.origin.startswith("its runs, gradlab ")
    assert of_table.origin.startswith("tables/published.csv, gradlab ")
    assert "; numerics " in of_table.origin
    assert path.read_bytes() == before
    words = dict(zip(of_table.table["claim"], of_table.table["word"], strict=True))
    assert words["far off"] == "not reproduced"
    assert words["by algebra"] == "reproduced"
    assert words["elsewhere"] == "not comparable"
    assert words["a line"] in ("reproduced", "consistent")


def test_the_document(results: Path) -> None:
    path = Path("out/published.md")
    sound = published.write_collection(path)
    text = path.read_text(encoding="utf-8")
    assert sound
    assert text.startswith("# What is known, and what gradlab measures\n\nWritten by `python studies/published.py`")
    assert "- Published numbers: 1 not reproduced" in text
    first, exact = text.partition("## Exact ground truths")[::2]
    assert "by algebra" not in first
    assert "| by algebra | somebody 1999 | tiny |" in exact
    assert "∂h_T/∂h_0 = w^T" in exact
    assert "λ₁ of x_t = W tanh x_(t−1)" in first.partition("## Derived or expected")[2]
    assert "1. far off: ± 10 %, because: finite size. **not reproduced**: nobody is this small.\n" in text
    assert "**not comparable**: not run at this size; the study's --full has it." in text
    assert text.endswith("\n")
    for table in (part for part in text.split("\n\n") if part.startswith("|")):
        assert len({row.replace("\\|", "").count("|") for row in table.strip().splitlines()}) == 1


def test_no_study_has_run_yet_or_there_is_none(results: Path) -> None:
    shutil.rmtree(results / "tiny" / "parts")
    shutil.rmtree(results / "tiny" / "tables")
    (said,) = published.collect()
    assert set(said.table["word"]) == {"not comparable"}
    assert said.table["explanation"][0] == "2 of 2 runs planned; nobody is this small"
    shutil.rmtree(results)
    assert published.collect() == []
    path = Path("new/published.md")
    published.write_collection(path)
    assert "- Published numbers: none\n" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("not reproduced", "reproduced", r'row 1: the word is "reproduced", but the interval gives "not reproduced"'),
        ("far off", "near", r'row 1, claim: is "near", but "far off" in study.toml'),
        (",5,", ",0.1,", r'row 1, published: is "0.1", but "5.0" in study.toml'),
        ("± 10 %", "± 90 %", r'row 1, tolerance: is "± 90 %"'),
        (",made_with", ",made,with", "must have the columns"),
        ("claim", "clam", "must have the columns"),
        (",5,", ",x,", r"row 1: could not convert string to float"),
        ("far off", '"far', "cannot be read|must have the columns"),
        ("\nelsewhere", "\n#", "must have the columns|claim"),
    ],
)
def test_a_table_that_its_report_did_not_write_is_refused_in_one_line(
    results: Path, old: str, new: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = without_runs(results)
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(StoreError, match=message):
        published.collect()
    code, out, err = script(capsys)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("published.py: results/tiny/tables/published.csv: ")
    assert err.endswith("; `gradlab run` on the study's file writes it again\n")
    assert not Path("results/published.md").exists()


def test_bytes_that_are_no_table_are_refused(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = without_runs(results)
    for content in (b"", b"\xff\xfe\x00", b"claim\n"):
        path.write_bytes(content)
        with pytest.raises(StoreError, match=r"published\.csv: "):
            published.collect()
    monkeypatch.setattr(published, "LARGEST", 3)
    with pytest.raises(StoreError, match="has more than 3 bytes"):
        published.collect()


def test_folders_that_cannot_be_are_refused(results: Path) -> None:
    with pytest.raises(StoreError, match=r"nowhere: holds no study\.toml"):
        published.collect([Path("nowhere")])
    (Path("plain")).mkdir()
    Path("plain/study.toml").write_text(tiny().spec.toml(), encoding="utf-8")
    with pytest.raises(InputError, match="plain: its study names no published numbers"):
        published.collect([Path("plain")])
    with pytest.raises(InputError, match="--out: results is a folder"):
        published.write_collection(Path("results"))
    with pytest.raises(StoreError, match="cannot be written"):
        published.write_collection(Path("plain/study.toml/published.md"))


def test_the_command(results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert script(capsys) == (0, "results/published.md\n", "")
    assert script(capsys, "--out", "x.md", "results/tiny") == (0, "x.md\n", "")
    assert Path("x.md").read_bytes() == Path("results/published.md").read_bytes()
    broken = TRUTHS["E01 state"]._replace(value=0.5)
    assert isinstance(broken, Truth)
    monkeypatch.setitem(TRUTHS, "E01 state", broken)
    assert script(capsys) == (1, "results/published.md\n", "")
    assert "1 not reproduced" in Path("results/published.md").read_text(encoding="utf-8")


def test_check_of_cells(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = check(monkeypatch, capsys)
    assert (code, err) == (0, "")
    assert out.count("checks passed\n") == COUNT
    code, out, err = check(monkeypatch, capsys, "lstm")
    assert (code, err) == (0, "")
    assert out.startswith("selfcheck of LSTM(input_size=3, hidden_size=5, float64): passed\n")
    assert "complex step" in out
    code, out, err = check(monkeypatch, capsys, "lsmt")
    assert (code, out) == (2, "")
    assert err == 'gradlab: unknown cell "lsmt"; did you mean "lstm"? (' + f"{', '.join(CELLS)})\n"


def test_check_of_a_cell_that_is_wrong(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    true = LSTM.jvp

    def wrong(cell: LSTM, *args: Any) -> tuple[Any, ...]:
        return tuple(1.01 * part for part in true(cell, *args))

    monkeypatch.setattr(LSTM, "jvp", wrong)
    assert not selfcheck(LSTM.init(3, 5, rng=0)).passed
    code, out, _ = check(monkeypatch, capsys)
    assert code == 1
    assert "selfcheck of LSTM(input_size=3, hidden_size=5, float64): FAILED" in out
    assert out.count("checks passed\n") == COUNT - 1


def test_the_script_runs_from_a_clone() -> None:
    root = Path(__file__).parents[1]
    command = [sys.executable, "studies/published.py", "nowhere"]
    env = os.environ | {"PYTHONPATH": str(root)}
    run = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.startswith("published.py: nowhere: holds no study.toml")
