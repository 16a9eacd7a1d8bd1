"""Where groups run: here, in processes of our own, or on any executor; and what happens when a worker is killed."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from contextlib import contextmanager
from itertools import chain
from multiprocessing import resource_tracker
from typing import Any, Self

from gradlab.errors import InputError, RunError
from gradlab.study.interrupt import put_off
from gradlab.study.plan import NUMERICS, Group
from gradlab.study.store import Part
from gradlab.study.worker import PIN, failed
from gradlab.tasks.registry import adopt

#: Groups handed at a time to an executor that does not tell how many it runs at once.
MANY = 1000
#: Seconds after which an executor that finishes nothing is asked whether it is still there, and how large it is now.
LOOK = 5.0
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


class WorkerPool:
    """Hands groups to an executor, and another executor when that one has broken; use as a context.

    Parameters
    ----------
    start : gives an executor, at the beginning and after a break.
    task : makes a part of a group.
    width : tells how many groups to hand out at a time; raises RunError where the executor is lost.
    own : whether the executor is ours, to be ended and replaced; a user's is left as it is.
    """

    def __init__(self, start: Callable[[], Executor], task: Task, *, width: Callable[[], int], own: bool) -> None:
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
        waiting, running, suspects = deque(groups), dict[Future[Part], Group](), list[Group]()
        try:
            while waiting or running:
                self._hand_out(waiting, running)
                for future in self._done(running):
                    group = running.pop(future)
                    if _error(future) is None:
                        yield group, future.result()
                    else:
                        suspects.append(group)
        finally:
            for future in running:
                future.cancel()
        for config in chain.from_iterable(suspects):  # who killed the worker? with nobody beside, only the guilty fails
            yield (config,), self._alone((config,))

    def _hand_out(self, waiting: deque[Group], running: dict[Future[Part], Group]) -> None:
        for _ in range(min(len(waiting), self._width() - len(running))):
            group = waiting.popleft()
            running[self._submit(group)] = group

    def _submit(self, group: Group) -> Future[Part]:
        try:
            return self._executor.submit(self._task, group)
        except Exception as error:  # broken, or shut down, or closed
            future: Future[Part] = Future()
            future.set_exception(BrokenExecutor(str(error)))
            return future

    def _done(self, running: dict[Future[Part], Group]) -> list[Future[Part]]:
        """Return what has finished, at least one; when the executor broke, all: it took all of them with it."""
        _wait(running, self._width)
        done = [future for future in running if future.done()]
        if not any(isinstance(_error(future), BrokenExecutor) for future in done):
            return done
        self._replace()
        wait(running)
        return list(running)

    def _alone(self, group: Group) -> Part:
        future = self._submit(group)
        _wait([future], self._width)
        error = _error(future)
        if error is None:
            return future.result()
        if isinstance(error, BrokenExecutor):
            self._replace()
        if isinstance(error, BrokenExecutor) or type(error).__name__ == "KilledWorker":  # Dask's, which may be missing
            return failed(group, "the worker was killed, and again when it was tried alone (out of memory?)")
        return failed(group, f"{type(error).__name__}: {error}".splitlines()[0])

    def _replace(self) -> None:
        if not self._own:
            raise _lost()
        self._executor.shutdown(wait=False)
        self._executor = self._start()


def crew(task: Task, workers: int, executor: Executor | None, own: bytes = b"") -> WorkerPool:
    """Return the crew that does ``task`` in ``workers`` processes, 0 for none, or on a user's executor.

    ``own`` holds the user's own tasks, which the workers have to find.
    """
    if executor is not None:
        return WorkerPool(lambda: _same(executor, own), task, width=lambda: _room(executor), own=False)
    if workers == 0:
        return WorkerPool(Inline, task, width=lambda: 1, own=True)
    return WorkerPool(lambda: _processes(workers, own), task, width=lambda: 2 * workers, own=True)


def numerics(own: bytes = b"") -> int:
    """Return the version of the numerics, of the worker that is asked, which has found the user's own tasks."""
    adopt(own)
    return NUMERICS


def _same(executor: Executor, own: bytes) -> Executor:
    """Return a user's executor when it measures as we do; a cluster has a Python of its own."""
    try:
        future = executor.submit(numerics, own)
    except Exception:
        raise _lost() from None
    _wait([future], lambda: _room(executor))
    if isinstance(error := _error(future), BrokenExecutor):
        raise _lost()
    if isinstance(error, InputError):
        raise error
    theirs = future.result() if error is None else f"{type(error).__name__}: {error}".splitlines()[0]
    if theirs != NUMERICS:
        found = f"version {theirs} of its numerics" if isinstance(theirs, int) else theirs
        raise RunError(f"the executor's workers need the same gradlab as here, numerics {NUMERICS}; found: {found}")
    return executor


def _room(executor: Executor) -> int:
    """Return how many groups a user's executor takes at a time: of Dask's, two for each thread that it has now.

    A worker that dies takes all with it that it was given, so that it is given little.
    """
    dask = sys.modules.get("distributed")
    if dask is None or not isinstance(executor, dask.cfexecutor.ClientExecutor):
        return MANY
    client = executor._client
    try:
        if client.status == "running":
            return int(max(2 * sum(client.nthreads().values()), 2))
    except OSError:
        pass
    raise _lost()


def _wait(running: Collection[Future[Any]], look: Callable[[], object]) -> None:
    """Wait until one has finished; ``look`` now and then whether any still can."""
    while not wait(running, LOOK, FIRST_COMPLETED).done:
        look()


def _error(future: Future[Any]) -> BaseException | None:
    """Return what a finished future raised; one that we did not cancel has lost its executor."""
    return BrokenExecutor("cancelled") if future.cancelled() else future.exception()


def _lost() -> RunError:
    return RunError("the executor stopped working; what had finished is kept, run again with a new one")


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep BLAS at one thread, here and in the processes that are started meanwhile."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        with PIN:
            yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _processes(workers: int, own: bytes = b"") -> Executor:
    others = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")  # fork would copy BLAS's threads and locks
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin)
    try:
        with deaf_to_ctrl_c():  # which the workers inherit: Ctrl-C is the parent's
            ready = [pool.submit(numerics, own) for _ in range(workers)]
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
def deaf_to_ctrl_c() -> Iterator[None]:
    """Put Ctrl-C off to the end of the block, and keep it for good from threads and processes that start in it."""
    resource_tracker.ensure_running()  # its own start would end our block
    with put_off():
        yield


def _begin() -> None:
    """End with the parent, however it ends."""
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
