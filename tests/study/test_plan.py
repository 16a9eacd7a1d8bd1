"""Ids say what defines rows and nothing else; groups are fixed by the specification."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from typing import Any

import pytest
from study.tiny import TABLES, run, tiny

from gradlab.errors import SpecError
from gradlab.study import Study
from gradlab.study.plan import GROUP, NUMERICS, configuration


def ids(**changes: Any) -> list[str]:
    return [c.id for c in tiny(**changes).plan.configurations]


#: Rows of the three cells as numerics 2 gives them: id, loss, rate, rate_low and lyapunov_1. If a change of gradlab
#: moves one of these numbers, or an id, raise plan.NUMERICS (which moves every id) and write down what it gives then.
GOLDEN = {
    "rnn": ("49fceaa750b8c5ad", 3.782574733736103, -0.1767862827043546, -0.35955235708987837, -0.15825945943237732),
    "lstm": ("a8a047f67806a247", 4.941389067276014, -0.24288810429790514, -0.3973318919478503, -0.20647486266198364),
    "gru": ("fbeeae8d78bd69ec", 4.435844103575666, -0.11236272543331155, -0.1384251274230489, -0.10973146816771522),
}


@pytest.mark.parametrize("cell", GOLDEN)
def test_golden_ids_and_numbers_guard_the_version_of_the_numerics(cell: str, tmp_path: Any) -> None:
    study = tiny(grid={"cell": [cell], "length": [30], "scale": [1.2], "seeds": [7]})
    row = run(study, tmp_path / "r").frame("runs").iloc[0]
    name, loss, rate, low, exponent = GOLDEN[cell]
    assert NUMERICS == 2
    assert row["id"] == name
    assert row["loss"] == pytest.approx(loss, rel=1e-9)
    assert row["rate"] == pytest.approx(rate, rel=1e-9)
    assert row["rate_low"] == pytest.approx(low, rel=1e-9)
    assert row["lyapunov_1"] == pytest.approx(exponent, rel=1e-9)


def test_ids_of_a_plan_are_those_of_its_configurations_one_by_one() -> None:
    plan = tiny(grid={"cell": ["rnn", "lstm"], "seeds": [0, 7, 2**40]}, base={"hooks": ["gates", "jacobians:3"]}).plan
    assert [c.id for c in plan.configurations] == [configuration(c.values).id for c in plan.configurations]


def test_numbers_spelled_otherwise_are_the_same_configuration() -> None:
    assert ids(grid={"scale": [1]}) == ids(grid={"scale": [1.0]}) == ids(grid={"scale": [1e0]})
    assert ids(base={"at": [3, 1]}) == ids(base={"at": [1, 3]})
    assert ids(init={"forget_bias": -0.0}) == ids(init={"forget_bias": 0})


def test_a_default_that_is_spelled_out_is_the_same_configuration() -> None:
    init = {"recurrent": "gaussian", "input": "gaussian", "input_scale": 1.0, "bias": "zero"}
    spelled = {"init": init, "rnn": {"activation": "tanh"}}
    assert ids(base={"at": "last", "layers": 1, "precision": "float64"}, **spelled) == ids()


def test_name_question_what_was_found_report_and_the_order_of_hooks_are_not_part_of_it() -> None:
    assert ids(name="other", question="?", found="So.", report={"figures": ["phase"]}, full={"seeds": 3}) == ids()
    assert ids(base={"hooks": ["lyapunov:2", "gates", "gradients"]}) == ids()


@pytest.mark.parametrize(
    "changes",
    [
        {"base": {"hooks": ["gradients"]}},
        {"base": {"hidden": 5}},
        {"base": {"at": "every"}},
        {"base": {"at": [1, 6]}},
        {"base": {"layers": 2}},
        {"base": {"precision": "float32"}},
        {"init": {"recurrent": "orthogonal"}},
        {"grid": {"scale": [0.5, 1.5 + 2**-52]}},
        {"grid": {"seeds": [5, 6]}},
    ],
    ids=str,
)
def test_what_defines_rows_is_part_of_it(changes: dict[str, Any]) -> None:
    assert set(ids(**changes)) - set(ids())


def test_a_key_goes_only_to_the_cells_that_know_it() -> None:
    with_bias = tiny(grid={"init.forget_bias": [0.0, 1.0]}).plan.configurations
    assert [c.values["cell"] for c in with_bias].count("rnn") == 8
    assert [c.values["cell"] for c in with_bias].count("lstm") == 16
    assert {c.id for c in with_bias} >= set(ids())


def test_a_length_goes_only_to_the_tasks_that_have_none_of_their_own() -> None:
    plan = tiny(grid={"task.name": ["sum", "digits"], "task.order": ["rows", "pixels"]}, task={}).plan
    lengths = {(c.values["task.name"], c.values.get("task.order"), c.values["length"]) for c in plan.configurations}
    assert lengths == {("sum", None, 6), ("sum", None, 9), ("digits", "rows", 8), ("digits", "pixels", 64)}
    assert len(plan.configurations) == 2 * 2 * 2 * 4


def test_configurations_come_in_the_order_of_the_grid_seeds_innermost() -> None:
    study = Study(
        name="x",
        grid={"scale": [2.0, 1.0], "cell": ["lstm", "rnn"], "seeds": [4, 2]},
        base={"length": 5},
        task={"name": "sum"},
    )
    order = [(c.values["scale"], c.values["cell"], c.values["seed"]) for c in study.plan.configurations]
    assert order == [(s, c, n) for s in (2.0, 1.0) for c in ("lstm", "rnn") for n in (4, 2)]


def test_groups_are_seeds_of_one_combination_and_cover_the_plan_once() -> None:
    plan = tiny(grid={"seeds": 2 * GROUP + 3}).plan
    groups = plan.groups()
    assert [c for group in groups for c in group] == list(plan.configurations)
    assert sorted({len(group) for group in groups}) == [3, GROUP]
    for group in groups:
        assert len({tuple(sorted((c.values | {"seed": 0, "hooks": 0}).items())) for c in group}) == 1


def test_what_is_done_leaves_its_group_and_the_others_as_they_were() -> None:
    plan = tiny().plan
    done = plan.configurations[0].id
    assert plan.groups(done=[done])[0] == plan.groups()[0][1:]
    assert plan.groups(done=[done])[1:] == plan.groups()[1:]


def test_an_id_is_a_hash_of_canonical_json() -> None:
    assert configuration({"b": 1, "a": 2.0}).id == configuration({"a": 2.0, "b": 1}).id
    assert configuration({"a": 1}).id != configuration({"a": 1.0}).id  # so keys must give numbers their types


def test_the_table_of_the_plan_has_a_column_for_every_key() -> None:
    frame = tiny(base={"at": [1, 3]}, rnn={"activation": "relu"}).plan.frame()
    assert frame.columns[:4].tolist() == ["id", "study", "cell", "length"]
    assert frame.columns[-2:].tolist() == ["seed", "hooks"]
    assert frame["at"].unique().tolist() == ["1, 3"]
    assert frame["hooks"].unique().tolist() == ["gates, gradients, lyapunov:2"]
    assert frame.loc[frame["cell"] == "rnn", "rnn.activation"].unique().tolist() == ["relu"]
    assert frame.loc[frame["cell"] == "lstm", "rnn.activation"].isna().all()
    assert frame["init.chrono"].dtype == "float64"


def test_a_step_beyond_the_shortest_length_is_refused() -> None:
    assert tiny(base={"at": [6]}).plan
    with pytest.raises(SpecError, match=r"at: step 8 is beyond the last, 6 \(length\)"):
        tiny(base={"at": [8]}).plan  # noqa: B018


@pytest.mark.parametrize("hashing", ["0", "1"])
def test_ids_do_not_depend_on_the_process(hashing: str) -> None:
    """Nor on the hash seed, the locale or the order of keys."""
    shuffled = {key: dict(reversed(v.items())) if isinstance(v, dict) else v for key, v in reversed(TABLES.items())}
    code = f"import gradlab as gl; print([c.id for c in gl.Study(**{shuffled!r}).plan.configurations])"
    environment = os.environ | {"PYTHONHASHSEED": hashing, "LC_ALL": "C"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert sorted(ast.literal_eval(done.stdout)) == sorted(ids())
