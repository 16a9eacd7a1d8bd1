"""One ground truth: the known value, the measurement, and the difference allowed between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pandas as pd

from gradlab.statistics.estimators import Estimate, mean


class Truth(NamedTuple):
    """One row of the table of ground truths.

    Attributes
    ----------
    claim, source : str
        The true statement, and its proof or publication, in words.
    setup, size : str
        The network and input that it is measured on.
    value : float
        The known value.
    allows : dict
        One of ``absolute``, ``tolerance`` (relative) and ``bound`` ("above", "below"), with its number or word.
    reason : str
        The reason for this allowance.
    measure : callable
        Returns the measured number; takes seconds at most.
    kind : str
        "exact", or "derived" for a limit or an average that was derived and checked by other means.
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
    """Return the estimate of a deterministic value: its interval has width 0."""
    return Estimate(float(value), float(value), float(value), 1)


def mean_of(values: Any) -> Estimate:
    """Return the mean of independent values with its t-interval."""
    return mean(pd.DataFrame({"value": values}, dtype=float))
