"""Run a plan: measure the missing configurations, group by group, and store them in the folder."""

from __future__ import annotations

import errno
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from gradlab.errors import InputError, RunError, SpecError
from gradlab.files import write_whole
from gradlab.formatting.numbers import counted
from gradlab.progress import ProgressReporter, duration
from gradlab.study import provenance
from gradlab.study.budget import affordable, refuse_too_many, work
from gradlab.study.executors import crew, one_thread
from gradlab.study.interrupt import heard
from gradlab.study.lock import claimed
from gradlab.study.plan import MANY_STEPS, NUMERICS, THIN, Group, Plan
from gradlab.study.results import Results
from gradlab.study.store import PartStore, remove_leftovers
from gradlab.study.worker import data, measure, refuse_other_data
from gradlab.tasks.registry import packed


def run_plan(
    plan: Plan,
    out: str | Path | None = None,
    *,
    workers: int | None = None,
    executor: Executor | None = None,
    retry_failed: bool = False,
    progress: bool = True,
) -> Results:
    """Run the configurations that the results folder does not hold yet.

    Parameters
    ----------
    plan : Plan
        The plan.
    out : str or Path, optional
        The results folder; by default ``results/<name>``.
    workers : int, optional
        Number of worker processes; 0 runs in this process. By default one per core, as far as memory allows.
    executor : Executor, optional
        Any `concurrent.futures.Executor`, used instead of worker processes.
    retry_failed : bool
        Run the failed configurations again, and nothing else. By default a failure is a result.
    progress : bool
        Report the progress on stderr.

    Returns
    -------
    Results
        The results of the whole plan.

    Raises
    ------
    SpecError, InputError
        If the plan cannot run; raised before anything runs.
    StoreError
        If the folder belongs to another study, or another runner holds it.
    RunError
        If the run cannot continue, as on a full disk; finished groups are kept.
    KeyboardInterrupt
        After Ctrl-C; finished groups are kept, and the next run continues from there.
    """
    folder = Path(out or Path("results") / plan.spec.name)
    reporter = ProgressReporter(plan.spec.name, quiet=not progress)
    count = worker_count(plan, workers, executor)
    _check_data(plan)
    travels = count > 0 or executor is not None
    own = packed({c.values["task.name"] for c in plan.configurations}) if travels else b""
    with heard() as check, _writable(folder), claimed(folder, plan.spec.name):
        store = _opened(folder, reporter)
        groups = _missing(store, plan, reporter, retry_failed)
        write_whole(folder / "study.toml", plan.spec.toml().encode())
        store.tidy()
        if groups:
            _Run(plan, store, reporter, check, own).go(groups, count, executor)
    return Results(folder, plan)


def _check_data(plan: Plan) -> None:
    """Sample the data of each task once, so that a missing package or too large a batch is refused before the run."""
    seen = set()
    for config in plan.configurations:
        keys = (*config.section("task").items(), config.values["length"], config.values["batch"])
        if keys in seen:
            continue
        seen.add(keys)
        try:
            refuse_other_data(config)
            data(config)
        except InputError as error:
            raise SpecError(f"task {config.values['task.name']}: {error}") from None


def worker_count(plan: Plan, workers: int | None, executor: Executor | None = None) -> int:
    """Return the number of worker processes for ``plan``.

    Parameters
    ----------
    plan : Plan
        The plan.
    workers : int or None
        The requested number; None for one per core, as far as memory allows.
    executor : Executor, optional
        A user's executor, which needs no worker processes.

    Returns
    -------
    int
        The number of processes; 0 with an executor, or to run in this process.

    Raises
    ------
    InputError
        If ``workers`` is not a whole number of at least 0, or is given together with ``executor``.
    SpecError
        If that many workers do not fit into memory.
    """
    if executor is not None and workers is not None:
        raise InputError("give workers or executor, not both")
    if executor is not None:
        return 0
    if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int) or workers < 0):
        raise InputError(f"workers must be a whole number of at least 0, got {workers!r}")
    if workers is None:
        return affordable(plan).workers
    refuse_too_many(plan, max(workers, 1))
    return workers


@contextmanager
def _writable(folder: Path) -> Iterator[None]:
    """Raise RunError in one line if the disk is full, or files cannot be written for another reason."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        what = "the disk is full" if full else f"cannot be written ({error.strerror or error})"
        then = "free some space" if full else "correct that"
        raise RunError(f"{folder}: {what}; finished groups are kept, {then} and run the same command again") from None


def _opened(folder: Path, reporter: ProgressReporter) -> PartStore:
    """Open the store and check every byte; report and drop damaged parts. If this raises, no file has changed."""
    provenance.read(folder)
    store = PartStore.open(folder, thorough=True)
    remove_leftovers(folder)
    for reason in store.damaged.values():
        reporter.say(f"{reason}; its configurations run again")
    store.drop(list(store.damaged))
    for version, count in store.stale().items():
        old = f"measured by version {version} of the numerics, which is {NUMERICS} now"
        reporter.say(
            f"{counted(count, 'result')} in {folder} {'was' if count == 1 else 'were'} {old}: left out of all tables"
        )
    return store


def _missing(store: PartStore, plan: Plan, reporter: ProgressReporter, retry_failed: bool) -> list[Group]:
    """Return the groups to run, those with the most work first, so that all workers end at about the same time."""
    stored, total = store.statuses, len(plan.configurations)
    statuses = {c.id: stored[c.id] for c in plan.configurations if c.id in stored}
    failed = {id for id, status in statuses.items() if status == "failed"}
    reporter.say(_so_far(len(statuses), len(failed), total, retry_failed))
    done = {c.id for c in plan.configurations} - failed if retry_failed else set(statuses)
    return sorted(plan.groups(done=done), key=work, reverse=True)


def _so_far(done: int, failed: int, total: int, retry_failed: bool) -> str:
    if not done and not retry_failed:
        return counted(total, "configuration")
    text = f"{done} of {total} already done"
    if failed:
        then = "run again, and nothing else" if retry_failed else "--retry-failed runs them again"
        return f"{text}, {failed} of them failed; {then}"
    return f"{text}; none failed, nothing to run again" if retry_failed else text


class _Run:
    """One run of a plan's groups into a store."""

    def __init__(
        self, plan: Plan, store: PartStore, reporter: ProgressReporter, check: Callable[[], None], own: bytes = b""
    ) -> None:
        self.plan, self.store, self.reporter, self.check, self.own = plan, store, reporter, check, own
        self.task = partial(measure, thin=plan.thin, own=own)

    def go(self, groups: list[Group], workers: int, executor: Executor | None) -> None:
        """Run ``groups`` and report the outcome; after Ctrl-C, report how many results are kept."""
        folder, reporter, total = self.store.folder, self.reporter, sum(map(len, groups))
        record, start = provenance.begin(folder, thin=self.plan.thin), time.monotonic()
        reporter.say(f"{total} to run in {counted(len(groups), 'group')}, {_where(workers, executor)}")
        if self.plan.thin:
            reporter.say(f"more than {MANY_STEPS} steps in all: the table steps keeps {THIN}")
        try:
            self._go(groups, workers, executor)
        except KeyboardInterrupt:
            kept = f"{sum(reporter.counts.values())} of {total} are kept in {folder}"
            reporter.say(f"interrupted; {kept}, the same command goes on from there")
            raise KeyboardInterrupt(kept) from None
        provenance.end(folder, record, dict(Counter(reporter.counts)))
        reporter.say(f"{reporter.summary()} in {duration(time.monotonic() - start)}")

    def _go(self, groups: list[Group], workers: int, executor: Executor | None) -> None:
        known, total, pace = self._known(groups), sum(map(work, groups)), self._pace(max(workers, 1))
        with (
            one_thread(),
            crew(self.task, workers, executor, self.own) as pool,
            self.reporter.begin(known, total, pace),  # the clock starts when the workers are ready
        ):
            self.check()
            for group, part in pool.finished(groups):
                self.store.add(part)
                self.reporter.advance(list(part.statuses.values()), work(group))
                self.check()
        self.store.tidy()

    def _known(self, groups: list[Group]) -> Counter[str]:
        """Return the number of configurations by status; those to run count as "planned"."""
        again, stored = {c.id for group in groups for c in group}, self.store.statuses
        return Counter("planned" if c.id in again else stored[c.id] for c in self.plan.configurations)

    def _pace(self, workers: int) -> float | None:
        """Return the wall-clock seconds per multiplication in earlier runs, shared among ``workers``; None if none."""
        spent = {id: s for part in self.store.parts.values() for id, s in part.seconds.items() if math.isfinite(s)}
        known = [c for c in self.plan.configurations if c.id in spent]
        return sum(spent[c.id] for c in known) / work(known) / workers if known else None


def _where(workers: int, executor: Executor | None) -> str:
    if executor is not None:
        return f"on {type(executor).__name__}"
    return f"on {counted(workers, 'worker')}" if workers else "in this process"
