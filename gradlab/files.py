"""Atomic file writes: a file appears with all of its content or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

#: Pattern of temporary files: those being written, and those left behind by a process that was killed.
UNFINISHED = ".gradlab-*.tmp"


def write_whole(path: Path, content: bytes) -> None:
    """Write a file atomically.

    Parameters
    ----------
    path : Path
        File to create or replace; missing folders are created.
    content : bytes
        All of its content.
    """
    with whole(path) as file:
        file.write(content)


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """Yield a temporary file in the same folder; at the end it is synced and renamed to ``path``.

    If the block raises, the temporary file is deleted and ``path`` stays as it was.

    Parameters
    ----------
    path : Path
        File to create or replace; missing folders are created.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".gradlab-", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
