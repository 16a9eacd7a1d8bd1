"""The plan of a study: the grid becomes configurations with ids, in groups."""

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

#: Version of the numerics; increase it when the same configuration gives other numbers than before.
NUMERICS = 2
#: Largest number of configurations in a group: a kill loses at most one group per worker, but each group is a file.
GROUP = 8
#: Limit of the time steps that the trainings of a group pass through, about a minute; one training may exceed it.
TRAINED = 300_000
#: Number of time steps of a whole study, about a gigabyte, above which ``steps`` keeps logarithmically spaced lags.
MANY_STEPS = 2_000_000
#: Description of the rows that ``steps`` then keeps.
THIN = "logarithmically spaced lags"


@dataclass(frozen=True)
class Configuration:
    """One row of the plan.

    Attributes
    ----------
    id : str
        The hash of the values and of the version of the numerics, 16 hexadecimal digits.
    values : mapping
        The value of every key, including "seed" and "hooks".
    """

    id: str
    values: Mapping[str, Any]

    def section(self, name: str) -> dict[str, Any]:
        """Return the values of the table ``name``, by key without the table: ``recurrent`` for ``init.recurrent``.

        Parameters
        ----------
        name : str
            The table, such as "init".

        Returns
        -------
        dict
            The values; empty if the configuration has no such table.
        """
        return {key.partition(".")[2]: v for key, v in self.values.items() if key.startswith(name + ".")}


Group = tuple[Configuration, ...]
#: Keys whose values are lists of steps or hooks; tables show them as text.
_LISTS = ("hooks", *(key for key, option in every_key().items() if option.type in LISTED))


def configuration(values: Mapping[str, Any]) -> Configuration:
    """Return the configuration of ``values`` with its id, a hash of the canonical JSON and the numerics version.

    Parameters
    ----------
    values : mapping
        The value of every key, including "seed" and "hooks".

    Returns
    -------
    Configuration
        The configuration.
    """
    return Configuration(hashlib.sha256(_canonical(values).encode()).hexdigest()[:16], dict(values))


def _canonical(values: Mapping[str, Any]) -> str:
    return json.dumps({"numerics": NUMERICS, "values": dict(values)}, sort_keys=True, separators=(",", ":"))


def _with_seeds(values: Mapping[str, Any], seeds: Iterable[int]) -> Iterator[Configuration]:
    """Yield the :func:`configuration` of every seed; their common text is written and hashed once."""
    before, after = _canonical({**values, "seed": None}).split(
        '"seed":null'
    )  # unique, because quotes inside a text are escaped
    shared = hashlib.sha256(f'{before}"seed":'.encode())
    for seed in seeds:
        digest = shared.copy()
        digest.update(f"{seed}{after}".encode())
        yield Configuration(digest.hexdigest()[:16], {**values, "seed": seed})


def together(config: Configuration) -> int:
    """Return the number of configurations like ``config`` in a group; longer trainings give smaller groups.

    Parameters
    ----------
    config : Configuration
        The configuration.

    Returns
    -------
    int
        The number, from 1 to ``GROUP``.
    """
    trained = _steps(config.values) * config.values.get("train.steps", 0)
    return max(1, min(GROUP, TRAINED // trained)) if trained else GROUP


def _steps(values: Mapping[str, Any]) -> int:
    return int(values["length"] * values["layers"])


class Plan(NamedTuple):
    """The configurations of a study.

    Attributes
    ----------
    spec : Spec
        The specification.
    configurations : tuple of Configuration
        In the order of the grid, with seeds as the innermost key.
    """

    spec: Spec
    configurations: tuple[Configuration, ...]

    def groups(self, done: Container[str] = ()) -> list[Group]:
        """Return the groups to run; a group holds at most :func:`together` seeds of one combination.

        Parameters
        ----------
        done : container of str
            The ids to leave out.

        Returns
        -------
        list of tuple of Configuration
            The groups that are not empty. ``done`` does not change how seeds are grouped.
        """
        found = []
        for _, same in itertools.groupby(self.configurations, key=_but_seed):
            whole = tuple(same)
            size = together(whole[0])
            for start in range(0, len(whole), size):
                found.append(tuple(c for c in whole[start : start + size] if c.id not in done))
        return [group for group in found if group]

    @property
    def thin(self) -> bool:
        """Whether the study is so large that its table ``steps`` keeps logarithmically spaced lags only."""
        return (
            sum(_steps(c.values) * len(c.values.get("train.measure_at", (0,))) for c in self.configurations)
            > MANY_STEPS
        )

    def frame(self) -> pd.DataFrame:
        """Return one row per configuration: id, study, and one column per key.

        If some configurations have None for an optional key and others a value, its column is text with the level
        "none".
        """
        frame = factors(self.configurations)
        for key in frame.columns.intersection([key for key, option in every_key().items() if option.optional]):
            if frame[key].notna().any() and any(c.values.get(key, "") is None for c in self.configurations):
                frame[key] = [word(c.values[key]) if key in c.values else None for c in self.configurations]
        frame.insert(1, "study", self.spec.name)
        return frame


def factors(configurations: Sequence[Configuration]) -> pd.DataFrame:
    """Return one row per configuration: id, and one column per key that any of them has; lists become text.

    Parameters
    ----------
    configurations : sequence of Configuration
        The configurations.

    Returns
    -------
    DataFrame
        The rows in the given order. A key that a configuration lacks is missing there.
    """
    frame = pd.DataFrame([{"id": c.id} | _row(c) for c in configurations])
    order = ["id", *(key for key in [*every_key(), "seed", "hooks"] if key in frame)]
    floats = {key: "float64" for key, option in every_key().items() if option.type is float and key in frame}
    return frame[order].astype(floats)


def make_plan(spec: Spec) -> Plan:
    """Return the plan of a specification; a configuration that several combinations share is planned once.

    Parameters
    ----------
    spec : Spec
        The checked specification.

    Returns
    -------
    Plan
        The plan.

    Raises
    ------
    SpecError
        If a combination cannot run, such as a loss at a step beyond the last. Also if a published number selects no
        runs, or runs that differ in more than the seed.
    """
    found = _configurations(spec)
    refuse_unmatched(spec.published, (config.values for config in found.values()), lambda: _full(spec))
    return Plan(_with_content(spec, found.values()), tuple(found.values()))


def _full(spec: Spec) -> Iterator[Mapping[str, Any]]:
    """Yield the values of every configuration of the full study; none without a [full] table."""
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
    """Return ``spec`` with the checksum of the task's data, if all configurations share one.

    A results folder thus records its data, and can be read where the data are missing.
    """
    contents = {c.values["task.content"] for c in configurations if "task.content" in c.values}
    if len(contents) != 1:
        return spec
    return replace(spec, fixed={**spec.fixed, "task.content": contents.pop()})


def resolve(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a value for every key of the combination's cell and task: the given one, or the default.

    Parameters
    ----------
    given : mapping
        The values that the specification gives, including "cell" and "task.name".

    Returns
    -------
    dict
        The value of every key except "seed" and "hooks".

    Raises
    ------
    SpecError
        If no run could have these values.
    """
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
    """Initialise a cell of one unit, so that contradictory choices are refused before anything runs."""
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
