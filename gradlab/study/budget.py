"""Cost of a plan: measure the time and memory of short copies of its configurations, and fit a model to them."""

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
from gradlab.hooks import HOOKS
from gradlab.hooks.jacobians import SAMPLED
from gradlab.jacobians.steps import CHUNK
from gradlab.native import pool
from gradlab.progress import duration
from gradlab.study.plan import MANY_STEPS, THIN, Configuration, Plan, together
from gradlab.study.worker import measure, task_of
from gradlab.tasks import TASKS, Task

#: Memory of a worker before its first configuration, in bytes: Python with NumPy, SciPy, pandas and PyArrow.
IDLE = 215e6
#: Time in which the workers start, in seconds.
WORKERS = 2.0
#: Multiplications that take about as long as the Python code of one step of one layer, and of one configuration.
STEP, START = 1e5, 1e8
#: Multiplications, per S³, of the singular values of a dense S × S matrix; the same, per S k², of a QR.
SVD, QR = 6.0, 6.0
#: Largest number of multiplications of a copy, and of numbers that it holds.
WORK, NUMBERS = 2e8, 1e7
#: Most multiplications of a copy that takes more training steps, and of all copies of a plan that are timed.
TRAINING, TIMING = 4e8, 5e9
#: Most Jacobians that a copy samples, and most training steps that it takes.
JACOBIANS, STEPS = 4, 20
#: Bytes per row while a group is packed, and rows per doubling of the lag in a thinned table.
ROW, OCTAVE = 250.0, 8
#: Bytes per number and per row of the largest size; a worker always needs far less.
AMPLE = 1000.0
#: A copy keeps at least this much of each axis, where the configuration has it. The first axes are shortened first.
FLOORS = {"layers": 2, "length": 16, "batch": 2, "hidden": 8}


class Size(NamedTuple):
    """The part of a configuration that determines its cost; seed and scale have no influence.

    Configurations of one family differ in these numbers alone and share one fitted model.

    Attributes
    ----------
    family : tuple
        Cell, precision, kind of ``at``, task, input size, whether it trains, and hooks.
    layers, length, batch, hidden : int
        L, T, B and H.
    sampled : int
        Number of steps with a dense Jacobian; 0 without the hook ``jacobians``.
    steps : int
        Number of training steps.
    measured : int
        Number of training steps after which the hooks measure a pass; 1 without training.
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
        """Approximate number of multiplications of all passes and of the hooks with the most expensive formulas."""
        T, B, H, S, k = self.length, self.batch, self.hidden, self.states, self.exponents
        product = len(CELLS[self.family[0]].block_names) * H**2 * B
        once = T * (STEP + product)
        tangents = T * (k * product + QR * B * S * k**2)
        hooks = self.sampled * B * SVD * S**3 + tangents + self.pairs * T**2 * product / 2
        return self.layers * ((self.steps + self.measured) * once + self.measured * hooks)

    @property
    def numbers(self) -> float:
        """Approximate count of the numbers in a pass: over time, weights, Jacobians, tangents, pairs of steps."""
        blocks = len(CELLS[self.family[0]].block_names) * self.hidden
        pairs = self.pairs * self.length**2 * self.batch
        over_time = blocks * (self.length * self.batch + self.hidden)
        return self.layers * (over_time + self.states * self.batch * self.exponents) + self.dense + pairs

    @property
    def states(self) -> int:
        """Width of the joint state of one layer."""
        return len(CELLS[self.family[0]].state_names) * self.hidden

    @property
    def dense(self) -> float:
        """Count of the numbers in the dense Jacobians that are in memory at the same time."""
        one = self.batch * self.states**2
        return float(min(max(self.sampled, 1) * one, max(CHUNK, one)))

    @property
    def exponents(self) -> int:
        """Number of Lyapunov exponents that a hook measures, 0 without that hook."""
        counts = [int(count or 1) for kind, _, count in map(_parted, self.family[-1]) if kind == "lyapunov"]
        return min(max(counts, default=0), self.states)

    @property
    def pairs(self) -> bool:
        """Whether a hook measures every pair of steps, so that the cost has a term in T²."""
        return any(HOOKS[kind].quadratic for kind, _, _ in map(_parted, self.family[-1]))


def _parted(hook: str) -> tuple[str, str, str]:
    return hook.partition(":")


def size_of(config: Configuration) -> Size:
    """Return the numbers that determine the cost of ``config``.

    Parameters
    ----------
    config : Configuration
        The configuration.

    Returns
    -------
    Size
        The numbers; configurations that differ only in seed or scale have equal sizes.
    """
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
    """Return the approximate number of multiplications of ``configs``, which is equal on every machine.

    Parameters
    ----------
    configs : iterable of Configuration
        The configurations.

    Returns
    -------
    float
        The sum of their :attr:`Size.work`.
    """
    return sum(size_of(config).work for config in configs)


# --- copies -------------------------------------------------------------------------------------------


def copied(config: Configuration, **numbers: int) -> Configuration:
    """Return ``config`` with some fields of its :class:`Size` replaced, and without a criterion that ends training.

    Parameters
    ----------
    config : Configuration
        The configuration to copy; the copy keeps its id.
    **numbers : int
        New values by field, such as ``length=20``.

    Returns
    -------
    Configuration
        The copy. Its steps ``at`` and ``measure_at`` are adapted to the new length and training steps.
    """
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
    """Return a short copy of ``config``, and further copies that are each smaller along one axis.

    Together they separate the terms of the fitted cost.

    Parameters
    ----------
    config : Configuration
        The configuration to copy.
    smallest : Size, optional
        The smallest value of each axis in the family. An axis that does not vary and was not shortened is then kept,
        except the length. By default every axis is halved.

    Returns
    -------
    list of Configuration
        The short copy first.
    """
    size = size_of(config)
    corner = copied(config, sampled=min(JACOBIANS, size.sampled), steps=min(1, size.steps))
    axes = [axis for axis in FLOORS if axis != "length" or task_of(config).fixed_length is None]
    for axis in axes:
        whole, most = corner, getattr(size, axis)
        found = _largest(most + 1, lambda n: _fits(size_of(copied(whole, **{axis: n}))))  # noqa: B023
        corner = copied(corner, **{axis: max(found, min(FLOORS[axis], most))})
    first, found_copies, lows = size_of(corner), [corner], dict[str, int]()
    for axis in (*axes[1:], "layers", *(["sampled"] if smallest else [])):
        value, least = getattr(first, axis), (getattr(smallest, axis) if smallest else 1)
        low = min(value // 2, least) if smallest else value // 2
        if low and (axis == "length" or min(value, least) < getattr(size, axis)):
            found_copies.append(copied(corner, **{axis: low}))
            lows[axis] = low
    if smallest and len(lows) > 1:  # a start and the weights' own term differ here alone
        found_copies.append(copied(corner, **lows))
    return found_copies


def _other(size: Size, **numbers: Any) -> Size:
    return size._replace(**numbers)


def _fits(size: Size) -> bool:
    return size.work <= WORK and size.numbers <= NUMBERS


def peak(copy: Configuration) -> tuple[float, float] | None:
    """Measure a configuration and return the memory that it needs.

    Parameters
    ----------
    copy : Configuration
        The configuration to measure.

    Returns
    -------
    (float, float) or None
        The peak memory in bytes, and the number of table rows per step; None if the measurement fails.
    """
    pool.release()  # tracemalloc would not count a recycled buffer
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
    """Measure a configuration and return its processor time in seconds, on one thread; None if it fails.

    Parameters
    ----------
    copy : Configuration
        The configuration to measure.

    Returns
    -------
    float or None
        Seconds of processor time.
    """
    start = time.process_time()
    statuses = measure((copy,)).statuses
    return None if "failed" in statuses.values() else time.process_time() - start


# --- models -------------------------------------------------------------------------------------------


def fitted(terms: Callable[..., list[float]], found: Sequence[tuple[tuple[Any, ...], float]]) -> Callable[..., float]:
    """Fit a sum of ``terms`` with non-negative coefficients, by least squares of the relative error.

    Parameters
    ----------
    terms : callable
        Returns the K terms for some arguments.
    found : sequence of (arguments, quantity)
        The data; each quantity is positive.

    Returns
    -------
    callable
        The fitted sum as a function of the arguments; 0 everywhere if ``found`` is empty.
    """
    if not found:
        return lambda *_: 0.0
    rows = np.array([terms(*arguments) for arguments, _ in found]) / np.array([[value] for _, value in found])
    scale = np.where(rows.any(axis=0), rows.max(axis=0), 1.0)
    coefficients = nnls(rows / scale, np.ones(len(rows)))[0] / scale
    return lambda *arguments: float(coefficients @ terms(*arguments))


def _seconds(size: Size) -> list[float]:
    """Return the terms of the time: those of measured passes, then those of training steps."""
    L, T, B, H = size.layers, size.length, size.batch, size.hidden
    step, k = [1.0, L * T, L * T * B * H, L * T * B * H**2], size.exponents
    pairs = [size.pairs * L * T**2 * B * H, size.pairs * L * T**2 * B * H**2]
    seen = [L * H**2, L * size.sampled * B * H**3, L * T * B * H * k * (H + k), *pairs]
    return [*(size.measured * each for each in (*step, *seen)), *(size.steps * each for each in step)]


def _bytes(size: Size) -> list[float]:
    """Return the terms of the memory: a start, weights, dense Jacobians, arrays over time, tangents, pairs of steps."""
    L, T, B, H = size.layers, size.length, size.batch, size.hidden
    return [1.0, L * H**2, size.dense, L * T * B * H, L * B * H * size.exponents, size.pairs * T**2 * B]


def _smallest(sizes: Iterable[Size]) -> Size:
    """Return the smallest value of each axis in a family."""
    family, *axes = zip(*sizes, strict=True)
    return Size(family[0], *map(min, axes))


def times(plan: Plan) -> dict[Size, float]:
    """Estimate the time of one configuration of each size on one core of this machine.

    Families with most work are timed first, as far as the work of all copies stays within :data:`TIMING`. A family
    that is not timed, or fails, costs as much as the most expensive of the others would at its size.
    """
    families, counts, examples = _families(plan)
    models, left = dict[tuple[Any, ...], Callable[[Size], float]](), TIMING
    for sizes in families:
        tried = _trained_copies(copies(examples[max(sizes, key=lambda size: size.work)], _smallest(sizes)))
        left -= START * len(tried) + work(tried)
        if left < 0:
            break
        if taken := _timed(tried):
            models[sizes[0].family] = fitted(_seconds, taken)
    known = {size: [models[size.family]] if size.family in models else models.values() for size in counts}
    return {size: max((model(size) for model in known[size]), default=0.0) for size in counts}


def _trained_copies(tried: Sequence[Configuration]) -> list[Configuration]:
    """Return ``tried``; a copy that trains takes one step, and again as many as its work allows."""
    if not size_of(tried[0]).steps:
        return list(tried)
    more = _largest(STEPS + 1, lambda n: size_of(copied(tried[0], steps=n)).work <= TRAINING)
    return [copied(copy, steps=count) for copy in tried for count in (1, max(2, more))]


def _timed(tried: Sequence[Configuration]) -> list[tuple[tuple[Size], float]]:
    """Return the size and the seconds of each copy that does not fail."""
    timed(tried[0])  # the first run of a kind finds the libraries cold
    return [((size_of(copy),), seconds) for copy in tried if (seconds := timed(copy)) is not None]


def _families(plan: Plan) -> tuple[list[list[Size]], Counter[Size], dict[Size, Configuration]]:
    """Return the sizes per family (most work first), the count of each size, and one configuration of each size."""
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
    """The peak memory of a worker; nothing is measured before it is first used.

    Parameters
    ----------
    plan : Plan
        The plan that the worker runs.

    Attributes
    ----------
    size : Size
        The size that holds the most numbers.
    free : float or None
        Free memory in bytes; None if the system does not report it.
    """

    def __init__(self, plan: Plan) -> None:
        _, self._counts, examples = _families(plan)
        self.size = max(self._counts, key=lambda size: (size.numbers, size.layers * size.length * size.measured))
        self.free, self._thin, self._example = free_memory(), plan.thin, examples[self.size]
        self._together = min(together(self._example), len(plan.spec.seeds))
        self._groups = len(plan.groups())

    @cached_property
    def of(self) -> Callable[[Size], float]:
        """The fitted peak memory of one worker in bytes, as a function of the size."""
        tried = copies(self._example)
        peak(tried[0])  # the first run also loads libraries, so it is not counted
        found = {size_of(copy): most for copy in tried if (most := peak(copy)) is not None}
        arrays = fitted(_bytes, [((size,), most) for size, (most, _) in found.items()])
        rows = max((rows for _, rows in found.values()), default=0.0)
        left = min(float(pool.MOST), sum(arrays(size) for size in self._counts if size != self.size))

        def model(size: Size) -> float:
            kept = OCTAVE * math.log2(1 + size.length / OCTAVE) if self._thin else size.length
            group = self._together + (size.steps > 0)  # joining the rows of a training copies them once
            return IDLE + left + arrays(size) + ROW * rows * kept * size.measured * group

        return model

    @property
    def bytes(self) -> float:
        """Peak memory of one worker in bytes, including the recycled buffers of passes of other sizes."""
        return self.of(self.size)

    @property
    def fitting(self) -> int:
        """Number of workers that fit into the free memory; a very large number if the free memory is unknown."""
        return 1_000_000 if self.free is None else int(self.free // self.bytes)

    def fits(self, workers: int) -> bool:
        """Return whether ``workers`` workers fit into memory; nothing is measured if there is ample room.

        Parameters
        ----------
        workers : int
            The number of workers.

        Returns
        -------
        bool
            Whether they fit together; True if the free memory is unknown.
        """
        rows = self._together * self.size.measured * self.size.layers * self.size.length
        ample = IDLE + AMPLE * (self.size.numbers + rows)
        return self.free is None or workers * ample <= self.free or workers <= self.fitting

    @property
    def workers(self) -> int:
        """The default number of processes: one per core, as far as memory and groups allow."""
        wanted = min(cores(), self._groups)
        return wanted if self.fits(wanted) else max(1, self.fitting)

    def remedy(self) -> str:
        """Return a size that fits, as text: a smaller batch, otherwise a shorter sequence, otherwise fewer units."""
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
    """Return the memory that ``plan`` needs.

    Parameters
    ----------
    plan : Plan
        The plan.

    Returns
    -------
    Need
        The memory; at least one worker fits.

    Raises
    ------
    SpecError
        If not even one worker fits into the free memory; the message names a size that would fit.
    """
    need = Need(plan)
    if not need.fits(1):
        raise SpecError(f"{need}, and {(need.free or 0) / 1e9:.1f} GB are free; {need.remedy()}")
    return need


def refuse_too_many(plan: Plan, workers: int) -> None:
    """Raise SpecError if ``workers`` processes do not fit into memory together.

    Parameters
    ----------
    plan : Plan
        The plan.
    workers : int
        The number of processes.

    Raises
    ------
    SpecError
        If they do not fit; the message names the number of workers, or a size, that would fit.
    """
    need = affordable(plan)
    if not need.fits(workers):
        raise SpecError(f"workers: {need} in each of {workers} workers; {need.fitting} would fit into memory")


def describe(plan: Plan) -> str:
    """Return the text of ``gradlab plan``: configurations, groups, what varies, memory and time.

    Raises
    ------
    SpecError
        As :func:`affordable`, from the same measurement and before anything is timed.
    """
    spec, groups, need = plan.spec, plan.groups(), affordable(plan)
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
    """Return the line on training steps, or no line if the study does not train."""
    steps = [config.values["train.steps"] for config in plan.configurations if plan.spec.trains]
    if not steps:
        return []
    span = " to ".join(map(str, sorted({min(steps), max(steps)})))
    until = ", fewer where a criterion is met" if any(plan.spec.values("train.until")) else ""
    return [f"training        {span} steps each, {sum(steps)} in all{until}"]


def expected(plan: Plan, workers: int) -> tuple[float, float]:
    """Estimate the time that ``plan`` takes.

    Parameters
    ----------
    plan : Plan
        The plan.
    workers : int
        Number of processes.

    Returns
    -------
    (float, float)
        Seconds on one core, and wall-clock seconds with ``workers`` processes.
    """
    each = times(plan)
    of_groups = [len(group) * each[size_of(group[0])] for group in plan.groups()]
    return sum(of_groups), WORKERS + max(sum(of_groups) / workers, max(of_groups))


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _largest(below: int, fits: Callable[[int], bool]) -> int:
    """Return the largest number under ``below`` that fits, or 0 if none fits; all smaller numbers must fit too."""
    low, high = 0, below
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
