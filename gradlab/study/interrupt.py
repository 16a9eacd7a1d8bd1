"""Ctrl-C: no interrupt is lost, and an interrupt can be deferred."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def heard() -> Iterator[Callable[[], None]]:
    """Yield a function that raises KeyboardInterrupt if a Ctrl-C came inside the block.

    Ctrl-C raises by itself, but inside a callback from C the exception is only printed. The handler therefore also
    records it, and the run checks the record. Nothing changes in other threads than the main one, or if the program
    has its own handler for Ctrl-C.

    Yields
    ------
    callable
        The check, without parameters; it raises KeyboardInterrupt.
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
    """Defer SIGINT until the block ends; threads and processes started inside never get it.

    Threads and processes inherit the blocked signal. Another thread may still receive it, and Python then runs the
    handler in the main thread; so the handler is replaced too. Nothing changes in other threads than the main one,
    because Python never interrupts them.
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
    """Block SIGINT in this thread and return the previous mask; None if the system has no masks (Windows)."""
    return signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if hasattr(signal, "pthread_sigmask") else None
