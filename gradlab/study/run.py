"""Running a plan: what is missing, group by group, into the folder."""

from __future__ import annotations

import os
import time
from collections import Counter
from concurrent.futures import Executor
from pathlib import Path

from gradlab.errors import InputError, SpecError
from gradlab.files import write_whole
from gradlab.study import provenance
from gradlab.study.budget import affordable, refuse_too_many, work
from gradlab.study.claim import claimed
from gradlab.study.measure import data
from gradlab.study.plan import Group, Plan
from gradlab.study.pools import crew, one_thread
from gradlab.study.progress import Talk, counted, duration
from gradlab.study.store import Results, drop, scan, write_part


def run_plan(
    plan: Plan,
    out: str | Path | None = None,
    *,
    workers: int | None = None,
    executor: Executor | None = None,
    progress: bool = True,
) -> Results:
    """Run what ``out`` (by default ``results/<name>``) does not hold yet.

    Parameters
    ----------
    workers : processes; 0 runs in this one; by default one a core, as far as memory allows.
    executor : any `concurrent.futures.Executor` instead.
    progress : say on stderr how it goes.

    Raises
    ------
    SpecError, InputError
        for what cannot run, before anything does.
    StoreError
        where the folder is another study's, or another runner holds it.
    KeyboardInterrupt
        after Ctrl-C; what had finished is kept, and the next run goes on from there.
    """
    folder, talk = Path(out or Path("results") / plan.spec.name), Talk(plan.spec.name, quiet=not progress)
    count = _count(plan, workers, executor)
    _check_data(plan)
    with claimed(folder, plan.spec.name):
        groups = _missing(folder, plan, talk)
        write_whole(folder / "study.toml", plan.spec.toml().encode())
        if groups:
            _go(folder, groups, count, executor, talk)
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
            data(config)
        except InputError as error:
            raise SpecError(f"task {config.values['task.name']}: {error}") from None


def _count(plan: Plan, workers: int | None, executor: Executor | None) -> int:
    if executor is not None and workers is not None:
        raise InputError("give workers or executor, not both")
    if executor is not None:
        return 0
    if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int) or workers < 0):
        raise InputError(f"workers must be a whole number of at least 0, got {workers!r}")
    if workers is None:
        return max(1, min(affordable(plan), cores(), len(plan.groups())))
    refuse_too_many(plan, max(workers, 1))
    return workers


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _missing(folder: Path, plan: Plan, talk: Talk) -> list[Group]:
    """Return the groups that are to run; sweep up what a kill left."""
    for leftover in (folder / "parts").glob(".*.tmp"):
        leftover.unlink(missing_ok=True)
    stored = scan(folder)
    for name in stored.damaged:
        talk.say(f"parts/{name} is damaged; its configurations run again")
    drop(folder, stored.damaged)
    total = len(plan.configurations)
    statuses = [stored.statuses[c.id] for c in plan.configurations if c.id in stored.statuses]
    failed = f", {statuses.count('failed')} of them failed" if "failed" in statuses else ""
    talk.say(f"{len(statuses)} of {total} already done{failed}" if statuses else counted(total, "configuration"))
    return sorted(plan.groups(done=stored.statuses), key=work, reverse=True)  # the longest first: they end together


def _go(folder: Path, groups: list[Group], workers: int, executor: Executor | None, talk: Talk) -> None:
    record, start = provenance.begin(folder), time.monotonic()
    total = sum(map(len, groups))
    talk.say(f"{total} to run in {counted(len(groups), 'group')}, {_where(workers, executor)}")
    try:
        with one_thread(), talk.begin(total, sum(map(work, groups))), crew(workers, executor, len(groups)) as hands:
            for group, part in hands.finished(groups):
                write_part(folder, part)
                talk.advance(part.statuses, work(group))
    except KeyboardInterrupt:
        kept = f"{total - talk.remaining} of {total} are kept in {folder}"
        talk.say(f"interrupted; {kept}, the same command goes on from there")
        raise
    provenance.end(folder, record, dict(Counter(talk.counts)))
    talk.say(f"{talk.summary()} in {duration(time.monotonic() - start)}")


def _where(workers: int, executor: Executor | None) -> str:
    if executor is not None:
        return f"on {type(executor).__name__}"
    return f"on {counted(workers, 'worker')}" if workers else "in this process"
