"""Executors of groups: this process, worker processes, or a user's executor.

A worker that is killed loses its groups. Their configurations run again, one at a time.
"""

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

#: Number of groups in flight on an executor whose number of workers is unknown.
MANY = 1000
#: Seconds without a finished group after which the executor is checked: whether it is alive, and its size.
LOOK = 5.0
Task = Callable[[Group], Part]
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


class Inline(Executor):
    """Executor that runs each task immediately in this process."""

    def submit(self, task: Callable[..., Any], /, *args: Any, **keys: Any) -> Future[Any]:
        """Run ``task`` and return its finished future."""
        future: Future[Any] = Future()
        try:
            future.set_result(task(*args, **keys))
        except Exception as error:
            future.set_exception(error)
        return future


class WorkerPool:
    """Runs groups on an executor, and replaces the executor when it breaks; a context manager.

    Parameters
    ----------
    start : callable
        Returns an executor; called at the beginning and after a break.
    task : callable
        Measures a group and returns its part.
    width : callable
        Returns the number of groups to have in flight; raises RunError if the executor is lost.
    own : bool
        Whether the pool shuts down and replaces the executor; a user's executor is left alone.
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
        elif self._own:  # Ctrl-C or an error: drop the running groups, which have written nothing
            _drop(self._executor, self._others)

    def finished(self, groups: Sequence[Group]) -> Iterator[tuple[Group, Part]]:
        """Yield each group with its part, in the order in which they finish.

        Groups whose task raised or whose executor broke run again at the end, one configuration at a time.

        Parameters
        ----------
        groups : sequence of tuple of Configuration
            The groups to run.

        Yields
        ------
        (group, part)
            A group, or one configuration of a group that failed as a whole, with its part.

        Raises
        ------
        RunError
            If a user's executor stops working.
        """
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
        for config in chain.from_iterable(suspects):  # alone, only the configuration that kills the worker fails
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
        """Wait and return the finished futures, at least one; all of them if the executor broke."""
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
        if (
            isinstance(error, BrokenExecutor) or type(error).__name__ == "KilledWorker"
        ):  # Dask's class; Dask may be missing
            return failed(group, "the worker was killed, and again when it was tried alone (out of memory?)")
        return failed(group, f"{type(error).__name__}: {error}".splitlines()[0])

    def _replace(self) -> None:
        if not self._own:
            raise _lost()
        self._executor.shutdown(wait=False)
        self._executor = self._start()


def crew(task: Task, workers: int, executor: Executor | None, own: bytes = b"") -> WorkerPool:
    """Return the pool that runs ``task``.

    Parameters
    ----------
    task : callable
        Measures a group and returns its part.
    workers : int
        Number of worker processes; 0 runs the groups in this process.
    executor : Executor or None
        A user's executor, used instead of worker processes.
    own : bytes
        The user's own tasks, packed, to be registered in the workers.

    Returns
    -------
    WorkerPool
        The pool; use it as a context manager.

    Raises
    ------
    RunError
        If the workers cannot start, or the user's executor is lost or has another version of gradlab.
    InputError
        If a worker cannot unpack the user's tasks.
    """
    if executor is not None:
        return WorkerPool(lambda: _same(executor, own), task, width=lambda: _room(executor), own=False)
    if workers == 0:
        return WorkerPool(Inline, task, width=lambda: 1, own=True)
    return WorkerPool(lambda: _processes(workers, own), task, width=lambda: 2 * workers, own=True)


def numerics(own: bytes = b"") -> int:
    """Register the user's own tasks in this process and return its version of the numerics.

    Parameters
    ----------
    own : bytes
        The user's own tasks, packed.

    Returns
    -------
    int
        The version of the numerics.
    """
    adopt(own)
    return NUMERICS


def _same(executor: Executor, own: bytes) -> Executor:
    """Return a user's executor if its workers have the same numerics; a cluster may have another Python."""
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
    """Return how many groups a user's executor gets at a time; Dask gets two per thread that it has now.

    A worker that dies loses all of its groups, so it gets few.
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
    """Wait until one future has finished; call ``look`` every ``LOOK`` seconds, which raises if none can."""
    while not wait(running, LOOK, FIRST_COMPLETED).done:
        look()


def _error(future: Future[Any]) -> BaseException | None:
    """Return the exception of a finished future; a cancelled future counts as a broken executor."""
    return BrokenExecutor("cancelled") if future.cancelled() else future.exception()


def _lost() -> RunError:
    return RunError("the executor stopped working; finished groups are kept, run again with a new one")


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit BLAS to one thread, in this process and in those that start inside the block."""
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
        with deaf_to_ctrl_c():  # the workers inherit this: only the parent handles Ctrl-C
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
    """Shut down an executor and terminate all child processes except ``others``."""
    executor.shutdown(wait=False, cancel_futures=True)
    for process in set(multiprocessing.active_children()) - others:
        process.terminate()


@contextmanager
def deaf_to_ctrl_c() -> Iterator[None]:
    """Defer SIGINT until the block ends; threads and processes started inside never get it."""
    resource_tracker.ensure_running()  # if it started inside the block, it would unblock SIGINT
    with put_off():
        yield


def _begin() -> None:
    """Make this worker exit when its parent exits, for whatever reason."""
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
