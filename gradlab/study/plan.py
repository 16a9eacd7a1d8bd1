"""From grid to configurations, their ids and their groups."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple

import pandas as pd

from gradlab.cells import CELLS
from gradlab.errors import InputError, SpecError
from gradlab.study import train
from gradlab.study.keys import LISTED, checked, every_key, keys_of
from gradlab.study.published import refuse_unmatched
from gradlab.study.spec import Spec
from gradlab.tables.factors import word
from gradlab.tasks import TASKS, DataTask
from gradlab.tasks.registry import Absent

#: Version of the numerics: raise it when the same configuration would give other numbers than before.
NUMERICS = 2
#: Configurations in a group, at most: what a kill can cost, against the price of a file.
GROUP = 8
#: Steps of all passes of a group's trainings together, at most, unless a single one has more: a minute or so.
TRAINED = 300_000
#: Steps of all configurations together above which ``steps`` keeps logarithmically spaced lags: a gigabyte or so.
MANY_STEPS = 2_000_000
#: What ``steps`` then holds.
THIN = "logarithmically spaced lags"


@dataclass(frozen=True)
class Configuration:
    """One row of the plan: resolved values by key, "seed" and "hooks" included, and their hash."""

    id: str
    values: Mapping[str, Any]

    def section(self, name: str) -> dict[str, Any]:
        """Return the keys of one table without its name: ``recurrent`` for ``init.recurrent``."""
        return {key.partition(".")[2]: v for key, v in self.values.items() if key.startswith(name + ".")}


Group = tuple[Configuration, ...]
#: Keys whose values a table shows as text.
_LISTS = ("hooks", *(key for key, option in every_key().items() if option.type in LISTED))


def configuration(values: Mapping[str, Any]) -> Configuration:
    """Return the configuration with its id: a hash of canonical JSON, the version of the numerics included."""
    return Configuration(hashlib.sha256(_canonical(values).encode()).hexdigest()[:16], dict(values))


def _canonical(values: Mapping[str, Any]) -> str:
    return json.dumps({"numerics": NUMERICS, "values": dict(values)}, sort_keys=True, separators=(",", ":"))


def _with_seeds(values: Mapping[str, Any], seeds: Iterable[int]) -> Iterator[Configuration]:
    """Yield the :func:`configuration` of every seed; what they share is written and hashed once."""
    before, after = _canonical({**values, "seed": None}).split('"seed":null')  # within a text, quotes are escaped
    shared = hashlib.sha256(f'{before}"seed":'.encode())
    for seed in seeds:
        digest = shared.copy()
        digest.update(f"{seed}{after}".encode())
        yield Configuration(digest.hexdigest()[:16], {**values, "seed": seed})


def together(config: Configuration) -> int:
    """Return how many configurations like this one are a group: fewer the longer they are trained."""
    trained = _steps(config.values) * config.values.get("train.steps", 0)
    return max(1, min(GROUP, TRAINED // trained)) if trained else GROUP


def _steps(values: Mapping[str, Any]) -> int:
    return int(values["length"] * values["layers"])


class Plan(NamedTuple):
    """The configurations of a study, in the order of its grid, seeds innermost."""

    spec: Spec
    configurations: tuple[Configuration, ...]

    def groups(self, done: Container[str] = ()) -> list[Group]:
        """Return what is to run: seeds of one combination, at most :func:`together`, those in ``done`` left out."""
        found = []
        for _, same in itertools.groupby(self.configurations, key=_but_seed):
            whole = tuple(same)
            size = together(whole[0])
            for start in range(0, len(whole), size):
                found.append(tuple(c for c in whole[start : start + size] if c.id not in done))
        return [group for group in found if group]

    @property
    def thin(self) -> bool:
        """Whether the study is so large that its ``steps`` keep logarithmically spaced lags."""
        return (
            sum(_steps(c.values) * len(c.values.get("train.measure_at", (0,))) for c in self.configurations)
            > MANY_STEPS
        )

    def frame(self) -> pd.DataFrame:
        """Return one row a configuration: id, study, and a column for every key.

        Where an option is left out by some and given by others, it is no number: "none" is one of its levels.
        """
        frame = factors(self.configurations)
        for key in frame.columns.intersection([key for key, option in every_key().items() if option.optional]):
            if frame[key].notna().any() and any(c.values.get(key, "") is None for c in self.configurations):
                frame[key] = [word(c.values[key]) if key in c.values else None for c in self.configurations]
        frame.insert(1, "study", self.spec.name)
        return frame


def factors(configurations: Sequence[Configuration]) -> pd.DataFrame:
    """Return one row a configuration: id, and a column for every key that one of them has, lists as text."""
    frame = pd.DataFrame([{"id": c.id} | _row(c) for c in configurations])
    order = ["id", *(key for key in [*every_key(), "seed", "hooks"] if key in frame)]
    floats = {key: "float64" for key, option in every_key().items() if option.type is float and key in frame}
    return frame[order].astype(floats)


def make_plan(spec: Spec) -> Plan:
    """Return the plan of a specification; what several combinations share is planned once.

    Raises
    ------
    SpecError
        for a combination that no run could have, such as a loss at a step beyond the last, and for a published number
        that no run, or no one set-up, stands beside.
    """
    found = _configurations(spec)
    refuse_unmatched(spec.published, (config.values for config in found.values()), lambda: _full(spec))
    return Plan(_with_content(spec, found.values()), tuple(found.values()))


def _full(spec: Spec) -> Iterator[Mapping[str, Any]]:
    """Yield what the study's [full] table would run."""
    if spec.full:
        yield from (config.values for config in _configurations(Spec.from_tables(spec.tables(), full=True)).values())


def _configurations(spec: Spec) -> dict[str, Configuration]:
    found: dict[str, Configuration] = {}
    for given in spec.combinations():
        values = resolve(given)
        for config in _with_seeds({**values, "seed": None, "hooks": list(spec.hooks)}, spec.seeds):
            found.setdefault(config.id, config)
    return found


def _with_content(spec: Spec, configurations: Iterable[Configuration]) -> Spec:
    """Return ``spec`` with the checksum of the data that a file or a user holds, where all have one.

    So a results folder says which data it is of, and is read where they are not.
    """
    contents = {c.values["task.content"] for c in configurations if "task.content" in c.values}
    if len(contents) != 1:
        return spec
    return replace(spec, fixed={**spec.fixed, "task.content": contents.pop()})


def resolve(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a value for every key that this cell and task know: the given one, or the default."""
    keys = keys_of(given["cell"], given["task.name"]) | train.keys_of(given)
    values = {key: given[key] if key in given else checked(key, o, o.default) for key, o in keys.items()}
    options = {key.partition(".")[2]: value for key, value in values.items() if key.startswith("task.")}
    try:
        task = TASKS[options.pop("name")](**options)
        if isinstance(task, DataTask) and not options["content"]:
            values["task.content"] = task.checksum()
    except InputError as error:
        raise SpecError(f"task: {error}") from None
    own = ("init.", f"{values['cell']}.")
    _refuse_init(values["cell"], tuple((key, v) for key, v in values.items() if key.startswith(own)))
    values.setdefault("length", task.fixed_length)
    if isinstance(values["at"], tuple) and values["at"][-1] > values["length"]:
        raise SpecError(f"at: step {values['at'][-1]} is beyond the last, {values['length']} (length)")
    if "train.steps" in values:
        values |= train.completed(values)
        if not isinstance(task, Absent):
            train.refuse_training(values)
    return values


@cache
def _refuse_init(cell: str, choices: tuple[tuple[str, Any], ...]) -> None:
    """Draw a cell of one unit, so that choices which exclude each other show before anything runs."""
    try:
        CELLS[cell].init(1, 1, rng=0, **{key.partition(".")[2]: value for key, value in choices})
    except InputError as error:
        raise SpecError(f"init: {error}") from None


def _row(config: Configuration) -> dict[str, Any]:
    lists = {key: v for key, v in config.values.items() if key in _LISTS}
    texts = {key: v if isinstance(v, str) else ", ".join(map(str, v)) for key, v in lists.items()}
    return {**config.values, **texts}


def _but_seed(config: Configuration) -> dict[str, Any]:
    return {**config.values, "seed": None}
