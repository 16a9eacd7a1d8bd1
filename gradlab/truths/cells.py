"""Every cell with every choice of its options, as the self-check takes them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from gradlab.cells import CELLS, Cell
from gradlab.errors import InputError, unknown


def variants(name: str) -> Iterator[tuple[str, Cell]]:
    """Yield a cell of a few units for each combination of its options' choices, with its name.

    A name is ``gru reset=after update=keep``. An option without choices keeps its default.

    Raises
    ------
    InputError
        for an unknown cell.
    """
    if name not in CELLS:
        raise InputError(unknown("cell", name, CELLS))
    options = {key: option for key, option in CELLS[name].OPTION_KEYS.items() if option.choices}
    for choices in itertools.product(*(option.choices for option in options.values())):
        chosen: dict[str, Any] = dict(zip(options, choices, strict=True))
        told = " ".join([name, *(f"{key}={value}" for key, value in chosen.items())])
        yield told, CELLS[name].init(3, 5, scale=1.2, rng=0, **chosen)
