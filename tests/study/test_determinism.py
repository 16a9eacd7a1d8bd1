"""The same study gives the same tables to the last bit, whoever runs it and however often it is interrupted.

The bits are guaranteed on one machine because a group is measured by the same calls on arrays of the same shapes,
whoever measures it, with BLAS at one thread. No sum depends on how many workers there are or which came first.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE, oracle
from study.tiny import assert_same_tables, run

from gradlab.cells import CELLS
from gradlab.hooks import HOOKS
from gradlab.progress import ProgressReporter
from gradlab.study import Results, Study, load_results
from gradlab.study.cluster import dask_executor
from gradlab.training import Training

BASE = {"hidden": 48, "batch": 8}
#: Every cell with every hook, large enough for BLAS to be asked for several threads.
UNTRAINED = Study(
    name="all",
    grid={"cell": list(CELLS), "length": [12, 25], "layers": [1, 2], "seeds": 2},
    base=BASE | {"at": "every", "hooks": list(HOOKS)},
    task={"name": "sum"},
)
TRAINED = Study(
    name="trained",
    grid={"cell": list(CELLS), "train.optimiser": ["adam", "momentum"], "seeds": 2},
    base=BASE | {"length": 8, "hooks": ["gradients", "gates", "lyapunov:2"]},
    task={"name": "adding"},
    train={"steps": 6, "learning_rate": 0.01, "clip_norm": 0.5, "measure_at": [0, 4]},
)


@pytest.fixture(scope="module", params=[UNTRAINED, TRAINED], ids=["untrained", "trained"])
def study(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(scope="module")
def reference(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Results:
    results = run(study, tmp_path_factory.mktemp("reference") / "r")
    assert set(results.frame("runs")["status"]) == {"done"}
    return results


@contextmanager
def dask() -> Iterator[Any]:
    oracle("distributed")
    with dask_executor("local", TRAINED.plan, 2) as executor:
        yield executor


def threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(3)


def processes() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))


@pytest.mark.parametrize(
    "way",
    [1, 2, pytest.param(4, marks=pytest.mark.full), threads, processes, dask],
    ids=["1", "2", "4", "threads", "processes", "dask"],
)
def test_tables_are_the_same_whoever_runs_the_study(study: Study, reference: Results, tmp_path: Path, way: Any) -> None:
    if isinstance(way, int):
        assert_same_tables(run(study, tmp_path / "r", way), reference)
        return
    with way() as executor:
        assert_same_tables(run(study, tmp_path / "r", None, executor=executor), reference)


@pytest.mark.parametrize("workers", [0, 2])
def test_tables_are_the_same_after_an_interruption_at_every_group(
    study: Study, reference: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    advance, every = ProgressReporter.advance, 1 if workers == 0 else len(study.plan.groups()) // 3

    def interrupted(talk: ProgressReporter, *args: Any) -> None:
        advance(talk, *args)
        if not talk.unit and talk.remaining and talk.remaining % (2 * every) == 0:  # the study's, not a training's
            raise KeyboardInterrupt

    monkeypatch.setattr(ProgressReporter, "advance", interrupted)
    stops = 0
    while True:
        try:
            results = run(study, tmp_path / "r", workers)
            break
        except KeyboardInterrupt:
            stops += 1
            assert load_results(tmp_path / "r").status()["done"] >= 2 * stops
    assert stops >= 2
    assert_same_tables(results, reference)


def run_and_be_killed(folder: Path, before: int) -> None:
    """Run the trained study in this process, and kill it before this training step of all that it takes."""
    advance, steps = Training._advance, itertools.count()

    def killed(training: Training) -> None:
        if next(steps) == before:
            os.kill(os.getpid(), signal.SIGKILL)
        advance(training)

    Training._advance = killed  # type: ignore[method-assign]
    run(TRAINED, folder)


@pytest.mark.parametrize("study", [TRAINED], ids=["trained"], indirect=True)
def test_tables_are_the_same_after_sigkills_in_mid_training(reference: Results, tmp_path: Path) -> None:
    """What a killed training had reached is in no table; a group is two trainings of six steps."""
    for before, done in [(9, 0), (29, 4)]:
        process = multiprocessing.get_context("spawn").Process(target=run_and_be_killed, args=(tmp_path / "r", before))
        process.start()
        process.join(PATIENCE)
        assert process.exitcode == -signal.SIGKILL
        assert load_results(tmp_path / "r").status()["done"] == done
    assert_same_tables(run(TRAINED, tmp_path / "r"), reference)
