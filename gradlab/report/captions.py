"""Captions of the tables of a study: the contents, then the finding."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from gradlab.formatting.numbers import compact, estimate
from gradlab.schema import axis_label
from gradlab.tables.factors import longest, placed, seeds_text, varying
from gradlab.tables.outcomes import baselines
from gradlab.tables.published import RULES
from gradlab.verdicts.summaries import study_findings


def captions(runs: pd.DataFrame, made: Mapping[str, pd.DataFrame]) -> dict[str, str]:
    """Return one caption per table in ``made``, from the study's ``runs``; its first sentence names the contents."""
    at = f" at length {longest(runs)['length'].max():g}" if "length" in varying(runs) else ""
    seeds = seeds_text(runs)
    over = f"with 95 % t-intervals over {seeds}" if seeds.endswith("seeds") else f"of {seeds}"
    findings = {name: _FINDINGS[name](table) for name, table in made.items() if name in _FINDINGS}
    opening = {
        "rates": f"Rate of ln‖δ‖ in nats per step back in time{at}, {over}",
        "comparisons": f"Difference of rates{at}, paired by seed and data, with intervals that hold together at 95 %",
        "crossings": f"Where the rate turns from negative to positive, mean of the seeds' crossings, {over}",
        "measures": f"Quantities that the hooks recorded{at}, {over}",
        "outcomes": f"Loss and score on test data, {over}",
        "criterion": f"Trainings that met their criterion, and the steps until then, of {seeds}",
        "excluded": "Runs excluded from every mean",
        "published": "Published and measured numbers, with 95 % intervals",
    }
    if "rates" in made:
        findings["rates"] = "; ".join(f"{cell}: {finding}" for cell, finding in study_findings(runs))
    return {name: f"{opening[name]}. {findings[name]}." for name in made}


def _compared(table: pd.DataFrame) -> str:
    apart = table[(table["difference_low"] > 0) | (table["difference_high"] < 0)]
    known = table["difference_low"].notna().sum()
    if not known:
        return "No difference has an interval"
    count = f"{len(apart)} of {known} differ"
    count += f" ({len(table) - known} without an interval)" if known < len(table) else ""
    if apart.empty:
        return count
    largest = apart.sort_values("difference", key=abs)["sentence"].iloc[-1]
    return f"{count}; the largest difference: {largest}"


def _crossed(table: pd.DataFrame) -> str:
    return f"It does in every seed in {(table['crossed'] == table['seeds']).sum()} of {len(table)} rows"


def _measured(table: pd.DataFrame) -> str:
    names = [name for name in table.columns if f"{name}_low" in table]
    ends = [(axis_label(name), table[name].min(), table[name].max()) for name in names]
    return "Range of the means: " + "; ".join(f"{label} {compact(low)} to {compact(high)}" for label, low, high in ends)


def _outcomes(table: pd.DataFrame) -> str:
    """Return the least mean loss with its setting, and the losses of the baselines on the same data."""
    known = table.dropna(subset="loss")
    if known.empty:
        return "No loss is known"
    best = known.sort_values("loss").iloc[0]
    by = list(table.columns[: list(table.columns).index("loss")])
    least = f"The least mean loss is {estimate(best['loss'], best['loss_low'], best['loss_high'])} ({placed(best, by)})"
    others = [f"the {axis_label(name)} is {compact(best[name])}" for name in baselines(table) if pd.notna(best[name])]
    return "; ".join([least, *others])


def _criterion(table: pd.DataFrame) -> str:
    runs = table["seeds"].sum()
    return f"{(table['solved'] * table['seeds']).sum():.0f} of {runs} runs are solved; the others are censored"


def _excluded(table: pd.DataFrame) -> str:
    runs = table["seeds"].str.count(",").add(1)
    return " and ".join(f"{runs[table['status'] == word].sum():.0f} {word}" for word in ("diverged", "failed"))


def _published(table: pd.DataFrame) -> str:
    """Count the rows with each word, and explain the words that occur."""
    counts = table["word"].value_counts()
    return "; ".join(f"{counts[word]} {word} ({rule})" for word, rule in RULES.items() if word in counts)


_FINDINGS = {
    "comparisons": _compared,
    "crossings": _crossed,
    "measures": _measured,
    "outcomes": _outcomes,
    "criterion": _criterion,
    "excluded": _excluded,
    "published": _published,
}
