"""The verdict on a study: one word per setting over its seeds, grouped by cell."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from gradlab.formatting.numbers import compact, estimate, plain
from gradlab.statistics.decay_shapes import NON_MONOTONE, POWER_LAW
from gradlab.statistics.rates import Rate, across_seeds
from gradlab.tables.factors import (
    PLACES,
    arranged,
    combinations,
    control,
    longest,
    named,
    numeric_control,
    ran,
    varying,
)
from gradlab.tables.tables import has_rates, measures
from gradlab.verdicts.evidence import Evidence, share
from gradlab.verdicts.labels import DEAD, DIVERGED, MIXED, STABLE, UNCERTAIN, word_of
from gradlab.verdicts.suggestions import Suggestion, Try, spelled
from gradlab.verdicts.summaries import NOT_RUN
from gradlab.verdicts.verdict import Verdict


class Setting(NamedTuple):
    """One combination of the varied keys, over its seeds."""

    cell: str
    keys: dict[str, Any]
    word: str
    evidence: Evidence

    @property
    def text(self) -> str:
        """The mean rate with its interval over seeds, as text; the word if there is no rate."""
        rate = self.evidence.rate
        return self.word if math.isnan(rate.rate) else estimate(rate.rate, rate.low, rate.high)

    @property
    def mean(self) -> str:
        """The mean rate alone, as text; the word if there is no rate."""
        rate = self.evidence.rate
        return self.word if math.isnan(rate.rate) else compact(rate.rate)

    @property
    def distance(self) -> tuple[float, float]:
        """Distance from STABLE, as `gradlab.verdicts.suggestions.Try` defines it."""
        return Try({}, self.evidence, self.word).distance


def study_verdict(runs: pd.DataFrame) -> Verdict:
    """Return a study's verdict: the word of every setting by cell, the evidence, and the settings that are STABLE.

    The word of a setting follows from its mean rate's 95 % t-interval over the seeds, at the longest length; with one
    seed, from the run's own interval. It is DIVERGED or DEAD if more than half of the setting's runs are.

    Parameters
    ----------
    runs : DataFrame
        The table ``runs`` of a study (`gradlab.schema.RUNS`).

    Returns
    -------
    Verdict
        Three lines. ``.word`` is the word of all settings, or MIXED if they differ.
    """
    if not has_rates(runs):
        return _nothing('no rates were recorded; hooks = ["gradients"] records them', runs)
    if not runs["status"].isin(["done", "diverged"]).any():
        return _nothing("no run is done", runs)
    kept = longest(runs)
    found, left = settings(kept), _not_run(kept)
    if not found:
        return _nothing(f"the longest length, {kept['length'].max():g}, is {NOT_RUN}", runs)
    words = {setting.word for setting in found}
    by_cell = {cell: list(ones) for cell, ones in groupby(found, key=lambda one: one.cell)}
    of = {name: name.split()[0] for name in by_cell}  # a layer's settings are its cell's
    texts = [f"{name}: {_along(ones, numeric_control(kept), left.get(of[name], ''))}" for name, ones in by_cell.items()]
    texts += [f"{cell}: {NOT_RUN}" for cell in left if cell not in of.values()]
    word = words.pop() if len(words) == 1 else MIXED
    return Verdict(word, "; ".join(texts), _because(kept, found), _tried_here(by_cell, finished=not left))


def settings(runs: pd.DataFrame) -> list[Setting]:
    """Return the settings of ``runs`` that have run, grouped by cell, in the order of the controlled key."""
    names = [name for name in varying(runs) if name != "cell"]
    read = runs["at"] if "at" in runs else ["last"] * len(runs)
    placed = arranged(runs).assign(_span=[_span(*pair) for pair in zip(read, runs["length"], strict=True)])
    along = control(runs)
    order = ["cell", *(name for name in names if name != along), *([along] if along in names else [])]
    done = ran(placed)
    groups = done.groupby(order, dropna=False, observed=True, sort=True)
    means = across_seeds(done, order).to_dict("records")  # in the order of the groups
    return [
        _setting(dict(zip(order, key, strict=True)), part, row) for (key, part), row in zip(groups, means, strict=True)
    ]


def _not_run(runs: pd.DataFrame) -> dict[str, str]:
    """Return how many settings of each cell have not run, if any: ``3 of 4 settings not run yet``."""
    every = arranged(runs)
    names = [name for name in combinations(runs) if name not in PLACES]
    groups = every.assign(_ran=every["status"] != "planned").groupby(names, dropna=False, observed=True, sort=False)
    counts = groups["_ran"].any().reset_index().groupby("cell", observed=True, sort=False)["_ran"].agg(["sum", "size"])
    return {
        str(cell): f"{row['size'] - row['sum']} of {row['size']} settings {NOT_RUN}"
        for cell, row in counts.iterrows()
        if row["sum"] < row["size"]
    }


def _setting(keys: dict[str, Any], part: pd.DataFrame, row: Mapping[Any, Any]) -> Setting:
    ran = part[part["status"].isin(["done", "diverged"])]
    span = max(int(part["_span"].max()), 1)
    rate = _seeds_rate(part, row)
    diverged, dead = ((ran["verdict"] == word).mean() > 0.5 for word in (DIVERGED, DEAD))
    places = [named(key, keys.pop(key)) for key in PLACES if key in keys]
    cell = " ".join([str(keys.pop("cell")), *places])
    found = Evidence(
        rate, span, diverged_at=int(ran["overflow_step"].max()) if diverged else 0, dead_at=0 if dead else None
    )
    return Setting(cell, {k: v for k, v in keys.items() if not pd.isna(v)}, word_of(found), found)


def _seeds_rate(part: pd.DataFrame, row: Mapping[Any, Any]) -> Rate:
    """Return the mean rate of `across_seeds` with its interval over the seeds, or the one run's own interval."""
    low, high = row["rate_low"], row["rate_high"]
    if row["seeds"] == 1:
        own = part[part["rate"].notna() & (part["status"] == "done")].iloc[0]
        low, high = own["rate_low"], own["rate_high"]
    return Rate(float(row["rate"]), float(low), float(high), int(row["seeds"]), 0, 0, 0)


def _span(at: Any, length: Any) -> float:
    """Return the steps from the last loss step to the first input."""
    if isinstance(at, str):
        listed = [int(step) for step in at.split(", ")] if at[:1].isdigit() else [int(length)]
    else:
        listed = [int(step) for step in np.atleast_1d(at)]
    return max(listed) - 1


# --- the first line -------------------------------------------------------------------------------


def _along(ones: Sequence[Setting], along: str | None, left: str) -> str:
    """Return one cell's words along the controlled key, and the note ``left`` on settings that have not run."""
    return _words_along(ones, along, finished=not left) + (f", {left}" if left else "")


def _words_along(ones: Sequence[Setting], along: str | None, *, finished: bool) -> str:
    """Return one cell's words along the controlled key; if more keys vary, the number of settings per word."""
    if len(ones) == 1:
        where = f" at {_keys(ones[0].keys)}" if ones[0].keys else ""
        return f"{ones[0].word}, {ones[0].text} nats/step{where}"
    if along is None or any(set(one.keys) != {along} for one in ones):
        counts = pd.Series([one.word for one in ones]).value_counts()
        best = min(ones, key=lambda one: one.distance)
        words = ", ".join(f"{word} {count}" for word, count in counts.items())
        return f"{words} of {len(ones)} settings; nearest to {STABLE} {best.text} nats/step at {_keys(best.keys)}"
    short = along.rpartition(".")[2]
    stretches = [list(group) for _, group in groupby(ones, key=lambda one: one.word)]
    if len(stretches) == 1 and finished:
        return _stretch(ones, along, f"every {short} studied,")
    return ", ".join(_stretch(stretch, along, short) for stretch in stretches)


def _stretch(stretch: Sequence[Setting], along: str, short: str) -> str:
    first, last = stretch[0], stretch[-1]
    if first is last:
        return f"{first.word} at {short} {plain(first.keys[along])} ({first.text})"
    ends = f"{plain(first.keys[along])} … {plain(last.keys[along])}"
    return f"{first.word} at {short} {ends} ({first.mean} … {last.mean})"


def _keys(keys: dict[str, Any]) -> str:
    return ", ".join(named(key, value) for key, value in keys.items())


# --- the second and third line --------------------------------------------------------------------


def _because(runs: pd.DataFrame, found: Sequence[Setting]) -> str:
    seeds, span = [one.evidence.rate.window for one in found], max(one.evidence.span for one in found)
    averaged = sorted({count for count in seeds if count > 1})
    over = " to ".join(f"{count}" for count in averaged[:: max(len(averaged) - 1, 1)])
    interval = f"means over {over} seeds with 95 % t-intervals" if averaged else "one seed, the run's own 95 % interval"
    texts = [f"{interval}, judged over {span} steps"]
    texts += [f"{count} of {len(ran(runs))} gradients {kind}" for kind, count in _bent(runs)]
    measured = measures(runs).groupby("cell", sort=False, observed=True)
    texts += [f"{cell}{_of_means(part, seeds)}: {text}" for cell, part in measured if (text := _measured(part))]
    counts = runs["status"].replace("planned", NOT_RUN).value_counts()
    words = ("diverged", "failed", NOT_RUN)
    texts += [f"{counts[status]} of {len(runs)} runs {status}" for status in words if status in counts]
    return "; ".join(texts)


def _bent(runs: pd.DataFrame) -> list[tuple[str, int]]:
    """Count the runs without a constant rate, by the shape of their decay."""
    shapes = runs["shape"] if "shape" in runs else pd.Series(dtype="object")
    kinds = {POWER_LAW: "fall by a power law", NON_MONOTONE: "turn on their way"}
    return [(text, int((shapes == word).sum())) for word, text in kinds.items() if (shapes == word).any()]


def _of_means(part: pd.DataFrame, seeds: Sequence[int]) -> str:
    """Return the qualifier of a range over a cell's settings; "" if there is one setting."""
    return (", each setting's mean over its seeds" if max(seeds) > 1 else ", each setting") if len(part) > 1 else ""


def _measured(part: pd.DataFrame) -> str:
    """Return the range over a cell's settings of each column of `gradlab.tables.tables.measures`."""
    texts = []
    for column, shown in (("lyapunov_1", "λ₁"), ("saturation", "saturated"), ("path_share", "additive path alone")):
        known = part[column].dropna() if column in part else pd.Series(dtype="float64")
        if len(known):
            form = compact if column == "lyapunov_1" else share
            low, high = form(float(known.min())), form(float(known.max()))
            texts.append(f"{shown} {low}" if low == high else f"{shown} {low} … {high}")
    return ", ".join(texts)


def _tried_here(by_cell: dict[str, list[Setting]], *, finished: bool) -> Suggestion | None:
    """Suggest the STABLE setting of the study for each cell that is not STABLE everywhere."""
    texts, chosen = [], None
    for cell, ones in by_cell.items():
        if len(ones) == 1 or all(one.word == STABLE for one in ones):
            continue
        best = min(ones, key=lambda one: one.distance)
        if chosen is None or (best.word == STABLE and chosen.word != STABLE):
            chosen = best
        texts.append(_best(cell, best))
    if chosen is None:
        return None
    text = f"in this study {'' if finished else 'so far '}" + "; ".join(texts)
    return Suggestion(chosen.keys, "it was measured", text, chosen.evidence.rate, chosen.word)


def _best(cell: str, best: Setting) -> str:
    setting = spelled({key.rpartition(".")[2]: value for key, value in best.keys.items()})
    if best.word == STABLE:
        return f"{cell} with {setting} is {STABLE} ({best.text})"
    return f"no {cell} is {STABLE}, nearest {setting} ({best.text})"


def _nothing(why: str, runs: pd.DataFrame) -> Verdict:
    counts = ", ".join(f"{count} {status}" for status, count in runs["status"].value_counts().items())
    return Verdict(UNCERTAIN, why, f"of {len(runs)} runs {counts}")
