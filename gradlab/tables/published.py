"""Comparison of published numbers with measured ones, and its result in a word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from gradlab.formatting.numbers import plain
from gradlab.schema import axis_label
from gradlab.statistics.estimators import STATISTICS, Estimate
from gradlab.tables.factors import TRAINED, has_level, named

#: Results of a comparison in the order of a report, and the rule for each.
REPRODUCED, CONSISTENT = "reproduced", "consistent"
NOT_REPRODUCED, NOT_COMPARABLE = "not reproduced", "not comparable"
RULES = {
    REPRODUCED: "the whole 95 % interval lies within the tolerance of the published number",
    CONSISTENT: "a part of the interval does: more runs would decide",
    NOT_REPRODUCED: "no part of it does",
    NOT_COMPARABLE: "runs are missing, failed, diverged or of another size, or are too few for an interval",
}
#: Columns on the whole training, the same in all rows of a run.
OF_TRAINING = ("solved", "steps_to_criterion")
#: Significant digits of a measured number; the word follows from the rounded numbers, as the table holds them.
DIGITS = 12
#: Keys of an entry that give the largest difference between the measured and the published number.
ALLOWANCES = ("tolerance", "absolute", "bound")


def beside(runs: pd.DataFrame, entries: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return one row per published number, with the measured number and the result of the comparison.

    Parameters
    ----------
    runs : DataFrame
        The table ``runs`` of a study.
    entries : sequence of mapping
        Published numbers, each with the keys of :class:`gradlab.study.published.Published`.

    Returns
    -------
    DataFrame
        ``claim``, ``kind``, ``source``, ``setup``, ``published``, ``measured``, ``measured_low``, ``measured_high``
        (95 % interval), ``size`` (of the networks), ``runs`` (number of runs or pairs), ``tolerance``, ``reason``,
        ``word`` (a key of `RULES`) and ``explanation``.
    """
    return pd.DataFrame([_row(runs, entry) for entry in entries])


def row(entry: Mapping[str, Any], estimate: Estimate, *, setup: str, size: str, lacks: str = "") -> dict[str, Any]:
    """Return the row of one entry.

    Parameters
    ----------
    entry : mapping
        The published number (:class:`gradlab.study.published.Published`).
    estimate : Estimate
        The measured number.
    setup, size : str
        The runs behind it, and the sizes of their networks, in words.
    lacks : str
        The reason why the two cannot be compared; "" if they can.
    """
    value, low, high, runs = estimate
    few = "too few runs for a 95 % interval" if np.isnan([low, high]).any() else ""
    why = lacks or ("these runs have no such number" if np.isnan(value) else few)
    word = NOT_COMPARABLE if why else judged(entry, low, high)
    explanation = [] if word == REPRODUCED else [why, entry.get("explanation", "")]
    return {
        "claim": entry["claim"],
        "kind": entry.get("kind", "published"),
        "source": entry["source"],
        "setup": setup,
        "published": float(entry["value"]),
        "measured": value,
        "measured_low": low,
        "measured_high": high,
        "size": size,
        "runs": runs,
        "tolerance": tolerance_text(entry),
        "reason": entry["reason"],
        "word": word,
        "explanation": "; ".join(filter(None, explanation)),
    }


def judged(entry: Mapping[str, Any], low: float, high: float) -> str:
    """Return the word for an interval by `RULES`: all of it, a part, or nothing lies within the allowed range."""
    least, most = _allowed(entry)
    if least <= low and high <= most:
        return REPRODUCED
    return CONSISTENT if low <= most and least <= high else NOT_REPRODUCED


def tolerance_text(entry: Mapping[str, Any]) -> str:
    """Return the allowed range of an entry in words: ``± 6 %``, ``± 0.03``, ``below 0``."""
    if "bound" in entry:
        return f"{entry['bound']} {plain(entry['value'])}"
    if "tolerance" in entry:
        share = entry["tolerance"]
        return f"± {plain(100 * share)} %" if share > 1e-6 else f"± {plain(share)} relative"
    return f"± {plain(entry['absolute'])}"


def _allowed(entry: Mapping[str, Any]) -> tuple[float, float]:
    """Return the ends of the allowed range, both included; for a bound, the value itself is excluded."""
    value = float(entry["value"])
    if "bound" in entry:
        above = entry["bound"] == "above"
        return (np.nextafter(value, np.inf), np.inf) if above else (-np.inf, np.nextafter(value, -np.inf))
    most = entry["tolerance"] * abs(value) if "tolerance" in entry else entry["absolute"]
    return value - most, value + most


def _row(runs: pd.DataFrame, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of one entry, measured on ``runs``."""
    statistic = STATISTICS[entry.get("statistic", "mean")]
    chosen = [_chosen(runs, entry[where]) for where in ("where", "over") if where in entry]
    reasons = [entry.get("not_comparable", ""), *(_lacks(part, entry) for part in chosen)]
    value, low, high, count = statistic.of(_values(entry, *chosen))
    value, low, high = (float(f"{number:.{DIGITS}g}") for number in (value, low, high))
    estimate = Estimate(value, low, high, count)
    return row(
        entry,
        estimate,
        setup=_setup(entry),
        size=_size(pd.concat(chosen)),
        lacks="; ".join(dict.fromkeys(filter(None, reasons))),
    )


def _chosen(runs: pd.DataFrame, where: Mapping[str, Any]) -> pd.DataFrame:
    """Return the runs with these levels; none if a key is not a column."""
    for key, level in where.items():
        runs = runs[has_level(runs[key], level)] if key in runs else runs[:0]
    return runs


def _column(rows: pd.DataFrame, entry: Mapping[str, Any]) -> pd.Series:
    """Return the entry's number for each run, nan if it has none; in a share, a diverged training counts as 0."""
    column = rows[entry["column"]] if entry["column"] in rows else pd.Series(np.nan, rows.index)
    found = column.astype("float64")
    if entry.get("statistic") == "share":
        found = found.mask(found.isna() & (rows["status"] == "diverged"), 0.0)
        found = found.where(found.isin([0.0, 1.0]))
    if not STATISTICS[entry.get("statistic", "mean")].ranks:
        found = found.where(np.isfinite(found))
    return found / rows[entry["per"]] if "per" in entry else found


def _values(entry: Mapping[str, Any], rows: pd.DataFrame, over: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return the table for a statistic: ``seed``, ``value`` and, if needed, ``other`` of the runs that have them."""
    table = _known(rows, entry)
    if over is not None:
        other = _known(over, entry).rename(columns={"value": "other"})
        return table.merge(other, on="seed")
    if "against" in entry:
        against = {key: value for key, value in entry.items() if key != "per"} | {"column": entry["against"]}
        return table.assign(other=_column(rows, against)).dropna(subset=["other"])
    return table


def _known(rows: pd.DataFrame, entry: Mapping[str, Any]) -> pd.DataFrame:
    """Return ``seed`` and ``value`` of the runs that count and have a number."""
    values = pd.DataFrame({"seed": rows["seed"], "value": _column(rows, entry)})
    known: pd.DataFrame = values[rows["status"].isin(_counted(entry))].dropna(subset=["value"])
    return known


def _counted(entry: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the statuses of the runs that count; in a share, a diverged training counts as one that failed."""
    return ("done", "diverged") if entry.get("statistic") == "share" else ("done",)


def _lacks(rows: pd.DataFrame, entry: Mapping[str, Any]) -> str:
    """Return the reason why no number can represent all of these runs; "" if one can."""
    if not len(rows):
        return "not run at this size; the study's --full has it"
    if rows["id"].duplicated().any():
        return "a run has several rows; name the layer, direction or step in where"
    counted = rows["status"].isin(_counted(entry))
    reasons = {status: ~counted & (rows["status"] == status) for status in ("planned", "failed", "diverged")}
    for name in [entry["column"], *([entry["against"]] if "against" in entry else [])]:
        reasons[f"without {name}"] = counted & _column(rows, {**entry, "column": name}).isna()
    return "; ".join(f"{lost.sum()} of {len(rows)} runs {why}" for why, lost in reasons.items() if lost.any())


def _setup(entry: Mapping[str, Any]) -> str:
    """Return the statistic and its runs in words: ``mean of λ₁ (nats/step): scale 3, hidden 256``."""
    label = axis_label(entry["column"]) + (f" / {entry['per']}" if "per" in entry else "")
    words = STATISTICS[entry.get("statistic", "mean")].words
    name = entry["column"].replace("_", " ")
    measured = words.format(column=label, name=name, against=axis_label(entry.get("against", "")))
    between = " less " if entry.get("statistic") == "difference" else " over "
    read = {entry["column"], entry.get("against", entry["column"])}
    whole = (TRAINED,) if read <= set(OF_TRAINING) else ()  # the same number at every step
    wheres = [{k: v for k, v in entry[key].items() if k not in whole} for key in ("where", "over") if key in entry]
    places = [", ".join(named(*pair) for pair in where.items()) for where in wheres]
    return f"{measured}: {between.join(places) or 'all runs'}"


def _size(rows: pd.DataFrame) -> str:
    """Return the sizes of the networks and sequences behind a number: ``H 256, T 1500``."""
    ends = {letter: rows[key].dropna() for letter, key in (("H", "hidden"), ("T", "length")) if key in rows}
    spans = {letter: sorted({int(found.min()), int(found.max())}) for letter, found in ends.items() if len(found)}
    return ", ".join(f"{letter} {' to '.join(map(str, span))}" for letter, span in spans.items())
