"""Cost of a plan: short copies of its configurations are measured here, and their time and memory interpolated."""

from __future__ import annotations

import math
import os
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cache, cached_property
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
from pyarrow.parquet import read_metadata
from scipy.optimize import nnls

from gradlab.arrays.memory import free_memory
from gradlab.cells import CELLS
from gradlab.errors import SpecError
from gradlab.formatting.numbers import counted
from gradlab.hooks.jacobians import SAMPLED
from gradlab.jacobians.steps import CHUNK
from gradlab.native import pool
from gradlab.progress import duration
from gradlab.study.plan import MANY_STEPS, THIN, Configuration, Plan, together
from gradlab.study.worker import measure, task_of
from gradlab.tasks import TASKS, Task

#: Bytes of a worker before its first configuration: Python with NumPy, SciPy, pandas and PyArrow.
IDLE = 215e6
#: Seconds in which the workers start, and seconds that timing the copies of a plan may take.
WORKERS, TIMING = 2.0, 2.0
#: Multiplications that take about as long as the Python code of one step of one layer.
STEP = 1e6
#: Most multiplications and most numbers of a copy.
WORK, NUMBERS = 1e8, 1e7
#: Bytes of a row of a group while it is packed; rows of each doubling of the lag that a thinned table keeps.
ROW, OCTAVE = 250.0, 8
#: Bytes for each number and step of the largest size that are far more than a worker takes.
AMPLE = 1000.0
#: A copy keeps at least this much of each axis, where the configuration has it.
FLOORS = {"length": 16, "batch": 2, "hidden": 8}


class Size(NamedTuple):
    """The part of a configuration that decides its cost; seed and scale do not.

    Configurations of one ``family`` (cell, precision, task, …, hooks) differ in the numbers alone and share a model.
    """

    family: tuple[Any, ...]
    layers: int
    length: int
    batch: int
    hidden: int
    sampled: int = 0
    steps: int = 0
    measured: int = 1

    @property
    def work(self) -> float:
        """Multiplications of all passes, roughly."""
        blocks = len(CELLS[self.family[0]].block_names)
        once = self.layers * self.length * (STEP + blocks * self.hidden**2 * self.batch)
        return (self.steps + self.measured) * once

    @property
    def numbers(self) -> float:
        """Numbers that a pass holds, roughly: blocks of the cell over time, weights, Jacobians, pairs of steps."""
        blocks = len(CELLS[self.family[0]].block_names) * self.hidden
        pairs = self.pairs * self.length**2 * self.batch
        return self.layers * blocks * (self.length * self.batch + self.hidden) + self.dense + pairs

    @property
    def dense(self) -> float:
        """Numbers of the dense Jacobians at hand at once."""
        one = self.batch * (len(CELLS[self.family[0]].state_names) * self.hidden) ** 2
        return float(min(max(self.sampled, 1) * one, max(CHUNK, one)))

    @property
    def pairs(self) -> bool:
        """Whether a hook keeps every pair of steps, so that the cost grows with the square of the length."""
        return any(hook.partition(":")[0] == "temporal" for hook in self.family[-1])


def size_of(config: Configuration) -> Size:
    """Return what decides the cost of ``config``."""
    v = config.values
    at = v["at"] if isinstance(v["at"], str) else len(v["at"]) > 1
    inputs = _input_size(tuple(sorted(config.section("task").items())))
    hooks = dict(hook.partition(":")[::2] for hook in v["hooks"])
    count = hooks.pop("jacobians", "0") or SAMPLED
    sampled = v["length"] if count == "all" else min(int(count), v["length"])
    kept = tuple(f"{kind}:{argument}" for kind, argument in sorted(hooks.items()))
    family = (v["cell"], v["precision"], at, v["task.name"], inputs, "train.steps" in v, kept)
    steps, measured = v.get("train.steps", 0), len(v.get("train.measure_at", (0,)))
    return Size(family, v["layers"], v["length"], v["batch"], v["hidden"], sampled, steps, measured)


@cache
def _input_size(options: tuple[tuple[str, Any], ...]) -> int:
    keys = dict(options)
    task: Callable[..., Task] = TASKS[keys.pop("name")]
    return task(**keys).input_size


def work(configs: Iterable[Configuration]) -> float:
    """Return the multiplications of several configurations, roughly: nothing is measured, every machine agrees."""
    return sum(size_of(config).work for config in configs)


# --- copies -------------------------------------------------------------------------------------------


def copied(config: Configuration, **numbers: int) -> Configuration:
    """Return ``config`` with other numbers of a :class:`Size`; no criterion ends its training."""
    values, size = dict(config.values), _other(size_of(config), **numbers)
    values |= {key: getattr(size, key) for key in ("layers", "length", "batch", "hidden")}
    if size.sampled and "sampled" in numbers:
        rest = [hook for hook in values["hooks"] if hook.partition(":")[0] != "jacobians"]
        values["hooks"] = sorted([*rest, f"jacobians:{size.sampled}"])
    if "train.steps" in values:
        values |= {"train.steps": size.steps, "train.until": None}
        values["train.measure_at"] = tuple(step for step in values["train.measure_at"] if step <= size.steps) or (0,)
    if not isinstance(values["at"], str):
        share = size.length / config.values["length"]
        values["at"] = tuple(sorted({max(1, round(step * share)) for step in values["at"]}))
    return Configuration(config.id, values)


def copies(config: Configuration, smallest: Size | None = None) -> list[Configuration]:
    """Return a short copy of ``config``, and others, each smaller along one axis: together they tell the terms apart.

    Parameters
    ----------
    smallest : the least of each axis in the plan; an axis that neither varies nor was shortened is left as it is.
        Where it is not given, all axes are halved.
    """
    size = size_of(config)
    corner = copied(config, sampled=min(8, size.sampled), steps=min(1, size.steps))
    axes = [axis for axis in FLOORS if axis != "length" or task_of(config).fixed_length is None]
    for axis in axes:
        whole, most = corner, getattr(size, axis)
        found = _largest(most + 1, lambda n: _fits(size_of(copied(whole, **{axis: n}))))  # noqa: B023
        corner = copied(corner, **{axis: max(found, min(FLOORS[axis], most))})
    first, found_copies = size_of(corner), [corner]
    for axis in (*axes, "layers", *(["sampled"] if smallest else [])):
        value, least = getattr(first, axis), (getattr(smallest, axis) if smallest else 1)
        low = min(value // 2, least) if smallest else value // 2
        if low and (axis == "length" or min(value, least) < getattr(size, axis)):
            found_copies.append(copied(corner, **{axis: low}))
    return found_copies


def _other(size: Size, **numbers: Any) -> Size:
    return size._replace(**numbers)


def _fits(size: Size) -> bool:
    return size.work <= WORK and size.numbers <= NUMBERS


def peak(copy: Configuration) -> tuple[float, float] | None:
    """Return the most bytes that measuring a configuration holds, and its rows per step; None where it fails."""
    pool.release()  # a buffer that is used again would not count
    running = tracemalloc.is_tracing()
    tracemalloc.reset_peak() if running else tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        part = measure((copy,))
        _, most = tracemalloc.get_traced_memory()
    finally:
        if not running:
            tracemalloc.stop()
        pool.release()
    if "failed" in part.statuses.values():
        return None
    rows = sum(read_metadata(BytesIO(file)).num_rows for file in part.files.values())
    return float(most - before), rows / size_of(copy).length


def timed(copy: Configuration) -> float | None:
    """Return the processor seconds of a configuration, on one thread; None where it fails."""
    start = time.process_time()
    statuses = measure((copy,)).statuses
    return None if "failed" in statuses.values() else time.process_time() - start


# --- models -------------------------------------------------------------------------------------------


def fitted(terms: Callable[..., list[float]], found: Sequence[tuple[tuple[Any, ...], float]]) -> Callable[..., float]:
    """Return a sum of ``terms`` with coefficients of at least 0, fitted to the same relative error everywhere.

    Parameters
    ----------
    terms : a function of some arguments.
    found : pairs of arguments and a positive quantity; without any, the sum is 0.
    """
    if not found:
        return lambda *_: 0.0
    rows = np.array([terms(*arguments) for arguments, _ in found]) / np.array([[value] for _, value in found])
    scale = np.where(rows.any(axis=0), rows.max(axis=0), 1.0)
    coefficients = nnls(rows / scale, np.ones(len(rows)))[0] / scale
    return lambda *arguments: float(coefficients @ terms(*arguments))


def _seconds(size: Size) -> list[float]:
    """Return the terms of the time: of passes that are measured, and of training steps."""
    L, T, B, H = size.layers, size.length, size.batch, size.hidden
    step = [1.0, L * T, L * T * B * H, L * T * B * H**2]
    seen = [L * H**2, L * size.sampled * B * H**3, size.pairs * L * T**2 * B * H]
    return [*(size.measured * each for each in (*step, *seen)), *(size.steps * each for each in step)]


def _bytes(size: Size) -> list[float]:
    """Return the terms of the memory: a start, weights, dense Jacobians, arrays over time, and pairs of steps."""
    L, T, B, H = size.layers, size.length, size.batch, size.hidden
    return [1.0, L * H**2, size.dense, L * T * B * H, size.pairs * T**2 * B]


def _smallest(sizes: Iterable[Size]) -> Size:
    """Return the least of each axis in a family."""
    family, *axes = zip(*sizes, strict=True)
    return Size(family[0], *map(min, axes))


def times(plan: Plan) -> dict[Size, float]:
    """Return the seconds of one configuration of each size on one core of this machine.

    Families with most work are timed first. One that is not timed for want of time, or fails, costs as much as the
    most expensive of the others would at its size.
    """
    families, counts, examples = _families(plan)
    models, until = dict[tuple[Any, ...], Callable[[Size], float]](), time.process_time() + TIMING
    for sizes in families:
        if time.process_time() > until:
            break
        example = examples[max(sizes, key=lambda size: size.work)]
        if taken := _timed(copies(example, _smallest(sizes))):
            models[sizes[0].family] = fitted(_seconds, taken)
    known = {size: [models[size.family]] if size.family in models else models.values() for size in counts}
    return {size: max((model(size) for model in known[size]), default=0.0) for size in counts}


def _timed(tried: Sequence[Configuration]) -> list[tuple[tuple[Size], float]]:
    """Return the size and the seconds of each copy that does not fail; one that trains takes few steps, then more."""
    timed(tried[0])  # the first run of a kind finds the libraries cold
    steps = (1, 20) if size_of(tried[0]).steps else (0,)
    each = [copied(copy, steps=count) for copy in tried for count in steps]
    return [((size_of(copy),), seconds) for copy in each if (seconds := timed(copy)) is not None]


def _families(plan: Plan) -> tuple[list[list[Size]], Counter[Size], dict[Size, Configuration]]:
    """Return the sizes of each family, that with most work first; how often each size occurs, and an example of it."""
    counts, examples, families = Counter[Size](), dict[Size, Configuration](), dict[tuple[Any, ...], list[Size]]()
    for config in plan.configurations:
        size = size_of(config)
        counts[size] += 1
        examples.setdefault(size, config)
    for size in counts:
        families.setdefault(size.family, []).append(size)
    by_work = sorted(families.values(), key=lambda sizes: -sum(counts[size] * size.work for size in sizes))
    return by_work, counts, examples


# --- what a plan needs --------------------------------------------------------------------------------


class Need:
    """The memory that a worker needs at its peak, measured when it is first asked for.

    Attributes
    ----------
    size : the size with the most numbers.
    free : bytes that are free; None where the system does not report them.
    """

    def __init__(self, plan: Plan) -> None:
        _, self._counts, examples = _families(plan)
        self.size = max(self._counts, key=lambda size: (size.numbers, size.layers * size.length * size.measured))
        self.free, self._thin, self._example = free_memory(), plan.thin, examples[self.size]
        self._together = min(together(self._example), len(plan.spec.seeds))
        self._groups = len(plan.groups())

    @cached_property
    def of(self) -> Callable[[Size], float]:
        tried = copies(self._example)
        peak(tried[0])  # the first run of a kind loads libraries
        found = {size_of(copy): most for copy in tried if (most := peak(copy)) is not None}
        arrays = fitted(_bytes, [((size,), most) for size, (most, _) in found.items()])
        rows = max((rows for _, rows in found.values()), default=0.0)
        left = min(float(pool.MOST), sum(arrays(size) for size in self._counts if size != self.size))

        def model(size: Size) -> float:
            kept = OCTAVE * math.log2(1 + size.length / OCTAVE) if self._thin else size.length
            group = self._together + (size.steps > 0)  # the rows of one training stand twice while they are joined
            return IDLE + left + arrays(size) + ROW * rows * kept * size.measured * group

        return model

    @property
    def bytes(self) -> float:
        """Bytes of one worker, those included that passes of other sizes leave to be used again."""
        return self.of(self.size)

    @property
    def fitting(self) -> int:
        """Number of workers that fit into the free memory; a very large one where that is not known."""
        return 1_000_000 if self.free is None else int(self.free // self.bytes)

    def fits(self, workers: int) -> bool:
        """Return whether so many workers fit; nothing is measured where there is room for far more."""
        rows = self._together * self.size.measured * self.size.layers * self.size.length
        ample = IDLE + AMPLE * (self.size.numbers + rows)
        return self.free is None or workers * ample <= self.free or workers <= self.fitting

    @property
    def workers(self) -> int:
        """The default number of processes: one per core, as far as memory and groups allow."""
        wanted = min(cores(), self._groups)
        return wanted if self.fits(wanted) else max(1, self.fitting)

    def remedy(self) -> str:
        """Return a size that would fit: a smaller batch, otherwise a shorter sequence, otherwise fewer units."""
        free = self.free or 0.0
        for key in ("batch", "length", "hidden"):
            fits = lambda n: self.of(_other(self.size, **{key: n})) <= free  # noqa: B023, E731
            found = _largest(getattr(self.size, key), fits)
            if found:
                return f"{key} = {found} would fit"
        return "no smaller batch, length or hidden would fit either"

    def __str__(self) -> str:
        one = self.size
        sizes = f"cell {one.family[0]}, length {one.length}, hidden {one.hidden}, batch {one.batch}"
        return f"about {self.bytes / 1e9:.1f} GB are needed ({sizes})"


def affordable(plan: Plan) -> Need:
    """Return what ``plan`` needs.

    Raises
    ------
    SpecError
        If not even one worker fits into the free memory; the message names a size that would.
    """
    need = Need(plan)
    if not need.fits(1):
        raise SpecError(f"{need}, and {(need.free or 0) / 1e9:.1f} GB are free; {need.remedy()}")
    return need


def refuse_too_many(plan: Plan, workers: int) -> None:
    """Raise SpecError if ``workers`` processes do not fit into memory together."""
    need = affordable(plan)
    if not need.fits(workers):
        raise SpecError(f"workers: {need} in each of {workers} workers; {need.fitting} would fit into memory")


def describe(plan: Plan) -> str:
    """Return the text of ``gradlab plan``: configurations, groups, what varies, memory and time."""
    spec, groups, need = plan.spec, plan.groups(), Need(plan)
    factors = [f"{len(values)} {key}" for key, values in spec.grid.items()] + [counted(len(spec.seeds), "seed")]
    lines = [f"{spec.name}: {spec.question}" if spec.question else spec.name]
    lines.append(f"configurations  {len(plan.configurations)} ({' x '.join(factors)})")
    lines.append(f"groups          {len(groups)}, of at most {max(map(len, groups))}: the unit of resume")
    lines.append(f"hooks           {', '.join(spec.hooks)}")
    if plan.thin:
        lines.append(f"table steps     {THIN}, because there are more than {MANY_STEPS} steps in all")
    there = "" if need.free is None else f", {need.free / 1e9:.1f} GB are free"
    lines.append(f"memory          about {need.bytes / 1e9:.1f} GB per worker{there}")
    lines += _training(plan)
    workers = need.workers
    core, wall = expected(plan, workers)
    each = f"{counted(workers, 'worker')} ({duration(core)} of one core)"
    sooner = any(spec.values("train.until"))
    lines.append(f"time            {'up to' if sooner else 'about'} {duration(wall)} on {each}")
    return "\n".join(lines)


def _training(plan: Plan) -> list[str]:
    """Return the line on the training steps of a study that trains."""
    steps = [config.values["train.steps"] for config in plan.configurations if plan.spec.trains]
    if not steps:
        return []
    span = " to ".join(map(str, sorted({min(steps), max(steps)})))
    until = ", fewer where a criterion is met" if any(plan.spec.values("train.until")) else ""
    return [f"training        {span} steps each, {sum(steps)} in all{until}"]


def expected(plan: Plan, workers: int) -> tuple[float, float]:
    """Return the seconds of one core that ``plan`` takes, and the seconds on the clock with ``workers`` processes."""
    each = times(plan)
    of_groups = [len(group) * each[size_of(group[0])] for group in plan.groups()]
    return sum(of_groups), WORKERS + max(sum(of_groups) / workers, max(of_groups))


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _largest(below: int, fits: Callable[[int], bool]) -> int:
    """Return the largest number below ``below`` that fits, 0 where none does; smaller ones fit too."""
    low, high = 0, below
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
