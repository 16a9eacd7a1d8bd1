"""Every cell with every combination of its options, as the self-check takes them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from gradlab.cells import CELLS, Cell
from gradlab.errors import InputError, unknown


def variants(name: str) -> Iterator[tuple[str, Cell]]:
    """Yield a small cell for each combination of its options, after its label: ``gru reset=after update=keep``.

    Parameters
    ----------
    name : str
        A name in `gradlab.cells.CELLS`.

    Raises
    ------
    InputError
        for an unknown cell.
    """
    if name not in CELLS:
        raise InputError(unknown("cell", name, CELLS))
    options = CELLS[name].OPTION_KEYS
    for choices in itertools.product(*(option.choices or (option.default,) for option in options.values())):
        chosen: dict[str, Any] = dict(zip(options, choices, strict=True))
        label = " ".join([name, *(f"{key}={value}" for key, value in chosen.items())])
        yield label, CELLS[name].init(3, 5, scale=1.2, rng=0, **chosen)
