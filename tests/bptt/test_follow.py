"""Steps taken from outputs that are known: the tape of the forward pass that had them.

Tolerance: one step's rounding, 1e-13 relative; nothing is carried on but an LSTM's c, whose forget gates are below 1.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from oracles.family import FAMILY, columns, make

import gradlab as gl
from gradlab.bptt import follow, forward

T, B, D, H = 9, 3, 2, 4


@pytest.mark.parametrize("lengths", [None, np.array([9, 1, 5])], ids=["equal", "unequal"])
@pytest.mark.parametrize("name", FAMILY)
def test_it_leaves_the_tape_of_the_forward_pass(name: str, lengths: NDArray[np.int64] | None, monkeypatch: Any) -> None:
    monkeypatch.setattr(sys.modules["gradlab.bptt.forward"], "STRETCH", 8 * B)  # several stretches
    cell = make(name, D, H)
    x, start = np.random.default_rng(0).standard_normal((T, D, B)), columns(cell, B)
    tape = forward(cell, x, start, lengths)
    found, given = follow(cell, x, start, tape.output, lengths)
    within = np.ones((T, 1, B), bool) if lengths is None else (np.arange(T)[:, None] < lengths)[:, None]
    np.testing.assert_allclose(found.states, tape.states, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(np.where(within, given - tape.output, 0.0), 0.0, atol=1e-15)
    assert set(found.record) == set(tape.record)
    for key, array in tape.record.items():
        np.testing.assert_allclose(np.where(within, found.record[key] - array, 0.0), 0.0, atol=1e-13, err_msg=key)


def test_a_cell_of_several_states_says_how_it_is_followed() -> None:
    @dataclass(frozen=True, eq=False, repr=False)
    class Two(gl.RNN):
        state_names = ("h", "c")

    cell = Two(np.ones((H, D)), np.ones((H, H)))
    with pytest.raises(gl.InputError, match="cannot be followed from its h alone"):
        cell.teacher_force(np.zeros((T, H, B)), np.zeros((T + 1, 2 * H, B)))
