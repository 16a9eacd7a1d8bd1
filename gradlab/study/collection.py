"""All that studies say beside published numbers, and the exact ground truths, in one table."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from gradlab.errors import InputError, StoreError
from gradlab.files import write_whole
from gradlab.report import Said, made_with, published_text
from gradlab.study.results import Results, load_results
from gradlab.tables.published import NOT_COMPARABLE, REPRODUCED, RULES, beside, judged
from gradlab.truths import measured

#: Bytes of a table, at most: more than any study's has.
LARGEST = 10_000_000
RESULTS = Path("results")
#: Columns that say again what the study's own entries say.
_TOLD = ("claim", "kind", "source", "setup", "published", "tolerance", "reason")
_NUMBERS = ("published", "measured", "measured_low", "measured_high")


def write_collection(path: Path, folders: Sequence[Path] | None = None) -> tuple[Path, bool]:
    """Write the table as Markdown; return its path, and whether every exact ground truth holds.

    Parameters
    ----------
    path : the file.
    folders : results folders, by default those under ``results/`` that have published numbers.

    Raises
    ------
    StoreError
        for a folder that holds no study, or a table that is not what the study's report wrote; nothing is written.
    InputError
        where ``path`` is a folder, or a named study has no published numbers.
    """
    if path.is_dir():
        raise InputError(f"--out: {path} is a folder; name a file")
    found = collect(folders)
    exact = measured()
    try:
        write_whole(path, published_text(found, exact, RULES).encode())
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror})") from None
    return path, bool((exact["word"] == REPRODUCED).all())


def collect(folders: Sequence[Path] | None = None) -> list[Said]:
    """Return what each study says, from its runs where it has some, else from the table that its report wrote."""
    if folders is None:
        each = [load_results(path.parent) for path in sorted(RESULTS.glob("*/study.toml"))]
        return [_collected(results) for results in each if results.plan.spec.published]
    named = [load_results(path) for path in folders]
    for results in named:
        if not results.plan.spec.published:
            raise InputError(f"{results.folder}: its study names no published numbers; add [[published]] to its file")
    return [_collected(results) for results in named]


def _collected(results: Results) -> Said:
    spec, counts = results.plan.spec, results.status()
    entries = [entry.table() for entry in spec.published]
    path = results.folder / "tables" / "published.csv"
    if counts["planned"] == sum(counts.values()) and path.is_file():
        table, origin = _read(path, entries, results.plan.frame())
    else:
        table, origin = beside(results.frame("runs"), entries), made_with(results.provenance)
        origin = f"its runs{f', {origin}' if origin else ''}"
    return Said(spec.name, spec.question, table, origin)


def _read(path: Path, entries: Sequence[Mapping[str, Any]], planned: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Return the table that a report wrote and what its study was run with, checked against the study's entries."""
    wanted = beside(planned.assign(status="planned"), entries)
    rows = _rows(path, [*wanted.columns, "made_with"])
    if len(rows) != len(wanted):
        raise _wrong(path, f"has {len(rows)} rows; the study names {len(wanted)} published numbers")
    found = [
        _checked(path, i, row, told, entry)
        for i, (row, told, entry) in enumerate(zip(rows, wanted.to_dict("records"), entries, strict=True), start=1)
    ]
    origins = sorted({row["made_with"] for row in rows} - {""})
    return pd.DataFrame(found)[list(wanted.columns)], ", ".join(["tables/published.csv", *origins])


def _rows(path: Path, columns: Iterable[str]) -> list[dict[str, str]]:
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST + 1).decode("utf-8")
        if len(text) > LARGEST:
            raise _wrong(path, f"has more than {LARGEST} bytes")
        header, *rows = csv.reader(io.StringIO(text), strict=True)
    except (OSError, ValueError, csv.Error) as error:
        raise _wrong(path, f"cannot be read ({error})") from None
    if header != list(columns) or any(len(row) != len(header) for row in rows):
        raise _wrong(path, f"has not the columns {', '.join(columns)}")
    return [dict(zip(header, row, strict=True)) for row in rows]


def _checked(
    path: Path, i: int, row: Mapping[str, str], told: Mapping[Any, Any], entry: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a row with its numbers, after it agrees with the study's entry and its word with its interval."""
    try:
        numbers = {name: float(row[name] or "nan") for name in _NUMBERS} | {"runs": int(row["runs"])}
    except ValueError as error:
        raise _wrong(path, f"row {i}: {error}") from None
    for name in _TOLD:
        same = math.isclose(numbers[name], told[name], rel_tol=1e-9) if name == "published" else row[name] == told[name]
        if not same:
            raise _wrong(path, f'row {i}, {name}: is "{row[name]}", and in study.toml "{told[name]}"')
    known = not math.isnan(numbers["measured_low"])
    follows = judged(entry, numbers["measured_low"], numbers["measured_high"]) if known else NOT_COMPARABLE
    if row["word"] not in (follows, NOT_COMPARABLE):
        raise _wrong(path, f'row {i}: its word is "{row["word"]}", and by its interval "{follows}"')
    return {**row, **numbers}


def _wrong(path: Path, why: str) -> StoreError:
    return StoreError(f"{path}: {why}; `gradlab run` on the study's file writes it again")
