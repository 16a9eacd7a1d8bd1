"""Comparisons are paired: what two configurations do not differ in is the same, to the last bit."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from conftest import PATIENCE
from study.tiny import tiny

from gradlab.study.plan import Configuration
from gradlab.study.worker import data, generator, measure, network


def one(**changes: Any) -> Configuration:
    """Return the first configuration of the tiny study with one value of each key."""
    grid = {"cell": ["rnn"], "length": [9], "scale": [1.0], "seeds": [3]} | changes.pop("grid", {})
    return tiny(grid=grid, **changes).plan.configurations[0]


@pytest.mark.parametrize("changes", [{"cell": ["lstm"]}, {"cell": ["gru"]}, {"scale": [2.0]}, {"seeds": [3, 4]}])
def test_data_of_one_seed_are_the_same_for_every_cell_and_scale(changes: dict[str, Any]) -> None:
    assert np.array_equal(data(one())[0], data(one(grid=changes))[0])


@pytest.mark.parametrize("base", [{"hidden": 7}, {"layers": 2}, {"at": "every"}])
def test_data_of_one_seed_are_the_same_for_every_network_and_loss(base: dict[str, Any]) -> None:
    assert np.array_equal(data(one())[0], data(one(base=base))[0])


def test_a_shorter_sequence_is_a_prefix_of_the_longer_one() -> None:
    short, long = data(one(grid={"length": [4]}))[0], data(one(grid={"length": [40]}))[0]
    assert short.shape == (4, 3, 1)
    assert np.array_equal(short, long[:4])


def test_data_of_another_seed_are_others() -> None:
    assert not np.array_equal(data(one())[0], data(one(grid={"seeds": [4]}))[0])


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_weights_of_one_seed_are_one_draw_times_the_scale(cell: str) -> None:
    small, large = (network(one(grid={"cell": [cell], "scale": [g]})) for g in (0.5, 2.0))
    assert np.array_equal(4.0 * small.layers[0].W_hh, large.layers[0].W_hh)
    assert np.array_equal(small.layers[0].W_xh, large.layers[0].W_xh)
    assert np.array_equal(small.readout.W_hy, large.readout.W_hy)


def test_layers_are_independent_and_a_second_one_leaves_the_first_as_it_was() -> None:
    single, double = network(one()), network(one(base={"layers": 2}))
    assert np.array_equal(single.layers[0].W_hh, double.layers[0].W_hh)
    assert not np.array_equal(double.layers[0].W_hh, double.layers[1].W_hh)
    assert np.array_equal(single.readout.W_hy, double.readout.W_hy)


def test_purposes_of_one_seed_are_independent_streams() -> None:
    draws = {purpose: generator(0, *purpose).integers(2**60) for purpose in [(0,), (1,), (2, 0), (2, 1)]}
    assert len(set(draws.values())) == len(draws)


def test_keys_reach_cell_readout_and_task() -> None:
    built = network(one(grid={"cell": ["gru"]}, init={"recurrent": "orthogonal"}, gru={"reset": "after"}))
    blocks = built.layers[0].W_hh.reshape(3, 4, 4)
    assert np.allclose(blocks @ blocks.swapaxes(1, 2), np.eye(4), rtol=0, atol=1e-14)
    assert built.layers[0].reset == "after"


def test_float32_is_float32_throughout() -> None:
    config = one(base={"precision": "float32"})
    assert data(config)[0].dtype == network(config).dtype == np.float32


def test_a_group_says_how_each_of_its_configurations_ended() -> None:
    assert list(measure(tiny().plan.groups()[0]).statuses.values()) == ["done", "done"]


TWO_THREADS = """
import threading
from threadpoolctl import threadpool_info
from gradlab.study.worker import PIN

entered, leave, found = threading.Event(), threading.Event(), []

def first():
    with PIN:
        entered.set()
        leave.wait()

def second():
    entered.wait()
    with PIN:
        leave.set()
        others[0].join()
        found.extend(library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas")

others = [threading.Thread(target=first), threading.Thread(target=second)]
for thread in others:
    thread.start()
for thread in others:
    thread.join()
print(set(found))
"""


def test_blas_stays_at_one_thread_until_the_last_of_several_threads_has_measured() -> None:
    """As on a Dask worker of several threads, in a process where nothing else has set a limit."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "2"}
    words = [sys.executable, "-c", TWO_THREADS]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert done.stdout == "{1}\n"
