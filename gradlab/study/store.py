"""A results folder: its Parquet parts, written whole or not at all, and the tables that are read from them.

A group of configurations is one file a table of one stem, ``<stem>.<table>.parquet``, runs last: a stem counts once its
runs file is there. What the configurations *are* is not repeated in every row: it comes from the plan.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gradlab import schema
from gradlab.errors import SpecError, StoreError, unknown
from gradlab.files import write_whole
from gradlab.study.plan import NUMERICS, Group, Plan, make_plan, stem
from gradlab.study.spec import Spec, naming
from gradlab.theory.lines import mean_field_lines

#: Version of the layout of a part; a reader refuses what is newer.
STORE = 2
#: The tables in the order in which a part's files are written.
ORDER = (*(name for name in schema.TABLES if name != "runs"), "runs")
_TYPES = {"string": pa.string(), "int64": pa.int64(), "float64": pa.float64()}


class Part(NamedTuple):
    """One group's rows as the bytes of its files, one a table, and the status of each configuration."""

    stem: str
    files: dict[str, bytes]
    statuses: tuple[str, ...]


class Stored(NamedTuple):
    """What a folder holds: the status of each finished configuration, and the stems that cannot be read."""

    statuses: dict[str, str]
    damaged: list[str]


def pack(group: Group, measured: Sequence[Mapping[str, pd.DataFrame]]) -> Part:
    """Return the part for the rows of a group's configurations by table, each with id; runs with status and error."""
    note = {"store": STORE, "numerics": NUMERICS, "configurations": {c.id: dict(c.values) for c in group}}
    tables = {name: _joined([one[name] for one in measured if name in one], schema.TABLES[name]) for name in ORDER}
    found: dict[str, str] = {}
    runs = tables["runs"]
    for key, status in zip(runs["id"].to_pylist(), runs["status"].to_pylist(), strict=True):
        found[key] = _worst([found.get(key, status), status])
    return Part(stem(group), {name: _parquet(table, note) for name, table in tables.items()}, tuple(found.values()))


def write_part(folder: Path, part: Part) -> None:
    """Write a part, its runs file last."""
    for name in ORDER:
        write_whole(folder / "parts" / f"{part.stem}.{name}.parquet", part.files[name])


def scan(folder: Path) -> Stored:
    """Return what is finished in ``folder`` and what is damaged; refuse a part of another program or a newer one."""
    statuses: dict[str, str] = {}
    damaged = []
    for path in _runs_files(folder):
        try:
            runs = _read(path, ["id", "status"])
            for name in ORDER:
                _read(_sibling(path, name), ["id"], rows=False)
        except _Damaged:
            damaged.append(path.name.removesuffix(".runs.parquet"))
            continue
        for key, status in zip(runs["id"].to_pylist(), runs["status"].to_pylist(), strict=True):
            statuses[key] = _worst([statuses.get(key, status), status])
    return Stored(statuses, damaged)


def drop(folder: Path, stems: Sequence[str]) -> None:
    """Delete parts, their runs files first, so that a kill leaves no runs without the rest."""
    for name in stems:
        for kind in reversed(ORDER):
            (folder / "parts" / f"{name}.{kind}.parquet").unlink(missing_ok=True)


def load_results(folder: str | Path) -> Results:
    """Open the results of a study.

    Raises
    ------
    StoreError
        where ``folder`` holds no study, or one that cannot be read.
    """
    path = Path(folder)
    if not (path / "study.toml").is_file():
        raise StoreError(f"{path}: holds no study.toml; expected a folder that `gradlab run` wrote")
    try:
        spec = Spec.from_toml(path / "study.toml")
        with naming(path / "study.toml"):
            return Results(path, make_plan(spec))
    except SpecError as error:
        raise StoreError(str(error)) from None


@dataclass(frozen=True)
class Results:
    """The tables of a study: one row a planned configuration and layer; one a step and quantity; one an exponent.

    Examples
    --------
    >>> results = gl.load_results("results/init_scale")       # doctest: +SKIP
    >>> results.frame("runs").groupby(["cell", "scale"])["rate"].mean()   # doctest: +SKIP
    """

    folder: Path
    plan: Plan

    def frame(self, name: str = "runs") -> pd.DataFrame:
        """Return a copy of the table ``runs``, ``steps`` or ``spectra`` (:mod:`gradlab.schema`), as the plan orders."""
        if name not in schema.TABLES:
            raise StoreError(unknown("table", name, schema.TABLES))
        frame: pd.DataFrame = getattr(self, f"_{name}")
        return frame.copy()

    def verdict(self) -> str:
        """Return one line a cell: how many of its runs got which word."""
        lines = []
        for cell, runs in self._runs.groupby("cell", sort=False):
            words = runs["verdict"].where(runs["verdict"] != "", runs["status"]).value_counts()
            lines.append(f"{cell}: " + ", ".join(f"{word} {count} of {len(runs)}" for word, count in words.items()))
        return "\n".join(lines)

    def report(self) -> Path:
        """Write ``report.html``, ``figures/`` and ``tables/`` into the folder; return the page's path.

        Raises
        ------
        StoreError
            where that fails, for whatever reason; what was measured is kept.
        """
        try:
            return self._report()
        except StoreError:
            raise
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            kept = f"tables are stored; `gradlab report {self.folder}` tries again"
            raise StoreError(f"{self.folder}: the report could not be written ({reason}); {kept}") from error

    def _report(self) -> Path:
        from gradlab.report import write_report

        study = self.plan.spec.tables()
        provenance = {key: value for key, value in self.provenance.items() if key != "earlier"}
        return write_report(self.folder, frames=self._frames(), study=study, provenance=provenance)

    def plot(self, figure: str | None = None) -> Any:
        """Return one of the report's figures as a matplotlib ``Figure``, by default the study's first."""
        from gradlab.analysis.figures import FIGURES, draw

        name = figure or next(iter(self.plan.spec.figures or FIGURES))
        return draw(name, self._frames())

    def _frames(self) -> dict[str, pd.DataFrame]:
        frames = {name: self.frame(name) for name in schema.TABLES}
        return frames | {"theory": mean_field_lines(frames["runs"])}

    def save(self, path: str | Path) -> Path:
        """Copy study, provenance and parts to a new folder, which :func:`load_results` opens; return its path."""
        target = Path(path)
        if target.exists():
            raise StoreError(f"{target}: exists already; expected the name of a new folder")
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        temporary.mkdir(parents=True)
        for name in ("study.toml", "provenance.json"):
            if (self.folder / name).exists():
                shutil.copy2(self.folder / name, temporary)
        shutil.copytree(self.folder / "parts", temporary / "parts", ignore=shutil.ignore_patterns(".*"))
        return temporary.rename(target)

    @property
    def provenance(self) -> dict[str, Any]:
        """Versions, git, command line, machine and times of the last run; empty where nothing has run."""
        path = self.folder / "provenance.json"
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}

    @cached_property
    def _runs(self) -> pd.DataFrame:
        return _with_plan(_in_order(self._table("runs"), self.plan), self.plan)

    @cached_property
    def _steps(self) -> pd.DataFrame:
        return _in_order(self._table("steps"), self.plan)

    @cached_property
    def _spectra(self) -> pd.DataFrame:
        return _in_order(self._table("spectra"), self.plan)

    def _table(self, kind: str) -> pa.Table:
        """Return the rows of the plan's ids, each id from the first part that holds it."""
        wanted = {c.id for c in self.plan.configurations}
        tables = [_empty(schema.TABLES[kind])]
        for path in _runs_files(self.folder):
            try:
                ids = wanted.intersection(_read(path, ["id"])["id"].to_pylist())
                table = _read(_sibling(path, kind))
            except _Damaged as damage:
                raise StoreError(f"{damage}; run the study again, which redoes what it held") from None
            wanted -= ids
            tables.append(table.filter(pc.is_in(table["id"], pa.array(sorted(ids), pa.string()))))
        return pa.concat_tables(tables, promote_options="default").replace_schema_metadata(None)


class _Damaged(Exception):
    """A part's file that is no whole Parquet file, as after a full disk."""


def _runs_files(folder: Path) -> list[Path]:
    return sorted((folder / "parts").glob("*.runs.parquet"))


def _sibling(path: Path, kind: str) -> Path:
    return path.with_name(path.name.replace(".runs.", f".{kind}."))


def _worst(statuses: Sequence[str]) -> str:
    return max(statuses, key=schema.STATUSES.index)


def _empty(columns: Mapping[str, schema.Column]) -> pa.Table:
    return pa.table({name: pa.array([], _TYPES[c.dtype]) for name, c in columns.items() if name != "study"})


def _joined(frames: Sequence[pd.DataFrame], columns: Mapping[str, schema.Column]) -> pa.Table:
    """Return the frames as one table in which every column of the schema has its type."""
    tables = [_empty(columns)]
    for frame in frames:
        table = pa.Table.from_pandas(frame, preserve_index=False)
        kinds = [_TYPES[columns[f.name].dtype] if f.name in columns else f.type for f in table.schema]
        tables.append(table.cast(pa.schema(list(zip(table.column_names, kinds, strict=True)))))
    return pa.concat_tables(tables, promote_options="default")


def _parquet(table: pa.Table, note: Mapping[str, Any]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata({"gradlab": json.dumps(note)}), sink, compression="zstd")
    return bytes(sink.getvalue())


def _read(path: Path, columns: list[str] | None = None, *, rows: bool = True) -> pa.Table:
    """Read a part's file, or only look whether it is whole and ours."""
    try:
        with pq.ParquetFile(path) as file:
            _check_origin(path, file.schema_arrow.metadata or {})
            return file.read(columns) if rows else file.schema_arrow.empty_table()
    except PermissionError as error:
        raise StoreError(f"{path}: may not be read ({error.strerror})") from None
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise _Damaged(f"{path}: cannot be read ({reason})") from None


def _check_origin(path: Path, metadata: Mapping[bytes, bytes]) -> None:
    if b"gradlab" not in metadata:
        raise StoreError(f"{path}: is no part of a gradlab study; move it out of the folder")
    version = json.loads(metadata[b"gradlab"])["store"]
    if version > STORE:
        raise StoreError(f"{path}: written by a newer gradlab (layout {version}, known up to {STORE}); upgrade gradlab")


def _in_order(table: pa.Table, plan: Plan) -> pd.DataFrame:
    frame: pd.DataFrame = table.to_pandas()
    rank = {c.id: i for i, c in enumerate(plan.configurations)}
    order = frame["id"].map(rank).to_numpy().argsort(kind="stable")
    return frame.iloc[order].reset_index(drop=True)


def _with_plan(measured: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """Return the runs with a column for every key; what has not run is a row with the status planned."""
    runs = plan.frame().merge(measured, on="id", how="left", sort=False)
    words = {"status": "planned", "direction": schema.DIRECTIONS[0]}
    for name, column in schema.RUNS.items():
        if column.dtype == "string" and name in measured:
            runs[name] = runs[name].fillna(words.get(name, ""))
        elif column.dtype == "int64":
            runs[name] = runs[name].fillna(0).astype("int64")
    return runs
