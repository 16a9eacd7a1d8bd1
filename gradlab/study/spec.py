"""The specification of a study: TOML or plain tables in, checked values out, before anything runs."""

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
#: Tables whose keys stand in a specification under the table's own name.
SECTIONS = ("task", "init", "train", *CELLS)
_SEED = Option(int, 0, minimum=0)
#: More configurations than this are a slip of the keyboard: at a second each they take twelve days.
MOST = 1_000_000
#: Tables and lists within each other, and bytes of a file, at most: more than any study needs, and soon refused.
DEEPEST, LARGEST = 8, 10_000_000


class _Report(BaseModel):
    """``[report]``: which figures, in which order; without it, all that fit."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    figures: list[str] = []


class _Tables(BaseModel):
    """The top level of a specification; what its tables hold is checked key by key."""

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
    """One key as given: where, its value, and whether that is a list to vary over."""

    path: str
    value: object
    varied: bool


@dataclass(frozen=True)
class Spec:
    """A checked specification.

    Attributes
    ----------
    question, found : what the study asks, and what it found; texts, "" for none.
    grid : the values of each key that varies, in the order of the specification.
    fixed : the value of each key that was given once, "task.name" and "init.recurrent" included.
    exclude : the combinations that are left out: of each key the values that do not go together.
    seeds : the seeds of every combination.
    hooks : the hooks of every trace, in the order of their names.
    figures : what the report shows; empty for all.
    published : numbers that the report puts beside the study's own.
    full : the ``[full]`` table, as given; empty once it has been applied.
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
        """Read and check a TOML file; ``full`` applies its ``[full]`` table."""
        tables = read(Path(path))
        with naming(path):
            return cls.from_tables(tables, full=full)

    @classmethod
    def from_tables(cls, tables: Mapping[str, Any], *, full: bool = False) -> Self:
        """Check what a TOML file would hold, given as dicts.

        Raises
        ------
        SpecError
            one line that starts with the key's path.
        """
        top = _top(_plain(tables))
        if top.full and not full:
            cls.from_tables(tables, full=True)  # so that a slip in [full] shows today
        if full and not top.full:
            raise SpecError("full: the study has no [full] table; add one, or leave --full (full=True) out")
        entries = _entries(top, full=full)
        seeds, hooks = _seeds(entries.pop("seeds", None)), _hooks(entries.pop("hooks", None))
        grid, fixed = _values(entries)
        _check_owners({**grid, **{key: (value,) for key, value in fixed.items()}}, entries)
        figures = _figures(top.report.figures)
        kept = {} if full else flat("full", top.full)
        beside = published(top.published, hooks, trained=any(key.startswith("train.") for key in entries))
        spec = cls(top.name, top.question, top.found, grid, fixed, (), seeds, hooks, figures, beside, kept)
        if spec.size > MOST:
            raise SpecError(f"grid: {spec.size} configurations are more than {MOST}; take values out")
        return replace(spec, exclude=exclude(top.exclude, grid))

    @property
    def size(self) -> int:
        """How many combinations the grid has, seeds and what is left out included."""
        return math.prod(len(values) for values in self.grid.values()) * len(self.seeds)

    @property
    def summary(self) -> list[tuple[str, str]]:
        """The question, and what was found where that is known, as lines of a table."""
        return [("question", self.question), *([("found", self.found)] if self.found else [])]

    @property
    def trains(self) -> bool:
        """Whether the study trains what it measures."""
        return bool(self.values("train.steps"))

    def tables(self) -> Table:
        """Return the specification as tables, which :meth:`from_tables` reads back as the same."""
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
        """Yield a value for every key that was given: the grid's, in its order, less what is left out."""
        for combination in combinations(self.grid, self.exclude):
            yield {**self.fixed, **combination}

    def values(self, key: str) -> tuple[Any, ...]:
        """Return the values that ``key`` takes in the study; empty where it was not given."""
        return self.grid.get(key) or ((self.fixed[key],) if key in self.fixed else ())


def _written(value: Any) -> Any:
    """Return a value as TOML has it: a key of a table that is None is left out, any other None is the text "none"."""
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
    """Put the file's name before what is wrong with its specification; None where there is no file."""
    try:
        yield
    except SpecError as error:
        raise SpecError(f"{path}: {error}" if path is not None else str(error)) from None


def read(path: Path) -> Table:
    """Return what a TOML file holds, not yet checked; raises SpecError where it holds no TOML."""
    text = _text(path)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{path}: not valid TOML: {error}") from None
    except RecursionError:
        raise SpecError(f"{path}: its tables or lists are nested too deeply; expected a study's TOML file") from None
    except ValueError:  # what int() says of thousands of digits
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
    """Return arrays and NumPy's numbers as Python's own: ``grid={"scale": np.linspace(…)}`` is welcome."""
    if depth > DEEPEST:
        raise SpecError(f"{path}: nested more than {DEEPEST} deep; no key of a study is")
    if isinstance(value, Mapping):
        start = f"{path}." if path else ""
        return {key: _plain(entry, f"{start}{key}", depth + 1) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry, f"{path}[{i}]", depth + 1) for i, entry in enumerate(value)]
    if isinstance(value, int) and value.bit_length() > 63:  # tables hold 64 bits
        raise SpecError(f"{path}: expected a number of at most 63 bits, got one of {value.bit_length()}")
    return value.tolist() if hasattr(value, "tolist") else value


def _top(tables: Mapping[str, Any]) -> _Tables:
    try:
        return _TOP.model_validate(tables)
    except ValidationError as error:
        found = sorted(
            error.errors(), key=lambda one: one["type"] != "extra_forbidden"
        )  # a slip explains what is missing
        raise SpecError(_top_complaint(dict(found[0]))) from None


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
    """Return every key as given, once each; with ``full``, [full]'s in the place of the others."""
    found: dict[str, _Entry] = {}
    for section in ("grid", "base", *SECTIONS):
        for key, value in flat(section, getattr(top, section)).items():
            whole = key if section in ("grid", "base") else f"{section}.{key}"
            entry = _Entry(f"{section}.{key}", value, section == "grid")
            if whole in found:
                raise SpecError(f"{entry.path}: given twice; it stands in {found[whole].path} too")
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
    """Raise where a key is missing, or where no cell and no task of the study knows it."""
    for key in ("cell", "task.name"):
        if key not in values:
            raise SpecError(f"{key}: missing; choose from {', '.join(every_key()[key].choices)}")
    pairs = [(cell, task) for cell in values["cell"] for task in values["task.name"]]
    known = {key for cell, task in pairs for key in keys_of(cell, task)}
    for key in values:
        if key not in known and not key.startswith("train."):
            theirs = "task.name" if key == "length" or key.startswith("task.") else "cell"
            there = f"{theirs.removesuffix('.name')} {' or '.join(map(shown, values[theirs]))}"
            raise SpecError(f"{entries[key].path}: {there} has no such key; {' and '.join(owners(key))} would")
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
        raise SpecError("grid.hooks: hooks do not vary; put them into [base], every trace takes all of them")
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
    from gradlab.figures import FIGURES  # matplotlib: only where a study asks for figures by name

    return checked_list("report.figures", Option(str, "", choices=tuple(FIGURES)), names)


def _section(name: str, fixed: Mapping[str, Any]) -> Table:
    return {key.partition(".")[2]: value for key, value in fixed.items() if key.startswith(name + ".")}
