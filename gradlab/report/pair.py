"""Two studies on one page: their differences, the findings of each, and the rates that both measured."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from gradlab.files import write_whole
from gradlab.report import tabular
from gradlab.report.pictures import paired_pictures, pictures
from gradlab.report.render import rendered
from gradlab.report.source import Source, differing_settings, page_context, settings, versions
from gradlab.statistics import rates
from gradlab.tables import tables
from gradlab.tables.comparisons import comparisons
from gradlab.tables.factors import PLACES, SEED, arranged, varying


def write_pair(path: Path, one: Source, other: Source) -> Path:
    """Write one page with two studies, their figures side by side; return its path.

    Parameters
    ----------
    path : Path
        The page's file.
    one, other : Source
        The studies, in the order of the page.
    """
    names = labels(one, other)
    drawn = [pictures(source.frames, source.study) for source in (one, other)]
    studies = [page_context(source, shown) for source, shown in zip((one, other), drawn, strict=True)]
    shared = shared_rates(one.runs, other.runs, names)
    headers = {"one": f"rate of {names[0]}", "other": f"rate of {names[1]}", "gap": f"{names[1]} − {names[0]}"}
    page = rendered(
        "pair.html.j2",
        studies=[study | {"label": name} for study, name in zip(studies, names, strict=True)],
        differing=tabular.grid(differing(one, other, names)),
        shared=tabular.grid(tabular.readable(shared.table).rename(columns=headers)),
        compared=shared.compared,
        apart=shared.apart,
        figures=paired_pictures(drawn[0], drawn[1], (one.frames, other.frames)),
        recorded=studies[0]["recorded"] | studies[1]["recorded"],
        burn_in=(rates.BURN_IN_SHARE, rates.BURN_IN_MOST),
    )
    write_whole(Path(path), page.encode())
    return Path(path)


def labels(one: Source, other: Source) -> tuple[str, str]:
    """Return labels for the two: their names, else their folders, else numbers, whichever differ first."""
    for first, second in ((one.study["name"], other.study["name"]), (one.folder, other.folder)):
        if first != second and first and second:
            return first, second
    return f"{one.study['name']} (1)", f"{other.study['name']} (2)"


def differing(one: Source, other: Source, names: tuple[str, str]) -> pd.DataFrame:
    """Return the question, settings and versions that differ: ``key``, and one column per study."""
    sides = [
        {"question": str(source.study.get("question", ""))} | settings(source.runs) | versions(source.provenance)
        for source in (one, other)
    ]
    return differing_settings(*sides).set_axis(["key", *names], axis=1)


class Shared(NamedTuple):
    """The rates of the combinations that two studies have in common.

    Attributes
    ----------
    table : DataFrame
        The keys; as words with 95 % intervals, the two rates ``one`` and ``other`` and their difference ``gap``.
    compared : int
        The number of combinations whose difference has an interval.
    apart : list of str
        The differences whose interval excludes 0, in words, the greatest first.
    """

    table: pd.DataFrame
    compared: int = 0
    apart: list[str] = []


def shared_rates(one: pd.DataFrame, other: pd.DataFrame, names: tuple[str, str]) -> Shared:
    """Return the rates of the combinations that both studies have, and their differences.

    A combination is one value per key that either study varies. A key that differs between the studies as a whole is
    the subject of the comparison. Without rates in both studies the table is empty.
    """
    by = list(dict.fromkeys(["cell", *varying(one), *varying(other)]))
    if not (tables.has_rates(one) and tables.has_rates(other)):
        return Shared(pd.DataFrame(columns=by))
    both = together(one, other, by, names)
    table = rates.across_seeds(arranged(both), ["study", *by])
    words = table[by].assign(rate=tabular.with_intervals(table, "rate"))
    first, second = (
        words[table["study"] == name].rename(columns={"rate": side})
        for name, side in zip(names, ("one", "other"), strict=True)
    )
    return _compared(first.merge(second, on=by), both, by)


def together(one: pd.DataFrame, other: pd.DataFrame, by: list[str], names: tuple[str, str]) -> pd.DataFrame:
    """Return the runs of two studies as one table: ``study`` names them, the keys are ``by`` and the seed.

    A key that the other study lacks is missing in its runs, as in the runs of cells without that key.
    """
    wanted = [name for name in by if name not in PLACES]
    rest = [name for name in one.columns[list(one.columns).index("layer") :] if name in other.columns]
    columns = ["id", "study", *wanted, SEED, *rest]
    sides = [runs.assign(study=name).reindex(columns=columns) for name, runs in zip(names, (one, other), strict=True)]
    return pd.concat(sides, ignore_index=True)


def _compared(shared: pd.DataFrame, both: pd.DataFrame, by: list[str]) -> Shared:
    """Return the shared rates with their differences, paired by seed."""
    if shared.empty:
        return Shared(shared)
    mine = arranged(both)[by].merge(shared[by], how="left", on=by, indicator=True)["_merge"] == "both"
    table = comparisons(both[mine.to_numpy()], along="study")
    on = [name for name in table if name in shared]
    words = table[on].assign(gap=tabular.with_intervals(table, "difference"))
    apart = table[(table["difference_low"] > 0) | (table["difference_high"] < 0)]
    ordered = apart.sort_values("difference", key=abs, ascending=False)
    joined = shared.merge(words, on=on, how="left") if on else shared.merge(words, how="cross")
    return Shared(joined, int(table["difference_low"].notna().sum()), ordered["sentence"].tolist())
