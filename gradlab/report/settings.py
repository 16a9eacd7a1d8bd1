"""What a study was set to, key by key, as text: what it varied, what it kept, and how two studies differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from gradlab.formatting.numbers import UNKNOWN, plain
from gradlab.tables.factors import SEED, keys, varying


def settings(runs: pd.DataFrame) -> dict[str, str]:
    """Return the values of every key that one of the runs has, in the order in which they come: ``0.5, 0.7, 0.9``."""
    told = {name: _values(runs[name].dropna()) for name in keys(runs)}
    return {name: text for name, text in told.items() if text}


def varied(runs: pd.DataFrame) -> dict[str, str]:
    """Return the settings that the study varies, its seeds last."""
    names = [name for name in varying(runs) if name in keys(runs)]
    return {name: text for name, text in settings(runs).items() if name in (*names, SEED)}


def kept(runs: pd.DataFrame) -> dict[str, str]:
    """Return the settings that are the same in all runs."""
    return {name: text for name, text in settings(runs).items() if name not in varied(runs)}


def differing(one: Mapping[str, str], other: Mapping[str, str]) -> pd.DataFrame:
    """Return what is not the same in two sets of settings: ``key``, ``one``, ``other``; a dash for what one has not."""
    names = [name for name in dict.fromkeys([*one, *other]) if one.get(name) != other.get(name)]
    rows = [(name, one.get(name, UNKNOWN), other.get(name, UNKNOWN)) for name in names]
    return pd.DataFrame(rows, columns=["key", "one", "other"])


def _values(column: pd.Series) -> str:
    words = list(dict.fromkeys(map(_word, column)))
    if column.name == SEED and len(words) > 1:
        return f"{len(words)} ({words[0]} … {words[-1]})"
    return ", ".join(words)


def _word(value: Any) -> str:
    return plain(value) if isinstance(value, float | int) and not isinstance(value, bool) else str(value)
