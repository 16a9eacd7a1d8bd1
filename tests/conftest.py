"""What every test may use: oracles that may be missing, a generator, hypothesis without a clock."""

from __future__ import annotations

import os
import sys
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
