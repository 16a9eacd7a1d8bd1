"""The work of one process: build, train and trace the configurations of a group, and return their rows."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from gradlab import schema
from gradlab._trace.trace import whole_trace
from gradlab.cells import CELLS, Cell
from gradlab.errors import InputError
from gradlab.hooks import make_hook
from gradlab.models.losses import Loss
from gradlab.models.network import Network, Readout
from gradlab.statistics.profiles import thinned
from gradlab.study.interrupt import put_off
from gradlab.study.plan import Configuration, Group
from gradlab.study.store import Part, pack
from gradlab.study.train import training
from gradlab.tasks import TASKS, DataTask, Task
from gradlab.tasks.registry import adopt
from gradlab.training import Training
from gradlab.training.checkpoint import DIVERGED, SOLVED

Array = np.ndarray[Any, Any]
#: Spawn keys of the random generators, by purpose; a change changes results and needs a new version of the numerics.
DATA, READOUT, WEIGHTS, TRAIN, TEST = 0, 1, 2, 3, 4
#: Smallest number of test sequences for the loss and score of a trained network, rounded up to whole batches.
TESTED = 256


class _Pin:
    """Limits BLAS to one thread while any thread of this process is inside the context.

    The limit of threadpoolctl's own context ends when the first thread leaves, while others may still measure.
    """

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._begin()
            self._inside += 1

    def _begin(self) -> None:
        try:
            with put_off():  # threadpoolctl uses callbacks from C, in which Ctrl-C would be lost
                self._limits = threadpool_limits(1)
        except KeyboardInterrupt:
            self._limits.restore_original_limits()
            raise

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._limits.restore_original_limits()


PIN = _Pin()


def generator(seed: int, *purpose: int) -> np.random.Generator:
    """Return the random generator for one purpose; it does not depend on cell, scale or length.

    Parameters
    ----------
    seed : int
        The seed of the configuration.
    *purpose : int
        The spawn key, such as ``WEIGHTS, layer``.

    Returns
    -------
    numpy.random.Generator
        The generator.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=purpose))


def data(config: Configuration) -> tuple[np.ndarray[Any, np.dtype[Any]], Loss]:
    """Return the batch on which a configuration is measured; test data if it trains.

    Parameters
    ----------
    config : Configuration
        The configuration.

    Returns
    -------
    x : array, (T, B, D)
        The inputs, in the configuration's precision.
    loss : Loss
        The loss of the batch.
    """
    values, task = config.values, task_of(config)
    task = task.test if "train.steps" in values else task
    x, loss = task.sample(values["length"], values["batch"], at=_at(values), rng=generator(values["seed"], DATA))
    return x.astype(values["precision"]), loss


def task_of(config: Configuration) -> Task:
    """Return the task of a configuration.

    Parameters
    ----------
    config : Configuration
        The configuration.

    Returns
    -------
    Task
        The task with the options of the configuration.
    """
    options = config.section("task")
    return TASKS[options.pop("name")](**options)


def _at(values: Mapping[str, Any]) -> Any:
    return values["at"] if isinstance(values["at"], str) else list(values["at"])


def refuse_other_data(config: Configuration) -> None:
    """Refuse data of a file or of the user that differ from those that the configuration records.

    Parameters
    ----------
    config : Configuration
        The configuration.

    Raises
    ------
    InputError
        If the checksum of the data differs from ``task.content``.
    """
    task, content = task_of(config), config.values.get("task.content")
    if isinstance(task, DataTask) and task.checksum() != content:
        raise InputError(
            f"its data have changed: their content is {task.checksum()}, the study's is {content}; "
            "take content out, or write to another folder"
        )


def network(config: Configuration) -> Network:
    """Return the untrained network of a configuration; its random draws depend on the seed, not on ``scale``.

    Parameters
    ----------
    config : Configuration
        The configuration.

    Returns
    -------
    Network
        The network, with a readout.
    """
    values, task = config.values, task_of(config)
    hidden, dtype = values["hidden"], values["precision"]
    sizes = [task.input_size, *[hidden] * (values["layers"] - 1)]
    cells = [_cell(config, size, layer) for layer, size in enumerate(sizes)]
    rng = generator(values["seed"], READOUT)
    readout = Readout.init(hidden, task.output_size, activation=task.readout, rng=rng, dtype=dtype)
    return Network(cells, readout=readout)


def measure(group: Group, *, thin: bool = False, own: bytes = b"") -> Part:
    """Measure a group, on one thread; a configuration that fails becomes a row with the status "failed".

    NumPy's warnings are off: the rows report an overflow, and a warning would break the progress bar.

    Parameters
    ----------
    group : tuple of Configuration
        The configurations.
    thin : bool
        Whether the table ``steps`` keeps logarithmically spaced lags only.
    own : bytes
        The user's own tasks, packed.

    Returns
    -------
    Part
        The rows of the group.
    """
    adopt(own)
    with PIN, np.errstate(all="ignore"):
        return pack(group, [_rows(config, thin) for config in group])


def failed(group: Group, reason: str) -> Part:
    """Return the part of a group that could not be measured, with the status "failed" for every configuration.

    Parameters
    ----------
    group : tuple of Configuration
        The configurations.
    reason : str
        The error to store, one line.

    Returns
    -------
    Part
        The rows of the group.
    """
    return pack(group, [_failed(config, reason, float("nan")) for config in group])


def _cell(config: Configuration, input_size: int, layer: int) -> Cell:
    values, name = config.values, config.values["cell"]
    keys = {**config.section("init"), **config.section(name), "scale": values["scale"]}
    rng = generator(values["seed"], WEIGHTS, layer)
    found: Cell = CELLS[name].init(input_size, values["hidden"], rng=rng, dtype=values["precision"], **keys)
    return found


def _rows(config: Configuration, thin: bool) -> dict[str, pd.DataFrame]:
    """Return the rows of one configuration by table."""
    start = time.perf_counter()
    try:
        found = (_trained if "train.steps" in config.values else _traced)(config, thin)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".strip().splitlines()[0]
        return _failed(config, reason, time.perf_counter() - start, traceback.format_exc())
    found["runs"] = found["runs"].assign(seconds=time.perf_counter() - start)
    return {name: frame.assign(id=config.id) for name, frame in found.items() if len(frame)}


def _traced(config: Configuration, thin: bool, model: Cell | Network | None = None) -> dict[str, pd.DataFrame]:
    """Trace one pass of ``model`` (by default the untrained network) and return the rows of the hooks by table."""
    x, loss = data(config)
    hooks = [make_hook(name) for name in config.values["hooks"]]
    found = whole_trace(network(config) if model is None else model, x, loss, hooks=hooks).measured()
    if thin and "steps" in found:
        found["steps"] = thinned(found["steps"])
    found["runs"] = found["runs"].assign(error=_reason, traceback="")
    return found


def _trained(config: Configuration, thin: bool) -> dict[str, pd.DataFrame]:
    """Train, trace the same batch after each step of ``measure_at``, and return the rows with the outcome by table."""
    values, task = config.values, task_of(config)
    going = training(values, network(config), task, _seed(values["seed"], TRAIN))
    parts, last = list[dict[str, pd.DataFrame]](), None
    for step in values["train.measure_at"]:
        going.run(step)
        if going.model is not last:
            last = going.model
            found = _traced(config, thin, last)
            loss, score = _tested(config, task, partial(_outputs, last))
        runs = found["runs"].assign(loss=loss, score=score, trained=float(going.step))
        if going.status == DIVERGED:
            runs = runs.assign(status="diverged", error=going.reason)
        parts.append({name: frame.assign(step=step) for name, frame in (found | {"runs": runs}).items()})
    going.run(values["train.steps"])
    joined = {name: pd.concat([part[name] for part in parts], ignore_index=True) for name in parts[0]}
    joined["runs"] = joined["runs"].assign(**_outcome(going), **_baselines(config, task))
    return joined


def _outcome(going: Training) -> dict[str, float]:
    """Return whether the criterion was met (0 or 1) and after how many steps; nan if there is no criterion."""
    if going.until is None:
        return {"solved": np.nan, "steps_to_criterion": np.nan}
    met = going.status == SOLVED
    return {"solved": float(met), "steps_to_criterion": float(going.step) if met else np.inf}


def _outputs(model: Cell | Network, x: Array) -> Array:
    return whole_trace(model, x).outputs


def _baselines(config: Configuration, task: Task) -> dict[str, float]:
    """Return the loss of the best constant, and the test loss and score of each of the task's baselines, by column."""
    found = {"constant_loss": _constant(config, task.test)}
    for name, answer in task.baselines():
        found[f"{name}_loss"], found[f"{name}_score"] = _tested(config, task, answer)
    return found


def _constant(config: Configuration, task: Task) -> float:
    """Return the loss of the best constant; nan if the task does not define it."""
    try:
        return task.baseline(config.values["length"], _at(config.values))
    except InputError:
        return float("nan")


def _tested(config: Configuration, task: Task, answer: Callable[[Array], Array]) -> tuple[float, float]:
    """Return the mean loss and score over test sequences, the same for every model; a missing score is nan."""
    values, losses, scores = config.values, list[float](), list[float]()
    batches = task.test.batches(values["length"], values["batch"], at=_at(values), seed=_seed(values["seed"], TEST))
    for x, loss in islice(batches, -(-TESTED // values["batch"])):
        outputs = answer(x)
        value, _ = loss.evaluate(outputs)
        losses.append(float(value.astype(np.float64).mean()))
        scores.append(_score(task, outputs, loss))
    return float(np.mean(losses)), float(np.mean(scores))


def _score(task: Task, outputs: Array, loss: Loss) -> float:
    """Return the mean score; nan if the task does not define one."""
    try:
        return float(task.score(outputs, loss).mean())
    except InputError:
        return float("nan")


def _seed(seed: int, purpose: int) -> int:
    """Return the seed for one purpose; training and test batches spawn their own seeds from it."""
    return int(np.random.SeedSequence(seed, spawn_key=(purpose,)).generate_state(1, np.uint64)[0])


def _reason(runs: pd.DataFrame) -> list[str]:
    steps = zip(runs["status"], runs["overflow_step"], strict=True)
    return [f"the state is not finite from t = {step} on" if status == "diverged" else "" for status, step in steps]


def _failed(config: Configuration, reason: str, seconds: float, where: str = "") -> dict[str, pd.DataFrame]:
    row = {"id": config.id, "layer": 0, "direction": schema.DIRECTIONS[0], "status": "failed"}
    row |= {"error": reason, "traceback": where, "seconds": seconds}
    steps = config.values.get("train.measure_at")
    return {"runs": pd.DataFrame([row] if steps is None else [row | {"step": step} for step in steps])}
