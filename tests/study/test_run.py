"""Only what is missing runs, what fails fails alone, and what happens is said."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import PATIENCE
from study.tiny import ONE, TABLES, assert_same_tables, measure_at_second_try, measure_unless_seed_1, run, tiny

from gradlab.errors import InputError, RunError, SpecError, StoreError
from gradlab.progress import ProgressReporter, duration
from gradlab.study import Results, Study, load_results
from gradlab.study import plan as planning
from gradlab.study import run as running
from gradlab.study import worker as measuring
from gradlab.study.budget import work
from gradlab.study.lock import claimed


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return run(tiny(), tmp_path_factory.mktemp("reference") / "tiny")


def parts(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in sorted((folder / "parts").rglob("*.parquet"))}


def test_what_is_done_is_skipped_and_said(
    reference: Results, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = reference.save(tmp_path / "r")
    before = parts(folder)
    run(tiny(), folder)
    assert parts(folder) == before
    assert capsys.readouterr().err == "tiny: 16 of 16 already done\n"
    assert load_results(folder).provenance == reference.provenance


def test_an_extended_grid_runs_only_what_is_missing(
    reference: Results, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = reference.save(tmp_path / "r")
    before = parts(folder)
    extended = run(tiny(grid={"scale": [0.5, 1.0, 1.5], "seeds": 3}), folder)
    after = parts(folder)
    assert {name: after[name] for name in before} == before
    assert "16 of 36 already done\ntiny: 20 to run in 12 groups, in this process\n" in capsys.readouterr().err
    assert set(extended.frame("runs")["status"]) == {"done"}
    assert (folder / "study.toml").read_text(encoding="utf-8") == extended.plan.spec.toml()
    assert_same_tables(extended, run(tiny(grid={"scale": [0.5, 1.0, 1.5], "seeds": 3}), tmp_path / "anew"))
    assert_same_tables(run(tiny(), folder), reference)


def test_a_grid_in_another_order_runs_nothing_and_has_its_rows_in_that_order(
    reference: Results, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = reference.save(tmp_path / "r")
    before = parts(folder)
    grid = {"seeds": [1, 0], "scale": [1.5, 0.5], "cell": ["lstm", "rnn"], "length": [9, 6]}
    reordered = run(Study(**TABLES | {"grid": grid}), folder)
    assert parts(folder) == before
    assert capsys.readouterr().err == "tiny: 16 of 16 already done\n"
    runs = reordered.frame("runs")
    assert runs[["seed", "scale", "cell", "length"]].iloc[0].tolist() == [1, 1.5, "lstm", 9]
    whole = reference.frame("runs").set_index("id").loc[runs["id"]].reset_index()
    pd.testing.assert_frame_equal(runs, whole[runs.columns], check_exact=True)


def test_a_damaged_part_is_said_and_run_again(
    reference: Results, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = reference.save(tmp_path / "r")
    path = sorted((folder / "parts" / "steps").iterdir())[3]
    path.write_bytes(path.read_bytes()[:-5])
    assert_same_tables(run(tiny(), folder), reference)
    said = capsys.readouterr().err
    assert (
        f"{path}: is not what was written (its checksum differs); its configurations run again\ntiny: 14 of 16" in said
    )


def test_a_damaged_part_does_not_stand_in_the_way_of_a_narrower_study(reference: Results, tmp_path: Path) -> None:
    folder = reference.save(tmp_path / "r")
    path = sorted((folder / "parts" / "runs").iterdir())[3]
    path.write_bytes(path.read_bytes()[:-5])
    narrowed = run(tiny(grid={"seeds": 1}), folder)
    assert set(narrowed.frame("runs")["status"]) == {"done"}


def test_leftovers_of_a_kill_are_swept_up(reference: Results, tmp_path: Path) -> None:
    folder = reference.save(tmp_path / "r")
    (folder / "parts" / "steps" / ".gradlab-abc.tmp").write_bytes(b"half")
    run(tiny(), folder)
    assert not list((folder / "parts").rglob(".*"))


def fail_at_large_scales(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = measuring.network

    def network(config: Any) -> Any:
        if config.values["scale"] > 1 and config.values["seed"] == 1:
            raise ValueError("too <large>")
        return whole(config)

    monkeypatch.setattr(measuring, "network", network)


def test_a_configuration_that_fails_is_a_row_and_the_others_go_on(
    reference: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_at_large_scales(monkeypatch)
    results = run(tiny(), tmp_path / "r")
    runs = results.frame("runs")
    failed = runs[runs["status"] == "failed"]
    assert failed[["scale", "seed"]].drop_duplicates().to_numpy().tolist() == [[1.5, 1]]
    assert len(failed) == 4
    assert set(failed["error"]) == {"ValueError: too <large>"}
    assert failed["traceback"].str.startswith("Traceback").all()
    assert failed["traceback"].str.contains("in network").all()
    assert (failed["seconds"] >= 0).all()
    assert set(results.frame("steps")["id"]).isdisjoint(failed["id"])
    whole = runs[runs["status"] == "done"].drop(columns="seconds").reset_index(drop=True)
    expected = reference.frame("runs")
    expected = expected[expected["id"].isin(whole["id"])].drop(columns="seconds").reset_index(drop=True)
    assert whole.equals(expected)
    assert "16 of 16 done, 0 diverged, 4 failed" in capsys.readouterr().err
    assert json.loads((tmp_path / "r" / "provenance.json").read_text())["configurations"] == {"done": 12, "failed": 4}


def test_what_failed_is_tried_again_only_when_asked_and_then_alone(
    reference: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_at_large_scales(monkeypatch)
    run(tiny(), tmp_path / "r")
    capsys.readouterr()
    run(tiny(), tmp_path / "r")
    assert capsys.readouterr().err == "tiny: 16 of 16 already done, 4 of them failed; --retry-failed runs them again\n"
    monkeypatch.undo()
    again = run(tiny(), tmp_path / "r", retry_failed=True)
    assert "4 of them failed; run again, and nothing else\ntiny: 4 to run in 4 groups" in capsys.readouterr().err
    assert_same_tables(again, reference)
    wider = run(tiny(grid={"seeds": 3}), tmp_path / "r", retry_failed=True)
    assert capsys.readouterr().err == "tiny: 16 of 24 already done; none failed, nothing to run again\n"
    assert wider.status()["planned"] == 8


def test_a_state_that_overflows_is_a_finding_and_no_failure(tmp_path: Path) -> None:
    changes = {"grid": {"cell": ["rnn"], "length": [600], "scale": [9.0]}, "rnn": {"activation": "identity"}}
    runs = run(tiny(**changes), tmp_path / "r").frame("runs")
    assert set(runs["status"]) == {"diverged"}
    assert (runs["overflow_step"] > 0).all()
    assert runs["error"].tolist() == [f"the state is not finite from t = {t} on" for t in runs["overflow_step"]]


def test_a_worker_that_is_killed_costs_a_retry(
    reference: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "measure", measure_at_second_try)
    monkeypatch.setenv("GRADLAB_TEST_MARKER", str(tmp_path / "marker"))
    assert_same_tables(run(tiny(), tmp_path / "r", 2), reference)


def test_a_worker_that_is_killed_again_costs_a_row(
    reference: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "measure", measure_unless_seed_1)
    grid = {"cell": ["rnn"], "length": [6]}
    runs = run(tiny(grid=grid), tmp_path / "r", 2).frame("runs")
    assert runs.loc[runs["status"] == "failed", "seed"].tolist() == [1, 1]
    assert runs.loc[runs["status"] == "done", "seed"].tolist() == [0, 0]
    assert runs.loc[runs["status"] == "failed", "error"].str.startswith("the worker was killed, and again").all()


def test_a_second_runner_is_told_who_holds_the_folder(tmp_path: Path) -> None:
    with (
        claimed(tmp_path / "r", "tiny"),
        pytest.raises(StoreError, match=r"held by \S+ on \S+, process \d+, since \d{4}-.*; wait for that run to end"),
    ):
        run(tiny(), tmp_path / "r")
    assert set(run(tiny(), tmp_path / "r").frame("runs")["status"]) == {"done"}
    assert not (tmp_path / "r" / ".lock.json").exists()


def test_a_folder_of_another_study_is_refused(reference: Results, tmp_path: Path) -> None:
    folder = reference.save(tmp_path / "r")
    before = (folder / "study.toml").read_text(encoding="utf-8")
    with pytest.raises(StoreError, match=r'holds the study "tiny", not "other"; choose another --out'):
        run(tiny(name="other"), folder)
    assert (folder / "study.toml").read_text(encoding="utf-8") == before


def test_a_folder_of_other_files_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(StoreError, match=r"holds no study but other files \(thesis\.tex\)"):
        run(tiny(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(StoreError, match=r"thesis\.tex: is a file; expected a folder"):
        run(tiny(), tmp_path / "thesis.tex")


def test_committed_figures_are_no_strangers(tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    assert set(run(tiny(), tmp_path).frame("runs")["status"]) == {"done"}


def test_bad_numbers_of_workers_are_refused(tmp_path: Path) -> None:
    for workers in (-1, True, 2.0, "2"):
        with pytest.raises(InputError, match=r"workers must be a whole number of at least 0, got"):
            run(tiny(), tmp_path / "r", workers)  # type: ignore[arg-type]
    with ThreadPoolExecutor(1) as executor, pytest.raises(InputError, match=r"give workers or executor, not both"):
        run(tiny(), tmp_path / "r", 2, executor=executor)
    assert not (tmp_path / "r").exists()


def test_a_task_that_cannot_be_drawn_is_refused_before_anything_runs(tmp_path: Path) -> None:
    study = Study(name="x", grid={"cell": ["rnn"]}, base={"batch": 1798}, task={"name": "digits"})
    with pytest.raises(SpecError, match=r"task digits: batch must be at most 1797"):
        run(study, tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_an_executor_that_broke_is_said_and_what_was_done_is_kept(tmp_path: Path, monkeypatch: Any) -> None:
    executor = ThreadPoolExecutor(1, initializer=lambda: 1 / 0)
    monkeypatch.setattr("logging.Logger.critical", lambda *_, **__: None)
    with pytest.raises(RunError, match=r"the executor stopped working"):
        run(tiny(), tmp_path / "r", None, executor=executor)
    executor.shutdown()


def test_provenance_says_where_results_came_from(reference: Results, tmp_path: Path) -> None:
    record = reference.provenance
    assert record["started"] <= record["ended"]
    assert {"gradlab", "numpy", "python", "numerics"} <= set(record["versions"])
    assert record["argv"] == [Path(sys.argv[0]).name, *sys.argv[1:]]
    assert {"system", "processor", "cpus", "free_memory_gb"} == set(record["machine"])
    assert record["git"] is None or re.fullmatch(r"[0-9a-f]{40}", record["git"]["commit"])
    assert record["configurations"] == {"done": 16}
    folder = reference.save(tmp_path / "r")
    run(tiny(grid={"seeds": 3}), folder)
    again = load_results(folder).provenance
    assert again["earlier"] == [{key: value for key, value in record.items() if key != "earlier"}]
    shutil.rmtree(folder)


def test_without_a_terminal_progress_is_a_line_a_minute(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("gradlab.progress.time.monotonic", lambda: clock[0])
    with ProgressReporter("x").begin({"planned": 4, "done": 6}, 8.0) as talk:
        clock[0] = 59.0
        talk.advance(["done"], 2.0)
        assert capsys.readouterr().err == ""
        clock[0] = 61.0
        talk.advance(["failed"], 2.0)
    assert capsys.readouterr().err == "x: 8 of 10 done, 0 diverged, 1 failed, about 1 min 1 s left\n"


def test_the_time_left_is_known_before_the_first_group_of_a_run_that_goes_on() -> None:
    with ProgressReporter("x", quiet=True).begin({"planned": 4, "done": 4}, 8.0, pace=3.0) as talk:
        assert talk.left() == "about 24 s left"
        talk.advance(["done"], 8.0)
        assert talk.left() == "about 0 s left"
    with ProgressReporter("x", quiet=True).begin({"planned": 4}, 8.0) as talk:
        assert talk.left() == ""


def test_a_run_that_goes_on_knows_its_pace_from_what_earlier_runs_took(
    reference: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, begun = reference.save(tmp_path / "r"), list[Any]()
    begin = ProgressReporter.begin

    def noted(talk: ProgressReporter, *args: Any) -> ProgressReporter:
        begun.append((*args, begin(talk, *args).left()))
        return talk

    monkeypatch.setattr(ProgressReporter, "begin", noted)
    wider = run(tiny(grid={"seeds": 3}), folder)
    known, todo, pace, left = begun[0]
    assert known == {"done": 16, "planned": 8}
    missing = [c for c in wider.plan.configurations if c.values["seed"] == 2]
    assert todo == pytest.approx(work(missing), rel=1e-12)
    spent = reference.frame("runs")["seconds"].sum()
    assert pace == pytest.approx(spent / work(reference.plan.configurations), rel=1e-9)
    assert left == f"about {duration(pace * todo)} left"


@pytest.mark.skipif(sys.platform == "win32", reason="has no pseudo-terminals")
def test_on_a_terminal_a_bar_counts_what_earlier_runs_did_too(reference: Results, tmp_path: Path) -> None:
    import pty

    reference.save(tmp_path / "r")
    (tmp_path / "tiny.toml").write_text(tiny(grid={"seeds": 3}, report=ONE).spec.toml(), encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "TERM": "xterm", "COLUMNS": "120"}
    words = [sys.executable, "-m", "gradlab", "run", "tiny.toml", "--out", "r", "--workers", "0"]
    master, terminal = pty.openpty()
    shown = list[bytes]()

    def look() -> None:
        try:
            while content := os.read(master, 4096):
                shown.append(content)
        except OSError:  # how a terminal ends
            pass

    reader = threading.Thread(target=look)
    reader.start()
    done = subprocess.run(
        words, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=terminal, timeout=PATIENCE
    )
    os.close(terminal)
    reader.join(PATIENCE)
    os.close(master)
    assert (done.returncode, done.stdout) == (0, b"r/report.html\n")
    said = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", b"".join(shown).decode())
    counts = [tuple(map(int, found)) for found in re.findall(r"(\d+) of (\d+) done, 0 diverged, 0 failed", said)]
    assert counts[0] == (16, 24)
    assert counts[-1] == (24, 24)
    assert re.search(r"16 of 24 done, .* about \d+ s left", said)


def test_durations_are_short() -> None:
    assert [duration(s) for s in (0.4, 59.6, 200, 7500)] == ["0 s", "1 min 0 s", "3 min 20 s", "2 h 5 min"]


def test_a_very_large_study_keeps_logarithmically_spaced_lags_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = tiny(grid={"cell": ["rnn"], "length": [300], "scale": [0.9]}, report=ONE)
    whole = run(study, tmp_path / "whole").frame("steps")
    assert "logarithmically" not in capsys.readouterr().err
    monkeypatch.setattr(planning, "MANY_STEPS", 599)
    monkeypatch.setattr(running, "MANY_STEPS", 599)
    thin = run(study, tmp_path / "thin")
    assert "more than 599 steps in all: the table steps keeps logarithmically spaced lags" in capsys.readouterr().err
    assert thin.provenance["steps"] == "logarithmically spaced lags"
    steps = thin.frame("steps")
    kept = sorted(set(steps["lag"]))
    assert kept[:10] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert kept[-1] == 300
    assert max(b / a for a, b in itertools.pairwise(kept) if a > 8) < 1.2
    assert len(kept) <= 50
    expected = whole[whole["lag"].isin(kept)].reset_index(drop=True)
    pd.testing.assert_frame_equal(steps, expected, check_exact=True)
    assert thin.report().exists()
