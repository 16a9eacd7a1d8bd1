"""What a folder holds is read in the order of the plan, whole or by question; copies and exports are the same."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pandas as pd
import pytest
from conftest import PATIENCE
from oracles.compare import assert_same_fields
from study.tiny import assert_same_tables, run, tiny

from gradlab import schema
from gradlab.errors import StoreError
from gradlab.study import Results, load_results, store
from gradlab.study.lock import claimed, holder
from gradlab.study.results import describe_status
from gradlab.study.store import PartStore
from gradlab.study.worker import failed
from gradlab.verdicts.of_study import study_verdict


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return run(tiny(), tmp_path_factory.mktemp("results") / "tiny")


@pytest.fixture
def folder(results: Results, tmp_path: Path) -> Path:
    return results.save(tmp_path / "copy")


def test_tables_have_the_columns_of_the_schema_in_the_order_of_the_plan(results: Results) -> None:
    runs, steps, spectra = (results.frame(name) for name in schema.TABLES)
    assert runs["id"].tolist() == [c.id for c in results.plan.configurations]
    for name, table in (("steps", steps), ("spectra", spectra)):
        assert table["id"].drop_duplicates().tolist() == runs["id"].tolist()
        assert table.columns.tolist() == list(schema.TABLES[name])
    names = runs.columns.tolist()
    assert [name for name in names if name in schema.RUNS] == list(schema.RUNS)
    assert names.index("study") < names.index("cell") < names.index("seed") < names.index("layer")
    for kind, table in zip(schema.TABLES, (runs, steps, spectra), strict=True):
        for name, column in schema.TABLES[kind].items():
            assert (
                pd.api.types.is_string_dtype(table[name])
                if column.dtype == "string"
                else table[name].dtype == column.dtype
            )


def test_a_table_is_a_copy(results: Results) -> None:
    mine = results.frame("runs")
    mine["loss"] = 0.0
    assert (results.frame("runs")["loss"] > 0).all()


def test_an_unknown_table_is_named(results: Results) -> None:
    with pytest.raises(StoreError, match=r'unknown table "rnus"; did you mean "runs"\?'):
        results.frame("rnus")


def test_what_is_saved_opens_as_the_same(results: Results, folder: Path) -> None:
    assert_same_tables(load_results(folder), results)
    assert load_results(folder).provenance == results.provenance
    with pytest.raises(StoreError, match=r"copy: exists already"):
        results.save(folder)


def test_a_verdict_names_each_cell(results: Results) -> None:
    found = results.verdict()
    assert_same_fields(found, study_verdict(results.frame("runs")))
    assert all(f"{cell}: " in found.finding for cell in ("rnn", "lstm"))


def test_cells_are_compared_pair_by_pair(results: Results) -> None:
    table = results.comparisons(where={"length": 9})
    assert table.columns.tolist()[:3] == ["scale", "a", "b"]
    runs = results.frame("runs", where={"length": 9, "scale": 0.5})
    rates = runs.pivot(index="seed", columns="cell", values="rate")
    assert table["difference"].iloc[0] == pytest.approx((rates["lstm"] - rates["rnn"]).mean(), rel=1e-12)
    assert table["pairs"].tolist() == [2, 2]
    assert len(results.comparisons("length")) == 4


def test_what_has_not_run_is_a_planned_row(folder: Path) -> None:
    for path in (folder / "parts" / "runs").iterdir():
        path.unlink()
    runs = load_results(folder).frame("runs")
    assert len(runs) == 16
    assert set(runs["status"]) == {"planned"}
    assert runs["rate"].isna().all()
    assert set(runs["error"]) == {""}
    assert runs["layer"].tolist() == [0] * 16
    assert load_results(folder).frame("steps").empty
    assert load_results(folder).frame("spectra").columns.tolist() == list(schema.SPECTRA)
    assert str(load_results(folder).verdict()) == "UNCERTAIN   no run is done\nbecause     of 16 runs 16 planned"


def test_only_rows_of_the_current_plan_are_shown(results: Results, folder: Path) -> None:
    (folder / "study.toml").write_text(tiny(grid={"scale": [1.5], "seeds": 1}).spec.toml(), encoding="utf-8")
    narrowed, runs = load_results(folder), results.frame("runs")
    kept = runs[(runs["scale"] == 1.5) & (runs["seed"] == 0)]
    assert narrowed.frame("runs")["id"].tolist() == kept["id"].tolist()
    assert set(narrowed.frame("steps")["id"]) == set(kept["id"])


def test_a_folder_without_a_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"holds no study\.toml; expected a folder that `gradlab run` wrote"):
        load_results(tmp_path / "nowhere")
    (tmp_path / "study.toml").write_text('name = "x"\n[gird]\n')
    with pytest.raises(StoreError, match=r'study\.toml: .*did you mean "grid"'):
        load_results(tmp_path)


@pytest.mark.parametrize("name", schema.TABLES)
def test_a_question_reads_what_the_whole_table_holds(results: Results, name: str) -> None:
    whole, runs = results.frame(name), results.frame("runs")
    ids = runs.loc[(runs["cell"] == "lstm") & runs["scale"].isin([0.5]), "id"]
    expected = whole[whole["id"].isin(ids)].reset_index(drop=True)
    asked = results.frame(name, where={"cell": "lstm", "scale": [0.5]})
    columns = [column for column in asked if not asked[column].isna().all()]  # those of the other cell are not there
    pd.testing.assert_frame_equal(asked[columns], expected[columns], check_exact=True)


def test_columns_and_stored_columns_can_be_asked_for(results: Results) -> None:
    whole = results.frame("steps")
    expected = whole.loc[(whole["quantity"] == "dL/dh") & whole["t"].isin([0, 3]), ["t", "mean_log"]]
    asked = results.frame("steps", columns=["t", "mean_log"], where={"quantity": "dL/dh", "t": [0, 3]})
    pd.testing.assert_frame_equal(asked, expected.reset_index(drop=True), check_exact=True)
    assert len(asked) == 32
    assert results.frame("runs", columns=["cell", "rate"], where={"verdict": "none such"}).shape == (0, 2)


@pytest.mark.parametrize("question", [{"columns": ["mean_lgo"]}, {"where": {"mean_lgo": 1.0}}])
def test_a_column_that_is_not_there_is_named(results: Results, question: dict[str, object]) -> None:
    with pytest.raises(StoreError, match=r'unknown column "mean_lgo"; did you mean "mean_log"\?'):
        results.frame("steps", **question)  # type: ignore[arg-type]


def test_an_export_is_the_tables(results: Results, tmp_path: Path) -> None:
    written = results.export(tmp_path / "out")
    assert sorted(path.name for path in written) == sorted(
        f"{name}.{kind}" for name in schema.TABLES for kind in ("csv", "parquet")
    )
    for name in schema.TABLES:
        frame, read = results.frame(name), pd.read_parquet(tmp_path / "out" / f"{name}.parquet")
        whole = [table.astype(object).where(table.notna(), None) for table in (read, frame)]
        pd.testing.assert_frame_equal(*whole)
        csv = pd.read_csv(tmp_path / "out" / f"{name}.csv")
        assert csv.columns.tolist() == frame.columns.tolist()
        numbers = frame.select_dtypes("number").columns
        pd.testing.assert_frame_equal(csv[numbers], frame[numbers], rtol=1e-12, atol=0, check_dtype=False)


def test_an_export_that_cannot_be_written_says_so(results: Results, tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(StoreError, match=r"runs\.csv: cannot be written \("):
        results.export(tmp_path / "out")


def test_status_counts_names_failures_and_the_runner(folder: Path) -> None:
    assert describe_status(folder).splitlines() == [
        "tiny: 16 of 16 configurations finished",
        *["  planned   0", "  done      16", "  diverged  0", "  failed    0", "  nobody is running it"],
    ]
    shelf = PartStore.open(folder)
    shelf.add(failed(load_results(folder).plan.groups()[-1], "made to fail"))
    shelf.drop([1])
    with claimed(folder, "tiny"):
        lines = describe_status(folder).splitlines()
    assert lines[:5] == [
        "tiny: 14 of 16 configurations finished",
        *["  planned   2", "  done      12", "  diverged  0", "  failed    2"],
    ]
    assert re.fullmatch(rf"  held by \S+ on \S+, process {os.getpid()}, since \S+", lines[5])
    assert lines[6] == "  failed cell lstm, length 9, scale 1.5, seed 0: made to fail"
    assert describe_status(folder).splitlines()[5].endswith("it; `gradlab run` on its file goes on from here")


def test_a_runner_that_was_killed_holds_nothing(folder: Path) -> None:
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    held = {"user": "me", "host": socket.gethostname(), "pid": int(gone.stdout), "since": "today"}
    (folder / ".lock.json").write_text(json.dumps(held))
    assert holder(folder) == ""
    (folder / ".lock.json").write_text(json.dumps(held | {"host": "elsewhere"}))
    assert holder(folder) == f"held by me on elsewhere, process {held['pid']}, since today"


def test_tables_can_be_read_while_a_run_writes_and_merges(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "FAN", 2)
    groups, together, add = len(results.plan.groups()), threading.Barrier(2, timeout=PATIENCE), PartStore.add

    def add_while_read(shelf: PartStore, part: store.Part) -> None:
        together.wait()
        add(shelf, part)

    monkeypatch.setattr(PartStore, "add", add_while_read)
    runner = threading.Thread(target=run, args=(tiny(), tmp_path / "r"))
    runner.start()
    counts = [0]
    for _ in range(groups):
        together.wait()
        live = load_results(tmp_path / "r")
        assert set(live.frame("steps")["id"]) <= {c.id for c in results.plan.configurations}
        counts.append(live.status()["done"])
    runner.join()
    assert counts == sorted(counts)
    assert len(set(counts)) > 3
    assert_same_tables(load_results(tmp_path / "r"), results)
