"""How much memory there is for a pass."""

from __future__ import annotations

import os
from pathlib import Path

#: Files in which Linux says how much a group of processes may take, and takes: version 2, then 1.
_GROUPS = (
    ("/sys/fs/cgroup", "memory.max", "memory.current"),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
)


def free_memory() -> float | None:
    """Return the bytes that this process may still take, or all there are where only that is known, or None."""
    found = [bytes for bytes in (_free(), *(_left(*files) for files in _GROUPS)) if bytes is not None]
    return min(found, default=None)


def _free() -> float | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(float(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        pass
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):
        return None


def _left(folder: str, limit: str, taken: str) -> float | None:
    """Return what the limit of a group leaves; None where there is no such group, or no limit ("max").

    Copies of files that have not been read for a while are given back when memory is asked for, and count as free.
    """
    try:
        most, now = (float((Path(folder) / file).read_text(encoding="ascii")) for file in (limit, taken))
        counts = dict(line.split() for line in (Path(folder) / "memory.stat").read_text(encoding="ascii").splitlines())
    except (OSError, ValueError):
        return None
    return max(most - now + float(counts.get("total_inactive_file", counts.get("inactive_file", 0))), 0.0)
