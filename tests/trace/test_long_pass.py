"""A pass of any length in bounded memory: measured in a process of its own, as the benchmark does."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.length import MOST_BYTES, in_a_process


def test_twenty_thousand_steps_take_less_memory_in_segments() -> None:
    """Of 20 000 steps a whole pass keeps 250 MB; in segments no more than the tables are left, and the same numbers."""
    whole, parts = (in_a_process(20_000, segment) for segment in (20_000, 500))
    for name in ("rate", "lyapunov_1"):
        np.testing.assert_allclose(parts[name], whole[name], rtol=1e-12)
    assert parts["rows"] == whole["rows"]
    assert parts["bytes_above_input"] < 80e6
    assert whole["bytes_above_input"] > 200e6


@pytest.mark.full
def test_a_million_steps() -> None:
    """Under 1 GiB above the input; `tests/benchmarks/length.py` has the time per step."""
    assert in_a_process(1_000_000)["bytes_above_input"] < MOST_BYTES
