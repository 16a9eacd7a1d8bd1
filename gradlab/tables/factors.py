"""What varies in a study, and which part each varying key plays in a figure."""

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

#: The column that says how many steps of training a row's weights have seen; runs that are not trained lack it.
TRAINED = "step"
#: Keys of a run that are not its study's choice but its rows'.
PLACES = (TRAINED, "layer", "direction")
#: A column that says in words all that varies, for figures that give each combination its panel.
SETTING = "setting"
#: How a specification, and a column of words, says that an option is left out.
NONE = "none"
#: A column that says what a row's number is, for figures that show several things in rows of panels.
MEASURE = "measure"
#: Runs that differ in nothing else are repetitions.
SEED = "seed"


class Layout(NamedTuple):
    """Which column of a table is what in a figure.

    Attributes
    ----------
    panel : column with one panel for each value, side by side.
    rows : columns with one row of panels for each combination.
    x, y : columns on the axes.
    hue : column that colour, line and marker stand for; None for one line.
    across : panels in a line where many are broken into several lines.
    """

    panel: str
    rows: tuple[str, ...]
    x: str
    y: str
    hue: str | None = None
    across: int = 3


def word(level: float | str | None) -> str:
    """Return how a column says a level that may be left out, where some runs have it and others do not."""
    if level is None:
        return NONE
    return f"{level:g}" if isinstance(level, int | float) else level


def has_level(column: pd.Series, level: Any) -> pd.Series:
    """Return which runs have ``level`` of a key; None where it is left out."""
    number = isinstance(level, int | float) and not isinstance(level, bool)
    if (level is None or number) and not _numeric(column):
        level = word(level)
    return column.isna() if level is None else column == level


def given(column: pd.Series) -> pd.Series:
    """Return which runs have a level of a key that may be left out."""
    return column.notna() & (column.astype("string") != NONE)


def keys(runs: pd.DataFrame) -> list[str]:
    """Return the grid's and base's keys, which stand between ``study`` and ``layer`` (see `schema.RUNS`)."""
    missing = [name for name in ("study", "layer", "status") if name not in runs.columns]
    if missing:
        raise InputError(f"runs: expected a table of runs with the columns of schema.RUNS, missing {missing}")
    names = list(runs.columns)
    return names[names.index("study") + 1 : names.index("layer")]


def places(runs: pd.DataFrame) -> list[str]:
    """Return which of `PLACES` the runs have."""
    return [name for name in PLACES if name in runs]


#: What is known of each table within a block of :func:`remembered`, by the table's identity.
_known: ContextVar[dict[int, _Known] | None] = ContextVar("known", default=None)


class _Known:
    """What varies in a table, and the table arranged; each is found when it is first asked for."""

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
    """Within the block, find what varies in a table once; no table of runs may be changed in place there."""
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
    """Return the keys, training step, layer and direction included, that take more than one value; never the seed.

    A length that follows from the other keys is left out, as where each order of an image has its own.
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
    """Return the runs whose weights are as they were drawn: all of a study that does not train."""
    found: pd.DataFrame = runs[runs[TRAINED] == 0] if TRAINED in runs else runs
    return found


def combinations(runs: pd.DataFrame) -> list[str]:
    """Return the columns whose combinations are the rows of a study's tables: all that varies, and the cell."""
    names = varying(runs)
    return names if "cell" in names else ["cell", *names]


def ran(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs that have run, however they ended; what is only planned has not been studied."""
    found: pd.DataFrame = runs[runs["status"] != "planned"]
    return found


def seeds_text(runs: pd.DataFrame) -> str:
    """Return how many seeds each combination has run in: ``one seed``, ``5 seeds``, ``8 to 20 seeds``."""
    by = combinations(runs)
    counts = ran(arranged(runs)).groupby(by, dropna=False, observed=True)[SEED].nunique()
    if counts.empty:
        return "no seed yet"
    fewest, most = int(counts.min()), int(counts.max())
    if most == 1:
        return "one seed"
    return f"{most} seeds" if fewest == most else f"{fewest} to {most} seeds"


def constants(runs: pd.DataFrame) -> dict[str, Any]:
    """Return the keys that take one value, and that value; not the hooks, which change no number."""
    counts = _distinct(runs, [name for name in keys(runs) if name not in (SEED, "hooks")])
    names = [name for name, count in counts.items() if count == 1]
    return {name: _plain(runs[name].dropna().iloc[0]) for name in names}


def arranged(runs: pd.DataFrame) -> pd.DataFrame:
    """Return ``runs`` with the keys that hold no numbers as categories, in the order in which they come."""
    return _of(runs).arranged.copy(deep=False)


def _arranged(runs: pd.DataFrame) -> pd.DataFrame:
    texts = runs[[*keys(runs), "direction"]].select_dtypes(exclude="number")
    return runs.assign(**{str(name): _categories(column) for name, column in texts.items()})


def control(runs: pd.DataFrame) -> str | None:
    """Return the key that the study turns: the scale, else a number that varies, else any key, else training."""
    names = [name for name in varying(runs) if name not in ("cell", "length", *PLACES)]
    numbers = [name for name in names if _numeric(runs[name])]
    trained = [name for name in varying(runs) if name == TRAINED]
    return "scale" if "scale" in names else next(iter([*numbers, *names, *trained]), None)


def numeric_control(runs: pd.DataFrame) -> str | None:
    """Return the control where it is a number, along which a rate can turn positive."""
    turned = control(runs)
    return turned if turned is not None and _numeric(runs[turned]) else None


def others(runs: pd.DataFrame, *taken: str | None) -> tuple[str, ...]:
    """Return what varies and is not among ``taken``."""
    return tuple(name for name in varying(runs) if name not in taken)


def longest(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs of the greatest length; where that depends on other keys, the greatest for each."""
    if "length" not in varying(runs):
        return runs
    rest = others(runs, "length")
    greatest = runs.groupby(list(rest), dropna=False)["length"].transform("max") if rest else runs["length"].max()
    found: pd.DataFrame = runs[runs["length"].isna() | (runs["length"] == greatest)]
    return found


def named(key: str, value: Any) -> str:
    """Return how a panel or a legend names ``value`` of ``key``: ``lstm``, ``after 100 steps``, else ``scale 0.5``."""
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
    """Return where that is in a sentence: ``at scale 0.5``, ``after 100 steps``."""
    return named(key, value) if key == TRAINED else f"at {named(key, value)}"


def placed(row: pd.Series, columns: Sequence[str | None]) -> str:
    """Return how a sentence names a row's place: ``lstm, scale 0.5``."""
    return ", ".join(named(name, row[name]) for name in columns if name is not None)


def _distinct(runs: pd.DataFrame, names: Sequence[str]) -> dict[str, int]:
    """Return the number of values of each column, missing ones aside."""
    counts = dict[str, int]()
    for name in names:
        try:
            counts[name] = int(runs[name].nunique())
        except TypeError:  # lists, which cannot be hashed
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
    """Return lists, such as the steps of ``at``, as text that can be counted."""
    if isinstance(value, list | tuple | np.ndarray):
        return ", ".join(map(str, value))
    return value if isinstance(value, Hashable) else str(value)
