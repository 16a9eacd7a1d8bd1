"""``[[published]]``: numbers from the literature that a study puts beside its own, checked before anything runs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from gradlab import schema
from gradlab.errors import SpecError, unknown
from gradlab.initialise import Option
from gradlab.study.keys import checked, every_key, shown

_TEXT, _NUMBER = Option(str, ""), Option(float, 0.0)
_SIZE = Option(float, 0.0, minimum=0.0)
_EXPONENT = re.compile(r"lyapunov_[1-9][0-9]{0,8}")
#: Columns of ``runs`` that hold a measured number.
_MEASURED = [name for name, column in schema.RUNS.items() if column.dtype == "float64"]


class Published(NamedTuple):
    """One published number.

    Attributes
    ----------
    claim, source : in words: what is claimed, and where.
    column : of ``runs``, whose mean over seeds is set beside it.
    where : the keys that say which runs, ``{"scale": 3.0, "hidden": 256}``; all that vary must be among them.
    value : as published.
    reason : why the two may differ by as much as the tolerance says.
    per : a key that the column is divided by, such as ``hidden``; "" for none.
    tolerance, absolute : the largest difference, relative to ``value`` or as it is; one of the two is given.
    """

    claim: str
    source: str
    column: str
    where: Mapping[str, Any]
    value: float
    reason: str
    per: str = ""
    tolerance: float | None = None
    absolute: float | None = None

    def table(self) -> dict[str, Any]:
        """Return the entry as it stands in a specification."""
        return {name: value for name, value in self._asdict().items() if value not in ("", None)}


def published(entries: Sequence[Mapping[str, Any]], hooks: Iterable[str]) -> tuple[Published, ...]:
    """Return the entries, checked.

    Raises
    ------
    SpecError
        one line that starts with the entry's path: an unknown key or column with the nearest, a missing one, a wrong
        type, a column that no hook of the study records, no tolerance or two.
    """
    recorded = _exponents(hooks)
    return tuple(_entry(f"published[{i}]", entry, recorded) for i, entry in enumerate(entries))


def refuse_unmatched(entries: Sequence[Published], configurations: Iterable[Mapping[str, Any]]) -> None:
    """Raise where the runs that an entry names are none, or differ in more than the seed.

    Raises
    ------
    SpecError
        saying what the study has, or which key is missing.
    """
    every = list(configurations)
    for i, entry in enumerate(entries):
        path = f"published[{i}].where"
        found = [values for values in every if all(values.get(k) == v for k, v in entry.where.items())]
        if not found:
            _refuse_none(path, entry, every)
        for key in found[0]:
            levels = list(dict.fromkeys(shown(values.get(key)) for values in found))
            if key != "seed" and len(levels) > 1:
                raise SpecError(f"{path}: these runs differ in {key}; say which: {', '.join(levels)}")


def _refuse_none(path: str, entry: Published, every: list[Mapping[str, Any]]) -> None:
    for key, value in entry.where.items():
        levels = list(dict.fromkeys(shown(values[key]) for values in every if key in values))
        if shown(value) not in levels:
            raise SpecError(
                f"{path}.{key}: no run has {shown(value)}; the study has {', '.join(levels) or 'no such key'}"
            )
    raise SpecError(f"{path}: no run of the study has all of {shown(dict(entry.where))}")


def _entry(path: str, given: Mapping[str, Any], recorded: int) -> Published:
    for key in given:
        if key not in Published._fields:
            raise SpecError(f"{path}.{key}: {unknown('key', key, Published._fields)}")
    for key in ("claim", "source", "column", "where", "value", "reason"):
        if key not in given:
            raise SpecError(f"{path}.{key}: missing; an entry needs claim, source, column, where, value and reason")
    numbers = {key: checked(f"{path}.{key}", _SIZE, given[key]) for key in ("tolerance", "absolute") if key in given}
    if len(numbers) != 1:
        raise SpecError(
            f"{path}: give one of tolerance (relative) and absolute, got {'both' if numbers else 'neither'}"
        )
    texts = {key: checked(f"{path}.{key}", _TEXT, given[key]) for key in ("claim", "source", "reason")}
    return Published(
        **texts,
        column=_column(f"{path}.column", given["column"], recorded),
        where=_where(f"{path}.where", given["where"]),
        value=checked(f"{path}.value", _NUMBER, given["value"]),
        per=_per(f"{path}.per", given["per"]) if "per" in given else "",
        **numbers,
    )


def _column(path: str, name: object, recorded: int) -> str:
    text: str = checked(path, _TEXT, name)
    if _EXPONENT.fullmatch(text):
        if int(text.partition("_")[2]) > recorded:
            raise SpecError(f'{path}: no hook records {text}; put "lyapunov:{text.partition("_")[2]}" into hooks')
    elif text not in _MEASURED:
        raise SpecError(f"{path}: {unknown('column', text, [*_MEASURED, 'lyapunov_1'])}")
    return text


def _where(path: str, given: object) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise SpecError(f"{path}: expected a table of keys and values, got {shown(given)}")
    found = {}
    for key, value in flat(path, given).items():
        if key not in every_key() or key == "at":
            raise SpecError(f"{path}.{key}: {unknown('key', key, every_key())}")
        found[key] = checked(f"{path}.{key}", every_key()[key], value)
    return found


def _per(path: str, name: object) -> str:
    numbers = [key for key, option in every_key().items() if option.type in (int, float)]
    if name not in numbers:
        raise SpecError(f"{path}: {unknown('key that is a number', name, numbers)}")
    return str(name)


def _exponents(hooks: Iterable[str]) -> int:
    """Return how many exponents the study's hook ``lyapunov`` records."""
    counts = [int(argument or 1) for kind, _, argument in (name.partition(":") for name in hooks) if kind == "lyapunov"]
    return max(counts, default=0)


def flat(path: str, table: Mapping[str, Any]) -> dict[str, Any]:
    """Return the table at ``path`` with ``init.forget_bias`` for a nested table as for the quoted key.

    Raises
    ------
    SpecError
        where both are given.
    """
    found: dict[str, Any] = {}
    for key, value in _leaves(table, ""):
        if key in found:
            raise SpecError(f"{path}.{key}: given twice, in a table and as a quoted key")
        found[key] = value
    return found


def _leaves(table: Mapping[str, Any], prefix: str) -> Iterable[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping) and value:  # an empty table is a value that no key takes
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
