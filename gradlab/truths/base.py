"""One exact ground truth: what is known, how it is measured, how far the two may differ and why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pandas as pd

from gradlab.statistics.estimators import Estimate, mean


class Truth(NamedTuple):
    """One row of the table of exact ground truths.

    Attributes
    ----------
    claim, source : in words: what is true, and why or where it stands.
    setup, size : what it is measured on.
    value : what is known.
    allows : one of ``absolute``, ``tolerance`` (relative) and ``bound`` ("above", "below"), with its number or word.
    reason : why so much.
    measure : returns the measured number; takes seconds at most.
    kind : "exact", or "derived" for a limit or an average that was derived and checked by other means.
    """

    claim: str
    source: str
    setup: str
    size: str
    value: float
    allows: dict[str, Any]
    reason: str
    measure: Callable[[], Estimate]
    kind: str = "exact"


def sure(value: float) -> Estimate:
    """Return the estimate of what no chance enters: its interval is itself."""
    return Estimate(float(value), float(value), float(value), 1)


def mean_of(values: Any) -> Estimate:
    """Return the mean of independent values with its t-interval."""
    return mean(pd.DataFrame({"value": values}, dtype=float))
