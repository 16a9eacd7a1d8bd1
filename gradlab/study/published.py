"""``[[published]]``: numbers from the literature to compare with a study's own, checked before anything runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from gradlab import schema
from gradlab.errors import SpecError, unknown
from gradlab.options import Option
from gradlab.statistics.estimators import STATISTICS
from gradlab.study.keys import LISTED, checked, every_key, level, shown
from gradlab.tables.published import ALLOWANCES

_TEXT, _NUMBER = Option(str, ""), Option(float, 0.0)
_SIZE = Option(float, 0.0, minimum=0.0)
_EXPONENT = re.compile(r"lyapunov_[1-9][0-9]{0,8}")
#: Further keys of ``where``, for runs with several rows.
_PLACES = {
    "layer": Option(int, 0, minimum=0),
    "direction": Option(str, "forward", choices=schema.DIRECTIONS),
    "step": Option(int, 0, minimum=0),
}
_REQUIRED = ("claim", "source", "column", "where", "value", "reason")
_TEXTS = ("claim", "source", "reason", "explanation", "not_comparable")
_CHOICES = {
    "kind": Option(str, "published", choices=("published", "derived", "exact")),
    "statistic": Option(str, "mean", choices=tuple(STATISTICS)),
    "bound": Option(str, "above", choices=("above", "below")),
}


class Published(NamedTuple):
    """One published number.

    Attributes
    ----------
    claim, source : str
        The claim in words, and its publication.
    column : str
        The column of ``runs`` to compare.
    where : mapping
        The keys that select the runs, ``{"scale": 3.0, "hidden": 256}``. All keys that vary must be among them, except
        for statistics that need ``against``. Runs with several rows also need ``layer``, ``direction`` or ``step``.
    value : float
        The published number.
    reason : str
        The reason for the tolerance or the bound.
    per : str
        A key that divides the column, such as ``hidden``; "" for none.
    tolerance, absolute, bound : float, float, str
        The largest difference, relative to ``value`` or absolute, or the side of ``value`` on which the number must
        lie, "above" or "below"; exactly one of the three is given.
    statistic : str
        The statistic of the column (`gradlab.statistics.estimators.STATISTICS`).
    over : mapping, optional
        The runs of a ratio's denominator or a difference's subtrahend, selected like ``where``; paired by seed.
    against : str
        The other column or key of a slope or a rank correlation.
    kind : str
        "exact" for algebra, "published" for a paper's number, "derived" for a number that was derived for gradlab and
        checked by other means, for an unpublished expectation, and for a limit that is measured before it is reached.
    explanation : str
        The reason found for a word other than "reproduced"; shown in that case.
    not_comparable : str
        The reason why the study's number cannot be compared, such as another size; the word is then "not comparable".
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
    bound: str = ""
    statistic: str = "mean"
    over: Mapping[str, Any] | None = None
    against: str = ""
    kind: str = "published"
    explanation: str = ""
    not_comparable: str = ""

    def table(self) -> dict[str, Any]:
        """Return the entry as a table of a specification."""
        return {name: value for name, value in self._asdict().items() if value != self._field_defaults.get(name)}


class _Recorded(NamedTuple):
    """The columns of a study's runs, and the number of recorded exponents."""

    columns: Mapping[str, schema.Column]
    exponents: int

    @property
    def numbers(self) -> list[str]:
        """The columns with numbers, booleans included."""
        return [name for name, column in self.columns.items() if column.dtype not in ("string", "object")]


def published(
    entries: Sequence[Mapping[str, Any]], hooks: Iterable[str], *, trained: bool = False
) -> tuple[Published, ...]:
    """Check the entries of ``[[published]]`` and return them.

    Parameters
    ----------
    entries : sequence of mapping
        The tables as given.
    hooks : iterable of str
        The study's hooks.
    trained : bool
        Whether the study trains.

    Returns
    -------
    tuple of Published
        The checked entries.

    Raises
    ------
    SpecError
        If a key or column is unknown, a key is missing, a type is wrong, no hook records the column, or an entry has
        no tolerance or several. The message starts with the entry's path and names the nearest valid key.
    """
    recorded = _Recorded(schema.tables(trained=trained)["runs"], _exponents(hooks))
    return tuple(_entry(f"published[{i}]", entry, recorded) for i, entry in enumerate(entries))


def refuse_unmatched(
    entries: Sequence[Published],
    configurations: Iterable[Mapping[str, Any]],
    full: Callable[[], Iterable[Mapping[str, Any]]] = tuple,
) -> None:
    """Refuse an entry that selects no runs, or runs that differ in more than the seed.

    Parameters
    ----------
    entries : sequence of Published
        The checked entries.
    configurations : iterable of mapping
        The values of every planned configuration.
    full : callable
        Returns the values of every configuration of the full study; an entry may select these instead.

    Raises
    ------
    SpecError
        If an entry is refused. The message names the values that the study has, or the missing key.
    """
    every = list(configurations)
    for i, entry in enumerate(entries):
        for key in ("where", "over"):
            if (where := getattr(entry, key)) is not None:
                path, keys = f"published[{i}].{key}", {k: v for k, v in where.items() if k not in _PLACES}
                found = _matching(every, keys) or _matching(full(), keys) or _refuse_none(path, keys, every)
                _refuse_unmeasured(f"{path}.step", where.get("step"), found)
                if STATISTICS[entry.statistic].needs != "against":
                    _refuse_mixed(path, found)


def _matching(configurations: Iterable[Mapping[str, Any]], where: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [values for values in configurations if all(values.get(key) == value for key, value in where.items())]


def _refuse_mixed(path: str, found: Sequence[Mapping[str, Any]]) -> None:
    for key in found[0]:
        levels = list(dict.fromkeys(level(values.get(key)) for values in found))
        if key != "seed" and len(levels) > 1:
            raise SpecError(f"{path}: these runs differ in {key}; give one of {', '.join(levels)}")


def _refuse_unmeasured(path: str, step: int | None, found: Sequence[Mapping[str, Any]]) -> None:
    measured = {one for values in found for one in values.get("train.measure_at", ())}
    if step is not None and step not in measured:
        raise SpecError(f"{path}: nothing is measured after {step} steps; measure_at has {sorted(measured)}")


def _refuse_none(path: str, where: Mapping[str, Any], every: list[Mapping[str, Any]]) -> NoReturn:
    for key, value in where.items():
        levels = list(dict.fromkeys(level(values[key]) for values in every if key in values))
        if level(value) not in levels:
            raise SpecError(
                f"{path}.{key}: no run has {level(value)}; the study has {', '.join(levels) or 'no such key'}"
            )
    raise SpecError(f"{path}: no run of the study has all of {shown(dict(where))}")


def _entry(path: str, given: Mapping[str, Any], recorded: _Recorded) -> Published:
    for key in given:
        if key not in Published._fields:
            raise SpecError(f"{path}.{key}: {unknown('key', key, Published._fields)}")
    for key in _REQUIRED:
        if key not in given:
            raise SpecError(f"{path}.{key}: missing; an entry needs claim, source, column, where, value and reason")
    found: dict[str, Any] = {key: checked(f"{path}.{key}", _TEXT, given[key]) for key in _TEXTS if key in given}
    found |= {key: checked(f"{path}.{key}", option, given[key]) for key, option in _CHOICES.items() if key in given}
    found |= {key: checked(f"{path}.{key}", _SIZE, given[key]) for key in ("tolerance", "absolute") if key in given}
    found |= {key: _where(f"{path}.{key}", given[key], recorded) for key in ("where", "over") if key in given}
    found |= {"column": _column(f"{path}.column", given["column"], recorded)}
    found |= {"value": checked(f"{path}.value", _NUMBER, given["value"])}
    found |= {"per": _number_key(f"{path}.per", given["per"])} if "per" in given else {}
    found |= {"against": _against(f"{path}.against", given["against"], recorded)} if "against" in given else {}
    _refuse_allowance(path, given)
    _refuse_needs(path, found)
    return Published(**found)


def _refuse_allowance(path: str, given: Mapping[str, Any]) -> None:
    several = [key for key in ALLOWANCES if key in given]
    if len(several) != 1:
        came = " and ".join(several) or "none"
        raise SpecError(f"{path}: give one of tolerance (relative), absolute and bound (above or below), got {came}")


def _refuse_needs(path: str, found: Mapping[str, Any]) -> None:
    """Raise if ``over`` or ``against`` is missing, or given to a statistic that takes none."""
    name = found.get("statistic", "mean")
    for key in ("over", "against"):
        if (key in found) != (STATISTICS[name].needs == key):
            why = f"the {name} takes none" if key in found else f"missing; the {name} needs it"
            raise SpecError(f"{path}.{key}: {why}")


def _column(path: str, name: object, recorded: _Recorded) -> str:
    text: str = checked(path, _TEXT, name)
    text = schema.RENAMED.get(text, text)
    if _EXPONENT.fullmatch(text):
        if int(text.partition("_")[2]) > recorded.exponents:
            raise SpecError(f'{path}: no hook records {text}; put "lyapunov:{text.partition("_")[2]}" into hooks')
    elif text not in recorded.numbers:
        raise SpecError(f"{path}: {unknown('column', text, [*recorded.numbers, 'lyapunov_1'])}")
    return text


def _where(path: str, given: object, recorded: _Recorded) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise SpecError(f"{path}: expected a table of keys and values, got {shown(given)}")
    found = {}
    for key, value in flat(path, given).items():
        known = {name: option for name, option in every_key().items() if option.type not in LISTED}
        known |= {place: option for place, option in _PLACES.items() if place in recorded.columns}
        if key not in known:
            raise SpecError(f"{path}.{key}: {unknown('key', key, known)}")
        found[key] = checked(f"{path}.{key}", known[key], value)
    return found


def _number_key(path: str, name: object) -> str:
    if name not in (numbers := _numbers()):
        raise SpecError(f"{path}: {unknown('key that is a number', name, numbers)}")
    return str(name)


def _against(path: str, name: object, recorded: _Recorded) -> str:
    return str(name) if name in _numbers() else _column(path, name, recorded)


def _numbers() -> list[str]:
    return [key for key, option in every_key().items() if option.type in (int, float)]


def _exponents(hooks: Iterable[str]) -> int:
    """Return the number of exponents that the study's hook ``lyapunov`` records."""
    counts = [int(argument or 1) for kind, _, argument in (name.partition(":") for name in hooks) if kind == "lyapunov"]
    return max(counts, default=0)


def flat(path: str, table: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten a table: a nested table becomes dotted keys such as ``init.forget_bias``.

    Parameters
    ----------
    path : str
        The place of the table in the specification, for the message.
    table : mapping
        The table.

    Returns
    -------
    dict
        The values by dotted key.

    Raises
    ------
    SpecError
        If a key is given both in a nested table and as a dotted key.
    """
    found: dict[str, Any] = {}
    for key, value in _leaves(table, ""):
        if key in found:
            raise SpecError(f"{path}.{key}: given twice, in a table and as a quoted key")
        found[key] = value
    return found


def _leaves(table: Mapping[str, Any], prefix: str) -> Iterable[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping) and value:  # an empty table stays a value, which every key then refuses
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
