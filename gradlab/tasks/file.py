"""A task whose data are in a file: csv, or NumPy's npz without objects."""

from __future__ import annotations

import csv
import hashlib
import io
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np

from gradlab.arrays.scaled import Array
from gradlab.errors import InputError, printable, unknown
from gradlab.models.losses import At, Loss
from gradlab.options import Option
from gradlab.tasks.arrays import Sequences, Windows, from_arrays, from_frame
from gradlab.tasks.base import CONTENT, DataTask, SplitTask

FORMATS = (".csv", ".npz")


@dataclass(frozen=True)
class File(SplitTask, DataTask):
    """Data from a file: columns of a csv or npz with rows in order of time, or the sequences of an npz.

    From columns, windows of ``length`` rows are drawn, and the target lies ``ahead`` rows later. An npz whose array
    ``x`` is ``(T, N, D)`` holds sequences, with targets ``y``. :func:`~gradlab.tasks.from_frame` and
    :func:`~gradlab.tasks.from_arrays` do the same with data in memory. Paths are relative to the current folder.

    Nothing in a file is executed: a csv is text, and an npz is read without pickles.
    """

    path: str = ""
    inputs: str = ""
    target: str = ""
    ahead: int = 1
    standardise: bool = False
    classes: bool = False
    content: str = ""
    part: str = "all"

    name: ClassVar[str] = "file"
    KEYS: ClassVar[Mapping[str, Option]] = {
        "path": Option(str, "", meaning="a csv with a header, or an npz"),
        "inputs": Option(str, "", meaning='columns that are read, "a, b"; by default all'),
        "target": Option(str, "", meaning='columns to predict, "a, b"'),
        "ahead": Option(int, 1, minimum=0, meaning="rows from the one read to the target's"),
        "standardise": Option(bool, False, meaning="columns to mean 0, deviation 1 by the first three quarters"),
        "classes": Option(bool, False, meaning="the target is a class 0, 1 …"),
        "content": CONTENT,
    }

    @property
    def input_size(self) -> int:  # type: ignore[override]
        """D: the number of input columns."""
        return self._data().input_size

    @property
    def output_size(self) -> int:  # type: ignore[override]
        """O: the number of columns to predict, or of classes."""
        return self._data().output_size

    def checksum(self) -> str:
        """Return 16 hexadecimal digits of the SHA-256 of the file as it is now."""
        with _reading(self.path):
            found = os.stat(self.path)
            return _checksum(self.path, found.st_mtime_ns, found.st_size, found.st_ino)

    def sample(self, length: int, batch: int, *, at: At = "last", rng: np.random.Generator) -> tuple[Array, Loss]:
        """Return ``x (T, B, D)`` of windows or sequences, and the loss of their targets."""
        return self._data().sample(length, batch, at=at, rng=rng)

    def constant_loss(self, length: int) -> Array:
        """Return the entropy of the classes, or the variance of the targets, ``(T,)``."""
        return self._data().constant_loss(length)

    def _data(self) -> Sequences | Windows:
        whole = _load(replace(self, part="all", content=self.content or self.checksum()))
        return {"all": whole, "train": whole.train, "test": whole.test}[self.part]


@lru_cache(maxsize=8)
def _load(file: File) -> Sequences | Windows:
    """Return the data of a file after comparing its content with the checksum in ``file``."""
    with _reading(file.path):
        content = Path(file.path).read_bytes()
    if hashlib.sha256(content).hexdigest()[:16] != file.content:
        raise InputError(f"{file.path}: has changed since; the study was planned with content {file.content}")
    inputs, target = _names(file.inputs), _names(file.target)
    try:
        if file.path.lower().endswith(".csv"):
            return _of_table(file, _csv(content, [*inputs, *target] if inputs else []), inputs, target)
        return _of_table(file, _npz(content), inputs, target)
    except InputError as error:
        raise InputError(f"{file.path}: {error}") from None


def _of_table(file: File, table: Mapping[str, Array], inputs: list[str], target: list[str]) -> Sequences | Windows:
    x = table.get((inputs or ["x"])[0])
    if x is not None and x.ndim == 3:
        y = (target or ["y"])[0]
        if y not in table:
            raise InputError(unknown("array", y, table))
        return from_arrays(x, table[y])
    if not target:
        raise InputError(f"name the column to predict, target = … ({', '.join(table)})")
    return from_frame(
        table, target, inputs=inputs, ahead=file.ahead, standardise=file.standardise, classes=file.classes
    )


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


@lru_cache(maxsize=8)
def _checksum(path: str, *_: int) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]


@contextmanager
def _reading(path: str) -> Iterator[None]:
    """Turn errors of reading a file into one line that names the file and the problem."""
    if not path:
        raise InputError("path is missing; name a csv or npz file")
    if not path.lower().endswith(FORMATS):
        raise InputError(f"{path}: expected a file whose name ends in .csv or .npz")
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{path}: no such file, from the folder {os.getcwd()}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None


def _npz(content: bytes) -> dict[str, Array]:
    """Return the arrays of an npz by name; raise for arrays of objects, which need pickles."""
    try:
        found = np.load(io.BytesIO(content), allow_pickle=False)
        return {name: found[name] for name in found.files}
    except Exception as error:  # the kind depends on the bytes of a broken archive
        raise InputError(f"is no npz of plain arrays ({printable(str(error), 80)})") from None


def _csv(content: bytes, wanted: list[str]) -> dict[str, Array]:
    """Return columns of a csv with a header, by name, all if none is wanted; fields end in comma, semicolon or tab."""
    try:
        text = content.decode("utf-8-sig")
        header = text.partition("\n")[0]
        rows = list(csv.reader(io.StringIO(text), delimiter=max(",;\t", key=header.count), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"is no csv of UTF-8 text ({error})") from None
    names = [name.strip() for name in rows[0]] if rows else []
    if not all(names) or len(set(names)) < len(names) or len(rows) < 2:
        raise InputError("expected a csv with a header of names, each once, and rows of numbers below it")
    for name in wanted:
        if name not in names:
            raise InputError(unknown("column", name, names))
    return {name: _column(name, names.index(name), rows, len(names)) for name in wanted or names}


def _column(name: str, place: int, rows: list[list[str]], width: int) -> Array:
    found = []
    for line, row in enumerate(rows[1:], start=2):
        if len(row) != width:
            raise InputError(f"row {line}: expected {width} fields, as in the header, got {len(row)}")
        try:
            found.append(float(row[place]))
        except ValueError:
            found.append(math.nan)
        if not math.isfinite(found[-1]):
            raise InputError(
                f'row {line}, column "{name}": expected a number, got "{printable(row[place], 40)}"; mend it, or name '
                "the columns to read, inputs = …"
            )
    return np.array(found)
