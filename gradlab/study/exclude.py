"""Combinations of a grid that are left out, for example when an initialisation is meant for one cell only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from gradlab.errors import SpecError, unknown
from gradlab.study.keys import checked, checked_list, every_key, level
from gradlab.study.published import flat

#: One table of ``[[exclude]]``: the excluded values by key.
Excluded = Mapping[str, tuple[Any, ...]]
Grid = Mapping[str, tuple[Any, ...]]


def exclude(entries: Sequence[Mapping[str, Any]], grid: Grid) -> tuple[Excluded, ...]:
    """Check the tables of ``[[exclude]]`` and return them.

    Parameters
    ----------
    entries : sequence of mapping
        The tables. Each key has one value or a list of values.
    grid : mapping
        The values of each key that varies.

    Returns
    -------
    tuple of mapping
        The tables, with a tuple of values per key.

    Raises
    ------
    SpecError
        If the grid lacks a key or all values of a key, or if no combination is left. The message is one line that
        starts with the entry's path.
    """
    found = tuple(_entry(f"exclude[{i}]", entry, grid) for i, entry in enumerate(entries))
    if found and next(combinations(grid, found), None) is None:
        raise SpecError("exclude: no combination of the grid is left; take one of its tables out")
    return found


def combinations(grid: Grid, exclude: Sequence[Excluded]) -> Iterator[dict[str, Any]]:
    """Yield the combinations of ``grid`` that are not excluded, in the order of the grid.

    A combination is excluded if, for every key of one table, its value is among the table's values.

    Parameters
    ----------
    grid : mapping
        The values of each key that varies.
    exclude : sequence of mapping
        The checked tables.

    Yields
    ------
    dict
        One value per key.
    """
    for values in product(*grid.values()):
        combination = dict(zip(grid, values, strict=True))
        if not any(all(combination[key] in meant for key, meant in table.items()) for table in exclude):
            yield combination


def _entry(path: str, entry: Mapping[str, Any], grid: Grid) -> dict[str, tuple[Any, ...]]:
    if not entry:
        raise SpecError(f"{path}: the table is empty; name the values of the grid that do not go together")
    return {key: _meant(f"{path}.{key}", key, value, grid) for key, value in flat(path, entry).items()}


def _meant(path: str, key: str, value: object, grid: Grid) -> tuple[Any, ...]:
    if key not in grid:
        raise SpecError(f"{path}: {unknown('key of the grid', key, grid)}")
    option = every_key()[key]
    found = checked_list(path, option, value) if isinstance(value, list) else (checked(path, option, value),)
    if not any(one in grid[key] for one in found):
        none = " or ".join(map(level, found))
        raise SpecError(f"{path}: the grid has no {none}; it has {', '.join(map(level, grid[key]))}")
    return found
