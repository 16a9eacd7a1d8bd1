"""Compare the studies' results with published numbers, and measure the exact ground truths again.

    python studies/published.py [DIR ...] [--out FILE]

Writes ``results/published.md`` and prints its path. Runs no study. Exit code 0 if every ground truth holds, 1 if one
does not, 2 for bad input. A published number that is not reproduced stays in the table, with its explanation.
"""

from __future__ import annotations

import argparse
import csv
import io
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

import truths
from gradlab.errors import GradlabError, InputError, StoreError, printable
from gradlab.files import write_whole
from gradlab.report import made_with
from gradlab.study.results import Results, load_results
from gradlab.tables.published import NOT_COMPARABLE, REPRODUCED, RULES, beside, judged
from published_text import StudyNumbers, published_text

RESULTS = Path("results")
#: Largest size of a table's file in bytes, far above that of any study.
LARGEST = 10_000_000
#: Largest number of characters of an error message.
LINE = 1500
#: Columns that repeat the study's own entries.
_REPEATED = ("claim", "kind", "source", "setup", "published", "tolerance", "reason")
_NUMBERS = ("published", "measured", "measured_low", "measured_high")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    arguments : sequence of str, optional
        The command line; by default that of the process.

    Returns
    -------
    int
        The exit code: 0 if every ground truth holds, 1 if one does not, 2 for bad input.
    """
    assert __doc__ is not None
    parser = argparse.ArgumentParser(prog="published.py", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "folders", nargs="*", type=Path, metavar="DIR", help="results folders; by default all under results/"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", default=RESULTS / "published.md", help="default: %(default)s"
    )
    given = parser.parse_args(arguments)
    try:
        holds = write_collection(given.out, given.folders or None)
    except GradlabError as error:
        print(f"published.py: {printable(str(error), LINE)}", file=sys.stderr)
        return 2
    print(given.out)
    return 0 if holds else 1


def write_collection(path: Path, folders: Sequence[Path] | None = None) -> bool:
    """Write the table of all published and exact numbers as Markdown.

    Parameters
    ----------
    path : Path
        The file.
    folders : sequence of Path, optional
        Results folders; by default those under ``results/`` that have published numbers.

    Returns
    -------
    bool
        Whether every exact ground truth holds.

    Raises
    ------
    StoreError
        If a folder has no study, a table contradicts its study, or ``path`` cannot be written.
    InputError
        If ``path`` is a folder, or a named study has no published numbers.
    """
    if path.is_dir():
        raise InputError(f"--out: {path} is a folder; name a file")
    found = collect(folders)
    exact = truths.measure()
    try:
        write_whole(path, published_text(found, exact, RULES).encode())
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror})") from None
    return bool((exact["word"] == REPRODUCED).all())


def collect(folders: Sequence[Path] | None = None) -> list[StudyNumbers]:
    """Return the numbers of each study, from its runs if it has any, else from the table that its report wrote.

    Parameters
    ----------
    folders : sequence of Path, optional
        Results folders; by default those under ``results/`` that have published numbers.

    Returns
    -------
    list of StudyNumbers
        The numbers of each study.

    Raises
    ------
    StoreError
        If a folder has no study, or a table contradicts its study.
    InputError
        If a named study has no published numbers.
    """
    if folders is None:
        each = [load_results(path.parent) for path in sorted(RESULTS.glob("*/study.toml"))]
        return [_collected(results) for results in each if results.plan.spec.published]
    named = [load_results(path) for path in folders]
    for results in named:
        if not results.plan.spec.published:
            raise InputError(f"{results.folder}: its study names no published numbers; add [[published]] to its file")
    return [_collected(results) for results in named]


def _collected(results: Results) -> StudyNumbers:
    spec, counts = results.plan.spec, results.status()
    entries = [entry.table() for entry in spec.published]
    path = results.folder / "tables" / "published.csv"
    if counts["planned"] == sum(counts.values()) and path.is_file():
        table, origin = _read(path, entries, results.plan.frame())
    else:
        table, origin = beside(results.frame("runs"), entries), made_with(results.provenance)
        origin = f"its runs{f', {origin}' if origin else ''}"
    return StudyNumbers(spec.name, spec.question, table, origin)


def _read(path: Path, entries: Sequence[Mapping[str, Any]], planned: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Return the table that a report wrote, checked against the study's entries, and its provenance as text."""
    wanted = beside(planned.assign(status="planned"), entries)
    rows = _rows(path, [*wanted.columns, "made_with"])
    if len(rows) != len(wanted):
        raise _wrong(path, f"has {len(rows)} rows; the study names {len(wanted)} published numbers")
    found = [
        _checked(path, i, row, one, entry)
        for i, (row, one, entry) in enumerate(zip(rows, wanted.to_dict("records"), entries, strict=True), start=1)
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
        raise _wrong(path, f"must have the columns {', '.join(columns)}")
    return [dict(zip(header, row, strict=True)) for row in rows]


def _checked(
    path: Path, i: int, row: Mapping[str, str], wanted: Mapping[Any, Any], entry: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a row with its numbers; refuse one that contradicts the study's entry or its own interval."""
    try:
        numbers = {name: float(row[name] or "nan") for name in _NUMBERS} | {"runs": int(row["runs"])}
    except ValueError as error:
        raise _wrong(path, f"row {i}: {error}") from None
    for name in _REPEATED:
        same = row[name] == wanted[name]
        if not (math.isclose(numbers[name], wanted[name], rel_tol=1e-9) if name == "published" else same):
            raise _wrong(path, f'row {i}, {name}: is "{row[name]}", but "{wanted[name]}" in study.toml')
    known = not math.isnan(numbers["measured_low"])
    follows = judged(entry, numbers["measured_low"], numbers["measured_high"]) if known else NOT_COMPARABLE
    if row["word"] not in (follows, NOT_COMPARABLE):
        raise _wrong(path, f'row {i}: the word is "{row["word"]}", but the interval gives "{follows}"')
    return {**row, **numbers}


def _wrong(path: Path, why: str) -> StoreError:
    return StoreError(f"{path}: {why}; `gradlab run` on the study's file writes it again")


if __name__ == "__main__":
    sys.exit(main())
