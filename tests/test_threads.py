"""Numbers do not depend on how many threads BLAS has, but for rounding."""

from __future__ import annotations

import numpy as np
import pytest
from oracles.compare import assert_normwise
from threadpoolctl import threadpool_limits

import gradlab as gl


@pytest.mark.parametrize("cell", [gl.RNN, gl.LSTM, gl.GRU])
def test_a_trace_is_the_same_on_one_thread_and_on_two(cell: type[gl.Cell]) -> None:
    """H 192 and B 32: products that BLAS shares out among its threads."""
    x, loss = np.random.default_rng(0).standard_normal((20, 32, 4)), gl.projection(np.ones((32, 192)))
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            trace = gl.trace(cell.init(4, 192, rng=0), x, loss)
            found.append((trace.param_grads, trace.log_norm("dL/dh"), trace.spectrum(2).exponents))
    (grads, logs, exponents), (other, other_logs, other_exponents) = found
    for name, array in grads.items():
        assert_normwise(other[name], array, 1e-12, name, axis=None)
    np.testing.assert_allclose(other_logs, logs, rtol=1e-12)
    np.testing.assert_allclose(other_exponents, exponents, rtol=1e-10)
