"""The findings of a study in sentences. The sentence of each figure is in the figure's own file."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from gradlab.formatting.numbers import counted, estimate
from gradlab.tables.factors import at, longest, named, numeric_control, others, placed, ran
from gradlab.tables.tables import crossings, rates

#: Description of a setting that is only planned.
NOT_RUN = "not run yet"


def study_findings(runs: pd.DataFrame) -> list[tuple[str, str]]:
    """Return each cell's name and a sentence on its rates at the longest length, from the runs that have finished."""
    kept = longest(runs)
    along = numeric_control(kept)
    table, rows = rates(kept), others(kept, "cell", along)
    where = None if along is None else crossings(kept)
    found = []
    for cell, planned in kept.groupby("cell", observed=True, sort=False):
        left, part = len(planned) - len(ran(planned)), table[table["cell"] == cell]
        text = "; ".join(_cell_finding(part, along, rows, where, finished=not left)) or NOT_RUN
        found.append((str(cell), text + (f" ({left} of {len(planned)} runs {NOT_RUN})" if left and len(part) else "")))
    return found


def signs(table: pd.DataFrame, value: str, noun: str) -> str:
    """Count the rows whose ``value`` is negative, or positive, with its whole interval; ``noun`` names the rows."""
    below, above = int((table[f"{value}_high"] < 0).sum()), int((table[f"{value}_low"] > 0).sum())
    known = int(table[f"{value}_low"].notna().sum())
    return (
        f"{noun} whose whole 95 % interval is negative: {below} of {len(table)}; positive: {above}; "
        f"around zero: {known - below - above}; without an interval: {len(table) - known}."
    )


def _cell_finding(
    table: pd.DataFrame, along: str | None, rows: tuple[str, ...], where: pd.DataFrame | None, *, finished: bool
) -> Iterator[str]:
    if along is None or where is None:
        for _, row in table.iterrows():
            yield _labelled(row, rows, f"{_rated(row)} nats/step{_left_out(row['diverged'], row['failed'])}")
        return
    for part in _parts(table, rows):
        turn = where.merge(part[["cell", *rows]].drop_duplicates(), on=["cell", *rows]).iloc[0]
        yield _labelled(turn, rows, _along(part.sort_values(along), along, turn, finished=finished))


def _parts(table: pd.DataFrame, rows: tuple[str, ...]) -> Iterator[pd.DataFrame]:
    if not rows or table.empty:
        yield from [table] * (not table.empty)
        return
    for _, part in table.groupby(list(rows), observed=True, dropna=False):
        yield part


def _along(part: pd.DataFrame, along: str, turn: pd.Series, *, finished: bool) -> str:
    known, lost = part.dropna(subset="rate"), _left_out(part["diverged"].sum(), part["failed"].sum())
    if known.empty:
        return "no run has a rate" + lost
    first, last = known.iloc[0], known.iloc[-1]
    if pd.isna(first[along]):
        return f"{_rated(first)} nats/step, {named(along, None)}{lost}"
    ends = f"{_rated(first)} nats/step {at(along, first[along])}"
    if len(known) > 1:
        ends += f", {_rated(last)} {at(along, last[along])}"
    return f"{_sign(known, along, turn, finished=finished)}: {ends}{lost}"


def _sign(known: pd.DataFrame, along: str, turn: pd.Series, *, finished: bool) -> str:
    every = f"every {along} {'studied' if finished else 'run so far'}"
    if (known["rate"] < 0).all():
        return f"the gradient decays at {every}"
    if (known["rate"] > 0).all():
        return f"the gradient grows at {every}"
    if turn["crossed"] == turn["seeds"]:
        crossing = estimate(turn["crossing"], turn["crossing_low"], turn["crossing_high"])
        return f"the rate turns positive at {along} {crossing}"
    if not turn["crossed"]:
        return f"the rate never turns positive as {along} grows" + ("" if finished else ", as far as it has run")
    return f"the rate turns positive in {turn['crossed']} of {turn['seeds']} seeds"


def _labelled(row: pd.Series, rows: tuple[str, ...], text: str) -> str:
    return f"{placed(row, rows)}: {text}" if rows else text


def _rated(row: pd.Series) -> str:
    return estimate(row["rate"], row["rate_low"], row["rate_high"])


def _left_out(diverged: float, failed: float) -> str:
    counts = ((diverged, "diverged"), (failed, "failed"))
    parts = [f"{counted(int(count), 'run')} {word}" for count, word in counts if count]
    return f" ({', '.join(parts)})" if parts else ""
