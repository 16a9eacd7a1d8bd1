"""The verdict on a training: when its gradients start to vanish, explode, or become stable."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import pandas as pd

from gradlab.errors import InputError
from gradlab.formatting.numbers import compact, estimate
from gradlab.verdicts.evidence import share
from gradlab.verdicts.labels import DEAD, DIVERGED, EXPLODING, MIXED, STABLE, UNCERTAIN, UNDERFLOWS, VANISHING
from gradlab.verdicts.verdict import Verdict, together

#: Columns that the evidence line reports when the word changes, with their names in it.
COMPANIONS = {"rate": "the rate", "lyapunov_1": "λ₁", "saturation": "the share saturated", "jac_norm2_median": "‖J‖₂"}


#: Phrase for the start of a stretch of training, by its word.
BEGINS = {
    VANISHING: "starts to vanish",
    EXPLODING: "starts to explode",
    UNDERFLOWS: "starts to underflow in float32",
    STABLE: "becomes stable",
    MIXED: "parts into directions that vanish and others that explode",
    DEAD: "dies",
    DIVERGED: "diverges",
    UNCERTAIN: "becomes uncertain",
}


def training_verdict(runs: pd.DataFrame) -> Verdict:
    """Return how the gradient changes over training: "starts to vanish at step 300".

    Parameters
    ----------
    runs : DataFrame
        Rows of ``runs`` (`gradlab.schema.RUNS`: ``layer``, ``direction``, ``rate``, ``rate_low``, ``rate_high``,
        ``verdict``, and any others) with a column ``step``, the training step at which each was measured.

    Returns
    -------
    Verdict
        ``.word`` is the word at the last step. An UNCERTAIN step between two others does not end a stretch. With
        several layers, each layer is a part.

    Raises
    ------
    InputError
        If a column is missing, there is no row, or a layer has two rows at one step.
    """
    needed = ["step", "layer", "direction", "rate", "rate_low", "rate_high", "verdict"]
    missing = [name for name in needed if name not in runs]
    if missing or runs.empty:
        raise InputError(f"runs: expected rows with the columns {needed}, missing {missing or 'every row'}")
    if runs.duplicated(["step", "layer", "direction"]).any():
        raise InputError("runs: expected one row per layer, direction and step; some have two")
    parts = [(_layer(key), _over_steps(part)) for key, part in runs.sort_values("step").groupby(["layer", "direction"])]
    return parts[0][1] if len(parts) == 1 else together(parts)


def _layer(key: tuple[Any, ...]) -> str:
    layer, direction = key
    return f"layer {layer}" + ("" if direction == "forward" else f" {direction}")


def _over_steps(part: pd.DataFrame) -> Verdict:
    """Return the verdict on one layer and direction, its rows in the order of the steps."""
    stretches = _stretches(part)
    word, now = stretches[-1]
    last = part.iloc[-1]
    rated = f"{estimate(last['rate'], last['rate_low'], last['rate_high'])} nats/step at step {last['step']}"
    if len(stretches) == 1:
        span = f"at all {len(part)} steps seen, {part['step'].iloc[0]} to {last['step']}"
        return Verdict(word, f"{span}: {rated}", _changes(part.iloc[0], last))
    before, earlier = stretches[-2]
    seen = f"steps {earlier[0]} to {earlier[-1]}" if len(earlier) > 1 else f"step {earlier[0]}"
    turned = f"{BEGINS[word]} at step {now[0]} ({rated}); {before} before, {seen}"
    longer = f", after {len(stretches) - 2} other turns" if len(stretches) > 2 else ""
    return Verdict(
        word, turned + longer, _changes(*(part[part["step"] == step].iloc[0] for step in (earlier[-1], now[0])))
    )


def _stretches(part: pd.DataFrame) -> list[tuple[str, list[int]]]:
    """Return the words in order, each with its steps; UNCERTAIN steps are left out if any other step has a word."""
    pairs = [(str(word), int(step)) for word, step in zip(part["verdict"], part["step"], strict=True)]
    certain = [pair for pair in pairs if pair[0] != UNCERTAIN] or pairs
    return [(word, [step for _, step in group]) for word, group in groupby(certain, key=lambda pair: pair[0])]


def _changes(one: pd.Series, two: pd.Series) -> str:
    """Describe how the other measured columns changed between two steps."""
    names = [name for name in COMPANIONS if name in one and not (pd.isna(one[name]) or pd.isna(two[name]))]
    texts = [f"{COMPANIONS[name]} {_went(name, one[name], two[name])}" for name in names]
    where = f"from step {one['step']} to {two['step']}" if one["step"] != two["step"] else f"at step {one['step']}"
    return f"{where} " + (", ".join(texts) or "no rate is known")


def _went(name: str, one: float, two: float) -> str:
    form = share if name == "saturation" else compact
    return f"{form(one)} → {form(two)}" if one != two else form(one)
