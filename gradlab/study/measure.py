"""What a worker does: one configuration after the other, built, traced, and made into rows."""

from __future__ import annotations

import threading
import time
import traceback
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from gradlab import schema
from gradlab.analysis.steps import thinned
from gradlab.cells import CELLS, Cell
from gradlab.errors import InputError
from gradlab.hooks import make_hook
from gradlab.losses import Loss
from gradlab.network import Network, Readout
from gradlab.study.interrupt import put_off
from gradlab.study.parts import Part, pack
from gradlab.study.plan import Configuration, Group
from gradlab.tasks import TASKS, Held
from gradlab.tasks.registry import adopt
from gradlab.trace import trace

#: Purposes for which a seed is spawned; the numbers are part of the numerics.
DATA, READOUT, WEIGHTS = 0, 1, 2


class _Pin:
    """Keeps BLAS at one thread while any thread of this process is inside.

    threadpoolctl's own context ends with the first thread that leaves it, while others still measure.
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
            with put_off():  # threadpoolctl looks for libraries in callbacks from C, where Ctrl-C would be lost
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
    """Return the generator of one purpose: the same for every cell, scale and length that share ``seed``."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=purpose))


def data(config: Configuration) -> tuple[np.ndarray[Any, np.dtype[Any]], Loss]:
    """Return the batch ``x (T, B, D)`` and the loss of a configuration."""
    values, options = config.values, config.section("task")
    at = values["at"] if isinstance(values["at"], str) else list(values["at"])
    task = TASKS[options.pop("name")](**options)
    x, loss = task.sample(values["length"], values["batch"], at=at, rng=generator(values["seed"], DATA))
    return x.astype(values["precision"]), loss


def refuse_other_data(config: Configuration) -> None:
    """Raise InputError where the data that a file or a user holds are not those of which the configuration is."""
    options = config.section("task")
    task = TASKS[options.pop("name")](**options)
    if isinstance(task, Held) and task.checksum() != options["content"]:
        raise InputError(
            f"its data have changed: their content is {task.checksum()}, the study's is {options['content']}; "
            "take content out, or write to another folder"
        )


def network(config: Configuration) -> Network:
    """Return the network of a configuration, its weights the same draw at every scale."""
    values, options = config.values, config.section("task")
    task = TASKS[options.pop("name")](**options)
    hidden, dtype = values["hidden"], values["precision"]
    sizes = [task.input_size, *[hidden] * (values["layers"] - 1)]
    cells = [_cell(config, size, layer) for layer, size in enumerate(sizes)]
    rng = generator(values["seed"], READOUT)
    readout = Readout.init(hidden, task.output_size, activation=task.readout, rng=rng, dtype=dtype)
    return Network(cells, readout=readout)


def measure(group: Group, *, thin: bool = False, own: bytes = b"") -> Part:
    """Return the rows of a group, on one thread; a configuration that fails is a row and the others go on.

    An overflow is a finding and stands in the row; NumPy's word on it would only tear the progress bar. ``thin`` keeps
    logarithmically spaced lags of ``steps``; ``own`` holds the user's own tasks, packed.
    """
    adopt(own)
    with PIN, np.errstate(all="ignore"):
        return pack(group, [_rows(config, thin) for config in group])


def failed(group: Group, reason: str) -> Part:
    """Return the part of a group that could not be measured at all."""
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
        x, loss = data(config)
        hooks = [make_hook(name) for name in config.values["hooks"]]
        found = trace(network(config), x, loss, hooks=hooks).measured()
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".strip().splitlines()[0]
        return _failed(config, reason, time.perf_counter() - start, traceback.format_exc())
    if thin and "steps" in found:
        found["steps"] = thinned(found["steps"])
    found["runs"] = found["runs"].assign(error=_reason, traceback="", seconds=time.perf_counter() - start)
    return {name: frame.assign(id=config.id) for name, frame in found.items() if len(frame)}


def _reason(runs: pd.DataFrame) -> list[str]:
    steps = zip(runs["status"], runs["overflow_step"], strict=True)
    return [f"the state is not finite from t = {step} on" if status == "diverged" else "" for status, step in steps]


def _failed(config: Configuration, reason: str, seconds: float, where: str = "") -> dict[str, pd.DataFrame]:
    row = {"id": config.id, "layer": 0, "direction": schema.DIRECTIONS[0], "status": "failed"}
    return {"runs": pd.DataFrame([row | {"error": reason, "traceback": where, "seconds": seconds}])}
