"""Where groups run: here, in processes of our own, or on any executor; and what happens when a worker is killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Any, Self

from threadpoolctl import threadpool_limits

from gradlab.errors import RunError
from gradlab.study.measure import failed
from gradlab.study.parts import Part
from gradlab.study.plan import Group

Task = Callable[[Group], Part]
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


class Inline(Executor):
    """Runs a task at once, in this process."""

    def submit(self, task: Callable[..., Any], /, *args: Any, **keys: Any) -> Future[Any]:
        """Return the finished future of ``task``."""
        future: Future[Any] = Future()
        try:
            future.set_result(task(*args, **keys))
        except Exception as error:
            future.set_exception(error)
        return future


class Crew:
    """Hands groups to an executor, and another executor when that one has broken; use as a context.

    Parameters
    ----------
    start : gives an executor, at the beginning and after a break.
    task : makes a part of a group.
    width : groups handed out at a time.
    own : whether the executor is ours, to be ended and replaced; a user's is left as it is.
    """

    def __init__(self, start: Callable[[], Executor], task: Task, *, width: int, own: bool) -> None:
        self._start, self._task, self._width, self._own = start, task, width, own
        self._others = set(multiprocessing.active_children())
        self._executor = start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._own and kind is None:
            self._executor.shutdown()
        elif self._own:  # Ctrl-C: what runs is dropped; it has written nothing
            _drop(self._executor, self._others)

    def finished(self, groups: Sequence[Group]) -> Iterator[tuple[Group, Part]]:
        """Yield each group with its part, in the order in which they finish."""
        waiting, running = deque(groups), dict[Future[Part], Group]()
        try:
            while waiting or running:
                while waiting and len(running) < self._width:
                    group = waiting.popleft()
                    running[self._submit(group)] = group
                for future in self._done(running):
                    yield from self._result(future, running.pop(future))
        finally:
            for future in running:
                future.cancel()

    def _submit(self, group: Group) -> Future[Part]:
        try:
            return self._executor.submit(self._task, group)
        except BrokenExecutor as error:
            future: Future[Part] = Future()
            future.set_exception(error)
            return future

    def _done(self, running: dict[Future[Part], Group]) -> list[Future[Part]]:
        """Return what has finished, at least one; when the executor broke, all: it took all of them with it."""
        wait(running, return_when=FIRST_COMPLETED)
        done = [future for future in running if future.done()]
        if not any(isinstance(future.exception(), BrokenExecutor) for future in done):
            return done
        wait(running)
        self._replace()
        return list(running)

    def _result(self, future: Future[Part], group: Group) -> Iterator[tuple[Group, Part]]:
        if future.exception() is None:
            yield group, future.result()
        else:  # who killed the worker? once more, one at a time, so that only the guilty one fails
            for config in group:
                yield (config,), self._alone((config,))

    def _alone(self, group: Group) -> Part:
        future = self._submit(group)
        error = future.exception()
        if error is None:
            return future.result()
        if isinstance(error, BrokenExecutor):
            self._replace()
            return failed(group, "the worker was killed, and again when it was tried alone (out of memory?)")
        return failed(group, f"{type(error).__name__}: {error}")

    def _replace(self) -> None:
        if not self._own:
            raise RunError("the executor stopped working; what had finished is kept, run again with a new one")
        self._executor.shutdown(wait=False)
        self._executor = self._start()


def crew(task: Task, workers: int, executor: Executor | None, groups: int) -> Crew:
    """Return the crew that does ``task`` in ``workers`` processes, 0 for none, or on a user's executor."""
    if executor is not None:
        return Crew(lambda: executor, task, width=max(groups, 1), own=False)
    if workers == 0:
        return Crew(Inline, task, width=1, own=True)
    return Crew(lambda: _processes(workers), task, width=2 * workers, own=True)


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep BLAS at one thread, here and in the processes that are started meanwhile."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        with threadpool_limits(1):
            yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _processes(workers: int) -> Executor:
    others = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")  # fork would copy BLAS's threads and locks
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin)
    try:
        with _deaf_to_ctrl_c():  # which the workers inherit: Ctrl-C is the parent's
            ready = [pool.submit(os.getpid) for _ in range(workers)]
        for future in ready:
            future.result()
    except BrokenExecutor:
        raise RunError(
            'worker processes cannot start; in a script, call run() under `if __name__ == "__main__":`, '
            "or give workers=0"
        ) from None
    except BaseException:
        _drop(pool, others)
        raise
    return pool


def _drop(executor: Executor, others: set[Any]) -> None:
    """End an executor and the processes that it started, which are all but ``others``, at once."""
    executor.shutdown(wait=False, cancel_futures=True)
    for process in set(multiprocessing.active_children()) - others:
        process.terminate()


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may say so, and only it is interrupted
        return
    if not hasattr(signal, "pthread_sigmask"):  # Windows, where a worker does not inherit it either
        yield
        return
    resource_tracker.ensure_running()  # its own start would end our block
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:  # a Ctrl-C that came meanwhile comes now: put off, not lost
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin() -> None:
    """End with the parent, however it ends."""
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
