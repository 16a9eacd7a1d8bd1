"""Parts are whole or absent; what a folder holds is read in the order of the plan; strangers are refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from study.tiny import assert_same_tables, run, tiny

from gradlab import schema
from gradlab.errors import StoreError
from gradlab.study import Results, load_results
from gradlab.study.measure import measure
from gradlab.study.store import STORE, scan, write_part


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


def test_a_verdict_is_a_line_a_cell(results: Results) -> None:
    lines = results.verdict().splitlines()
    assert [line.partition(":")[0] for line in lines] == ["rnn", "lstm"]
    assert all("of 8" in line for line in lines)


def test_what_has_not_run_is_a_planned_row(folder: Path) -> None:
    for path in (folder / "parts").glob("*.runs.parquet"):
        path.unlink()
    runs = load_results(folder).frame("runs")
    assert len(runs) == 16
    assert set(runs["status"]) == {"planned"}
    assert runs["rate"].isna().all()
    assert set(runs["error"]) == {""}
    assert runs["layer"].tolist() == [0] * 16
    assert load_results(folder).frame("steps").empty
    assert load_results(folder).frame("spectra").columns.tolist() == list(schema.SPECTRA)
    assert load_results(folder).verdict() == "rnn: planned 8 of 8\nlstm: planned 8 of 8"


def test_only_rows_of_the_current_plan_are_shown(results: Results, folder: Path) -> None:
    (folder / "study.toml").write_text(tiny(grid={"scale": [1.5], "seeds": 1}).spec.toml(), encoding="utf-8")
    narrowed, runs = load_results(folder), results.frame("runs")
    kept = runs[(runs["scale"] == 1.5) & (runs["seed"] == 0)]
    assert narrowed.frame("runs")["id"].tolist() == kept["id"].tolist()
    assert set(narrowed.frame("steps")["id"]) == set(kept["id"])


def test_an_id_that_stands_in_two_parts_counts_once(results: Results, folder: Path) -> None:
    group = results.plan.groups()[0]
    write_part(folder, measure(group[:1]))
    assert len(load_results(folder).frame("runs")) == 16
    assert_same_tables(load_results(folder), results)


def test_steps_without_runs_do_not_count(folder: Path) -> None:
    runs_file = sorted((folder / "parts").glob("*.runs.parquet"))[0]
    runs_file.unlink()
    assert len(scan(folder).statuses) == 14
    assert load_results(folder).frame("runs")["status"].value_counts().to_dict() == {"done": 14, "planned": 2}


@pytest.mark.parametrize("kind", schema.TABLES)
@pytest.mark.parametrize("left", [0, 4, 0.5, 0.99])
def test_a_truncated_part_is_damaged(folder: Path, kind: str, left: float) -> None:
    path = sorted((folder / "parts").glob(f"*.{kind}.parquet"))[0]
    content = path.read_bytes()
    path.write_bytes(content[: int(left if left > 1 else left * len(content))])
    assert scan(folder).damaged == [path.name.split(".")[0]]
    with pytest.raises(StoreError, match=rf"{path.name}: cannot be read \(.*\); run the study again"):
        load_results(folder).frame(kind)


@pytest.mark.parametrize("kind", ["steps", "spectra"])
def test_runs_whose_other_tables_are_gone_are_damaged(folder: Path, kind: str) -> None:
    path = sorted((folder / "parts").glob(f"*.{kind}.parquet"))[0]
    path.unlink()
    assert scan(folder).damaged == [path.name.split(".")[0]]


def test_a_part_of_another_program_is_refused(folder: Path) -> None:
    pq.write_table(pa.table({"id": ["x"], "status": ["done"]}), folder / "parts" / "zz.runs.parquet")
    for question in (lambda: scan(folder), lambda: load_results(folder).frame("runs")):
        with pytest.raises(StoreError, match=r"zz\.runs\.parquet: is no part of a gradlab study"):
            question()


def test_a_part_of_a_newer_layout_is_refused(folder: Path) -> None:
    path = sorted((folder / "parts").glob("*.runs.parquet"))[0]
    note = json.dumps({"store": STORE + 1})
    pq.write_table(pq.read_table(path).replace_schema_metadata({"gradlab": note}), path)
    with pytest.raises(StoreError, match=rf"newer gradlab \(layout {STORE + 1}, known up to {STORE}\); upgrade"):
        load_results(folder).frame("runs")


def test_a_part_says_what_its_configurations_are(results: Results) -> None:
    path = sorted((results.folder / "parts").glob("*.steps.parquet"))[0]
    note = json.loads(pq.read_schema(path).metadata[b"gradlab"])
    by_id = {c.id: c.values for c in results.plan.configurations}
    assert note["store"] == STORE
    assert len(note["configurations"]) == 2
    for key, values in note["configurations"].items():
        assert values == json.loads(json.dumps(by_id[key]))


def test_a_folder_without_a_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"holds no study\.toml; expected a folder that `gradlab run` wrote"):
        load_results(tmp_path / "nowhere")
    (tmp_path / "study.toml").write_text('name = "x"\n[gird]\n')
    with pytest.raises(StoreError, match=r'study\.toml: .*did you mean "grid"'):
        load_results(tmp_path)


def test_numbers_survive_to_the_last_bit(results: Results) -> None:
    group = results.plan.groups()[0]
    part = measure(group)
    direct = pq.read_table(pa.BufferReader(part.files["steps"])).to_pandas()
    stored = results.frame("steps")
    stored = stored[stored["id"].isin([c.id for c in group])].reset_index(drop=True)
    assert np.array_equal(direct["mean_log"], stored["mean_log"], equal_nan=True)
