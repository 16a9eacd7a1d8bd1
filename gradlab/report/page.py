"""The report of one study: one self-contained HTML file, with its figures and tables as separate files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from gradlab import figures
from gradlab.files import write_whole
from gradlab.report import tabular
from gradlab.report.pictures import DrawnFigure, pictures
from gradlab.report.render import rendered
from gradlab.report.source import Source, made_with, page_context
from gradlab.statistics import rates
from gradlab.tables import tables
from gradlab.tables.comparisons import comparisons
from gradlab.tables.factors import SEED, control, longest, numeric_control, varying
from gradlab.tables.outcomes import criterion_table, has_criterion, has_outcomes, outcomes
from gradlab.tables.published import DIGITS, RULES, beside

#: Names of the tables that a report may write.
TABLES = ("rates", "comparisons", "crossings", "measures", "outcomes", "criterion", "excluded", "published")

#: Notes above the tables.
NOTES = {
    "crossings": "Where the rate turns from negative to positive: in each seed between neighbouring values, "
    "interpolated linearly; then the mean over the seeds with its 95 % t-interval, if every seed crosses.",
    "measures": "Means over the seeds with 95 % t-intervals; of norms and condition numbers, which spread over "
    "decades, geometric means: the mean and the t-interval are of their logarithms (runs where they are 0 or infinite "
    "are excluded), transformed back. Intervals of shares stop at 0 and 1, of other non-negative quantities at 0.",
    "outcomes": "Loss and score on test data, means over the seeds with 95 % t-intervals; diverged trainings are "
    "excluded. On the same sequences: the task's baselines, fitted to the training data, and the loss of the best "
    "answer that ignores the input; then the differences of loss and score between the network and each baseline, "
    "paired by seed and sequences, with 95 % t-intervals.",
    "published": "The word follows from the 95 % interval of the measured number: "
    + "; ".join(f"{word}: {rule}" for word, rule in RULES.items())
    + ".",
    "criterion": "Share of the seeds whose training met its criterion, with Clopper and Pearson's 95 % interval, and "
    "Kaplan and Meier's median of the steps until then, with its 95 % interval; a training that did not meet "
    "it, or diverged, is censored at its last allowed step.",
    "comparisons": "Differences of rates at the longest length, paired by seed and data. With 95 % probability all "
    "intervals of the table hold together (Bonferroni, Dunn 1961); p is adjusted alike.",
}


def write_report(folder: Path, source: Source) -> Path:
    """Write ``report.html``, ``figures/*.svg``, ``figures/*.png``, ``tables/*.csv`` and ``tables/*.md``.

    The same tables give the same bytes, on one machine.

    Parameters
    ----------
    folder : Path
        The study's results folder.
    source : Source
        The study.

    Returns
    -------
    Path
        The page.
    """
    folder = Path(folder)
    made = made_tables(source.runs, source.study.get("published", []))
    shown = pictures(source.frames, source.study)
    files = _files(made, shown)
    for path in _every_file() - set(files):
        (folder / path).unlink(missing_ok=True)  # files of an earlier report that this one no longer has
    if "published" in made:
        dated = made["published"].assign(made_with=made_with(source.provenance))  # it is also read without runs
        files["tables/published.csv"] = tabular.csv(dated, digits=DIGITS).encode()
    for path, content in files.items():
        write_whole(folder / path, content)
    write_whole(folder / "report.html", page(source, made, shown).encode())
    return folder / "report.html"


def made_tables(runs: pd.DataFrame, entries: Sequence[Mapping[str, Any]] = ()) -> dict[str, pd.DataFrame]:
    """Return the tables of a study by name (`TABLES`).

    ``excluded``
        always.
    ``rates``
        if the study's hooks record them; then also ``crossings`` if a number varies, and ``comparisons`` if there are
        several seeds and the cell or another key varies.
    ``measures``
        if other hooks recorded something.
    ``outcomes``, ``criterion``
        if the networks were trained; if they were trained until a criterion is met.
    ``published``
        if the study has published numbers, ``entries``.
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
    if has_outcomes(runs):
        found["outcomes"] = outcomes(runs)
    if has_criterion(runs):
        found["criterion"] = criterion_table(runs)
    return found | {"published": beside(runs, entries)} if entries else found


def _compared(runs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the differences between cells, or along the control of a single cell; none for a single seed."""
    along = "cell" if "cell" in varying(runs) else control(runs)
    return {"comparisons": comparisons(runs, along)} if along is not None and runs[SEED].nunique() > 1 else {}


def page(source: Source, made: Mapping[str, pd.DataFrame], shown: list[DrawnFigure]) -> str:
    """Return the page of a study with its tables and figures."""
    runs = source.runs
    words = {name: tabular.readable(table) for name, table in made.items()}
    words["longest"] = tabular.side_by_side(tables.rates(longest(runs)), "cell")
    if "measures" in made:
        words["longest_measures"] = tabular.readable(tables.measures(longest(runs)))
    return rendered(
        "study.html.j2",
        study=page_context(source, shown),
        tables={name: tabular.grid(table) for name, table in words.items()},
        notes=NOTES,
        burn_in=(rates.BURN_IN_SHARE, rates.BURN_IN_MOST),
    )


def _files(made: Mapping[str, pd.DataFrame], shown: list[DrawnFigure]) -> dict[str, bytes]:
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
