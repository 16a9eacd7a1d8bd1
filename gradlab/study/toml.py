"""Tables written as TOML, which the standard library only reads."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from gradlab.tables.factors import NONE

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def to_toml(tables: Mapping[str, Any]) -> str:
    """Return the text of a TOML file: what is no table first, then each table, or each of a list of them, by name.

    Holds what a specification holds: texts, numbers, true and false, lists and tables of these, lists of such tables.
    """
    parts = [_lines({key: value for key, value in tables.items() if not _headed(value)})]
    for name, value in tables.items():
        if isinstance(value, Mapping):
            parts.append(f"[{_key(name)}]\n{_lines(value)}")
        elif _headed(value):
            parts += [f"[[{_key(name)}]]\n{_lines(table)}" for table in value]
    return "\n".join(parts)


def _headed(value: object) -> bool:
    """Return whether a value is a table, or a list of them, with a header of its own."""
    return isinstance(value, Mapping) or (isinstance(value, list) and bool(value) and isinstance(value[0], Mapping))


def _lines(table: Mapping[str, Any]) -> str:
    return "".join(f"{_key(key)} = {_value(value)}\n" for key, value in table.items() if value is not None)


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _value(key)


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_value(entry)}" for key, entry in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, str | bool):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # JSON's escapes are TOML's
    return _value(NONE) if value is None else repr(value)
