"""The factors of a study: the keys that vary, and the role of each in a figure."""

from __future__ import annotations

import weakref
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from gradlab.errors import InputError
from gradlab.formatting.numbers import plain

#: Column with the number of training steps before the measurement; studies that do not train lack it.
TRAINED = "step"
#: Columns that distinguish the rows of one configuration.
PLACES = (TRAINED, "layer", "direction")
#: Column that describes all varying keys in words, for figures with one panel per combination.
SETTING = "setting"
#: Text for an option that is left out, in a specification and in a text column.
NONE = "none"
#: Column that names the quantity of a row, for figures with one row of panels per quantity.
MEASURE = "measure"
#: Column of the seed; runs that differ in the seed alone are repetitions.
SEED = "seed"


class Layout(NamedTuple):
    """The role of each column of a table in a figure.

    Attributes
    ----------
    panel : str
        Column with one panel per value, side by side.
    rows : tuple of str
        Columns with one row of panels per combination.
    x, y : str
        Columns on the axes.
    hue : str, optional
        Column shown by colour, line style and marker; None for a single line.
    across : int
        Largest number of panels in a row if the panels are broken into several rows.
    """

    panel: str
    rows: tuple[str, ...]
    x: str
    y: str
    hue: str | None = None
    across: int = 3


def word(level: float | str | None) -> str:
    """Return the text of a level in a text column, "none" for a level that is left out.

    Such a column arises where only some runs have a level of the key.
    """
    if level is None:
        return NONE
    return f"{level:g}" if isinstance(level, int | float) else level


def has_level(column: pd.Series, level: Any) -> pd.Series:
    """Return which runs have ``level`` in the column of a key; None selects the runs that leave the key out."""
    number = isinstance(level, int | float) and not isinstance(level, bool)
    if (level is None or number) and not _numeric(column):
        level = word(level)
    return column.isna() if level is None else column == level


def given(column: pd.Series) -> pd.Series:
    """Return which runs have any level of a key that may be left out."""
    return column.notna() & (column.astype("string") != NONE)


def keys(runs: pd.DataFrame) -> list[str]:
    """Return the keys of the study's grid and base: the columns between ``study`` and ``layer`` (`schema.RUNS`).

    Raises
    ------
    InputError
        If ``runs`` has no columns ``study``, ``layer`` and ``status``.
    """
    missing = [name for name in ("study", "layer", "status") if name not in runs.columns]
    if missing:
        raise InputError(f"runs: expected a table of runs with the columns of schema.RUNS, missing {missing}")
    names = list(runs.columns)
    return names[names.index("study") + 1 : names.index("layer")]


def places(runs: pd.DataFrame) -> list[str]:
    """Return the columns of `PLACES` that the runs have."""
    return [name for name in PLACES if name in runs]


#: Cached results for each table within a block of :func:`remembered`, by the table's identity.
_known: ContextVar[dict[int, _Known] | None] = ContextVar("known", default=None)


class _Known:
    """The varying keys of a table, and the arranged table; both are computed at first use."""

    def __init__(self, runs: pd.DataFrame) -> None:
        self.runs = weakref.ref(runs)

    @cached_property
    def varying(self) -> list[str]:
        return _varying(self._table)

    @cached_property
    def arranged(self) -> pd.DataFrame:
        return _arranged(self._table)

    @property
    def _table(self) -> pd.DataFrame:
        runs = self.runs()
        assert runs is not None
        return runs


@contextmanager
def remembered() -> Iterator[None]:
    """Cache the varying keys of each table within the block; do not change a table in place inside it."""
    token = _known.set({} if (outer := _known.get()) is None else outer)
    try:
        yield
    finally:
        _known.reset(token)


def _of(runs: pd.DataFrame) -> _Known:
    known = _known.get()
    if known is None:
        return _Known(runs)
    if id(runs) not in known or known[id(runs)].runs() is not runs:
        known[id(runs)] = _Known(runs)
    return known[id(runs)]


def varying(runs: pd.DataFrame) -> list[str]:
    """Return the keys with more than one value, including training step, layer and direction.

    The seed is never among them. A length that follows from the other keys is not either; for instance, each pixel
    order of an image may have its own length.
    """
    return list(_of(runs).varying)


def _varying(runs: pd.DataFrame) -> list[str]:
    counts = _distinct(runs, [*keys(runs), *places(runs)])
    names = [name for name, count in counts.items() if name != SEED and count > 1]
    rest = [name for name in names if name != "length"]
    if "length" in names and rest:
        free = runs.groupby(rest, dropna=False, observed=True)["length"].nunique().gt(1).any()
        return names if free else rest
    return names


def untrained(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs with their initial weights; these are all runs of a study that does not train."""
    found: pd.DataFrame = runs[runs[TRAINED] == 0] if TRAINED in runs else runs
    return found


def combinations(runs: pd.DataFrame) -> list[str]:
    """Return the columns that index the rows of a study's tables: the cell and all varying keys."""
    names = varying(runs)
    return names if "cell" in names else ["cell", *names]


def ran(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs that are done, diverged or failed; planned runs are left out."""
    found: pd.DataFrame = runs[runs["status"] != "planned"]
    return found


def seeds_text(runs: pd.DataFrame) -> str:
    """Return the number of seeds per combination as text: ``one seed``, ``5 seeds``, ``8 to 20 seeds``."""
    by = combinations(runs)
    counts = ran(arranged(runs)).groupby(by, dropna=False, observed=True)[SEED].nunique()
    if counts.empty:
        return "no seed yet"
    fewest, most = int(counts.min()), int(counts.max())
    if most == 1:
        return "one seed"
    return f"{most} seeds" if fewest == most else f"{fewest} to {most} seeds"


def constants(runs: pd.DataFrame) -> dict[str, Any]:
    """Return the keys with a single value, and that value; hooks are left out, as they change no number."""
    counts = _distinct(runs, [name for name in keys(runs) if name not in (SEED, "hooks")])
    names = [name for name, count in counts.items() if count == 1]
    return {name: _plain(runs[name].dropna().iloc[0]) for name in names}


def arranged(runs: pd.DataFrame) -> pd.DataFrame:
    """Return ``runs`` with non-numeric keys as categories, in their order of appearance."""
    return _of(runs).arranged.copy(deep=False)


def _arranged(runs: pd.DataFrame) -> pd.DataFrame:
    texts = runs[[*keys(runs), "direction"]].select_dtypes(exclude="number")
    return runs.assign(**{str(name): _categories(column) for name, column in texts.items()})


def control(runs: pd.DataFrame) -> str | None:
    """Return the control of the study: the scale if it varies, else a numeric key, else any key, else training."""
    names = [name for name in varying(runs) if name not in ("cell", "length", *PLACES)]
    numbers = [name for name in names if _numeric(runs[name])]
    trained = [name for name in varying(runs) if name == TRAINED]
    return "scale" if "scale" in names else next(iter([*numbers, *names, *trained]), None)


def numeric_control(runs: pd.DataFrame) -> str | None:
    """Return the control if it is numeric, else None; a rate can turn positive along a numeric control only."""
    turned = control(runs)
    return turned if turned is not None and _numeric(runs[turned]) else None


def others(runs: pd.DataFrame, *taken: str | None) -> tuple[str, ...]:
    """Return the varying keys that are not among ``taken``."""
    return tuple(name for name in varying(runs) if name not in taken)


def longest(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs of the largest length for each combination of the other varying keys."""
    if "length" not in varying(runs):
        return runs
    rest = others(runs, "length")
    greatest = runs.groupby(list(rest), dropna=False)["length"].transform("max") if rest else runs["length"].max()
    found: pd.DataFrame = runs[runs["length"].isna() | (runs["length"] == greatest)]
    return found


def named(key: str, value: Any) -> str:
    """Return the text for ``value`` of ``key`` in a panel or legend: ``lstm``, ``after 100 steps``, ``scale 0.5``."""
    short = key.rpartition(".")[2]
    if pd.isna(value):
        return f"no {short}"
    if isinstance(value, bool | np.bool_):
        return short if value else f"no {short}"
    if key == TRAINED:
        return f"after {plain(float(value))} steps" if value else "before training"
    text = plain(float(value)) if isinstance(value, float | int | np.number) else str(value)
    return text if key in ("cell", "pair", SETTING) else f"{short} {text}"


def at(key: str, value: Any) -> str:
    """Return the text for ``value`` of ``key`` as a place in a sentence: ``at scale 0.5``, ``after 100 steps``."""
    return named(key, value) if key == TRAINED else f"at {named(key, value)}"


def placed(row: pd.Series, columns: Sequence[str | None]) -> str:
    """Return the text for the place of a row: ``lstm, scale 0.5``."""
    return ", ".join(named(name, row[name]) for name in columns if name is not None)


def _distinct(runs: pd.DataFrame, names: Sequence[str]) -> dict[str, int]:
    """Return the number of distinct values of each column, without missing ones."""
    counts = dict[str, int]()
    for name in names:
        try:
            counts[name] = int(runs[name].nunique())
        except TypeError:  # lists are not hashable
            counts[name] = int(runs[name].dropna().map(_plain).nunique())
    return counts


def _numeric(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _categories(column: pd.Series) -> pd.Series:
    try:
        categories = column.dropna().unique()
    except TypeError:  # lists, which cannot be hashed
        column = column.map(_plain, na_action="ignore")
        categories = column.dropna().unique()
    return pd.Series(pd.Categorical(column, categories=categories), index=column.index)


def _plain(value: object) -> Hashable:
    """Return a hashable form of a value: lists, such as the steps of ``at``, become text."""
    if isinstance(value, list | tuple | np.ndarray):
        return ", ".join(map(str, value))
    return value if isinstance(value, Hashable) else str(value)
