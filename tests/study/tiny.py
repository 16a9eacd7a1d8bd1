"""A study that takes a second, and what the tests of studies share."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pandas as pd

from gradlab import cli, schema
from gradlab.study import Results, Study
from gradlab.study import run as running
from gradlab.study.plan import Group
from gradlab.study.run import run_plan
from gradlab.study.store import Part
from gradlab.study.worker import measure

TABLES: dict[str, Any] = {
    "name": "tiny",
    "grid": {"cell": ["rnn", "lstm"], "length": [6, 9], "scale": [0.5, 1.5], "seeds": 2},
    "base": {"hidden": 4, "batch": 3, "hooks": ["gradients", "gates", "lyapunov:2"]},
    "task": {"name": "sum"},
}
#: A report's one figure, where none is asked after: all of them take seconds.
ONE = {"figures": ["rates"]}


def tables(**changes: Any) -> dict[str, Any]:
    """Return the tiny study's tables, ``grid``, ``base`` and ``init`` amended, other tables replaced."""
    amended = {key: {**TABLES.get(key, {}), **changes.pop(key, {})} for key in ("grid", "base")}
    return TABLES | amended | changes


def tiny(**changes: Any) -> Study:
    return Study(**tables(**changes))


def run(study: Study, folder: Path, workers: int | None = 0, **keys: Any) -> Results:
    """Run without a report."""
    return run_plan(study.plan, folder, workers=workers, **keys)


def assert_same_tables(one: Results, two: Results) -> None:
    """Check that all but the wall times is identical, to the last bit."""
    for name in schema.TABLES:
        left, right = (results.frame(name).drop(columns="seconds", errors="ignore") for results in (one, two))
        assert len(left) > 0 or name == "spectra"  # which a study without that hook leaves empty
        pd.testing.assert_frame_equal(left, right, check_exact=True)


def measure_unless_seed_1(group: Group, **keys: bool) -> Part:
    """Measure, but kill the worker that is given seed 1."""
    if any(config.values["seed"] == 1 for config in group):
        os.kill(os.getpid(), signal.SIGKILL)
    return measure(group, **keys)


def measure_at_second_try(group: Group, **keys: bool) -> Part:
    """Measure, but kill the first worker that comes here."""
    marker = Path(os.environ["GRADLAB_TEST_MARKER"])
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return measure(group, **keys)


#: Groups that a held run measures before it waits.
MEASURED = 4


def measure_some(group: Group, **keys: bool) -> Part:
    """Measure; after a few groups of the run wait instead, until the process that runs the study has ended."""
    runner, taken = os.getppid(), Path(os.environ["GRADLAB_TEST_HELD"])
    ticket = taken / group[0].id
    ticket.touch()
    while len(list(taken.iterdir())) > MEASURED and os.getppid() == runner:
        time.sleep(0.01)
    return measure(group, **keys)


def held() -> None:
    """Be the command line, but never finish a run: it is stopped in its middle, however fast the machine is."""
    running.measure = measure_some  # type: ignore[assignment]
    cli.main()
