"""The page: one HTML file that opens from disk, with all it shows inside."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import pandas as pd

from gradlab.analysis import figures, findings, rates, tables
from gradlab.analysis.beside import beside
from gradlab.analysis.compare import comparisons
from gradlab.analysis.factors import SEED, constants, control, longest, numeric_control, varying
from gradlab.errors import InputError
from gradlab.files import write_whole
from gradlab.report import tabular

#: Names of the tables that a report may write.
TABLES = ("rates", "comparisons", "crossings", "measures", "excluded", "published")

#: What stands above a table.
NOTES = {
    "crossings": "Where the rate turns from negative to positive: in each seed between neighbouring values, "
    "interpolated linearly; then the mean over the seeds with its 95 % t-interval, if every seed crosses.",
    "comparisons": "Differences of rates at the longest length, paired by seed and data. With 95 % probability all "
    "intervals of the table hold together (Bonferroni, Dunn 1961); p is adjusted alike.",
}


class Shown(NamedTuple):
    """A figure on the page; ``missing`` says why it is not there."""

    name: str
    says: str = ""
    shows: str = ""
    svg: bytes = b""
    png: bytes = b""
    missing: str = ""

    @property
    def alt(self) -> str:
        """The figure in words, for who does not see it."""
        return f"{self.shows}. {self.says}"

    @property
    def source(self) -> str:
        """The picture as a data address, so that the page needs no other file."""
        return "data:image/svg+xml;base64," + base64.b64encode(self.svg).decode()


def write_report(
    folder: Path,
    *,
    frames: tables.Frames,
    study: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> Path:
    """Write ``report.html``, ``figures/*.svg``, ``figures/*.png``, ``tables/*.csv`` and ``tables/*.md``.

    The same frames give the same bytes, on one machine.

    Parameters
    ----------
    folder : Path
        The study's results folder.
    frames : mapping
        The tables of `gradlab.schema` by name, and ``theory``, the lines that theory adds to figures, if there are
        any; the keys of the study stand in ``runs`` between ``study`` and ``layer``.
    study : mapping
        The tables of the specification: ``name``, ``question``, ``published``, and ``report.figures``, all that the
        study's hooks recorded if that is missing.
    provenance : mapping
        Versions, git, command line, machine and times, as far as they are known.

    Returns
    -------
    Path
        The page.
    """
    folder = Path(folder)
    runs = frames["runs"]
    made = made_tables(runs, study.get("published", []))
    asked = study.get("report", {}).get("figures")
    shown = [found for name in asked or figures.FIGURES if (found := _shown(name, frames, asked=bool(asked)))]
    files = _files(made, shown)
    for path in _every_file() - set(files):
        (folder / path).unlink(missing_ok=True)  # what an earlier report showed and this one does not
    for path, content in files.items():
        write_whole(folder / path, content)
    write_whole(folder / "report.html", _page(runs, made, shown, study, provenance).encode())
    return folder / "report.html"


def made_tables(runs: pd.DataFrame, entries: Sequence[Mapping[str, Any]] = ()) -> dict[str, pd.DataFrame]:
    """Return the tables of a study by name (`TABLES`).

    ``rates`` is there where the study's hooks record them, and then ``crossings`` where a number varies, and
    ``comparisons`` of several seeds where the cell or another key does; ``measures`` where other hooks recorded any;
    ``published`` where the study has published numbers, ``entries``.
    """
    found = {"excluded": tables.excluded(runs)}
    if tables.has_rates(runs):
        found["rates"] = tables.rates(runs)
        if numeric_control(runs) is not None:
            found["crossings"] = tables.crossings(runs)
        found |= _compared(longest(runs))
    measured = tables.measures(runs)
    if "seeds" in measured:
        found["measures"] = measured
    return found | {"published": beside(runs, entries)} if entries else found


def _compared(runs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the differences between cells, or along the control of a single one; none of a single seed."""
    along = "cell" if "cell" in varying(runs) else control(runs)
    return {"comparisons": comparisons(runs, along)} if along is not None and runs[SEED].nunique() > 1 else {}


def _files(made: Mapping[str, pd.DataFrame], shown: list[Shown]) -> dict[str, bytes]:
    drawn = [figure for figure in shown if not figure.missing]
    return {
        **{f"tables/{name}.csv": tabular.csv(table).encode() for name, table in made.items()},
        **{f"tables/{name}.md": _noted(name, table).encode() for name, table in made.items()},
        **{f"figures/{figure.name}.svg": figure.svg for figure in drawn},
        **{f"figures/{figure.name}.png": figure.png for figure in drawn},
    }


def _noted(name: str, table: pd.DataFrame) -> str:
    return (f"{NOTES[name]}\n\n" if name in NOTES else "") + tabular.markdown(table)


def _every_file() -> set[str]:
    tabled = {f"tables/{name}.{kind}" for name in TABLES for kind in ("csv", "md")}
    return tabled | {f"figures/{name}.{kind}" for name in figures.FIGURES for kind in ("svg", "png")}


def _shown(name: str, frames: tables.Frames, *, asked: bool) -> Shown | None:
    """Return the figure or why it is missing; None for one that nobody asked for and no hook recorded."""
    picture = figures.FIGURES[name]
    try:
        table, layout = picture.table(frames)
    except InputError as error:
        if isinstance(error, tables.NotRecorded) and not asked:
            return None
        return Shown(name, missing=str(error))
    drawn = figures.facets(picture, table, layout)
    return Shown(name, picture.says(table, layout), picture.shows, figures.svg(drawn), figures.png(drawn))


def _page(
    runs: pd.DataFrame,
    made: Mapping[str, pd.DataFrame],
    shown: list[Shown],
    study: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> str:
    template = resources.files("gradlab.report").joinpath("template.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    told = {
        "name": study["name"],
        "question": study.get("question", ""),
        "has_rates": tables.has_rates(runs),
        "findings": findings.study_findings(runs) if tables.has_rates(runs) else [],
        "at_length": _at_length(runs),
        "seeds": _seeds(runs),
        "left_out": _left_out(runs),
        "constants": constants(runs),
        "figures": shown,
        "longest": tabular.side_by_side(tables.rates(longest(runs)), "cell"),
        "measures": tabular.readable(tables.measures(longest(runs))) if "measures" in made else None,
        "notes": NOTES,
        "tables": {name: tabular.readable(table) for name, table in made.items()},
        "burn_in": (rates.BURN_IN_SHARE, rates.BURN_IN_MOST),
        "provenance": provenance_lines(provenance),
    }
    return environment.from_string(template).render(told)


def provenance_lines(provenance: Mapping[str, Any]) -> dict[str, str]:
    """Return provenance as one line an entry; lists of words are a command line, tables ``key value`` pairs."""
    return {key: _line(value) for key, value in provenance.items() if value not in (None, [], {})}


def _line(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_line(entry)}" for key, entry in value.items() if entry is not None)
    if isinstance(value, list | tuple):
        return " ".join(_line(entry) for entry in value)
    return str(value)


def _at_length(runs: pd.DataFrame) -> str:
    return f"at length {longest(runs)['length'].max():g}" if "length" in varying(runs) else ""


def _seeds(runs: pd.DataFrame) -> str:
    count = runs[SEED].nunique()
    return f"mean over {count} seeds, 95 % t-interval over them" if count > 1 else "one seed, so no interval"


def _left_out(runs: pd.DataFrame) -> str:
    counts = runs["status"].value_counts()
    told = [f"{counts[word]} {word}" for word in ("diverged", "failed", "planned") if word in counts]
    return f"{', '.join(told)} of {len(runs)} runs, left out of every mean" if told else ""
