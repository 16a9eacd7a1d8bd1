"""Parts are whole or absent, checked to the last byte, merged without loss; strangers are refused."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from study.tiny import assert_same_tables, run, tiny

from gradlab import schema
from gradlab.errors import StoreError
from gradlab.study import Results, load_results, store
from gradlab.study.plan import NUMERICS
from gradlab.study.store import STORE, PartStore, remove_leftovers
from gradlab.study.worker import failed, measure

OTHERS = [name for name in schema.TABLES if name != "runs"]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return run(tiny(), tmp_path_factory.mktemp("results") / "tiny")


@pytest.fixture
def folder(results: Results, tmp_path: Path) -> Path:
    return results.save(tmp_path / "copy")


def files(folder: Path, table: str) -> list[Path]:
    return sorted((folder / "parts" / table).glob("*.parquet"))


def forge(path: Path, table: pa.Table, **note: object) -> None:
    """Put ``table`` into the place of a part's file, its name and its note as they would have to be."""
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata({"gradlab": json.dumps(note)} if note else {}), sink)
    content = bytes(sink.getvalue())
    path.unlink()
    name = f"{path.name.split('-')[0]}-{hashlib.blake2b(content, digest_size=8).hexdigest()}.parquet"
    path.with_name(name).write_bytes(content)


def test_of_an_id_that_stands_in_two_parts_the_later_counts(results: Results, folder: Path) -> None:
    group = results.plan.groups()[0]
    shelf = PartStore.open(folder)
    shelf.add(failed(group[:1], "made to fail"))
    assert load_results(folder).status() == {"planned": 0, "done": 15, "diverged": 0, "failed": 1}
    assert load_results(folder).frame("runs").loc[0, "error"] == "made to fail"
    shelf.add(measure(group[:1]))
    assert_same_tables(load_results(folder), results)
    assert len(files(folder, "runs")) == 10
    shelf.tidy()
    assert_same_tables(load_results(folder), results)
    ids = pd.concat([pd.read_parquet(path, columns=["id"]) for path in files(folder, "runs")])["id"]
    assert sorted(ids) == sorted(c.id for c in results.plan.configurations)


def test_a_number_is_not_given_twice(folder: Path) -> None:
    shelf = PartStore.open(folder)
    shelf.merge(list(shelf.parts))
    shelf.merge(list(shelf.parts))
    assert [path.name[:8] for path in files(folder, "runs")] == ["00000010"]


@pytest.mark.parametrize("fan", [2, 3, 5])
def test_parts_are_merged_as_they_grow_many(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fan: int
) -> None:
    monkeypatch.setattr(store, "FAN", fan)
    merged = run(tiny(), tmp_path / "r")
    assert_same_tables(merged, results)
    for table in schema.TABLES:
        assert len(files(tmp_path / "r", table)) < 8
    assert len(PartStore.open(tmp_path / "r", thorough=True).statuses) == 16


def test_a_large_part_is_merged_no_more(results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "FAN", 2)
    monkeypatch.setattr(store, "FULL", 1000)  # bytes, of which every part has more
    assert_same_tables(run(tiny(), tmp_path / "r"), results)
    assert len(files(tmp_path / "r", "runs")) == 8


def test_parts_without_their_runs_do_not_count_and_are_swept_up(folder: Path) -> None:
    files(folder, "runs")[0].unlink()
    (folder / "parts" / "steps" / ".gradlab-abc.tmp").write_bytes(b"half")
    assert len(PartStore.open(folder).statuses) == 14
    assert load_results(folder).status()["planned"] == 2
    remove_leftovers(folder)
    for table in schema.TABLES:
        assert [path.name[:8] for path in (folder / "parts" / table).iterdir()] != []
        assert {path.name[:8] for path in (folder / "parts" / table).iterdir()} == {f"{n:08d}" for n in range(2, 9)}


@pytest.mark.parametrize("kind", schema.TABLES)
@pytest.mark.parametrize("left", [0, 4, 0.5, 0.99])
def test_a_truncated_part_is_damaged(folder: Path, kind: str, left: float) -> None:
    path = files(folder, kind)[0]
    content = path.read_bytes()
    path.write_bytes(content[: int(left if left > 1 else left * len(content))])
    assert set(PartStore.open(folder, thorough=True).damaged) == {1}
    with pytest.raises(StoreError, match=rf"{path.name}: is not what was written \(its checksum differs\); run the"):
        load_results(folder).frame(kind)


@pytest.mark.parametrize("kind", schema.TABLES)
def test_one_altered_bit_anywhere_is_found(folder: Path, kind: str) -> None:
    path = files(folder, kind)[2]
    content = bytearray(path.read_bytes())
    for place in np.random.default_rng(0).integers(len(content), size=20):
        content[place] ^= 1
        path.write_bytes(content)
        assert set(PartStore.open(folder, thorough=True).damaged) == {3}
        content[place] ^= 1
    path.write_bytes(content)
    assert not PartStore.open(folder, thorough=True).damaged


@pytest.mark.parametrize("kind", OTHERS)
def test_runs_whose_other_tables_are_gone_are_damaged(folder: Path, kind: str) -> None:
    path = files(folder, kind)[0]
    path.unlink()
    assert PartStore.open(folder, thorough=True).damaged == {1: f"{path}: is missing"}
    with pytest.raises(StoreError, match=rf"{path.name}: is missing; run the study again"):
        load_results(folder).frame(kind)


def test_a_part_of_another_program_is_refused(folder: Path) -> None:
    strange = folder / "parts" / "runs" / "mine.parquet"
    pq.write_table(pa.table({"id": ["x"], "status": ["done"]}), strange)
    with pytest.raises(StoreError, match=r"mine\.parquet: is no part of a gradlab study; move it out of the folder"):
        PartStore.open(folder)
    strange.unlink()
    path = files(folder, "runs")[0]
    forge(path, pq.read_table(path))
    with pytest.raises(StoreError, match=r"parquet: is no part of a gradlab study; move it"):
        load_results(folder).frame("runs")


def test_a_part_of_a_newer_layout_is_refused(folder: Path) -> None:
    path = files(folder, "runs")[0]
    forge(path, pq.read_table(path), store=STORE + 1)
    for question in (
        lambda: PartStore.open(folder),
        lambda: load_results(folder).frame("runs"),
        lambda: run(tiny(), folder),
    ):
        with pytest.raises(StoreError, match=rf"newer gradlab \(layout {STORE + 1}, known up to {STORE}\); upgrade"):
            question()


def test_what_another_version_of_the_numerics_measured_is_stale(
    results: Results, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after an upgrade: the ids of the plan are others, the old parts say which version measured them."""
    for module in ("plan", "store", "run"):
        monkeypatch.setattr(f"gradlab.study.{module}.NUMERICS", NUMERICS + 1)
    upgraded = run(tiny(), folder)
    said = capsys.readouterr().err
    assert (
        f"16 results in {folder} were measured by version {NUMERICS} of the numerics, which is {NUMERICS + 1} now"
        in said
    )
    assert "tiny: 16 to run" in said
    runs = upgraded.frame("runs")
    assert len(runs) == 16
    assert set(runs["id"]).isdisjoint(results.frame("runs")["id"])
    assert PartStore.open(folder).stale() == {NUMERICS: 16}


def test_any_reader_of_parquet_sees_what_the_configurations_are(results: Results) -> None:
    mine = results.frame("runs")
    table = pd.read_parquet(results.folder / "parts" / "runs").set_index("id").loc[mine["id"]].reset_index()
    for key in ("cell", "length", "scale", "seed", "status", "rate", "lyapunov_2"):
        assert table[key].tolist() == mine[key].tolist(), key
    steps = pd.read_parquet(results.folder / "parts" / "steps")
    assert len(steps) == len(results.frame("steps"))


def test_a_part_is_read_into_memory_of_arrows_own(results: Results) -> None:
    path = next((results.folder / "parts" / "steps").iterdir())
    before = pa.total_allocated_bytes()
    content = store._content(path)
    assert content.size == path.stat().st_size
    assert pa.total_allocated_bytes() - before >= content.size


READ = """
import sys
import pyarrow.compute as pc
from gradlab.study import load_results
print(len(load_results(sys.argv[1]).frame("steps", where={"lag": [1, 2]})))
"""


@pytest.mark.full
def test_a_process_that_ends_right_after_a_read_ends_well(results: Results) -> None:
    """Read from Python's memory, two of sixty ended with SIGABRT on a loaded machine."""
    for _ in range(60):
        done = subprocess.run([sys.executable, "-c", READ, str(results.folder)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_numbers_survive_to_the_last_bit(results: Results) -> None:
    group = results.plan.groups()[0]
    direct = pq.read_table(pa.BufferReader(measure(group).files["steps"])).to_pandas()
    stored = results.frame("steps")
    stored = stored[stored["id"].isin([c.id for c in group])].reset_index(drop=True)
    assert np.array_equal(direct["mean_log"], stored["mean_log"], equal_nan=True)


def test_a_column_that_has_been_renamed_is_read_under_its_new_name(results: Results, folder: Path) -> None:
    """Parts written before a renaming keep every value, also when only some columns and rows are read."""
    old = {new: before for before, new in schema.RENAMED.items()}
    for path in files(folder, "runs"):
        table = pq.read_table(path)
        note = json.loads(table.schema.metadata[b"gradlab"])
        forge(path, table.rename_columns([old.get(name, name) for name in table.column_names]), **note)
    assert all("carried" in pq.read_schema(path).names for path in files(folder, "runs"))
    read = load_results(folder)
    assert_same_tables(read, results)
    some = {"columns": ["cell", "keep_gate_mean"], "where": {"cell": "lstm"}}
    pd.testing.assert_frame_equal(read.frame("runs", **some), results.frame("runs", **some))
    assert read.frame("runs", **some)["keep_gate_mean"].notna().all()
    PartStore.open(folder).merge(list(PartStore.open(folder).parts)[:4])
    assert_same_tables(load_results(folder), results)
