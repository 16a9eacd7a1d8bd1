"""Independent pieces of work on every core that BLAS may use, each with BLAS at one thread.

Many small decompositions gain nothing from BLAS's own threads, and all from being shared out.
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
    """Return how many threads BLAS may use now: all cores, unless its limit is lower, as it is within a study."""
    return max((library["num_threads"] for library in _blas().info()), default=1)


def share_out(work: Callable[[Piece], None], pieces: Sequence[Piece]) -> None:
    """Do ``work`` on every piece; which thread does it changes no number."""
    workers = min(cores(), len(pieces))
    if workers < 2 or not _SHARED.acquire(blocking=False):  # BLAS's limit is the process's: one at a time sets it
        for piece in pieces:
            work(piece)
        return
    try:
        warned = np.geterr()  # up to NumPy 1.26 a thread's own, from 2 on the context's

        def piecewise(piece: Piece) -> None:
            with np.errstate(**warned):
                work(piece)

        with _blas().limit(limits=1), ThreadPoolExecutor(workers) as pool:
            for done in [pool.submit(copy_context().run, piecewise, piece) for piece in pieces]:
                done.result()
    finally:
        _SHARED.release()
