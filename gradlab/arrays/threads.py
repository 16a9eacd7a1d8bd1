"""Independent pieces of work on every core that BLAS may use, with BLAS at one thread per piece.

Many small decompositions gain nothing from BLAS's own threads. They gain from running side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import cache
from threading import Lock
from typing import TypeVar

import numpy as np
from threadpoolctl import ThreadpoolController

Piece = TypeVar("Piece")
_SHARED = Lock()


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")


def cores() -> int:
    """Return the number of threads that BLAS may use now: all cores, or a lower limit, as within a study."""
    return max((library["num_threads"] for library in _blas().info()), default=1)


def share_out(work: Callable[[Piece], None], pieces: Sequence[Piece]) -> None:
    """Call ``work`` on every piece, in threads; results do not depend on the thread."""
    workers = min(cores(), len(pieces))
    if workers < 2 or not _SHARED.acquire(blocking=False):  # BLAS's limit is global: one caller at a time
        for piece in pieces:
            work(piece)
        return
    try:
        warned = np.geterr()  # per thread up to NumPy 1.26, per context from 2.0

        def piecewise(piece: Piece) -> None:
            with np.errstate(**warned):
                work(piece)

        with _blas().limit(limits=1), ThreadPoolExecutor(workers) as pool:
            for done in [pool.submit(copy_context().run, piecewise, piece) for piece in pieces]:
                done.result()
    finally:
        _SHARED.release()
