"""A Ctrl-C whose exception is swallowed is heard all the same."""

from __future__ import annotations

import ctypes
import signal
import sys
import threading
from typing import Any

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from gradlab.study import worker
from gradlab.study.interrupt import heard

INTEGERS = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)


def interrupted_in_a_callback() -> None:
    """Press Ctrl-C while C has called back into Python, where no exception gets out."""

    def compare(*_: Any) -> int:
        signal.raise_signal(signal.SIGINT)
        return 0

    numbers = (ctypes.c_int * 2)(2, 1)
    ctypes.CDLL(None).qsort(numbers, ctypes.c_size_t(2), ctypes.c_size_t(4), INTEGERS(compare))


@pytest.mark.skipif(sys.platform == "win32", reason="finds qsort in the running program")
def test_ctrl_c_in_a_callback_is_heard_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    swallowed = []
    monkeypatch.setattr(sys, "unraisablehook", lambda one: swallowed.append(one.exc_type))
    with heard() as check:
        check()
        interrupted_in_a_callback()
        assert swallowed == [KeyboardInterrupt]
        with pytest.raises(KeyboardInterrupt):
            check()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_elsewhere_raises_at_once() -> None:
    with pytest.raises(KeyboardInterrupt), heard():
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_of_the_program_is_left_alone() -> None:
    came = []
    before = signal.signal(signal.SIGINT, lambda *_: came.append(1))
    try:
        with heard() as check:
            signal.raise_signal(signal.SIGINT)
            check()
    finally:
        signal.signal(signal.SIGINT, before)
    assert came == [1]


def test_another_thread_changes_nothing() -> None:
    found: list[Any] = []

    def look() -> None:
        with heard() as check:
            check()
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [signal.default_int_handler]


@pytest.mark.skipif(sys.platform == "win32", reason="finds qsort in the running program")
@pytest.mark.parametrize("taken", ["here", "by another thread"])
def test_ctrl_c_while_blas_is_pinned_comes_afterwards(monkeypatch: pytest.MonkeyPatch, taken: str) -> None:
    swallowed, reached = [], []
    monkeypatch.setattr(sys, "unraisablehook", lambda one: swallowed.append(one.exc_type))
    pin, before = worker._Pin(), [one["num_threads"] for one in threadpool_info()]

    def limits(threads: int) -> Any:
        if taken == "by another thread":  # where the signal is not blocked, as it is not in threads of a library
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        interrupted_in_a_callback()
        reached.append(threads)
        return threadpool_limits(threads)

    monkeypatch.setattr(worker, "threadpool_limits", limits)
    with pytest.raises(KeyboardInterrupt), pin:
        pytest.fail("the block must not begin")
    assert (reached, swallowed) == ([1], [])
    assert [one["num_threads"] for one in threadpool_info()] == before
