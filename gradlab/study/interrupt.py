"""Ctrl-C that cannot be lost, and that can be put off."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def heard() -> Iterator[Callable[[], None]]:
    """Yield a function that raises KeyboardInterrupt if a Ctrl-C came in the block.

    Ctrl-C raises by itself, but in a callback from C the exception is printed and forgotten. So it is noted too, and
    the run asks. In other threads than the main one, and where the program has a handler of its
    own for Ctrl-C, nothing is changed.
    """
    came = threading.Event()

    def note(*_: Any) -> None:
        came.set()
        raise KeyboardInterrupt

    def check() -> None:
        if came.is_set():
            raise KeyboardInterrupt

    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield check
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def put_off() -> Iterator[None]:
    """Put Ctrl-C off to the end of the block, and keep it for good from threads and processes that start in it.

    A blocked signal is enough for those; but another thread may take it, and Python would then tell the main one all
    the same, so that the handler waits too. In other threads than the main one, which is never interrupted, nothing is
    changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came = threading.Event()
    handler = signal.signal(signal.SIGINT, lambda *_: came.set())
    mask = _blocked()
    try:
        yield
    finally:
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
        if came.is_set():
            signal.raise_signal(signal.SIGINT)


def _blocked() -> set[Any] | None:
    """Block Ctrl-C in this thread and return what was blocked before; None where there is no such thing (Windows)."""
    return signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if hasattr(signal, "pthread_sigmask") else None
