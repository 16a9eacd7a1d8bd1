"""The parts of a results folder: table rows in Parquet files, each complete or absent.

A part has a number and one file per table, ``parts/<table>/<number>-<digest>.parquet``, where the digest is that of the
file's bytes. The runs file names the others and is written last, so a part exists once its runs file exists. If several
parts hold an id, the part with the highest number counts. A retry thus replaces a failure, and a merge replaces its
sources, in one step.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gradlab import schema
from gradlab.errors import StoreError
from gradlab.files import UNFINISHED, write_whole
from gradlab.study.plan import NUMERICS, Group, factors

#: Version of the layout; a reader refuses newer versions.
STORE = 3
#: The tables in the order in which a part's files are written.
ORDER = (*(name for name in schema.TABLES if name != "runs"), "runs")
#: ``FAN`` parts whose numbers of configurations lie within a factor of ``TIMES`` are merged into one.
FAN, TIMES = 32, 16
#: Size of a full part in bytes: parts of half this size are not merged again, and a merge reads about this much.
FULL = 2**26
_NAME = re.compile(r"(\d{8,})-[0-9a-f]{16}\.parquet")
_TYPES = {"string": pa.string(), "int64": pa.int64(), "float64": pa.float64()}


class Part(NamedTuple):
    """A part in memory.

    Attributes
    ----------
    files : dict
        The content of the file of each table that has rows.
    statuses, seconds : dict
        The status and the measuring time in seconds, by id.
    numerics : int
        Version of the numerics.
    """

    files: dict[str, bytes]
    statuses: dict[str, str]
    seconds: dict[str, float]
    numerics: int


class Stored(NamedTuple):
    """A part on disk.

    Attributes
    ----------
    files : dict
        The path of the file of each table that has rows.
    statuses, seconds : dict
        The status and the measuring time in seconds, by id.
    numerics : int
        Version of the numerics.
    size : int
        Bytes of all files.
    """

    files: dict[str, Path]
    statuses: dict[str, str]
    seconds: dict[str, float]
    numerics: int
    size: int


def pack(group: Group, measured: Sequence[Mapping[str, pd.DataFrame]]) -> Part:
    """Return the part of a group.

    Parameters
    ----------
    group : tuple of Configuration
        The configurations.
    measured : sequence of mapping
        The rows by table, for each configuration. Every table has the column ``id``; ``runs`` also has ``status``.

    Returns
    -------
    Part
        The part.
    """
    known = schema.tables(trained="train.steps" in group[0].values)
    tables = {name: _joined([one[name] for one in measured if name in one], known[name]) for name in ORDER}
    return _packed(tables | {"runs": _with_keys(tables["runs"], group)}, NUMERICS)


def remove_leftovers(folder: Path) -> None:
    """Remove the files that a kill left behind: unfinished files, and files of parts without a runs file.

    Parameters
    ----------
    folder : Path
        The results folder; only its runner may call this.
    """
    for leftover in folder.rglob(UNFINISHED):
        leftover.unlink(missing_ok=True)
    whole = {_number(path) for path in _files(folder, "runs")}
    for table in ORDER[:-1]:
        for path in _files(folder, table):
            if _number(path) not in whole:
                path.unlink(missing_ok=True)


@dataclass
class PartStore:
    """The parts of a results folder, as read by :meth:`open` and as changed since through this object.

    Attributes
    ----------
    folder : Path
        The results folder.
    parts : dict
        The readable parts by number.
    damaged : dict
        The reason by number, for parts that cannot be read or whose content has changed.
    """

    folder: Path
    parts: dict[int, Stored] = field(default_factory=dict)
    damaged: dict[int, str] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: Path, *, thorough: bool = False) -> Self:
        """Open the parts of a folder.

        Parameters
        ----------
        folder : Path
            The results folder.
        thorough : bool
            Whether to check every byte; otherwise only the runs files are read.

        Returns
        -------
        PartStore
            The store.

        Raises
        ------
        StoreError
            If a file is no part of gradlab or of a newer gradlab, or reading is not permitted.
        """
        while True:
            store = cls(folder)
            try:
                for path in _files(folder, "runs"):
                    store._find(path, thorough)
            except FileNotFoundError:  # merged meanwhile by the runner; its rows are in a later part
                continue
            return store

    @property
    def owners(self) -> dict[str, int]:
        """The number of the part that holds each id."""
        return {id: number for number in sorted(self.parts) for id in self.parts[number].statuses}

    @property
    def statuses(self) -> dict[str, str]:
        """The status of each configuration that has run."""
        return {id: self.parts[number].statuses[id] for id, number in self.owners.items()}

    def stale(self) -> dict[int, int]:
        """Return the number of configurations by version of the numerics, for all versions except the current one."""
        counts: defaultdict[int, int] = defaultdict(int)
        for part in self.parts.values():
            if part.numerics != NUMERICS:
                counts[part.numerics] += len(part.statuses)
        return dict(counts)

    def read(
        self,
        table: str,
        ids: Iterable[str],
        columns: Sequence[str] | None = None,
        where: pc.Expression | None = None,
        *,
        trained: bool = False,
    ) -> pa.Table:
        """Return rows of one table.

        Parameters
        ----------
        table : str
            The name of the table.
        ids : iterable of str
            The configurations.
        columns : sequence of str, optional
            The columns to read; by default all.
        where : Expression, optional
            A filter that is applied while reading.
        trained : bool
            Whether the study trains; the schema's columns for this case come first.

        Returns
        -------
        pyarrow.Table
            The rows, part by part.

        Raises
        ------
        StoreError
            If a part with some of these rows is damaged.
        """
        wanted: defaultdict[int, list[str]] = defaultdict(list)
        owners = self.owners
        for id in ids:
            if id in owners:
                wanted[owners[id]].append(id)
        empty = empty_table(schema.tables(trained=trained)[table])
        found = [empty.select([name for name in empty.column_names if columns is None or name in columns])]
        holders = [number for number in sorted(wanted) if table in self.parts[number].files]
        found += [self._rows(number, table, wanted[number], columns, where) for number in holders]
        return pa.concat_tables(found, promote_options="default").replace_schema_metadata(None)

    def add(self, part: Part) -> None:
        """Write a part, its runs file last, and merge small parts when they have become too many.

        Parameters
        ----------
        part : Part
            The part to write; it gets the next number.
        """
        self._write(part)
        while due := self._due():
            self.merge(due)

    def merge(self, numbers: Sequence[int]) -> None:
        """Join the parts with these numbers into a new one, without ids that later parts hold, and delete them.

        Parameters
        ----------
        numbers : sequence of int
            The parts, all of one version of the numerics.
        """
        owners = self.owners
        ids = [id for number in numbers for id in self.parts[number].statuses if owners[id] == number]
        if ids:
            self._write(_packed({table: self.read(table, ids) for table in ORDER}, self.parts[numbers[0]].numerics))
        self.drop(numbers)

    def tidy(self) -> None:
        """Rewrite parts that hold superseded ids, so that other programs find every configuration once in the files."""
        owners = self.owners
        for number, part in list(self.parts.items()):
            if any(owners[id] != number for id in part.statuses):
                self.merge([number])

    def drop(self, numbers: Iterable[int]) -> None:
        """Delete parts, runs files first, so that a kill never leaves a runs file without the others.

        Parameters
        ----------
        numbers : iterable of int
            The parts; damaged ones too.
        """
        for number in list(numbers):
            for table in reversed(ORDER):
                for path in (self.folder / "parts" / table).glob(f"{number:08d}-*.parquet"):
                    path.unlink(missing_ok=True)
            self.parts.pop(number, None)
            self.damaged.pop(number, None)

    def _find(self, path: Path, thorough: bool) -> None:
        number = _number(path)
        try:
            self.parts[number] = part = _stored(path)
            for table in part.files if thorough else ():
                _whole(part.files[table])
        except _Damaged as damage:
            self.parts.pop(number, None)
            self.damaged[number] = str(damage)

    def _write(self, part: Part) -> None:
        number = max([*self.parts, *self.damaged], default=0) + 1
        paths = {
            table: _path(self.folder / "parts", number, table, _digest(content))
            for table, content in part.files.items()
        }
        for table in ORDER:
            if table in paths:
                write_whole(paths[table], part.files[table])
        size = sum(map(len, part.files.values()))
        self.parts[number] = Stored(paths, part.statuses, part.seconds, part.numerics, size)

    def _due(self) -> list[int]:
        """Return the numbers of similar small parts to merge, about ``FULL`` bytes in all; empty if there are none."""
        sizes: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        for number, part in self.parts.items():
            if part.size < FULL // 2:
                sizes[part.numerics, int(math.log(max(len(part.statuses), 1), TIMES))].append(number)
        for numbers in sizes.values():
            if len(numbers) >= FAN:
                total, due = 0, list[int]()
                for number in numbers:
                    total += self.parts[number].size
                    if total > FULL and len(due) > 1:
                        break
                    due.append(number)
                return due
        return []

    def _rows(
        self, number: int, table: str, ids: list[str], columns: Sequence[str] | None, where: pc.Expression | None
    ) -> pa.Table:
        part = self.parts[number]
        if len(ids) < len(part.statuses):
            mine = pc.field("id").isin(ids)
            where = mine if where is None else where & mine
        try:
            content = _content(part.files[table])
        except _Damaged as damage:
            raise StoreError(f"{damage}; run the study again to repeat the configurations of this file") from None
        return _read(content, columns, where)


class _Damaged(Exception):
    """A file of a part cannot be read, or its content has changed."""


def _files(folder: Path, table: str) -> list[Path]:
    where = folder / "parts" / table
    try:
        return sorted(path for path in where.iterdir() if not path.name.startswith("."))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"{where}: cannot be read ({error.strerror}); expected a folder of parts") from None


def _path(parts: Path, number: int, table: str, digest: str) -> Path:
    return parts / table / f"{number:08d}-{digest}.parquet"


def _number(path: Path) -> int:
    found = _NAME.fullmatch(path.name)
    if found is None:
        raise StoreError(f"{path}: is no part of a gradlab study; move it out of the folder")
    return int(found[1])


def _digest(content: bytes | pa.Buffer) -> str:
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def _content(path: Path) -> pa.Buffer:
    """Read a part's file and verify its content hash against its name.

    The buffer is allocated by Arrow, not by Python. Arrow's threads may outlive a read for a moment, and the last one
    to release a Python buffer needs the interpreter. If the interpreter has already ended, the process aborts with
    only "terminate called".
    """
    try:
        with path.open("rb") as file:
            content = pa.allocate_buffer(path.stat().st_size)
            content = content.slice(0, file.readinto(memoryview(content)))
    except FileNotFoundError:
        raise
    except (PermissionError, IsADirectoryError) as error:
        raise StoreError(f"{path}: may not be read ({error.strerror})") from None
    except OSError as error:
        raise _Damaged(f"{path}: cannot be read ({error.strerror})") from None
    if not path.stem.endswith(_digest(content)):
        raise _Damaged(f"{path}: is not what was written (its checksum differs)")
    return content


def _read(content: pa.Buffer, columns: Sequence[str] | None, where: pc.Expression | None) -> pa.Table:
    """Read the rows of a part's file; columns that have been renamed since get their current names."""
    written = pq.read_schema(pa.BufferReader(content)).names
    if not schema.RENAMED.keys() & set(written):
        return pq.read_table(pa.BufferReader(content), columns=columns, filters=where)
    table = pq.read_table(pa.BufferReader(content)).rename_columns([schema.RENAMED.get(name, name) for name in written])
    table = table if where is None else table.filter(where)
    return table if columns is None else table.select([name for name in columns if name in table.column_names])


def _whole(path: Path) -> None:
    """Raise if a part's file is missing or altered; only the runner calls this, so no merge interferes."""
    try:
        _content(path)
    except FileNotFoundError:
        raise _Damaged(f"{path}: is missing") from None


def _stored(path: Path) -> Stored:
    """Return the part that the runs file at ``path`` describes."""
    number, parts, content = _number(path), path.parent.parent, _content(path)
    try:
        with pq.ParquetFile(pa.BufferReader(content)) as file:
            note = _note(path, file.schema_arrow.metadata)
            statuses, seconds = _by_id(file.read(["id", "status", "seconds"]))
        files = {table: _path(parts, number, table, digest) for table, digest in note["tables"].items()}
        return Stored(files | {"runs": path}, statuses, seconds, note["numerics"], content.size + note["size"])
    except (pa.ArrowException, ValueError, LookupError, TypeError, AttributeError):
        raise StoreError(f"{path}: is no part of a gradlab study; move it out of the folder") from None


def _note(path: Path, metadata: Mapping[bytes, bytes]) -> dict[str, Any]:
    note: dict[str, Any] = json.loads(metadata[b"gradlab"])
    if note["store"] > STORE:
        version = f"layout {note['store']}, known up to {STORE}"
        raise StoreError(f"{path}: written by a newer gradlab ({version}); upgrade gradlab")
    return note


def _packed(tables: Mapping[str, pa.Table], numerics: int) -> Part:
    note: dict[str, Any] = {"store": STORE, "numerics": numerics}
    files = {name: _parquet(tables[name], note) for name in ORDER[:-1] if tables[name].num_rows}
    note |= {"tables": {name: _digest(content) for name, content in files.items()}}
    note |= {"size": sum(map(len, files.values()))}
    files["runs"] = _parquet(tables["runs"], note)
    return Part(files, *_by_id(tables["runs"]), numerics)


def _with_keys(runs: pa.Table, group: Group) -> pa.Table:
    """Return the runs with one column per key, so that the file is complete without the specification."""
    rank = {config.id: i for i, config in enumerate(group)}
    keys = pa.Table.from_pandas(factors(group), preserve_index=False)
    keys = keys.take([rank[id] for id in runs["id"].to_pylist()])
    columns = {table.column_names[i]: column for table in (keys, runs) for i, column in enumerate(table.columns)}
    return pa.table(columns)


def _by_id(runs: pa.Table) -> tuple[dict[str, str], dict[str, float]]:
    """Return status and seconds by configuration; the worst status counts if it has several rows."""
    statuses, seconds = dict[str, str](), dict[str, float]()
    for id, status, spent in zip(*(runs[name].to_pylist() for name in ("id", "status", "seconds")), strict=True):
        statuses[id] = max(statuses.get(id, status), status, key=schema.STATUSES.index)
        seconds[id] = spent
    return statuses, seconds


def empty_table(columns: Mapping[str, schema.Column]) -> pa.Table:
    """Return a table without rows, with the columns and types of the schema, except ``study``.

    Parameters
    ----------
    columns : mapping
        The schema's columns by name.

    Returns
    -------
    pyarrow.Table
        The table.
    """
    return pa.table({name: pa.array([], _TYPES[c.dtype]) for name, c in columns.items() if name != "study"})


def _joined(frames: Sequence[pd.DataFrame], columns: Mapping[str, schema.Column]) -> pa.Table:
    """Return the frames as one table in which every column of the schema has its type."""
    tables = [empty_table(columns)]
    for frame in frames:
        table = pa.Table.from_pandas(frame, preserve_index=False)
        kinds = [_TYPES[columns[f.name].dtype] if f.name in columns else f.type for f in table.schema]
        tables.append(table.cast(pa.schema(list(zip(table.column_names, kinds, strict=True)))))
    return pa.concat_tables(tables, promote_options="default")


def _parquet(table: pa.Table, note: Mapping[str, Any]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata({"gradlab": json.dumps(note)}), sink, compression="zstd")
    return bytes(sink.getvalue())
