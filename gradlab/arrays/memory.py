"""The memory that is available to a pass."""

from __future__ import annotations

import os
from pathlib import Path

#: Linux's files with the limit and the use of a control group: version 2, then 1.
_GROUPS = (
    ("/sys/fs/cgroup", "memory.max", "memory.current"),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
)


def free_memory() -> float | None:
    """Return the bytes that this process may still use; all of the machine's if only these are known; else None."""
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
    """Return the bytes left under a group's limit; None without a group or a limit ("max").

    Cached files that have not been read for a while are released on demand, and count as free.
    """
    try:
        most, now = (float((Path(folder) / file).read_text(encoding="ascii")) for file in (limit, taken))
        counts = dict(line.split() for line in (Path(folder) / "memory.stat").read_text(encoding="ascii").splitlines())
    except (OSError, ValueError):
        return None
    return max(most - now + float(counts.get("total_inactive_file", counts.get("inactive_file", 0))), 0.0)
