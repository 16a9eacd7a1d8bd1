"""Work on all cores: all of it is done, BLAS is left as it was, and a failure is told."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from gradlab.arrays.threads import cores, share_out


def blas_threads() -> list[int]:
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


@pytest.fixture(autouse=True)
def two_threads() -> object:
    with threadpool_limits(2):
        yield


def test_everything_is_done_with_blas_at_one_thread() -> None:
    seen = []
    share_out(lambda piece: seen.append((piece, max(blas_threads()))), range(10))
    assert sorted(seen) == [(piece, 1) for piece in range(10)]
    assert cores() == 2


def test_a_limit_of_one_thread_means_this_thread() -> None:
    with threadpool_limits(1):
        assert cores() == 1
        share_out(lambda piece: None, range(3))


def test_callers_in_several_threads_leave_blas_as_it_was() -> None:
    done = []
    with ThreadPoolExecutor(4) as pool:
        for call in [pool.submit(share_out, done.append, range(20)) for _ in range(8)]:
            call.result()
    assert len(done) == 160
    assert set(blas_threads()) == {2}


def test_floating_point_warnings_are_those_of_the_caller() -> None:
    def overflow(piece: int) -> None:
        np.array([1e308]) * 10.0

    with np.errstate(all="ignore"):
        share_out(overflow, range(4))
    with np.errstate(all="raise"), pytest.raises(FloatingPointError):
        share_out(overflow, range(4))


def test_a_failure_is_the_callers() -> None:
    def fail(piece: int) -> None:
        raise KeyError(piece)

    with pytest.raises(KeyError):
        share_out(fail, range(4))
    assert set(blas_threads()) == {2}
