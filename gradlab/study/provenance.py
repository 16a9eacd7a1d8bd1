"""The provenance of results: versions, git commit, command line, machine and times."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from gradlab import __version__
from gradlab.arrays.memory import free_memory
from gradlab.errors import StoreError
from gradlab.files import write_whole
from gradlab.native import compiled
from gradlab.study.plan import NUMERICS, THIN

PACKAGES = ("numpy", "scipy", "pandas", "pyarrow", "scikit-learn")
Record = dict[str, Any]


def read(folder: Path) -> Record:
    """Return the record of the last run.

    Parameters
    ----------
    folder : Path
        The results folder.

    Returns
    -------
    dict
        The record, with earlier records under "earlier"; empty if nothing has run.

    Raises
    ------
    StoreError
        If the file cannot be read, or is not a record of a run.
    """
    path = folder / "provenance.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise StoreError(f"{path}: cannot be read ({error}); correct the file or remove it") from None
    if not isinstance(found, dict) or not isinstance(found.get("earlier", []), list):
        raise StoreError(f"{path}: is no record of a run; correct the file or remove it")
    return found


def begin(folder: Path, *, thin: bool) -> Record:
    """Write and return the record of a run that starts now.

    Parameters
    ----------
    folder : Path
        The results folder.
    thin : bool
        Whether the table ``steps`` keeps logarithmically spaced lags only.

    Returns
    -------
    dict
        The record; the records of earlier runs are under "earlier".
    """
    before = read(folder)
    earlier = [*before.pop("earlier", []), before] if before else []
    record: Record = {
        "started": _now(),
        "ended": None,
        "argv": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "versions": _versions(),
        "git": _git(),
    }
    record |= {"machine": _machine(), "steps": THIN if thin else "every lag", "earlier": earlier}
    _write(folder, record)
    return record


def end(folder: Path, record: Record, statuses: dict[str, int]) -> None:
    """Write the record again with the end of the run and the number of configurations by status.

    Parameters
    ----------
    folder : Path
        The results folder.
    record : dict
        The record that :func:`begin` returned.
    statuses : dict
        The number of configurations of this run by status.
    """
    _write(folder, record | {"ended": _now(), "configurations": statuses})


def _write(folder: Path, record: Record) -> None:
    write_whole(folder / "provenance.json", (json.dumps(record, indent=2, ensure_ascii=False) + "\n").encode())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _versions() -> dict[str, str]:
    found = {"gradlab": __version__, "numerics": str(NUMERICS), "python": platform.python_version()}
    found["formulas"] = compiled.describe()
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _git() -> Record | None:
    """Return commit and state of the git checkout that holds this package; None if it is not in a checkout."""
    here = Path(__file__).parent
    if not _ask_git(here, "ls-files", "provenance.py"):
        return None
    changed = _ask_git(here, "status", "--porcelain", "--untracked-files=no")
    return {"commit": _ask_git(here, "rev-parse", "HEAD"), "dirty": bool(changed)}


def _ask_git(folder: Path, *words: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _machine() -> Record:
    memory = free_memory()
    found = {"system": platform.platform(), "processor": platform.machine(), "cpus": os.cpu_count()}
    return found | {"free_memory_gb": None if memory is None else round(memory / 1e9, 1)}
