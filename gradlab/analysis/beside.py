"""Published numbers beside measured ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from gradlab.analysis.factors import named
from gradlab.analysis.numerals import plain
from gradlab.analysis.rates import across_seeds

#: What a comparison may say.
REPRODUCED, NOT_REPRODUCED, NOT_MEASURED = "reproduced", "not reproduced", "not measured"


def beside(runs: pd.DataFrame, entries: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return one row a published number, with the mean over seeds of what the study measured.

    Parameters
    ----------
    runs : a study's table ``runs``.
    entries : each with ``claim``, ``source``, ``column``, ``where``, ``value``, ``reason``, one of ``tolerance``
        (relative to the published value) and ``absolute``, and perhaps ``per``, a key that the column is divided by.

    Returns
    -------
    DataFrame
        ``claim``, ``source``, ``setup``, ``published``, ``measured``, ``measured_low``, ``measured_high`` (95 %
        t-interval over the seeds), ``seeds``, ``tolerance``, ``reason``, ``word``: "reproduced" where the published
        value lies within the tolerance of the measured mean, else "not reproduced" or "not measured".
    """
    return pd.DataFrame([_row(runs, entry) for entry in entries])


def _row(runs: pd.DataFrame, entry: Mapping[str, Any]) -> dict[str, Any]:
    measured = _measured(runs, entry)
    value, relative = float(entry["value"]), entry.get("tolerance")
    allowed = entry["absolute"] if relative is None else relative * abs(value)
    if pd.isna(measured["measured"]):
        word = NOT_MEASURED
    else:
        word = REPRODUCED if abs(measured["measured"] - value) <= allowed else NOT_REPRODUCED
    return {
        "claim": entry["claim"],
        "source": entry["source"],
        "setup": ", ".join(named(key, level) for key, level in entry["where"].items()),
        "published": value,
        **measured,
        "tolerance": f"± {plain(allowed)}" if relative is None else f"± {plain(100 * relative)} %",
        "reason": entry["reason"],
        "word": word,
    }


def _measured(runs: pd.DataFrame, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return mean, interval and count of the entry's column over the seeds of its runs."""
    for key, level in entry["where"].items():
        runs = runs[runs[key] == level]
    column = runs[entry["column"]] if entry["column"] in runs else pd.Series(float("nan"), runs.index)
    divided = column / runs[entry["per"]] if entry.get("per") else column
    table = across_seeds(runs.assign(measured=divided, all="runs"), ["all"], "measured")
    if table.empty:
        return {"measured": float("nan"), "measured_low": float("nan"), "measured_high": float("nan"), "seeds": 0}
    return {name: table[name].iloc[0] for name in ("measured", "measured_low", "measured_high", "seeds")}
