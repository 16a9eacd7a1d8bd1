"""A key that a cell, an initialisation or a task declares, with its type, default and limits."""

from __future__ import annotations

from typing import NamedTuple


class Option(NamedTuple):
    """A key that a cell, an initialisation or a task declares for itself: its type, default, and what it may be."""

    type: type
    default: object
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    optional: bool = False
    meaning: str = ""
