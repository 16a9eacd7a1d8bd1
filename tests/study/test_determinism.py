"""The same study gives the same tables to the last bit, whoever runs it and however often it is interrupted."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import oracle
from study.tiny import assert_same_tables, run

from gradlab.cells import CELLS
from gradlab.hooks import HOOKS
from gradlab.study import Results, Study, load_results
from gradlab.study.cluster import dask_executor
from gradlab.study.progress import Talk

#: Every cell with every hook, large enough for BLAS to be asked for several threads.
STUDY = Study(
    name="all",
    grid={"cell": list(CELLS), "length": [12, 25], "layers": [1, 2], "seeds": 2},
    base={"hidden": 48, "batch": 8, "at": "every", "hooks": list(HOOKS)},
    task={"name": "sum"},
)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return run(STUDY, tmp_path_factory.mktemp("reference") / "r")


@contextmanager
def dask() -> Iterator[Any]:
    oracle("distributed")
    with dask_executor("local", STUDY.plan, 2) as executor:
        yield executor


def threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(3)


def processes() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))


@pytest.mark.parametrize(
    "way", [1, 2, 4, threads, processes, dask], ids=["1", "2", "4", "threads", "processes", "dask"]
)
def test_tables_are_the_same_whoever_runs_the_study(reference: Results, tmp_path: Path, way: Any) -> None:
    if isinstance(way, int):
        assert_same_tables(run(STUDY, tmp_path / "r", way), reference)
        return
    with way() as executor:
        assert_same_tables(run(STUDY, tmp_path / "r", None, executor=executor), reference)


@pytest.mark.parametrize("workers", [0, 2])
def test_tables_are_the_same_after_an_interruption_at_every_group(
    reference: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    advance, every = Talk.advance, 1 if workers == 0 else 5

    def interrupted(talk: Talk, *args: Any) -> None:
        advance(talk, *args)
        if talk.remaining and talk.remaining % (2 * every) == 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(Talk, "advance", interrupted)
    stops = 0
    while True:
        try:
            results = run(STUDY, tmp_path / "r", workers)
            break
        except KeyboardInterrupt:
            stops += 1
            assert load_results(tmp_path / "r").status()["done"] >= 2 * stops
    assert stops >= 2
    assert_same_tables(results, reference)
