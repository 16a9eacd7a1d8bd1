"""Ground truths, known by algebra or derived, that ``python studies/published.py`` measures in seconds.

A new one is an entry in the table of its topic: ``linear``, ``gated``, ``sums`` or ``random``.
"""

from __future__ import annotations

import pandas as pd

from gradlab.tables.published import row
from truths.base import Truth
from truths.gated import GATED
from truths.linear import LINEAR
from truths.random import RANDOM
from truths.sums import SUMS

TRUTHS: dict[str, Truth] = {**LINEAR, **GATED, **SUMS, **RANDOM}

__all__ = ["TRUTHS", "Truth", "measure", "measured_row"]


def measure() -> pd.DataFrame:
    """Measure every ground truth; return one row per truth with the columns of `gradlab.tables.published.beside`."""
    return pd.DataFrame([measured_row(truth) for truth in TRUTHS.values()])


def measured_row(truth: Truth) -> dict[str, object]:
    """Measure one ground truth; return its row, with the word that its interval gives it."""
    entry = {"claim": truth.claim, "kind": truth.kind, "source": truth.source, "value": truth.value}
    return row({**entry, **truth.allows, "reason": truth.reason}, truth.measure(), setup=truth.setup, size=truth.size)
