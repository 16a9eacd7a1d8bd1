"""What a plan will cost: a rough guide to memory and time, from a small table of measured passes."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from gradlab.errors import SpecError
from gradlab.study.plan import Configuration, Plan
from gradlab.study.progress import counted, duration


class Cost(NamedTuple):
    """What a cell costs.

    Attributes
    ----------
    arrays : arrays of T·B·H numbers at the peak.
    step : seconds a step, with the hooks ``gradients`` and ``gates``, beside the products.
    blocks, states : of H rows each.
    jacobian : seconds for the singular values of one Jacobian, over S³.
    """

    arrays: int
    step: float
    blocks: int
    states: int
    jacobian: float


#: Measured at H 16 to 256 and B 4 to 32 on one core, float64, rounded up.
COSTS = {
    "rnn": Cost(12, 250e-6, 1, 1, 6e-10),
    "lstm": Cost(30, 600e-6, 4, 2, 4e-10),
    "gru": Cost(22, 400e-6, 3, 1, 12e-10),
}
#: Seconds a configuration takes whatever its size, and one Jacobian; floating-point operations a second.
_START, _ONE, _FLOPS = 0.05, 20e-6, 1e10
#: Seconds a step that carries tangents takes whatever their number.
_QR = 150e-6
#: Bytes of a worker that does nothing, and of a row of ``steps`` on its way; rows a step.
_IDLE, _ROW, _ROWS = 250e6, 150, 24
#: Numbers that a stretch of dense Jacobians may hold (one step's at least); copies of it and of weights at the peak.
_STRETCH, _COPIES = 2**21, 6


def memory(config: Configuration) -> float:
    """Return the bytes that a worker takes for ``config`` at its peak, roughly."""
    v, cost = config.values, _cost(config)
    number = 4 if v["precision"] == "float32" else 8
    tape = v["layers"] * v["length"] * (v["batch"] * v["hidden"] * cost.arrays * number + _ROW * _ROWS)
    weights = v["layers"] * cost.blocks * v["hidden"] ** 2 * number * _COPIES
    step = v["batch"] * (cost.states * v["hidden"]) ** 2
    dense = min(_sampled(config) * step, max(_STRETCH, step)) * number * _COPIES
    return float(_IDLE + weights + tape + dense)


def seconds(config: Configuration) -> float:
    """Return the seconds that ``config`` takes on one core, roughly."""
    v, cost = config.values, _cost(config)
    products = 6 * cost.blocks * v["hidden"] ** 2 * v["batch"] / _FLOPS
    touched = 2e-9 * cost.arrays * v["batch"] * v["hidden"]
    jacobians = _sampled(config) * v["batch"] * (_ONE + cost.jacobian * (cost.states * v["hidden"]) ** 3)
    tangents = v["length"] * _tangents(config)
    return float(_START + v["layers"] * (v["length"] * (cost.step + touched + products) + jacobians + tangents))


def work(configs: Iterable[Configuration]) -> float:
    """Return the seconds of several configurations on one core, roughly."""
    return sum(map(seconds, configs))


def affordable(plan: Plan) -> int:
    """Return how many workers fit into the memory that is free.

    Raises
    ------
    SpecError
        where not even one does; it says what would.
    """
    free, largest = free_memory(), max(plan.configurations, key=memory)
    if free is None or memory(largest) <= free:
        return 1_000_000 if free is None else int(free // memory(largest))
    raise SpecError(f"{_needs(largest)}, and {free / 1e9:.1f} GB are free; {_remedy(largest, free)}")


def refuse_too_many(plan: Plan, workers: int) -> None:
    """Raise where ``workers`` processes do not fit into memory together."""
    fitting = affordable(plan)
    if workers > fitting:
        largest = max(plan.configurations, key=memory)
        raise SpecError(f"workers: {_needs(largest)} in each of {workers} workers; {fitting} would fit into memory")


def describe(plan: Plan) -> str:
    """Return what ``gradlab plan`` prints: configurations, groups, what varies, memory and time."""
    spec, groups, largest = plan.spec, plan.groups(), max(plan.configurations, key=memory)
    free, total = free_memory(), work(plan.configurations)
    factors = [f"{len(values)} {key}" for key, values in spec.grid.items()] + [counted(len(spec.seeds), "seed")]
    lines = [f"{spec.name}: {spec.question}" if spec.question else spec.name]
    lines.append(f"configurations  {len(plan.configurations)} ({' x '.join(factors)})")
    lines.append(f"groups          {len(groups)}, of at most {max(map(len, groups))}: the unit of resume")
    lines.append(f"hooks           {', '.join(spec.hooks)}")
    there = "" if free is None else f", {free / 1e9:.1f} GB are free"
    lines.append(f"memory          about {memory(largest) / 1e9:.1f} GB a worker{there}")
    lines.append(f"time            about {duration(total)} of one core, roughly")
    return "\n".join(lines)


def free_memory() -> float | None:
    """Return the bytes that are free, or all there are where only that is known, or None."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(float(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        pass
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):
        return None


def _cost(config: Configuration) -> Cost:
    """Return the cell's cost; of one that is not in the table, the dearest."""
    return COSTS.get(config.values["cell"], COSTS["lstm"])


def _needs(config: Configuration) -> str:
    v = config.values
    sizes = f"cell {v['cell']}, length {v['length']}, hidden {v['hidden']}, batch {v['batch']}"
    return f"about {memory(config) / 1e9:.1f} GB are needed ({sizes})"


def _remedy(config: Configuration, free: float) -> str:
    """Return a size that would fit: a smaller batch, otherwise a shorter sequence, otherwise fewer units."""
    for key in ("batch", "length", "hidden"):
        low, high = 0, config.values[key]
        while high - low > 1:
            middle = (low + high) // 2
            fits = memory(Configuration("", {**config.values, key: middle})) <= free
            low, high = (middle, high) if fits else (low, middle)
        if low:
            return f"{key} = {low} would fit"
    return "no smaller batch, length or hidden would fit either"


def _tangents(config: Configuration) -> float:
    """Return the seconds a step that the hook ``lyapunov`` takes: its product, and the QR of one step in two."""
    v, cost, found = config.values, _cost(config), _argument(config, "lyapunov")
    if found is None:
        return 0.0
    size = cost.states * v["hidden"]
    count = min(int(found or 1), size)
    operations = 2 * cost.blocks * v["hidden"] ** 2 * count + 2 * size * count**2
    return float(_QR + v["batch"] * operations / _FLOPS)


def _sampled(config: Configuration) -> int:
    """Return at how many steps the hook ``jacobians`` looks."""
    argument, length = _argument(config, "jacobians"), int(config.values["length"])
    if argument is None:
        return 0
    return length if argument == "all" else min(int(argument or 32), length)


def _argument(config: Configuration, hook: str) -> str | None:
    """Return what stands behind the colon of ``hook``; None where a configuration has no such hook."""
    return {kind: argument for kind, _, argument in (name.partition(":") for name in config.values["hooks"])}.get(hook)
