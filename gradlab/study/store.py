"""The parts of a results folder: rows as Parquet files, whole or absent, checked by content, merged as they grow many.

A part has a number and one file a table, ``parts/<table>/<number>-<digest>.parquet``, the digest that of the file's
bytes. Its runs file names the others and is written last, so a part is there once its runs file is. Where several parts
hold an id, the highest number has it: a retry replaces a failure, and a merge its sources, at one stroke.
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

#: Version of the layout; a reader refuses what is newer.
STORE = 3
#: The tables in the order in which a part's files are written.
ORDER = (*(name for name in schema.TABLES if name != "runs"), "runs")
#: This many parts of about one size, which is within a factor of ``TIMES``, are merged into one.
FAN, TIMES = 32, 16
#: Bytes of a part that is merged no more; merging reads about as much at a time.
FULL = 2**26
_NAME = re.compile(r"(\d{8,})-[0-9a-f]{16}\.parquet")
_TYPES = {"string": pa.string(), "int64": pa.int64(), "float64": pa.float64()}


class Part(NamedTuple):
    """Rows as the bytes of their files, one a table that has any; each configuration's status and its seconds."""

    files: dict[str, bytes]
    statuses: dict[str, str]
    seconds: dict[str, float]
    numerics: int


class Stored(NamedTuple):
    """A part on disk: its files, one a table that has rows; the same of its configurations; its bytes."""

    files: dict[str, Path]
    statuses: dict[str, str]
    seconds: dict[str, float]
    numerics: int
    size: int


def pack(group: Group, measured: Sequence[Mapping[str, pd.DataFrame]]) -> Part:
    """Return the part for the rows of a group's configurations by table, each with id; runs with status and error."""
    known = schema.tables(trained="train.steps" in group[0].values)
    tables = {name: _joined([one[name] for one in measured if name in one], known[name]) for name in ORDER}
    return _packed(tables | {"runs": _with_keys(tables["runs"], group)}, NUMERICS)


def remove_leftovers(folder: Path) -> None:
    """Remove what a kill left: files that were being written, and those of parts that have no runs file."""
    for leftover in folder.rglob(UNFINISHED):
        leftover.unlink(missing_ok=True)
    whole = {_number(path) for path in _files(folder, "runs")}
    for table in ORDER[:-1]:
        for path in _files(folder, table):
            if _number(path) not in whole:
                path.unlink(missing_ok=True)


@dataclass
class PartStore:
    """The parts of a folder by number, as they were when it was opened and as its one writer has changed them since.

    Attributes
    ----------
    damaged : numbers of parts that cannot be read, or are not what was written, with the reason.
    """

    folder: Path
    parts: dict[int, Stored] = field(default_factory=dict)
    damaged: dict[int, str] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: Path, *, thorough: bool = False) -> Self:
        """Read what parts there are; ``thorough`` checks every byte, otherwise only the runs are read.

        Raises
        ------
        StoreError
            for a part of another program or a newer one, and for what may not be read.
        """
        while True:
            shelf = cls(folder)
            try:
                for path in _files(folder, "runs"):
                    shelf._find(path, thorough)
            except FileNotFoundError:  # merged meanwhile by the one who writes; its rows are in a later part
                continue
            return shelf

    @property
    def owners(self) -> dict[str, int]:
        """The number of the part that has each id."""
        return {id: number for number in sorted(self.parts) for id in self.parts[number].statuses}

    @property
    def statuses(self) -> dict[str, str]:
        """The status of each configuration that has run."""
        return {id: self.parts[number].statuses[id] for id, number in self.owners.items()}

    def stale(self) -> dict[int, int]:
        """Return how many configurations were measured with each version of the numerics that is not today's."""
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
        """Return the rows of ``ids``; ``where`` is applied while reading. ``trained`` is for columns to come first.

        Raises
        ------
        StoreError
            where a part that has some of them is damaged.
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
        """Write a part, its runs file last; merge what has become too many."""
        self._write(part)
        while due := self._due():
            self.merge(due)

    def merge(self, numbers: Sequence[int]) -> None:
        """Put what the parts have into one, leave out what later ones have, and delete them."""
        owners = self.owners
        ids = [id for number in numbers for id in self.parts[number].statuses if owners[id] == number]
        if ids:
            self._write(_packed({table: self.read(table, ids) for table in ORDER}, self.parts[numbers[0]].numerics))
        self.drop(numbers)

    def tidy(self) -> None:
        """Leave nothing that stands twice: whoever reads the files without us finds every configuration once."""
        owners = self.owners
        for number, part in list(self.parts.items()):
            if any(owners[id] != number for id in part.statuses):
                self.merge([number])

    def drop(self, numbers: Iterable[int]) -> None:
        """Delete parts, runs files first, so that a kill leaves no runs without the rest."""
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
        """Return parts of one size that are to be merged, at most ``FULL`` bytes of them; empty where none are."""
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
            raise StoreError(f"{damage}; run the study again, which redoes what it held") from None
        return _read(content, columns, where)


class _Damaged(Exception):
    """A part's file that is not what was written, as after a full disk."""


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
    """Return the bytes of a part's file, which are those that its name was made from.

    The memory is Arrow's. Its threads may outlive a read by a moment, and the last of them to let go of Python's memory
    needs the interpreter; where that has ended meanwhile, the process is aborted with nothing but "terminate called".
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
    """Read the rows of a part's file; a column that has been renamed since it was written gets today's name."""
    written = pq.read_schema(pa.BufferReader(content)).names
    if not schema.RENAMED.keys() & set(written):
        return pq.read_table(pa.BufferReader(content), columns=columns, filters=where)
    table = pq.read_table(pa.BufferReader(content)).rename_columns([schema.RENAMED.get(name, name) for name in written])
    table = table if where is None else table.filter(where)
    return table if columns is None else table.select([name for name in columns if name in table.column_names])


def _whole(path: Path) -> None:
    """Raise where a file that a runs file names is gone or altered; asked by the one writer, so nobody else merges."""
    try:
        _content(path)
    except FileNotFoundError:
        raise _Damaged(f"{path}: is missing") from None


def _stored(path: Path) -> Stored:
    """Return what the runs file at ``path`` says of its part."""
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
    """Return the runs with a column for every key, so that whoever reads the file alone knows what they are."""
    rank = {config.id: i for i, config in enumerate(group)}
    keys = pa.Table.from_pandas(factors(group), preserve_index=False)
    keys = keys.take([rank[id] for id in runs["id"].to_pylist()])
    columns = {table.column_names[i]: column for table in (keys, runs) for i, column in enumerate(table.columns)}
    return pa.table(columns)


def _by_id(runs: pa.Table) -> tuple[dict[str, str], dict[str, float]]:
    """Return status and seconds of each configuration; of several layers the worst status."""
    statuses, seconds = dict[str, str](), dict[str, float]()
    for id, status, spent in zip(*(runs[name].to_pylist() for name in ("id", "status", "seconds")), strict=True):
        statuses[id] = max(statuses.get(id, status), status, key=schema.STATUSES.index)
        seconds[id] = spent
    return statuses, seconds


def empty_table(columns: Mapping[str, schema.Column]) -> pa.Table:
    """Return a table of the schema's columns and types, without rows."""
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
