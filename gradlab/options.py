"""The declaration of a key of a cell, an initialisation or a task."""

from __future__ import annotations

from typing import NamedTuple


class Option(NamedTuple):
    """A key that a cell, an initialisation or a task declares.

    Attributes
    ----------
    type : type
        Python type of its values.
    default : object
        Value if the key is not given; None for no value.
    choices : tuple of str
        Allowed values; empty if any value is allowed.
    minimum : float, optional
        Smallest allowed value.
    optional : bool
        Whether the key may have no value.
    meaning : str
        Description in one line, with units.
    """

    type: type
    default: object
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    optional: bool = False
    meaning: str = ""
