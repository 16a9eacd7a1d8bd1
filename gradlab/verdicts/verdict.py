"""The verdict on one layer: a word, a line with the finding, a line with the evidence, a line with a suggestion."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gradlab.formatting import markup
from gradlab.formatting.numbers import counted, factor, plain, plus_minus
from gradlab.verdicts.evidence import Evidence
from gradlab.verdicts.labels import (
    DEAD,
    DIVERGED,
    EXPLODING,
    FLOAT32_MOST,
    FLOAT32_NATS,
    MEASURED,
    MIXED,
    STABLE,
    UNCERTAIN,
    UNDERFLOWS,
    VANISHING,
    basis,
    by_rate,
    gravest,
    shares,
    word_of,
)
from gradlab.verdicts.suggestions import Rerun, Suggestion, suggest


@dataclass(frozen=True)
class Verdict:
    """A finding in words.

    Attributes
    ----------
    word : str
        VANISHING, EXPLODING, STABLE, MIXED, DEAD, DIVERGED, UNDERFLOWS IN float32 or UNCERTAIN
        (`gradlab.verdicts.labels` defines each).
    finding : str
        One line: how the gradient changes over the span.
    evidence : str
        One line: the measurements behind the finding.
    suggestion : Suggestion, optional
        A change to try, and its measured effect; None if no change is needed.
    facts : Evidence, optional
        The numbers behind the lines; None if the verdict covers several layers or runs.
    parts : tuple of (str, Verdict)
        The verdicts on each layer, or on each of a study's cells, with their names.
    """

    word: str
    finding: str
    evidence: str
    suggestion: Suggestion | None = None
    facts: Evidence | None = None
    parts: tuple[tuple[str, Verdict], ...] = ()

    def __repr__(self) -> str:
        return markup.plain("Verdict", markup.rows_of(str(self)))

    def _repr_html_(self) -> str:
        return markup.html("Verdict", markup.rows_of(str(self)))

    def __str__(self) -> str:
        """Return the lines with aligned texts, then the lines of each part, indented."""
        width = max(len(self.word), 9) + 3
        lines = [f"{self.word:<{width}}{self.finding}", f"{'because':<{width}}{self.evidence}"]
        if self.suggestion is not None:
            lines.append(f"{'try':<{width}}{self.suggestion}")
        for name, part in self.parts:
            lines += [name, *(f"  {line}" for line in str(part).splitlines())]
        return "\n".join(lines)


def judge(evidence: Evidence, rerun: Rerun | None = None) -> Verdict:
    """Return the verdict on one layer and direction of a run.

    Parameters
    ----------
    evidence : Evidence
        The numbers to judge.
    rerun : callable, optional
        Applies a change such as ``{"forget_bias": 5.0}`` and returns the evidence on the same inputs. If given, the
        suggestion has been tried.
    """
    word = word_of(evidence)
    because = "; ".join(text for text in (_doubt(word, evidence), evidence.line) if text)
    return Verdict(word, finding(word, evidence), because, suggest(evidence, word, rerun), evidence)


def together(parts: Sequence[tuple[str, Verdict]]) -> Verdict:
    """Return one verdict for several layers: the most severe word of those that the loss reads; each is a part."""
    read = [part for part in parts if not _unread(part[1])] or parts
    word = gravest([part.word for _, part in read])
    worst = next((part for _, part in read if part.word == word), None)
    names = ", ".join(f"{name} {part.word}" for name, part in parts)
    rule = "some vanish, others explode" if worst is None else "the gravest word of the layers"
    return Verdict(word, names, rule, None, None, tuple(parts))


def _unread(part: Verdict) -> bool:
    """Return whether the loss reads this direction after too few steps for a rate."""
    facts = part.facts
    return part.word == UNCERTAIN and facts is not None and facts.read is not None and math.isnan(facts.rate.rate)


def finding(word: str, e: Evidence) -> str:
    """Return the text of the first line."""
    needed = f"the {counted(e.span, 'step')} that the task needs"
    if word == DIVERGED:
        return _diverged(e)
    if word == DEAD:
        return f"the gradient is exactly zero after {e.dead_at} of {needed}"
    if math.isnan(e.rate.rate):
        return _unknown(e)
    if e.bends:
        return f"no constant rate, {e.bends}{_bent(word, e, needed)}"
    rated = f"{plus_minus(e.rate.rate, e.rate.low, e.rate.high)} nats/step"
    if source := basis(word, e):
        rated = f"{rated}; {'measured' if source == MEASURED else f'by {source}'}"
    describe = {VANISHING: _vanishing, UNDERFLOWS: _underflows, EXPLODING: _exploding, STABLE: _stable, MIXED: _mixed}
    return f"{rated}{describe.get(word, _uncertain)(e, needed)}"


def _doubt(word: str, e: Evidence) -> str:
    """Return the evidence for a word that the rate's interval is too wide to support; "" for any other word."""
    if e.bends or not basis(word, e):
        return ""
    gone, stable, grown = shares(e)
    part, left = {STABLE: (stable, "between 1 % and a hundredfold"), EXPLODING: (grown, "more than a hundredfold")}.get(
        word, (gone, "less than 1 %")
    )
    count, number = round(part * len(e.left)), len(e.left)
    where = f"all {number}" if count == number else f"{count} of {number}"
    span = counted(e.span, "step")
    return f"the interval of the rate is too wide to say it; in {where} sequences {left} is left after {span}"


def _diverged(e: Evidence) -> str:
    if e.diverged_at:
        return f"the state is not finite from t = {e.diverged_at} on; behind it there is no gradient"
    return "the loss's gradient is not finite, though every state is"


def _unknown(e: Evidence) -> str:
    if e.read is not None:
        read = counted(e.read, "step")
        return f"no rate: the loss reads this direction after {read} of its own, further back nothing can go"
    return "the rate is not known"


def _vanishing(e: Evidence, needed: str) -> str:
    reach = f"about {math.log(0.01) / e.rate.rate:.0f}" if math.isnan(e.horizon_1pct) else plain(e.horizon_1pct)
    return f": 1 % of the gradient is left after {reach} of {needed}"


def _underflows(e: Evidence, needed: str) -> str:
    return f"{_vanishing(e, needed)}, and float32 holds it for {FLOAT32_NATS / -e.rate.rate:.0f}"


def _exploding(e: Evidence, needed: str) -> str:
    beyond = ", beyond float32's largest number" if e.rate.low * e.span > FLOAT32_MOST else ""
    grown = e.rate.rate * e.span if by_rate(e) == EXPLODING else float(np.median(e.left))
    return f": the gradient grows by a factor of {factor(grown)} over {needed}{beyond}"


def _stable(e: Evidence, needed: str) -> str:
    if by_rate(e) == STABLE:
        return f": {_times(e.rate.low * e.span, e.rate.high * e.span)} the gradient is left after {needed}"
    return _was_left(e, needed)


def _was_left(e: Evidence, needed: str) -> str:
    return f": {_times(min(e.left), max(e.left))} the gradient was left after {needed}"


def _times(low: float, high: float) -> str:
    one, two = factor(low), factor(high)
    return f"{one} times" if one == two else f"between {one} and {two} times"


def _bent(word: str, e: Evidence, needed: str) -> str:
    """Describe what was measured of a gradient without a constant rate."""
    if not e.left:
        return f": beyond what was measured, of {needed}, nothing is known"
    if word in (VANISHING, UNDERFLOWS) and not math.isnan(e.horizon_1pct):
        return _vanishing(e, needed)
    if word == MIXED:
        return _mixed(e, needed)
    return _was_left(e, needed)


def _mixed(e: Evidence, needed: str) -> str:
    if e.left:
        gone, _, grown = (round(part * len(e.left)) for part in shares(e))
        if gone and grown:
            return f": of {len(e.left)} sequences {gone} vanish and {grown} explode over {needed}"
    return f": over {needed} some directions of the state vanish and others explode"


def _uncertain(e: Evidence, needed: str) -> str:
    if math.isnan(e.rate.low):
        return ", from too few steps for an interval"
    word = by_rate(e)
    if word == UNCERTAIN:
        low, high = factor(e.rate.low * e.span), factor(e.rate.high * e.span)
        return f": anything from {low} to {high} times the gradient may be left after {needed}"
    gone, stable, grown = (round(part * len(e.left)) for part in shares(e))
    counts = f"{gone} fell below 1 %, {stable} stayed, {grown} grew a hundredfold"
    return f" stands for {word} over {needed}, but of {len(e.left)} sequences {counts}"
