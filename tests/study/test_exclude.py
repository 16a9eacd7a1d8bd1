"""Combinations that a study leaves out: named by values of its grid, and of no influence on ids."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from study.tiny import ONE, run, tiny

from gradlab.errors import SpecError
from gradlab.study import Spec
from gradlab.study.exclude import combinations
from gradlab.study.plan import make_plan

GRID = {"cell": ["rnn", "lstm"], "rnn.activation": ["tanh", "relu"], "init.recurrent": ["orthogonal", "identity"]}
IRNN = [
    {"rnn.activation": "tanh", "init.recurrent": "identity"},
    {"rnn.activation": "relu", "init.recurrent": ["orthogonal"]},
    {"cell": "lstm", "init": {"recurrent": "identity"}},
    {"cell": "lstm", "rnn.activation": "relu"},
]


def spec(exclude: list[dict[str, Any]], grid: dict[str, Any] = GRID) -> Spec:
    return Spec.from_tables(
        {"name": "irnn", "grid": grid, "base": {"length": 5}, "task": {"name": "sum"}, "exclude": exclude}
    )


def kinds(exclude: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    keys = ("cell", "rnn.activation", "init.recurrent")
    return [tuple(c.values.get(key) for key in keys) for c in make_plan(spec(exclude)).configurations]


def test_what_is_left_out_is_not_planned_and_the_rest_keeps_its_ids() -> None:
    assert kinds(IRNN) == [("rnn", "tanh", "orthogonal"), ("rnn", "relu", "identity"), ("lstm", None, "orthogonal")]
    whole = {c.id for c in make_plan(spec([])).configurations}
    assert {c.id for c in make_plan(spec(IRNN)).configurations} < whole


def test_a_combination_that_no_run_could_have_can_be_left_out() -> None:
    grid = {"cell": ["lstm"], "init.forget_bias": [0.0, 1.0], "init.chrono": [20.0]}
    with pytest.raises(SpecError, match=r"^init: "):
        make_plan(spec([], grid))
    assert len(make_plan(spec([{"init.forget_bias": 1.0}], grid)).configurations) == 1


def test_it_is_written_and_read_back() -> None:
    once = spec(IRNN)
    assert Spec.from_tables(once.tables()) == once
    assert "[[exclude]]" in once.toml()


def test_it_may_name_what_only_one_of_a_study_s_sizes_has() -> None:
    full = {"init.recurrent": ["orthogonal", "glorot"]}
    exclude = [{"cell": "lstm", "init.recurrent": ["identity", "glorot"]}]
    tables = {"name": "irnn", "grid": GRID, "base": {"length": 5}, "task": {"name": "sum"}, "exclude": exclude}
    once = Spec.from_tables(tables | {"full": full})
    assert Spec.from_tables(once.tables()) == once
    assert len(make_plan(Spec.from_tables(once.tables(), full=True)).configurations) == 5


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"scale": 1.0}, r'^exclude\[0\]\.scale: unknown key of the grid "scale"'),
        ({"cell": "gru"}, r'^exclude\[0\]\.cell: the grid has no "gru"; it has "rnn", "lstm"'),
        ({"cell": "lsmt"}, r'^exclude\[0\]\.cell: unknown cell "lsmt"; did you mean "lstm"'),
        ({"cell": ["gru", "custom"]}, r"^exclude\[0\]\.cell"),
        ({}, r"^exclude\[0\]: the table is empty; name the values"),
        ({"cell": ["rnn", "lstm"]}, r"^exclude: no combination of the grid is left"),
        ({"cell": []}, r"^exclude\[0\]\.cell: the list is empty"),
    ],
)
def test_what_cannot_be_meant_is_refused(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        spec([entry])


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.frozensets(st.integers(0, 2), min_size=1), min_size=1)))
def test_what_is_left_is_the_grid_less_each_table(tables: list[dict[str, Any]]) -> None:
    grid = {"a": (0, 1), "b": (0, 1, 2), "c": (2,)}
    left = list(combinations(grid, [{key: tuple(levels) for key, levels in table.items()} for table in tables]))
    for values in combinations(grid, []):
        assert (values in left) != any(all(values[key] in table[key] for key in table) for table in tables)


def test_a_study_that_leaves_some_out_runs_and_reports(tmp_path: Any) -> None:
    study = tiny(exclude=[{"cell": "lstm", "scale": 0.5}], report=ONE)
    results = run(study, tmp_path / "tiny")
    kept = results.frame("runs")
    assert len(kept)
    assert not ((kept["cell"] == "lstm") & (kept["scale"] == 0.5)).any()
    assert results.report().is_file()
