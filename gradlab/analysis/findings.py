"""What a table says, in sentences: the finding of a study, and of each of its figures."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from gradlab.analysis.factors import Layout, longest, named, numeric_control, others
from gradlab.analysis.numerals import compact, estimate, plain
from gradlab.analysis.tables import crossings, rates


def study_findings(runs: pd.DataFrame) -> list[tuple[str, str]]:
    """Return for each cell its name and what its rates at the longest length say."""
    kept = longest(runs)
    along = numeric_control(kept)
    table, rows = rates(kept), others(kept, "cell", along)
    where = None if along is None else crossings(kept)
    return [
        (str(cell), "; ".join(_cell_finding(part, along, rows, where)))
        for cell, part in table.groupby("cell", observed=True)
    ]


def decay_says(table: pd.DataFrame, layout: Layout) -> str:
    """Return how much is lost or won over all lags, at the two extremes."""
    by = list(dict.fromkeys(["cell", layout.panel, *layout.rows]))
    lines = table.groupby(by, observed=True, dropna=False)["lag"]
    ends = table[table["lag"] == lines.transform("max")].dropna(subset="change")
    if ends.empty:
        return "No run has a gradient to follow."
    ordered = ends.sort_values("change")
    told = [
        f"{compact(end['change'])} nats ({_place(end, (*by, layout.hue))})"
        for end in (ordered.iloc[0], ordered.iloc[-1])
    ]
    return f"From lag 1 to the last, ln‖δ‖ changes by between {told[0]} and {told[1]}."


def phase_says(table: pd.DataFrame, layout: Layout) -> str:
    """Return where along y the rate turns positive in each panel, as the mean over the seeds of each one's crossing."""
    if not pd.api.types.is_numeric_dtype(table[layout.y]):
        return signs_say(table, layout)
    groups = table.groupby(["cell", *layout.rows], observed=True, dropna=False)
    told = [f"{_place(part.iloc[0], ('cell', *layout.rows))} {_turns(part, layout)}" for _, part in groups]
    return f"The rate turns positive (mean of the seeds' crossings): {'; '.join(told)}."


def signs_say(table: pd.DataFrame, layout: Layout) -> str:
    """Return how many rates are negative or positive beyond their intervals."""
    return _signs(table, "rate", "Rates")


def lyapunov_says(table: pd.DataFrame, layout: Layout) -> str:
    """Return how many exponents are negative or positive, and where theory's line is drawn."""
    signs = _signs(table[table["theory"].isna()], "lyapunov_1", "Largest exponents")
    if table["theory"].notna().any():
        return f"{signs} The line is mean-field theory's ½ ln χ for infinitely wide RNNs without gates."
    return f"{signs} There is no theory's line: it speaks of Gaussian RNNs without gates on noise, along the scale."


def spectrum_says(table: pd.DataFrame, layout: Layout) -> str:
    """Return the range of the largest and of the smallest exponents."""
    lines = table.dropna(subset="exponent").groupby(["cell", *_of(layout)], observed=True, dropna=False)["exponent"]
    if not lines.ngroups:
        return "No exponent is known."
    top, bottom = (f"{compact(ends.min())} to {compact(ends.max())}" for ends in (lines.max(), lines.min()))
    return f"Largest exponents {top} nats/step, the last ones known {bottom}."


def paths_say(table: pd.DataFrame, layout: Layout) -> str:
    """Return where the additive path alone carries most of the gradient at the last lag, and where the least."""
    ends = table[table["lag"] == table.groupby(layout.panel, observed=True)["lag"].transform("max")]
    wide = ends.pivot(index=layout.panel, columns="path", values="travelled").astype("float64")
    short = (wide["all paths"] - wide["additive path alone"]).dropna().sort_values()
    if short.empty:
        return "No gradient reaches the last lag on both."
    told = [f"e^{compact(-short.iloc[i])} of the whole gradient's norm ({short.index[i]})" for i in (0, -1)]
    return f"At the last lag the additive path alone has between {told[1]} and {told[0]}."


def _of(layout: Layout) -> list[str]:
    return [name for name in (layout.panel, *layout.rows, layout.hue) if name and name != "cell"]


def _signs(table: pd.DataFrame, value: str, noun: str) -> str:
    below, above = int((table[f"{value}_high"] < 0).sum()), int((table[f"{value}_low"] > 0).sum())
    known = int(table[f"{value}_low"].notna().sum())
    return (
        f"{noun} whose whole 95 % interval is negative: {below} of {len(table)}; positive: {above}; "
        f"around zero: {known - below - above}; without an interval: {len(table) - known}."
    )


def _cell_finding(
    table: pd.DataFrame, along: str | None, rows: tuple[str, ...], where: pd.DataFrame | None
) -> Iterator[str]:
    if along is None or where is None:
        for _, row in table.iterrows():
            yield _labelled(row, rows, f"{_rated(row)} nats/step{_left_out(row['diverged'], row['failed'])}")
        return
    turns = where.merge(table[["cell", *rows]].drop_duplicates(), on=["cell", *rows])
    for (_, turn), part in zip(turns.iterrows(), _parts(table, rows), strict=True):
        yield _labelled(turn, rows, _along(part.sort_values(along), along, turn))


def _parts(table: pd.DataFrame, rows: tuple[str, ...]) -> Iterator[pd.DataFrame]:
    if not rows:
        yield table
        return
    for _, part in table.groupby(list(rows), observed=True, dropna=False):
        yield part


def _along(part: pd.DataFrame, along: str, turn: pd.Series) -> str:
    known, lost = part.dropna(subset="rate"), _left_out(part["diverged"].sum(), part["failed"].sum())
    if known.empty:
        return "no run has a rate" + lost
    first, last = known.iloc[0], known.iloc[-1]
    if pd.isna(first[along]):
        return f"{_rated(first)} nats/step, {named(along, None)}{lost}"
    ends = f"{_rated(first)} nats/step at {named(along, first[along])}"
    if len(known) > 1:
        ends += f", {_rated(last)} at {named(along, last[along])}"
    return f"{_sign(known, along, turn)}: {ends}{lost}"


def _sign(known: pd.DataFrame, along: str, turn: pd.Series) -> str:
    if (known["rate"] < 0).all():
        return f"the gradient decays at every {along} studied"
    if (known["rate"] > 0).all():
        return f"the gradient grows at every {along} studied"
    if turn["crossed"] == turn["seeds"]:
        told = estimate(turn["crossing"], turn["crossing_low"], turn["crossing_high"])
        return f"the rate turns positive at {along} {told}"
    if not turn["crossed"]:
        return f"the rate never turns positive as {along} grows"
    return f"the rate turns positive in {turn['crossed']} of {turn['seeds']} seeds"


def _turns(part: pd.DataFrame, layout: Layout) -> str:
    found = part.drop_duplicates(layout.x)
    known = found["crossing"].dropna()
    if known.empty:
        some = ", in some seeds only" if found["crossed"].any() else ""
        return f"not from {layout.y} {plain(part['lowest'].iloc[0])} to {plain(part['highest'].iloc[0])}{some}"
    low, high = compact(known.min(), 4), compact(known.max(), 4)
    span = low if low == high else f"{low} to {high}"
    some = "" if len(known) == len(found) else f", at {len(known)} of {len(found)} values of {layout.x}"
    return f"at {layout.y} {span}{some}"


def _labelled(row: pd.Series, rows: tuple[str, ...], text: str) -> str:
    return f"{_place(row, rows)}: {text}" if rows else text


def _place(row: pd.Series, columns: tuple[str | None, ...]) -> str:
    return ", ".join(named(name, row[name]) for name in columns if name is not None)


def _rated(row: pd.Series) -> str:
    return estimate(row["rate"], row["rate_low"], row["rate_high"])


def _left_out(diverged: float, failed: float) -> str:
    counts = ((diverged, "diverged"), (failed, "failed"))
    told = [f"{count:g} {'run' if count == 1 else 'runs'} {word}" for count, word in counts if count]
    return f" ({', '.join(told)})" if told else ""
