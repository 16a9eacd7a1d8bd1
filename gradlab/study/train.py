"""``[train]``: its keys, which depend on the chosen optimiser, schedule and criterion, and the training itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from functools import cache
from typing import Any

from gradlab.cells import CELLS
from gradlab.errors import InputError, SpecError
from gradlab.models.network import Network, Readout
from gradlab.options import Option
from gradlab.tables.factors import NONE
from gradlab.tasks import TASKS, Task
from gradlab.training import Schedule, Training, Until
from gradlab.training.optimisers import OPTIMISERS
from gradlab.training.schedule import KINDS, OF, USED

#: The keys of every configuration that trains.
TRAIN: dict[str, Option] = {
    "steps": Option(int, None, minimum=1, meaning="largest number of training steps; required"),
    "measure_at": Option(list, None, minimum=0, optional=True, meaning="training steps measured; by default 0, steps"),
    "optimiser": Option(str, "adam", choices=tuple(OPTIMISERS), meaning="the optimiser"),
    "learning_rate": Option(float, None, minimum=0, optional=True, meaning="by default the optimiser's own"),
    "clip_norm": Option(float, None, optional=True, meaning="limit of the gradient's norm; by default none"),
    "clip_value": Option(
        float, None, optional=True, meaning="limit of each component of the gradient; by default none"
    ),
    "schedule": Option(str, "constant", choices=KINDS, meaning="the learning rate's factor over the steps"),
    "until": Option(str, None, choices=OF, optional=True, meaning="the criterion of success, which ends training"),
}
#: Largest length of the sequence on which a training is tried before anything runs.
SHORT = 1000
#: The type of a field by its annotation, and whether None is allowed.
_KINDS = {"int": (int, False), "float": (float, False), "bool": (bool, False), "int | None": (int, True)}
_MEANINGS = {
    "momentum": "share of the last update that is kept",
    "nesterov": "whether the momentum is Nesterov's",
    "alpha": "share of the mean square that is kept",
    "eps": "number added to the root in the denominator",
    "beta1": "share of the mean that is kept",
    "beta2": "share of the mean square that is kept",
    "warmup": "number of first steps over which the rate grows",
    "factor": "factor on the rate",
    "every": "number of steps between factors",
    "over": "number of steps of the cosine; by default all",
    "least": "factor on the rate at the end",
}


def _option(kind: type, name: str) -> Option:
    """Return the option for the field ``name`` of a dataclass."""
    one = next(field for field in fields(kind) if field.name == name)
    plain, optional = _KINDS[str(one.type)]
    default = None if one.default is MISSING else one.default
    return Option(plain, default, optional=optional, meaning=_MEANINGS.get(name, ""))


#: The keys that a choice adds, by the choosing key and its value.
BRINGS: dict[tuple[str, Any], dict[str, Option]] = {
    **{
        ("optimiser", name): {one.name: _option(kind, one.name) for one in fields(kind) if one.name != "lr"}
        for name, kind in OPTIMISERS.items()
    },
    **{("schedule", kind): {f"schedule_{name}": _option(Schedule, name) for name in USED[kind]} for kind in KINDS},
    **{
        ("until", of): {
            "threshold": Option(
                float, None, optional=True, meaning="limit that the loss must be below, or the score above"
            ),
            "window": Option(
                int, 1, minimum=1, meaning="number of latest losses, or scores, whose mean must pass the limit"
            ),
            **(
                {"score_every": Option(int, 100, minimum=1, meaning="training steps between scores")}
                if of == "score"
                else {}
            ),
        }
        for of in OF
    },
    **{
        ("cell", name): {"omega": Option(float, 0.0, minimum=0, meaning="weight of Pascanu's regulariser")}
        for name, cell in CELLS.items()
        if cell.vanilla
    },
}
#: The choosing keys.
CHOOSING = tuple(dict.fromkeys(key for key, _ in BRINGS))
EVERY: dict[str, Option] = TRAIN | {name: option for brought in BRINGS.values() for name, option in brought.items()}


def spelled(key: str) -> str:
    """Return the full name of a choosing key in a specification.

    Parameters
    ----------
    key : str
        The choosing key, one of ``CHOOSING``.

    Returns
    -------
    str
        The name, such as ``train.optimiser``; "cell" stays.
    """
    return key if key == "cell" else f"train.{key}"


def keys_of(values: Mapping[str, Any]) -> dict[str, Option]:
    """Return the keys of ``[train]`` for one configuration.

    Parameters
    ----------
    values : mapping
        The given values by key.

    Returns
    -------
    dict
        The option by key, such as ``train.steps``; empty if no value of ``[train]`` is given.
    """
    if not any(key.startswith("train.") for key in values):
        return {}
    known = dict(TRAIN)
    for key in CHOOSING:
        known |= BRINGS.get((key, values.get(spelled(key), EVERY[key].default if key in EVERY else None)), {})
    return {f"train.{name}": known[name] for name in EVERY if name in known}


def refuse_unowned(values: Mapping[str, tuple[Any, ...]], paths: Mapping[str, str]) -> None:
    """Refuse a key of ``[train]`` that none of the study's choices adds.

    Parameters
    ----------
    values : mapping
        The values of each key of the study.
    paths : mapping
        The place of each key in the specification, for the message.

    Raises
    ------
    SpecError
        If a key is refused, or ``train.steps`` is missing.
    """
    if not any(key.startswith("train.") for key in values):
        return
    if "train.steps" not in values:
        raise SpecError("train.steps: missing; give the training steps in [train], or in [grid] as a list")
    for key in (key for key in values if key.startswith("train.")):
        name = key.partition(".")[2]
        choosers = [(one, value) for (one, value), brought in BRINGS.items() if name in brought]
        if not choosers:
            continue
        one = choosers[0][0]
        given = values.get(spelled(one), (EVERY[one].default,) if one in EVERY else ())
        if not {value for _, value in choosers} & set(given):
            chosen = " or ".join(f'{spelled(one)} "{value}"' for value in given if value)
            there = chosen or f"a study without {spelled(one)}"
            owners = " and ".join(value for _, value in choosers)
            raise SpecError(f"{paths[key]}: {there} has no such key; it belongs to {owners}")


def completed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of ``[train]`` that were not given and follow from others.

    Parameters
    ----------
    values : mapping
        The value of every key of the configuration.

    Returns
    -------
    dict
        The steps to measure at, the learning rate and the length of the cosine, if they follow from other keys.

    Raises
    ------
    SpecError
        If a key is missing, a clipping limit is not positive, or a step to measure at is beyond the last.
    """
    steps, optimiser = values["train.steps"], OPTIMISERS[values["train.optimiser"]]
    found = {"train.measure_at": values["train.measure_at"] or (0, steps)}
    if found["train.measure_at"][-1] > steps:
        raise SpecError(f"train.measure_at: step {found['train.measure_at'][-1]} is beyond the last, {steps} (steps)")
    if values["train.learning_rate"] is None:
        own = _option(optimiser, "lr").default
        if own is None:
            raise SpecError(f"train.learning_rate: missing; {values['train.optimiser']} has none of its own")
        found["train.learning_rate"] = own
    if values["train.until"] and values["train.threshold"] is None:
        raise SpecError(f'train.threshold: missing; until = "{values["train.until"]}" needs it')
    for key in ("train.clip_norm", "train.clip_value"):
        if (limit := values[key]) is not None and limit <= 0.0:
            raise SpecError(f'{key}: must be above 0, got {limit}; "{NONE}" is no clipping')
    if values["train.schedule"] == "cosine" and values["train.schedule_over"] is None:
        found["train.schedule_over"] = steps
    return found


def refuse_training(values: Mapping[str, Any]) -> None:
    """Set up the training of a cell of one unit, so that a contradiction is refused before anything runs.

    Parameters
    ----------
    values : mapping
        The value of every key of the configuration.

    Raises
    ------
    SpecError
        If the training cannot be set up.
    """
    plain = {key: value for key, value in values.items() if key.startswith(("train.", "task."))}
    task = _task(tuple((key, value) for key, value in plain.items() if key.startswith("task.")))
    try:
        _tried(values["cell"], min(values["length"], SHORT), task, tuple(plain.items()))
    except InputError as error:
        raise SpecError(f"train: {error}") from None


@cache
def _task(keys: tuple[tuple[str, Any], ...]) -> Task:
    """Return a task after reading its input and output sizes, so that missing data raise here."""
    options = {key.partition(".")[2]: value for key, value in keys}
    task = TASKS[options.pop("name")](**options)
    _ = task.input_size, task.output_size
    return task


@cache
def _tried(cell: str, length: int, task: Task, keys: tuple[tuple[str, Any], ...]) -> None:
    readout = Readout.init(1, task.output_size, activation=task.readout, rng=0)
    model = Network([CELLS[cell].init(task.input_size, 1, rng=0)], readout=readout)
    training({**dict(keys), "length": length, "batch": 1, "at": "last"}, model, task, seed=0)


def training(values: Mapping[str, Any], model: Network, task: Task, seed: int) -> Training:
    """Return the training that a configuration describes, before its first step.

    Parameters
    ----------
    values : mapping
        The value of every key of the configuration.
    model : Network
        The network to train.
    task : Task
        The task to train on.
    seed : int
        The seed of the training data.

    Returns
    -------
    Training
        The training.
    """
    train = {key.partition(".")[2]: value for key, value in values.items() if key.startswith("train.")}
    own = {name: train[name] for name in BRINGS["optimiser", train["optimiser"]]}
    over = {name: train[f"schedule_{name}"] for name in USED[train["schedule"]]}
    return Training(
        model,
        task,
        length=values["length"],
        batch=values["batch"],
        at=values["at"] if isinstance(values["at"], str) else list(values["at"]),
        optimiser=OPTIMISERS[train["optimiser"]](lr=train["learning_rate"], **own),
        schedule=Schedule(train["schedule"], **over),
        clip_norm=train["clip_norm"],
        clip_value=train["clip_value"],
        omega=train.get("omega", 0.0),
        until=_until(train),
        seed=seed,
    )


def _until(train: Mapping[str, Any]) -> Until | None:
    if train["until"] is None:
        return None
    side = {"below" if train["until"] == "loss" else "above": train["threshold"]}
    return Until(train["until"], **side, window=train["window"], every=train.get("score_every", Until.every))
