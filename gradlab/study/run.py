"""Running a plan: what is missing, group by group, into the folder."""

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
    """Run what ``out`` (by default ``results/<name>``) does not hold yet.

    Parameters
    ----------
    workers : processes; 0 runs in this one; by default one a core, as far as memory allows.
    executor : any `concurrent.futures.Executor` instead.
    retry_failed : run again what failed, and nothing else; by default a failure is a result.
    progress : say on stderr how it goes.

    Raises
    ------
    SpecError, InputError
        for what cannot run, before anything does.
    StoreError
        where the folder is another study's, or another runner holds it.
    RunError
        where it cannot go on, as on a full disk; what had finished is kept.
    KeyboardInterrupt
        after Ctrl-C; what had finished is kept, and the next run goes on from there.
    """
    folder, talk = Path(out or Path("results") / plan.spec.name), ProgressReporter(plan.spec.name, quiet=not progress)
    count = worker_count(plan, workers, executor)
    _check_data(plan)
    travels = count > 0 or executor is not None
    own = packed({c.values["task.name"] for c in plan.configurations}) if travels else b""
    with heard() as check, _writable(folder), claimed(folder, plan.spec.name):
        shelf = _opened(folder, talk)
        groups = _missing(shelf, plan, talk, retry_failed)
        write_whole(folder / "study.toml", plan.spec.toml().encode())
        shelf.tidy()
        if groups:
            _Run(plan, shelf, talk, check, own).go(groups, count, executor)
    return Results(folder, plan)


def _check_data(plan: Plan) -> None:
    """Draw each task's data once, so that a missing package or too large a batch shows before anything runs."""
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
    """Return how many processes of ours are to run ``plan``; refuse what does not fit into memory."""
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
    """Say in one line that the disk is full, or what else keeps files from being written."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        what = "the disk is full" if full else f"cannot be written ({error.strerror or error})"
        then = "free some space" if full else "mend that"
        raise RunError(f"{folder}: {what}; what had finished is kept, {then} and run the same command again") from None


def _opened(folder: Path, talk: ProgressReporter) -> PartStore:
    """Return the parts, checked byte by byte; say what cannot be used. What is refused is left as it is."""
    provenance.read(folder)
    shelf = PartStore.open(folder, thorough=True)
    remove_leftovers(folder)
    for reason in shelf.damaged.values():
        talk.say(f"{reason}; what it held runs again")
    shelf.drop(list(shelf.damaged))
    for version, count in shelf.stale().items():
        old = f"measured by version {version} of the numerics, which is {NUMERICS} now"
        talk.say(
            f"{counted(count, 'result')} in {folder} {'was' if count == 1 else 'were'} {old}: left out of all tables"
        )
    return shelf


def _missing(shelf: PartStore, plan: Plan, talk: ProgressReporter, retry_failed: bool) -> list[Group]:
    """Return the groups that are to run, the longest first, so that they end together."""
    stored, total = shelf.statuses, len(plan.configurations)
    statuses = {c.id: stored[c.id] for c in plan.configurations if c.id in stored}
    failed = {id for id, status in statuses.items() if status == "failed"}
    talk.say(_so_far(len(statuses), len(failed), total, retry_failed))
    done = {c.id for c in plan.configurations} - failed if retry_failed else set(statuses)
    return sorted(plan.groups(done=done), key=work, reverse=True)


def _so_far(done: int, failed: int, total: int, retry_failed: bool) -> str:
    if not done and not retry_failed:
        return counted(total, "configuration")
    told = f"{done} of {total} already done"
    if failed:
        then = "run again, and nothing else" if retry_failed else "--retry-failed runs them again"
        return f"{told}, {failed} of them failed; {then}"
    return f"{told}; none failed, nothing to run again" if retry_failed else told


class _Run:
    """One run of a plan's groups into a shelf."""

    def __init__(
        self, plan: Plan, shelf: PartStore, talk: ProgressReporter, check: Callable[[], None], own: bytes = b""
    ) -> None:
        self.plan, self.shelf, self.talk, self.check, self.own = plan, shelf, talk, check, own
        self.task = partial(measure, thin=plan.thin, own=own)

    def go(self, groups: list[Group], workers: int, executor: Executor | None) -> None:
        """Run ``groups``; say how it went, and after Ctrl-C what is kept."""
        folder, talk, total = self.shelf.folder, self.talk, sum(map(len, groups))
        record, start = provenance.begin(folder, thin=self.plan.thin), time.monotonic()
        talk.say(f"{total} to run in {counted(len(groups), 'group')}, {_where(workers, executor)}")
        if self.plan.thin:
            talk.say(f"more than {MANY_STEPS} steps in all: the table steps keeps {THIN}")
        try:
            self._go(groups, workers, executor)
        except KeyboardInterrupt:
            kept = f"{sum(talk.counts.values())} of {total} are kept in {folder}"
            talk.say(f"interrupted; {kept}, the same command goes on from there")
            raise KeyboardInterrupt(kept) from None
        provenance.end(folder, record, dict(Counter(talk.counts)))
        talk.say(f"{talk.summary()} in {duration(time.monotonic() - start)}")

    def _go(self, groups: list[Group], workers: int, executor: Executor | None) -> None:
        known, total, pace = self._known(groups), sum(map(work, groups)), self._pace(max(workers, 1))
        with (
            one_thread(),
            crew(self.task, workers, executor, self.own) as hands,
            self.talk.begin(known, total, pace),  # the clock runs from when the workers are there
        ):
            self.check()
            for group, part in hands.finished(groups):
                self.shelf.add(part)
                self.talk.advance(list(part.statuses.values()), work(group))
                self.check()
        self.shelf.tidy()

    def _known(self, groups: list[Group]) -> Counter[str]:
        """Return how many configurations of the plan are to run, and how many have which status already."""
        again, stored = {c.id for group in groups for c in group}, self.shelf.statuses
        return Counter("planned" if c.id in again else stored[c.id] for c in self.plan.configurations)

    def _pace(self, hands: int) -> float | None:
        """Return the wall seconds that an estimated second took in earlier runs; None where there were none."""
        spent = {id: s for part in self.shelf.parts.values() for id, s in part.seconds.items() if math.isfinite(s)}
        known = [c for c in self.plan.configurations if c.id in spent]
        return sum(spent[c.id] for c in known) / work(known) / hands if known else None


def _where(workers: int, executor: Executor | None) -> str:
    if executor is not None:
        return f"on {type(executor).__name__}"
    return f"on {counted(workers, 'worker')}" if workers else "in this process"
