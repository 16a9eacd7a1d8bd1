"""Suggestions: changes that follow from the evidence, tried where the pass can be rerun, with their outcomes.

No network is known here. A change is data, ``{"forget_bias": 5.0}``. The owner of the network passes a function that
makes the change, reruns the same inputs and returns the new evidence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from gradlab.formatting.numbers import MOST_DECIMALS, compact, counted, numeral, plain, plus_minus
from gradlab.statistics.rates import Rate
from gradlab.verdicts.evidence import Evidence, Kept, share
from gradlab.verdicts.labels import (
    BAND,
    DEAD,
    DIVERGED,
    EXPLODING,
    FLOAT32_NATS,
    MIXED,
    STABLE,
    UNCERTAIN,
    UNDERFLOWS,
    VANISHING,
    word_of,
)

#: Values by intervention, as the cell declares them (``Cell.INTERVENTIONS``): ``{"forget_bias": 5.0}``.
Change = Mapping[str, float | str]
#: Makes a change and returns the evidence of the same layer on the same inputs; None if it cannot be made.
Rerun = Callable[[Change], Evidence | None]

#: Limits of the search for a scale: the number of passes, ln of the largest factor, and the smallest slope that is
#: assumed of the rate over ln of the factor. The slope is 1 in a linear network, about ½ at the edge of a tanh RNN.
SEARCHES, LN_SCALE, LEAST_SLOPE = 6, 5.0, 0.2
CLIP = "clip the gradient's norm, which one pass cannot try"


@dataclass(frozen=True)
class Suggestion:
    """A change and its outcome.

    Attributes
    ----------
    change : mapping
        By name, ``{"forget_bias": 5.0}``; empty where no change that gradlab can make would help.
    why : str
        The evidence from which it follows.
    text : str
        The line to print.
    tried : Rate, optional
        The rate with the change, on the same inputs; None where it was not tried.
    word : str
        The word with the change; "" where it was not tried.
    """

    change: Change
    why: str
    text: str
    tried: Rate | None = None
    word: str = ""

    def __str__(self) -> str:
        return self.text


class Proposal(NamedTuple):
    """Changes of one kind, the mildest first; an empty tuple stands for a search for the factor of W_hh."""

    changes: tuple[Change, ...]
    why: str


class Try(NamedTuple):
    """A change that was made, the evidence with it, and its word."""

    change: Change
    evidence: Evidence
    word: str

    @property
    def distance(self) -> tuple[float, float]:
        """Distance of the rate's interval from STABLE over the span, in nats, and the size of the rate."""
        rate, span = self.evidence.rate, self.evidence.span
        if self.word in (DIVERGED, DEAD) or math.isnan(rate.low):
            return math.inf, math.inf
        outside = max(0.0, -BAND - rate.low * span, rate.high * span - BAND)
        return (outside if self.word != STABLE else 0.0), abs(rate.rate)


def suggest(e: Evidence, word: str, rerun: Rerun | None = None) -> Suggestion | None:
    """Return a suggestion; None where nothing needs to change.

    The proposals that follow from the evidence are rerun in turn until one is STABLE. The suggestion is the change
    whose rate lies nearest to STABLE, and its text lists all that were tried. Without ``rerun`` it is the first
    proposal, marked as not tried.

    Parameters
    ----------
    e : Evidence
    word : str
        The verdict's word for that evidence.
    rerun : function, optional
        Makes a change and returns the new evidence.
    """
    if word == STABLE:
        return None
    if word == UNCERTAIN:
        return _more_data(e)
    proposals = proposed(e, word)
    if not proposals:
        return _beyond(e, word)
    if rerun is None:
        return _untried(proposals[0], word)
    tries: list[Try] = []
    for proposal in proposals:
        tries += _tried(proposal, e, word, rerun)
        if any(one.word == STABLE for one in tries):
            break
    return _best(tries, proposals[0].why, e, word) if tries else _beyond(e, word)


def proposed(e: Evidence, word: str) -> list[Proposal]:
    """Return what to try, in order, as far as the cell declares it; nothing for a cell that declares nothing."""
    if word == DEAD:
        return _revive(e)
    scale = [Proposal((), _why_scale(e, word))] if "scale_by" in e.interventions else []
    if word in (VANISHING, UNDERFLOWS) and e.kept is not None:
        return [*_keep_more(e, e.kept), *([] if math.isnan(e.scale) else scale)]
    if e.kept is not None or "recurrent" not in e.interventions:
        return scale
    alike = Proposal(({"recurrent": "orthogonal"},), "of an orthogonal W_hh all directions have one factor")
    return [alike, *scale] if word == MIXED else [*scale, alike]


def _why_scale(e: Evidence, word: str) -> str:
    if word == DIVERGED:
        return "the state overflowed"
    return f"the rate is {compact(e.rate.rate)} with W_hh as it is"


def _keep_more(e: Evidence, kept: Kept) -> list[Proposal]:
    """Return settings of the keep gate that keep more, and chrono's memories; as far as the cell declares them."""
    gate, span = kept.gate, e.span
    why = f"{gate.name} keeps {compact(kept.mean)} a step: {gate.product} alone gives {compact(kept.log_mean)}"
    more = gate.keeps_more(kept.setting) if gate.key in e.interventions else ()
    found = [Proposal(tuple({gate.key: setting} for setting in more), why)] if more else []
    if "chrono" in e.interventions and span >= 2:
        found.append(Proposal(({"chrono": span + 1.0},), f"{why}; chrono spreads the memories over 1 … {span + 1}"))
    return found


def _revive(e: Evidence) -> list[Proposal]:
    """Return other draws of W_hh, and a zero bias; nothing where no gradient arrived in the first place."""
    if "recurrent" not in e.interventions or e.dead_at == 0:
        return []
    why = f"{share(e.silent)} of units never fire" if e.silent else "W_hh passes nothing on"
    drawn: tuple[Change, ...] = tuple({"recurrent": name} for name in ("he", "identity", "orthogonal"))
    return [Proposal((*drawn, {"bias": "zero"}, *({**change, "bias": "zero"} for change in drawn)), why)]


def _tried(proposal: Proposal, e: Evidence, word: str, rerun: Rerun) -> Iterator[Try]:
    if not proposal.changes:
        yield from _search(e, word, rerun)
    for change in proposal.changes:
        found = rerun(change)
        if found is not None:
            yield Try(change, found, word_of(found))


def _search(e: Evidence, word: str, rerun: Rerun) -> Iterator[Try]:
    """Yield passes with W_hh times a factor, chosen from the results so far, until the rate's interval contains 0."""
    known = [] if word == DIVERGED else [(0.0, e.rate.rate)]
    exponent = -math.log(e.norm) if word == DIVERGED and e.norm > 0 else next_exponent(known)
    for _ in range(SEARCHES):
        factor = float(f"{math.exp(exponent):.3g}")  # the printed value is the tried one
        found = rerun({"scale_by": factor}) if factor and math.log(factor) not in dict(known) else None
        if found is None:
            return
        yield Try({"scale_by": factor}, found, word_of(found))
        if word_of(found) == STABLE or not abs(found.rate.rate) > _half(found.rate):
            return
        known.append((math.log(factor), found.rate.rate))
        exponent = next_exponent(known)


def next_exponent(known: Sequence[tuple[float, float]]) -> float:
    """Return ln of the factor of W_hh at which the rate should be 0, from the pairs (ln factor, rate) so far.

    One pair: assume that the rate grows by ln of the factor, as in a linear network. More pairs: follow the line
    through the last two. Its slope may be negative, because saturated units pass on less when W_hh is larger.
    """
    x, y = known[-1] if known else (0.0, 0.0)
    slope = 1.0
    if len(known) > 1 and x != known[-2][0]:
        slope = (y - known[-2][1]) / (x - known[-2][0])
    slope = math.copysign(max(abs(slope), LEAST_SLOPE), slope)
    return float(np.clip(x - y / slope, -LN_SCALE, LN_SCALE))


# --- words ----------------------------------------------------------------------------------------


def _best(tries: Sequence[Try], why: str, e: Evidence, word: str) -> Suggestion:
    best = min(tries, key=lambda one: one.distance)
    rate = best.evidence.rate
    outcome = f"{spelled(best.change)}: {_rated(best)} when rerun on the same data"
    if best.word in (STABLE, UNCERTAIN) and abs(rate.rate) * e.span <= BAND:
        doubt = "" if best.word == STABLE else f" ({UNCERTAIN})"
        return Suggestion(best.change, why, outcome + doubt + _other_means(e, word, best), rate, best.word)
    listed = _listed([one.change for one in tries])
    if best.distance[0] >= Try({}, e, word).distance[0]:
        return Suggestion({}, why, f"{listed} helped{_other_means(e, word, best)}", rate, best.word)
    text = f"{listed} is STABLE; nearest {outcome}{_other_means(e, word, best)}"
    return Suggestion(best.change, why, text, rate, best.word)


def _rated(one: Try) -> str:
    rate = one.evidence.rate
    if math.isnan(rate.rate):
        return one.word
    text = plus_minus(rate.rate, rate.low, rate.high)
    if _half(rate) < 10**-MOST_DECIMALS:
        text = numeral(rate.rate, MOST_DECIMALS).rstrip("0").rstrip(".")
    return f"rate {'+' if rate.rate > 0 and text != '0' else ''}{text}"


def _half(rate: Rate) -> float:
    return (rate.high - rate.low) / 2


def _untried(proposal: Proposal, word: str) -> Suggestion:
    change = proposal.changes[0] if proposal.changes else {}
    larger = "smaller" if word in (EXPLODING, DIVERGED) else "larger"
    text = spelled(change) if change else f"a {larger} W_hh"
    return Suggestion(change, proposal.why, f"{text} (not tried)")


def _beyond(e: Evidence, word: str) -> Suggestion | None:
    """Return a suggestion for a model that gradlab cannot change; None where there is none."""
    why = "gradlab cannot change this model"
    if word == EXPLODING:
        return Suggestion({}, why, CLIP)
    if word in (VANISHING, UNDERFLOWS):
        return Suggestion({}, why, f"a lag of at most {_reach(e, BAND)}, over which 1 % is left")
    if word == DEAD and e.dead_at == 0:
        return Suggestion({}, "nothing arrives", "another target: the loss's gradient is exactly zero where it reads")
    return None


def _other_means(e: Evidence, word: str, best: Try) -> str:
    if word == EXPLODING:
        return f"; or {CLIP}"
    if word == UNDERFLOWS and best.word != STABLE:
        return f"; or float64, or a lag of at most {_reach(e, FLOAT32_NATS)}"
    return ""


def _reach(e: Evidence, nats: float) -> str:
    return counted(max(int(nats / -e.rate.rate + 1e-9), 1), "step")  # rounding must not turn 43 into 42.99…


def _more_data(e: Evidence) -> Suggestion:
    if e.read is not None and math.isnan(e.rate.low):
        return Suggestion({}, "the loss reads it too early", 'a loss at every step, at="every"')
    if e.bends and not e.left:
        return Suggestion({}, "such a gradient is not to be extrapolated", "a pass as long as the task needs")
    if math.isnan(e.rate.low):
        return Suggestion({}, "too few steps", "a longer sequence")
    return Suggestion({}, "the interval is too wide", "more sequences, or a longer one: the interval narrows with both")


def spelled(change: Change) -> str:
    """Return a change as text: ``forget_bias=5``, ``W_hh × 1.37``."""
    return " and ".join(_pair(key, value) for key, value in change.items())


def _pair(key: str, value: float | str) -> str:
    if key == "scale_by":
        return f"W_hh × {_value(value)}"
    return f"{key}={_value(value)}"


def _value(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return str(int(value)) if value == int(value) and value > 0 else plain(value)


def _listed(changes: Sequence[Change]) -> str:
    """Return the changes that did not help as text: ``none of forget_bias 1, 2, 5, chrono 100``."""
    if len(changes) == 1:
        return f"not even {spelled(changes[0])}"
    groups: dict[str, list[str]] = {}
    for change in changes:
        key, value = next(iter(change.items()))
        name, text = (
            ("", spelled(change)) if len(change) > 1 else ("W_hh ×" if key == "scale_by" else key, _value(value))
        )
        groups.setdefault(name, []).append(text)
    return "none of " + ", ".join(f"{name} {', '.join(values)}".strip() for name, values in groups.items())
