"""Exclusive ownership of a results folder: one study per folder, and one runner at a time."""

from __future__ import annotations

import getpass
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path

from filelock import FileLock, Timeout

from gradlab.errors import SpecError, StoreError
from gradlab.files import UNFINISHED, write_whole
from gradlab.study.spec import Spec

#: The names of the files and folders that a study writes into its folder.
OURS = {"study.toml", "provenance.json", "parts", "report.html", "figures", "tables", "export", ".lock", ".lock.json"}


@contextmanager
def claimed(folder: Path, name: str) -> Iterator[None]:
    """Lock ``folder`` for the study ``name`` inside the block; create the folder if necessary.

    Parameters
    ----------
    folder : Path
        The results folder.
    name : str
        The name of the study.

    Raises
    ------
    StoreError
        If the folder holds another study or other files, another runner holds it, or it cannot be written.
    """
    try:
        _check(folder, name)
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", timeout=0)
        lock.acquire()
    except Timeout:
        held = holder(folder) or "held by another runner"
        raise StoreError(f"{folder}: {held}; wait for that run to end, or choose another --out") from None
    except (OSError, NotImplementedError) as error:  # the second if the file system has no locks
        raise StoreError(f"{folder}: cannot be written ({getattr(error, 'strerror', error)})") from None
    try:
        write_whole(folder / ".lock.json", json.dumps(_myself()).encode())
        yield
    finally:
        try:
            (folder / ".lock.json").unlink(missing_ok=True)
        finally:
            lock.release()


def holder(folder: Path) -> str:
    """Return the current runner of the study in ``folder`` as text.

    Parameters
    ----------
    folder : Path
        The results folder.

    Returns
    -------
    str
        User, host, process and start; "" if there is no runner, or if it was killed on this host.
    """
    try:
        found = json.loads((folder / ".lock.json").read_text(encoding="utf-8"))
        gone = found["host"] == socket.gethostname() and not _alive(int(found["pid"]))
        started = f"process {found['pid']}, since {found['since']}"
        return "" if gone else f"held by {found['user']} on {found['host']}, {started}"
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return ""


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # the process exists, and another user owns it
        return True
    return True


def _check(folder: Path, name: str) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise StoreError(f"{folder}: is a file; expected a folder for the results")
    if (folder / "study.toml").exists():
        found = _name(folder / "study.toml")
        if found != name:
            raise StoreError(f'{folder}: holds the study "{found}", not "{name}"; choose another --out')
        return
    names = {entry.name for entry in folder.iterdir()} - OURS
    strange = sorted(name for name in names if not fnmatch(name, UNFINISHED))
    if strange:
        raise StoreError(f"{folder}: holds no study but other files ({', '.join(strange[:3])}); choose another --out")


def _name(path: Path) -> str:
    try:
        return Spec.from_toml(path).name
    except SpecError as error:
        raise StoreError(f"{error}; correct the file or remove it") from None


def _myself() -> dict[str, object]:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = "someone"
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return {"user": user, "host": socket.gethostname(), "pid": os.getpid(), "since": since}
