"""Laws over every hook of ``HOOKS``: the schema declares its numbers, and a cut pass gives those of a whole one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from oracles.family import make

import gradlab as gl
from gradlab import schema
from gradlab.errors import InputError
from gradlab.hooks import HOOKS
from gradlab.hooks.base import TableHook
from gradlab.tables.recorded import hook_of, is_quantity

T, B, D, H = 20, 3, 2, 4
#: Hooks that refuse a pass that is cut, because they relate every step to every other.
WHOLE = ("temporal", "sensitivity")
every = pytest.mark.parametrize("name", HOOKS)


def measured(*hooks: Any, length: int = T) -> dict[str, pd.DataFrame]:
    """Return the tables of a pass through a gated layer in both directions and an RNN above it."""
    both = gl.Bidirectional(make("lstm", D, H), make("gru-before-replace", D, H))
    network = gl.Network([both, make("rnn-tanh", 2 * H, H)])
    rng = np.random.default_rng(0)
    x, v = rng.standard_normal((T, B, D)), rng.standard_normal((B, H))
    return gl.trace(network, x, gl.projection(v), hooks=hooks, segment_length=length).measured()


def test_every_hook_has_its_entry_in_the_schema() -> None:
    assert {name.partition(":")[0] for name in schema.RECORDED} == set(HOOKS)


@every
def test_every_row_and_column_is_declared(name: str) -> None:
    """Another hook's number, or one without its line in ``schema.RECORDED``, fails here."""
    plain = set(measured()["runs"])
    found = measured(name)
    quantities = set(found["steps"].get("quantity", ()))
    columns = set(found["runs"]) - plain
    assert quantities | columns
    assert not [one for one in quantities if not is_quantity(one)]
    assert not [one for one in columns if schema.described(one) is None]
    assert {str(hook_of(one)).partition(":")[0] for one in quantities | columns} == {name}


@pytest.mark.parametrize("length", [5, 13])
@pytest.mark.parametrize("name", [name for name in HOOKS if name not in WHOLE])
def test_a_pass_that_is_cut_gives_the_rows_and_columns_of_a_whole_one(name: str, length: int) -> None:
    """The tables agree up to the rounding of sums in another order."""
    for key, whole in measured(name).items():
        cut = measured(name, length=length)[key]
        assert len(whole) == len(cut)
        pd.testing.assert_frame_equal(whole, cut, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", WHOLE)
def test_a_hook_that_needs_the_whole_pass_refuses_segments(name: str) -> None:
    with pytest.raises(InputError, match=rf'hook "{name}" needs all steps at once; give gl\.trace segment_length=20'):
        measured(name, length=5)


class EveryState(TableHook):
    """Keeps the state before each segment too, which the segment before keeps again."""

    def measure(self, segment: Any) -> Any:
        return [], {"small": abs(segment.states["h"]).mean(axis=-1)}


class RowsOfEveryState(TableHook):
    def measure(self, segment: Any) -> Any:
        logs = np.log(1.0 + abs(segment.states["h"]).mean(axis=-1))
        return [segment.rows("size", logs, np.arange(len(logs)))], {}


class OneRowTooMany(TableHook):
    def measure(self, segment: Any) -> Any:
        return [segment.rows("size", np.zeros((len(segment.own) + 1, B)), segment.own)], {}


@pytest.mark.parametrize(
    ("hook", "message"),
    [
        (
            EveryState,
            r'hook EveryState: keeps 6 rows of "small" in a segment that owns 5 states; .* segment\.own alone',
        ),
        (RowsOfEveryState, r'rows of "size": index 0 is a state that the segment before owns; .* segment\.own alone'),
        (OneRowTooMany, r'rows of "size": got 6 rows for 5 indices of segment\.own'),
    ],
)
def test_rows_of_states_that_a_segment_does_not_own_are_refused(hook: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        measured(hook(), length=5)
