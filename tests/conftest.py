"""Shared by all tests: oracles that may be missing, a generator, hypothesis without a clock, and the quick tier."""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import NoReturn

if "PYTEST_XDIST_WORKER" in os.environ:  # as many workers as cores: a thread more of BLAS waits for another's core
    os.environ.update(dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import numpy as np
import pytest
from hypothesis import settings

settings.register_profile("gradlab", deadline=None, derandomize=True, database=None, max_examples=60)
settings.load_profile("gradlab")


#: Seconds after which a process counts as hung: no measure of speed, many times what any machine needs.
PATIENCE = 900

#: What the quick tier leaves to the fast one: tests that start processes, draw whole reports, or take seconds.
SLOW = (
    "bptt/test_known_products.py::test_a_hundred_thousand_steps_report_their_nats",
    "cells/test_autodiff.py::test_it_passes_the_selfcheck",
    "figures/test_figures.py::test_drawn_again_the_bytes_are_the_same",
    "jacobians/test_propagator.py::test_right_where_the_product_is_noise",
    "report/test_browser.py",
    "report/test_page.py::test_the_main_study_stays_small",
    "report/test_page.py::test_what_an_earlier_report_drew_is_taken_away",
    "report/test_page.py::test_written_again_the_bytes_are_the_same",
    "report/test_pair.py",
    "study/test_budget.py::test_memory_is_within_half_of_a_workers_peak",
    "study/test_cluster.py",
    "study/test_determinism.py",
    "study/test_fuzz.py",
    "study/test_published.py::test_the_report_puts_it_beside_what_was_measured",
    "study/test_run.py::test_a_worker_that_is_killed",
    "study/test_run.py::test_on_a_terminal",
    "study/test_shipped.py",
    "study/test_survival.py",
    "study/test_train.py::test_the_report_says",
    "study/test_train.py::test_workers_change_no_bit",
    "test_cli.py::test_ctrl_c_drops",
    "test_cli.py::test_ctrl_c_while",
    "test_cli.py::test_killed",
    "test_cli.py::test_report_of_two",
    "test_measurements.py::test_a_notebook_shows_every_plot_once",
    "trace/test_long_pass.py",
)
#: Cases of one parametrised test that the quick tier runs, from its first to its last.
CASES = 3


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the quick tier: a few cases, evenly spread, of every test that is neither full nor slow."""
    tests: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        if not (item.get_closest_marker("full") or any(name in item.nodeid for name in SLOW)):
            tests[item.nodeid.partition("[")[0]].append(item)
    for cases in tests.values():
        few = min(len(cases), CASES)
        for i in range(few):
            cases[i * (len(cases) - 1) // max(few - 1, 1)].add_marker(pytest.mark.quick)


def oracle(name: str) -> ModuleType:
    """Return the module; where it is missing skip with the reason, or fail if GRADLAB_REQUIRE_ORACLES=1."""
    try:
        return import_module(name)
    except ImportError as missing:
        absent(f"the oracle {name} is missing: {missing}")


def absent(reason: str) -> NoReturn:
    """Skip with the reason that something is not there, or fail if GRADLAB_REQUIRE_ORACLES=1."""
    if os.environ.get("GRADLAB_REQUIRE_ORACLES") == "1":
        pytest.fail(f"{reason}, and GRADLAB_REQUIRE_ORACLES=1", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(autouse=True)
def _own_tasks_end_with_the_test() -> Iterator[None]:
    """Forget the tasks that a test, an example or the README registered: the registry is one for the whole process."""
    yield
    if registry := sys.modules.get("gradlab.tasks.registry"):
        for name in set(registry.TASKS) - registry.SHIPPED:
            del registry.TASKS[name]


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("torch_oracle"):
        oracle("torch").set_num_threads(1)  # two workers of pytest on two cores


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20)
