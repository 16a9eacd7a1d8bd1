"""What a plan will cost: memory from the arrays that a pass keeps, time from short copies run on this machine."""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from operator import itemgetter
from statistics import median
from typing import Any, NamedTuple, Self

from gradlab.arrays.memory import free_memory
from gradlab.cells import CELLS
from gradlab.errors import SpecError
from gradlab.hooks.jacobians import SAMPLED
from gradlab.hooks.temporal import KEPT
from gradlab.jacobians.steps import CHUNK
from gradlab.native import pool
from gradlab.progress import counted, duration
from gradlab.study.plan import MANY_STEPS, THIN, Configuration, Plan, together
from gradlab.study.worker import TESTED, measure
from gradlab.tasks import TASKS, Task


class Cost(NamedTuple):
    """What a cell costs, counted and measured: ``arrays`` of T·B·H numbers that a layer keeps, and seconds a step."""

    arrays: float
    step: float


COSTS = {"rnn": Cost(5.2, 65e-6), "lstm": Cost(19.2, 95e-6), "gru": Cost(12.2, 110e-6)}
#: Arrays of T·B·H numbers that come and go beside those of all layers; arrays of T·B·D numbers.
_PASSING, _INPUTS = 5, 4
#: Copies of weights, of the dense Jacobians at hand, and of the tangents (at S·K·B), at the peak.
_WEIGHTS, _DENSE, _TANGENTS = 2.5, 3, 8
#: Copies of the adjoints of all loss steps (at T·S·B), and of their norms at all states (at T·T·B), at the peak.
_SOURCES, _PAIRS = 4, 3
#: Bytes of a worker that does nothing: Python, and the libraries of NumPy, SciPy, pandas and PyArrow.
_IDLE = 205e6
#: Bytes of a row of ``steps`` while it is made, while it waits for its group, and while the group is packed.
_MADE, _WAITING, _PACKED = 250, 120, 290
#: Bytes that packing takes whatever its rows.
_PACKING = 25e6
#: Rows of ``steps`` that a thinned quantity keeps of each doubling of the lag.
_OCTAVE = 8

#: Seconds that any configuration takes, a number of an array, one far from the next that is wanted, a step's QR, and
#: one Jacobian, over S³ and beside it.
_START, _NUMBER, _APART, _QR, _CUBE, _ONE = 0.025, 2e-9, 1e-8, 75e-6, 4.5e-10, 20e-6
#: Seconds to draw a weight, and what H columns of it take to be made orthogonal, over H.
_DRAWN, _ORTHOGONAL = 2e-8, 1.4e-10
#: Floating-point operations a second; how much a loss at several steps adds: one more backward pass.
_FLOPS, _AGAIN = 2.5e10, 1.5
#: Seconds in which workers start, and what calibrating may take altogether, twice of it on a busy machine.
_WORKERS, CALIBRATING = 2.0, 0.9
#: Seconds of a training step beside its pass; what a pass forward takes of a whole one.
_UPDATE, _FORWARD = 7e-4, 0.4
#: Copies of the parameters that a training holds: its own, the optimiser's memory, the gradient and the change.
_TRAINING = 6


class Size(NamedTuple):
    """What of a configuration decides its cost; seed and scale do not."""

    cell: str
    hidden: int
    layers: int
    length: int
    batch: int
    precision: str
    at: str | tuple[int, ...]
    hooks: tuple[str, ...]
    recurrent: str
    inputs: int
    trained: int = 0
    measured: int = 1

    @property
    def blocks(self) -> int:
        """Blocks of H rows in the weights."""
        return len(CELLS[self.cell].block_names)

    @property
    def states(self) -> int:
        """States of H units."""
        return len(CELLS[self.cell].state_names)

    @property
    def bytes(self) -> int:
        """Bytes of a number."""
        return 4 if self.precision == "float32" else 8

    @property
    def cost(self) -> Cost:
        """The cell's cost; of one that is not in the table, the dearest."""
        return COSTS.get(self.cell, COSTS["lstm"])

    @property
    def several(self) -> bool:
        """Whether the loss is read at several steps, so that the last one's gradient is a pass of its own."""
        return self.at != "last" and (self.at == "every" or len(self.at) > 1)

    def hook(self, kind: str) -> str | None:
        """Return what stands behind the colon of the hook ``kind``; None where there is no such hook."""
        return {name.partition(":")[0]: name.partition(":")[2] for name in self.hooks}.get(kind)

    @property
    def sampled(self) -> int:
        """At how many steps the hook ``jacobians`` looks."""
        argument = self.hook("jacobians")
        if argument is None:
            return 0
        return self.length if argument == "all" else min(int(argument or SAMPLED), self.length)

    @property
    def tangents(self) -> int:
        """How many tangents the hook ``lyapunov`` carries."""
        argument = self.hook("lyapunov")
        return 0 if argument is None else min(int(argument or 1), self.states * self.hidden)

    @property
    def taught(self) -> int:
        """Of how many loss steps the hook ``temporal`` keeps rows; of a layer below others every step is one."""
        argument = self.hook("temporal")
        if argument is None:
            return 0
        read = self.length if self.layers > 1 or self.several else 1
        return read if argument == "all" else min(int(argument or KEPT), read)


#: What stands in every configuration, in the order of :class:`Size`.
_SHARED: Callable[[Mapping[str, Any]], Any] = itemgetter(
    "cell", "hidden", "layers", "length", "batch", "precision", "at"
)


def size_of(config: Configuration) -> Size:
    """Return what decides the cost of ``config``."""
    v = config.values
    own = (tuple(v["hooks"]), v.get("init.recurrent", ""), _inputs(v))
    return Size._make((*_SHARED(v), *own, v.get("train.steps", 0), len(v.get("train.measure_at", (0,)))))


def _inputs(values: Mapping[str, Any]) -> int:
    options = ((key.partition(".")[2], value) for key, value in values.items() if key.startswith("task."))
    return _input_size(TASKS[values["task.name"]], tuple(options))


@cache
def _input_size(task: Callable[..., Task], options: tuple[tuple[str, Any], ...]) -> int:
    return task(**{key: value for key, value in options if key != "name"}).input_size


@cache
def memory(size: Size, together: int = 1, thin: bool = False) -> float:
    """Return the bytes of a worker at its peak, which measures a group of ``together`` configurations.

    Parameters
    ----------
    thin : only logarithmically spaced lags of ``steps`` are kept.
    """
    T, B, H = size.length, size.batch, size.hidden
    weights = size.layers * size.blocks * H**2 * (_WEIGHTS + (_TRAINING if size.trained else 0))
    jacobian = B * (size.states * H) ** 2
    dense = min(size.sampled * jacobian, max(CHUNK, jacobian)) * _DENSE
    sources = T * B * (_SOURCES * size.states * H + _PAIRS * T) if size.taught else 0
    passing = max(_PASSING * T * B * H, dense, _TANGENTS * size.states * H * size.tangents * B, sources)
    rows = _rows(size, T)
    kept_rows = size.measured * (_rows(size, min(T, _OCTAVE * math.log2(T + 1))) if thin else rows)
    stored = (together + (size.trained > 0)) * kept_rows  # those of one training stand twice while they are joined
    tracing = _tape(size) + (weights + passing) * size.bytes + rows * _MADE + stored * _WAITING
    return _IDLE + max(tracing, stored * _PACKED + _PACKING)


def _tape(size: Size) -> float:
    """Return the bytes of the arrays over T that a pass keeps."""
    T, B, H = size.length, size.batch, size.hidden
    again = size.blocks + size.states * min(size.states, 2) if size.several else 0
    return (size.layers * (size.cost.arrays + again) * T * B * H + _INPUTS * T * B * size.inputs) * size.bytes


def _left(size: Size, sizes: Iterable[Size]) -> float:
    """Return the bytes that passes of the other ``sizes`` may leave in a worker, to be used again."""
    return min(float(pool.MOST), sum(_tape(other) for other in sizes if other != size))


@cache
def seconds(size: Size) -> float:
    """Return the seconds of one configuration on one core, roughly: right to a factor, which calibrating finds."""
    H, drawn = size.hidden, size.blocks * size.hidden**2 * _DRAWN
    drawn *= 1.0 + (_ORTHOGONAL / _DRAWN * H if size.recurrent == "orthogonal" else 0.0)
    found = _START + size.layers * drawn + size.measured * _measuring(size)
    if size.trained:
        tested = size.measured * math.ceil(TESTED / size.batch) * _FORWARD
        found += size.trained * _UPDATE + (size.trained + tested) * size.layers * size.length * _step(size)
    return found


def _step(size: Size) -> float:
    """Return the seconds of a step of a layer, forward and back, without hooks."""
    B, H = size.batch, size.hidden
    numbers = _NUMBER * (size.cost.arrays + _PASSING) * B * H
    return size.cost.step + numbers + 6 * size.blocks * H * (H + size.inputs) * B / _FLOPS


def _measuring(size: Size) -> float:
    """Return the seconds of a pass with its hooks."""
    T, B, H, S = size.length, size.batch, size.hidden, size.states * size.hidden
    arrays = size.cost.arrays + _PASSING
    step = _step(size) * (_AGAIN if size.several else 1.0)
    if K := size.tangents:
        step += _QR + B * K * (_NUMBER / 2 * arrays * H + (2 * size.blocks * H**2 + 2 * S * K) / _FLOPS)
    if size.taught:  # T/2 adjoints at a step, on average
        step += T / 2 * B * (_NUMBER / 2 * arrays * H + 2 * size.blocks * H**2 / _FLOPS)
    whole = size.sampled * B * (_ONE + _CUBE * S**3)
    if size.hook("sensitivity") is not None:  # a product over all steps for each sequence, of columns far apart
        weights = size.blocks * H**2
        step += B * (_APART * (size.blocks + 1) * H + 2 * weights / _FLOPS)
        whole += B * weights * _NUMBER
    return size.layers * (T * step + whole)


def work(configs: Iterable[Configuration]) -> float:
    """Return the seconds of several configurations on one core, roughly, not calibrated."""
    return sum(count * seconds(size) for size, count in Counter(map(size_of, configs)).items())


def calibrated(plan: Plan, measured: Callable[[Configuration], float | None] | None = None) -> dict[Size, float]:
    """Return the seconds of one configuration of each size on one core of this machine, found in about a second.

    Of each cell and precision, what has most work is run in a short copy; all sizes of that cell and precision take
    its factor of :func:`seconds`. Where none can be run in that time, the estimate stands.

    Parameters
    ----------
    measured : the seconds that a configuration takes; None where it fails. By default, it is run here.
    """
    counts, examples = Counter[Size](), dict[Size, Configuration]()
    for config in plan.configurations:
        size = size_of(config)
        counts[size] += 1
        examples.setdefault(size, config)
    chosen = dict[tuple[str, str], Size]()
    for size in sorted(counts, key=lambda one: counts[one] * seconds(one), reverse=True):
        chosen.setdefault((size.cell, size.precision), size)
    paces, until = dict[tuple[str, str], float](), time.perf_counter() + CALIBRATING
    for kind, size in chosen.items():
        copy = shortened(examples[size], CALIBRATING / 2 / len(chosen))
        if copy is None or time.perf_counter() > until:
            continue
        took = (measured or _measured)(copy)
        if took is not None:
            paces[kind] = took / seconds(size_of(copy))
    usual = median(paces.values()) if paces else 1.0
    return {size: seconds(size) * paces.get((size.cell, size.precision), usual) for size in counts}


def shortened(config: Configuration, limit: float) -> Configuration | None:
    """Return a copy that takes about ``limit`` seconds: shorter training, sequences, then fewer; None where none does.

    What happens at some steps only happens at as large a share of the copy's; no criterion ends its training.
    """
    if "train.steps" in config.values:
        config = Configuration(config.id, {**config.values, "train.until": None})
    for key in ("train.steps", "length", "batch"):
        if key not in config.values:
            continue
        fixed = key == "length" and TASKS[config.values["task.name"]]().fixed_length is not None
        if not fixed and seconds(size_of(config)) > limit:
            whole = config
            fitting = _largest(whole.values[key], lambda n: seconds(size_of(_with(whole, key, n))) <= limit)  # noqa: B023
            config = _with(whole, key, max(fitting, 1))
    return config if seconds(size_of(config)) <= 2 * limit else None


def _with(config: Configuration, key: str, number: int) -> Configuration:
    """Return ``config`` with another length or batch; with fewer steps, as much less of what happens at some."""
    values = {**config.values, key: number}
    if key == "train.steps":
        share = number / config.values[key]
        values["train.measure_at"] = tuple(sorted({round(step * share) for step in config.values["train.measure_at"]}))
    if key == "length":
        share, size = number / config.values["length"], size_of(config)
        if "jacobians" in {name.partition(":")[0] for name in size.hooks}:
            rest = [name for name in size.hooks if not name.startswith("jacobians")]
            values["hooks"] = [*rest, f"jacobians:{max(1, round(size.sampled * share))}"]
        if not isinstance(size.at, str):
            values["at"] = tuple(sorted({max(1, round(step * share)) for step in size.at}))
    return Configuration(config.id, values)


def _measured(config: Configuration) -> float | None:
    """Return the CPU seconds of the faster of two passes, on one thread: the first may find the libraries cold."""
    took = []
    for _ in range(2):
        start = time.process_time()
        statuses = measure((config,)).statuses
        took.append(time.process_time() - start)
        if "failed" in statuses.values():
            return None
    return min(took)


class Need(NamedTuple):
    """The largest size of a plan, how many of it are measured together, the bytes of its worker; the bytes free.

    Of the bytes of its worker, ``left`` are what groups of other sizes leave there.
    """

    size: Size
    together: int
    thin: bool
    left: float
    bytes: float
    free: float | None

    @classmethod
    def of(cls, plan: Plan) -> Self:
        """Return what the worst group of ``plan`` needs."""
        seeds, thin = len(plan.spec.seeds), plan.thin
        pairs = {(size_of(config), min(together(config), seeds)) for config in plan.configurations}
        largest, most = max(pairs, key=lambda pair: memory(*pair, thin))
        left = _left(largest, {size for size, _ in pairs})
        return cls(largest, most, thin, left, memory(largest, most, thin) + left, free_memory())

    @property
    def fitting(self) -> int:
        """How many workers fit into the memory that is free; very many where that is not known."""
        return 1_000_000 if self.free is None else int(self.free // self.bytes)

    def workers(self, plan: Plan) -> int:
        """Return how many processes run ``plan`` unless it is told: one a core, as far as memory and groups allow."""
        return max(1, min(self.fitting, cores(), len(plan.groups())))

    def remedy(self) -> str:
        """Return a size that would fit: a smaller batch, otherwise a shorter sequence, otherwise fewer units."""
        free = self.free or 0.0
        for key in ("batch", "length", "hidden"):
            found = _largest(getattr(self.size, key), lambda number: self._with(key, number) <= free)  # noqa: B023
            if found:
                return f"{key} = {found} would fit"
        return "no smaller batch, length or hidden would fit either"

    def _with(self, key: str, number: int) -> float:
        other: dict[str, Any] = {key: number}
        return memory(self.size._replace(**other), self.together, self.thin) + self.left

    def __str__(self) -> str:
        one = self.size
        sizes = f"cell {one.cell}, length {one.length}, hidden {one.hidden}, batch {one.batch}"
        return f"about {self.bytes / 1e9:.1f} GB are needed ({sizes})"


def affordable(plan: Plan) -> Need:
    """Return what ``plan`` needs.

    Raises
    ------
    SpecError
        where not even one worker fits into the memory that is free; it says what would.
    """
    need = Need.of(plan)
    if need.free is not None and not need.fitting:
        raise SpecError(f"{need}, and {need.free / 1e9:.1f} GB are free; {need.remedy()}")
    return need


def refuse_too_many(plan: Plan, workers: int) -> None:
    """Raise where ``workers`` processes do not fit into memory together."""
    need = affordable(plan)
    if workers > need.fitting:
        raise SpecError(f"workers: {need} in each of {workers} workers; {need.fitting} would fit into memory")


def describe(plan: Plan, measured: Callable[[Configuration], float | None] | None = None) -> str:
    """Return what ``gradlab plan`` prints: configurations, groups, what varies, memory and time.

    ``measured`` is :func:`calibrated`'s.
    """
    spec, groups, need = plan.spec, plan.groups(), Need.of(plan)
    factors = [f"{len(values)} {key}" for key, values in spec.grid.items()] + [counted(len(spec.seeds), "seed")]
    lines = [f"{spec.name}: {spec.question}" if spec.question else spec.name]
    lines.append(f"configurations  {len(plan.configurations)} ({' x '.join(factors)})")
    lines.append(f"groups          {len(groups)}, of at most {max(map(len, groups))}: the unit of resume")
    lines.append(f"hooks           {', '.join(spec.hooks)}")
    if plan.thin:
        lines.append(f"table steps     {THIN}, because there are more than {MANY_STEPS} steps in all")
    there = "" if need.free is None else f", {need.free / 1e9:.1f} GB are free"
    lines.append(f"memory          about {need.bytes / 1e9:.1f} GB a worker{there}")
    lines += _training(plan)
    workers = need.workers(plan)
    core, wall = expected(plan, workers, measured)
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


def expected(
    plan: Plan, workers: int, measured: Callable[[Configuration], float | None] | None = None
) -> tuple[float, float]:
    """Return the seconds of one core that measuring ``plan`` takes, and those on the clock with so many workers.

    ``measured`` is :func:`calibrated`'s.
    """
    costs = calibrated(plan, measured)
    of_groups = [len(group) * costs[size_of(group[0])] for group in plan.groups()]
    return sum(of_groups), _WORKERS + max(sum(of_groups) / workers, max(of_groups))


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _rows(size: Size, kept: float) -> float:
    """Return the rows of ``steps`` of one configuration that keeps ``kept`` steps of each quantity."""
    cell = CELLS[size.cell]
    gates = 2 * max(len(cell.gate_names), 1)
    quantities = {
        "gradients": 4 + size.states + size.blocks,
        "gates": gates,
        "contributions": len(cell.parameter_names),
    }
    quantities["paths"] = 0 if cell.additive_state is None else 3
    steps = kept * sum(count for hook, count in quantities.items() if size.hook(hook) is not None)
    return size.layers * (steps + 3 * size.sampled + kept * size.taught)


def _largest(below: int, fits: Callable[[int], bool]) -> int:
    """Return the largest number below ``below`` that fits, 0 where none does; what is smaller fits too."""
    low, high = 0, below
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
