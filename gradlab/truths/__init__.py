"""Ground truths that gradlab measures itself, in seconds: what ``gradlab check --published`` sets beside algebra.

A new one is an entry in the table of its topic: ``linear``, ``gated``, ``sums`` or ``random``.
"""

from __future__ import annotations

import pandas as pd

from gradlab.tables.published import row
from gradlab.truths.base import Truth
from gradlab.truths.cells import variants
from gradlab.truths.gated import GATED
from gradlab.truths.linear import LINEAR
from gradlab.truths.random import RANDOM
from gradlab.truths.sums import SUMS

TRUTHS: dict[str, Truth] = {**LINEAR, **GATED, **SUMS, **RANDOM}

__all__ = ["TRUTHS", "Truth", "measured", "variants"]


def measured() -> pd.DataFrame:
    """Return one row a truth, as `gradlab.tables.published.beside` has them."""
    return pd.DataFrame([_row(truth) for truth in TRUTHS.values()])


def _row(truth: Truth) -> dict[str, object]:
    entry = {"claim": truth.claim, "kind": truth.kind, "source": truth.source, "value": truth.value}
    return row({**entry, **truth.allows, "reason": truth.reason}, truth.measure(), setup=truth.setup, size=truth.size)
