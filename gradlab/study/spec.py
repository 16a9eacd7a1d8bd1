"""The specification of a study: TOML or plain tables, checked before anything runs."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from gradlab.cells import CELLS
from gradlab.errors import InputError, SpecError, unknown
from gradlab.hooks import make_hook
from gradlab.options import Option
from gradlab.study.exclude import Excluded, combinations, exclude
from gradlab.study.keys import LISTED, checked, checked_list, every_key, keys_of, owners, shown
from gradlab.study.published import Published, flat, published
from gradlab.study.train import refuse_unowned
from gradlab.tables.factors import NONE

Table = dict[str, Any]
HOOKS = ("gradients", "jacobians")
#: Tables whose keys have the name of the table as prefix.
SECTIONS = ("task", "init", "train", *CELLS)
_SEED = Option(int, 0, minimum=0)
#: Largest number of configurations; at one second each they take twelve days, so more are a typing error.
MOST = 1_000_000
#: Largest nesting depth, and largest file in bytes: more than any study needs, and refused quickly.
DEEPEST, LARGEST = 8, 10_000_000


class _Report(BaseModel):
    """``[report]``: the figures in their order; by default all that the results allow."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    figures: list[str] = []


class _Tables(BaseModel):
    """The top level of a specification; the keys of its tables are checked later, one by one."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,98}[A-Za-z0-9_-])?$")]
    question: str = ""
    found: str = ""
    grid: Annotated[Table, Field(min_length=1)]
    base: Table = {}
    exclude: list[Table] = []
    report: _Report = _Report()
    published: list[Table] = []
    full: Table = {}


_TOP: type[_Tables] = create_model("Tables", __base__=_Tables, **dict.fromkeys(SECTIONS, (Table, {})))  # type: ignore[call-overload]


class _Entry(NamedTuple):
    """One key as given: its path, its value, and whether the value is a list of levels."""

    path: str
    value: object
    varied: bool


@dataclass(frozen=True)
class Spec:
    """A checked specification.

    Attributes
    ----------
    name : str
        The name of the study, and of its results folder.
    question, found : str
        The question that the study asks, and its finding; "" for none.
    grid : mapping
        The values of each key that varies, in the order of the specification.
    fixed : mapping
        The value of each key that was given once, such as "task.name" or "init.recurrent".
    exclude : tuple of mapping
        The combinations to leave out, as values by key.
    seeds : tuple of int
        The seeds of every combination.
    hooks : tuple of str
        The hooks of every trace, in alphabetical order.
    figures : tuple of str
        The figures of the report; empty for all.
    published : tuple of Published
        The published numbers to compare with the study's own.
    full : mapping
        The ``[full]`` table as given; empty after it has been applied.
    """

    name: str
    question: str
    found: str
    grid: Mapping[str, tuple[Any, ...]]
    fixed: Mapping[str, Any]
    exclude: tuple[Excluded, ...]
    seeds: tuple[int, ...]
    hooks: tuple[str, ...]
    figures: tuple[str, ...]
    published: tuple[Published, ...]
    full: Mapping[str, Any]

    @classmethod
    def from_toml(cls, path: str | Path, *, full: bool = False) -> Self:
        """Read and check a TOML file.

        Parameters
        ----------
        path : str or Path
            The file.
        full : bool
            Whether its ``[full]`` table applies.

        Returns
        -------
        Spec
            The checked specification.

        Raises
        ------
        SpecError
            If the file is not a valid specification. The message starts with the file and the key's path.
        """
        tables = read(Path(path))
        with naming(path):
            return cls.from_tables(tables, full=full)

    @classmethod
    def from_tables(cls, tables: Mapping[str, Any], *, full: bool = False) -> Self:
        """Check the tables of a TOML file, given as dicts.

        Parameters
        ----------
        tables : mapping
            The tables and texts by name.
        full : bool
            Whether the ``[full]`` table applies.

        Returns
        -------
        Spec
            The checked specification.

        Raises
        ------
        SpecError
            If the specification is not valid. The message is one line that starts with the key's path.
        """
        top = _top(_plain(tables))
        if top.full and not full:
            cls.from_tables(tables, full=True)  # so that an error in [full] is found now
        if full and not top.full:
            raise SpecError("full: the study has no [full] table; add one, or leave --full (full=True) out")
        entries = _entries(top, full=full)
        seeds, hooks = _seeds(entries.pop("seeds", None)), _hooks(entries.pop("hooks", None))
        grid, fixed = _values(entries)
        _check_owners({**grid, **{key: (value,) for key, value in fixed.items()}}, entries)
        figures = _figures(top.report.figures)
        kept = {} if full else flat("full", top.full)
        compared = published(top.published, hooks, trained=any(key.startswith("train.") for key in entries))
        spec = cls(top.name, top.question, top.found, grid, fixed, (), seeds, hooks, figures, compared, kept)
        if spec.size > MOST:
            raise SpecError(f"grid: {spec.size} configurations are more than {MOST}; take values out")
        return replace(spec, exclude=exclude(top.exclude, grid))

    @property
    def size(self) -> int:
        """Number of combinations of the grid times the number of seeds, including excluded combinations."""
        return math.prod(len(values) for values in self.grid.values()) * len(self.seeds)

    @property
    def summary(self) -> list[tuple[str, str]]:
        """The question, and the finding if there is one, as rows (name, text)."""
        return [("question", self.question), *([("found", self.found)] if self.found else [])]

    @property
    def trains(self) -> bool:
        """Whether the study trains its networks."""
        return bool(self.values("train.steps"))

    def tables(self) -> Table:
        """Return the specification as tables; :meth:`from_tables` returns an equal specification from them."""
        count = len(self.seeds)
        seeds = count if self.seeds == tuple(range(count)) else list(self.seeds)
        base = {key: value for key, value in self.fixed.items() if key.partition(".")[0] not in SECTIONS}
        sections = {name: _section(name, self.fixed) for name in SECTIONS}
        found: Table = {"name": self.name, "question": self.question}
        found |= {"found": self.found} if self.found else {}
        found["grid"] = {key: list(values) for key, values in self.grid.items()} | {"seeds": seeds}
        found |= {"exclude": [{key: list(meant) for key, meant in table.items()} for table in self.exclude]}
        found |= {"base": base | {"hooks": list(self.hooks)}, **sections}
        found |= {"report": {"figures": list(self.figures)} if self.figures else {}, "full": dict(self.full)}
        found |= {"published": [entry.table() for entry in self.published]}
        return {name: value for name, value in found.items() if value not in ({}, [])}

    def toml(self) -> str:
        """Return the specification as the text of a TOML file."""
        tables = self.tables().items()
        return tomli_w.dumps({name: _written(value) for name, value in tables if value is not None})

    def combinations(self) -> Iterator[Table]:
        """Yield the given values of every combination that is not excluded, by key, in the order of the grid."""
        for combination in combinations(self.grid, self.exclude):
            yield {**self.fixed, **combination}

    def values(self, key: str) -> tuple[Any, ...]:
        """Return the given values of ``key`` in the study; empty if it was not given.

        Parameters
        ----------
        key : str
            The key, such as ``task.name``.

        Returns
        -------
        tuple
            The values; one for a key that does not vary.
        """
        return self.grid.get(key) or ((self.fixed[key],) if key in self.fixed else ())


def _written(value: Any) -> Any:
    """Return a value for TOML: a key of a table is dropped if it is None; any other None becomes "none"."""
    if isinstance(value, Mapping):
        return {key: _entry(entry) for key, entry in value.items() if entry is not None}
    return [_written(entry) for entry in value] if isinstance(value, list) else value


def _entry(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _entry(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_entry(entry) for entry in value]
    return NONE if value is None else value


@contextmanager
def naming(path: str | Path | None) -> Iterator[None]:
    """Prefix a SpecError from inside the block with ``path``; None adds no prefix.

    Parameters
    ----------
    path : str, Path or None
        The file of the specification.
    """
    try:
        yield
    except SpecError as error:
        raise SpecError(f"{path}: {error}" if path is not None else str(error)) from None


def read(path: Path) -> Table:
    """Return the tables of a TOML file, unchecked.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    dict
        The tables.

    Raises
    ------
    SpecError
        If the file cannot be read, is too large, or is not valid TOML.
    """
    text = _text(path)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{path}: not valid TOML: {error}") from None
    except RecursionError:
        raise SpecError(f"{path}: its tables or lists are nested too deeply; expected a study's TOML file") from None
    except ValueError:  # int() refuses thousands of digits
        raise SpecError(f"{path}: holds a number of too many digits; expected a study's TOML file") from None


def _text(path: Path) -> str:
    try:
        if path.is_dir():
            inside = f"; {path / 'study.toml'} is one" if (path / "study.toml").is_file() else ""
            raise SpecError(f"{path}: is a folder; expected a study's TOML file{inside}")
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise SpecError(f"{path}: has more than {LARGEST} bytes; expected a study's TOML file")
        return content.decode("utf-8-sig")
    except FileNotFoundError:
        raise SpecError(f"{path}: no such file; expected a study's TOML file") from None
    except UnicodeDecodeError:
        raise SpecError(f"{path}: is no UTF-8 text; expected a study's TOML file, saved as UTF-8") from None
    except OSError as error:
        raise SpecError(f"{path}: cannot be read ({error.strerror}); expected a study's TOML file") from None


def _plain(value: Any, path: str = "", depth: int = 0) -> Any:
    """Return ``value`` with NumPy arrays and numbers as Python lists and numbers; a grid may use ``np.linspace``."""
    if depth > DEEPEST:
        raise SpecError(f"{path}: nested more than {DEEPEST} deep; no key of a study needs that")
    if isinstance(value, Mapping):
        start = f"{path}." if path else ""
        return {key: _plain(entry, f"{start}{key}", depth + 1) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry, f"{path}[{i}]", depth + 1) for i, entry in enumerate(value)]
    if isinstance(value, int) and value.bit_length() > 63:  # tables hold signed 64-bit integers
        raise SpecError(f"{path}: expected a number of at most 63 bits, got one of {value.bit_length()}")
    return value.tolist() if hasattr(value, "tolist") else value


def _top(tables: Mapping[str, Any]) -> _Tables:
    try:
        return _TOP.model_validate(tables)
    except ValidationError as error:
        found = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")  # a typo explains a missing key
        raise SpecError(_top_complaint(dict(found))) from None


def _top_complaint(error: Mapping[str, Any]) -> str:
    path, kind, came = ".".join(str(part) for part in error["loc"]), error["type"], shown(error.get("input"))
    if kind == "extra_forbidden":
        known = ["figures"] if path.startswith("report.") else list(_TOP.model_fields)
        return f"{path}: {unknown('key', error['loc'][-1], known)}"
    wanted = {
        "missing": f"missing; expected {'[grid], a table of lists' if path == 'grid' else 'a name for the study'}",
        "too_short": 'the grid is empty; give at least one list, such as cell = ["rnn", "lstm"]',
        "string_pattern_mismatch": f"expected a name fit for a folder (letters, digits, . _ -), got {came}",
        "string_type": f"expected a text, got {came}",
        "list_type": f"expected a list, got {came}",
    }
    return f"{path}: {wanted.get(kind, f'expected a table [{path}], got {came}')}"


def _entries(top: _Tables, *, full: bool) -> dict[str, _Entry]:
    """Return every key as given; with ``full``, the keys of [full] replace those of the same name."""
    found: dict[str, _Entry] = {}
    for section in ("grid", "base", *SECTIONS):
        for key, value in flat(section, getattr(top, section)).items():
            whole = key if section in ("grid", "base") else f"{section}.{key}"
            entry = _Entry(f"{section}.{key}", value, section == "grid")
            if whole in found:
                raise SpecError(f"{entry.path}: given twice; {found[whole].path} gives it too")
            found[whole] = entry
    if full:
        instead = flat("full", top.full)
        found |= {key: _Entry(f"full.{key}", value, _varies(key, value)) for key, value in instead.items()}
    return found


def _varies(key: str, value: object) -> bool:
    steps = isinstance(value, list) and all(isinstance(entry, int) for entry in value)
    listed = key in every_key() and every_key()[key].type in LISTED
    return isinstance(value, list) and key != "hooks" and not (listed and steps)


def _values(entries: Mapping[str, _Entry]) -> tuple[dict[str, tuple[Any, ...]], Table]:
    grid: dict[str, tuple[Any, ...]] = {}
    fixed: Table = {}
    for key, (path, value, varied) in entries.items():
        option = every_key().get(key) or _no_such_key(key, path)
        if varied:
            grid[key] = checked_list(path, option, value)
        else:
            fixed[key] = checked(path, option, value)
    return grid, fixed


def _no_such_key(key: str, path: str) -> Option:
    section = path.partition(".")[0]
    if section in SECTIONS:
        leaf, known = key.partition(".")[2], [k.partition(".")[2] for k in every_key() if k.startswith(section + ".")]
        if not known:
            raise SpecError(f'{path}: unknown key "{leaf}"; {section} has no options of its own')
    else:
        leaf, known = key, [*every_key(), "seeds", *(["hooks"] if section != "grid" else [])]
    raise SpecError(f"{path}: {unknown('key', leaf, known)}")


def _check_owners(values: Mapping[str, tuple[Any, ...]], entries: Mapping[str, _Entry]) -> None:
    """Raise if a required key is missing, or if no cell and no task of the study has a given key."""
    for key in ("cell", "task.name"):
        if key not in values:
            raise SpecError(f"{key}: missing; choose from {', '.join(every_key()[key].choices)}")
    pairs = [(cell, task) for cell in values["cell"] for task in values["task.name"]]
    known = {key for cell, task in pairs for key in keys_of(cell, task)}
    for key in values:
        if key not in known and not key.startswith("train."):
            theirs = "task.name" if key == "length" or key.startswith("task.") else "cell"
            there = f"{theirs.removesuffix('.name')} {' or '.join(map(shown, values[theirs]))}"
            raise SpecError(f"{entries[key].path}: {there} has no such key; it belongs to {' and '.join(owners(key))}")
    refuse_unowned(values, {key: entry.path for key, entry in entries.items()})
    if "length" in known and "length" not in values:
        raise SpecError("length: missing; give the number of steps in [grid] (a list) or in [base] (one number)")


def _seeds(entry: _Entry | None) -> tuple[int, ...]:
    if entry is None:
        return (0,)
    if isinstance(entry.value, list):
        return checked_list(entry.path, _SEED, entry.value)
    count = checked(entry.path, _SEED._replace(minimum=1), entry.value)
    if count > MOST:
        raise SpecError(f"{entry.path}: expected at most {MOST} seeds, got {count}")
    return tuple(range(count))


def _hooks(entry: _Entry | None) -> tuple[str, ...]:
    if entry is None:
        return HOOKS
    if entry.path == "grid.hooks":
        raise SpecError("grid.hooks: hooks cannot vary; put them into [base], every trace uses all of them")
    names = checked_list(entry.path, Option(str, ""), entry.value)
    for i, name in enumerate(names):
        try:
            make_hook(name)
        except InputError as error:
            raise SpecError(f"{entry.path}[{i}]: {error}") from None
    kinds = [name.partition(":")[0] for name in names]
    for i, kind in enumerate(kinds):
        if kind in kinds[:i]:
            raise SpecError(f'{entry.path}[{i}]: the hook "{kind}" is in the list already, at {kinds.index(kind)}')
    return tuple(sorted(names))


def _figures(names: list[str]) -> tuple[str, ...]:
    if not names:
        return ()
    from gradlab.figures import FIGURES  # imports matplotlib, so only if a study names figures

    return checked_list("report.figures", Option(str, "", choices=tuple(FIGURES)), names)


def _section(name: str, fixed: Mapping[str, Any]) -> Table:
    return {key.partition(".")[2]: value for key, value in fixed.items() if key.startswith(name + ".")}
