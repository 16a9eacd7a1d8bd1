"""A specification is checked whole before anything runs: one line, the key's path, the nearest name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from study.tiny import tables, tiny

import gradlab as gl
from gradlab.errors import SpecError
from gradlab.study import Spec
from gradlab.theory import mean_field

BAD: dict[str, tuple[dict[str, Any], str]] = {
    "unknown top-level key": ({"grit": {}}, r'^grit: unknown key "grit"; did you mean "grid"\?'),
    "unknown grid key": (
        {"grid": {"scal": [1.0]}},
        r'^grid\.scal: unknown key "scal"; did you mean "scale"\? \(cell, ',
    ),
    "unknown base key": ({"base": {"hiden": 8}}, r'^base\.hiden: unknown key "hiden"; did you mean "hidden"\?'),
    "unknown init key": (
        {"init": {"forget_bais": 1.0}},
        r'^init\.forget_bais: unknown key "forget_bais"; did you mean "forget_bias"\? \(recurrent, input, ',
    ),
    "unknown dotted key": (
        {"grid": {"init.recurent": ["gaussian"]}},
        r'^grid\.init\.recurent: unknown key "init.recurent"; did you mean "init.recurrent"\?',
    ),
    "unknown task key": ({"task": {"name": "digits", "ordr": "rows"}}, r'^task\.ordr: .* did you mean "order"\?'),
    "unknown report key": (
        {"report": {"figure": []}},
        r'^report\.figure: unknown key "figure"; did you mean "figures"',
    ),
    "unknown figure": ({"report": {"figures": ["phse"]}}, r'^report\.figures\[0\]: unknown figure "phse"; .* "phase"'),
    "unknown cell": (
        {"grid": {"cell": ["rnn", "lsmt"]}},
        r'^grid\.cell\[1\]: unknown cell "lsmt"; did you mean "lstm"',
    ),
    "unknown task": ({"task": {"name": "summ"}}, r'^task\.name: unknown task "summ"; did you mean "sum"'),
    "unknown init": ({"init": {"recurrent": "gausian"}}, r'^init\.recurrent: unknown recurrent init .* "gaussian"'),
    "unknown input init": ({"init": {"input": "unifrm"}}, r'^init\.input: unknown input init .* "uniform"'),
    "unknown bias init": ({"init": {"bias": "zeros"}}, r'^init\.bias: unknown bias init .* "zero"'),
    "text for true": (
        {"task": {"name": "noise", "kick": "yes"}},
        r'^task\.kick: expected true or false, got "yes"',
    ),
    "unknown hook": (
        {"base": {"hooks": ["gradients", "jacobain"]}},
        r'^base\.hooks\[1\]: unknown hook "jacobain"; .* "jacobians"',
    ),
    "hook twice": ({"base": {"hooks": ["jacobians", "jacobians:all"]}}, r'^base\.hooks\[1\]: the hook "jacobians" is'),
    "hooks in the grid": ({"grid": {"hooks": ["gates"]}, "base": {}}, r"^base\.hooks: given twice; .*grid\.hooks"),
    "cell without options": ({"lstm": {"activation": "tanh"}}, r"^lstm\.activation: .* lstm has no options"),
    "text for a number": ({"grid": {"length": ["50"]}}, r'^grid\.length\[0\]: expected a whole number, .* got "50"'),
    "true for a number": ({"grid": {"scale": [True]}}, r"^grid\.scale\[0\]: expected a finite number, .* got true"),
    "true for a size": ({"base": {"hidden": True}}, r"^base\.hidden: expected a whole number, at least 1, got true"),
    "float for a size": ({"base": {"hidden": 8.0}}, r"^base\.hidden: expected a whole number, at least 1, got 8\.0"),
    "zero size": ({"base": {"batch": 0}}, r"^base\.batch: expected a whole number, at least 1, got 0"),
    "negative length": ({"grid": {"length": [5, -5]}}, r"^grid\.length\[1\]: .* at least 1, got -5"),
    "nan": ({"grid": {"scale": [float("nan")]}}, r"^grid\.scale\[0\]: expected a finite number, .* got NaN"),
    "infinite": ({"init": {"input_scale": float("inf")}}, r"^init\.input_scale: expected a finite .* got Infinity"),
    "number for a word": (
        {"base": {"precision": 64}},
        r'^base\.precision: expected one of "float64", "float32", got 64',
    ),
    "scalar in the grid": (
        {"grid": {"scale": 0.5}},
        r"^grid\.scale: expected a list, got 0\.5; write grid\.scale = \[",
    ),
    "list in the base": ({"base": {"hidden": [8, 9]}}, r"^base\.hidden: expected one value, .* got the list \[8, 9\]"),
    "empty list": ({"grid": {"scale": []}}, r"^grid\.scale: the list is empty"),
    "twice in a list": ({"grid": {"scale": [1, 2.0, 1.0]}}, r"^grid\.scale\[2\]: 1\.0 is in the list already, at 0"),
    "given twice": ({"base": {"scale": 1.0}}, r"^base\.scale: given twice; grid\.scale gives it too"),
    "no seeds": ({"grid": {"seeds": 0}}, r"^grid\.seeds: expected a whole number, at least 1, got 0"),
    "too many seeds": ({"grid": {"seeds": 10**9}}, r"^grid\.seeds: expected at most 1000000 seeds"),
    "too large a grid": ({"grid": {"seeds": 200_000}}, r"^grid: 1600000 configurations are more than 1000000"),
    "negative seed": ({"grid": {"seeds": [0, -1]}}, r"^grid\.seeds\[1\]: expected a whole number, at least 0, got -1"),
    "seeds of the wrong type": (
        {"grid": {"seeds": "5"}},
        r'^grid\.seeds: expected a whole number, at least 1, got "5"',
    ),
    "key of an absent cell": (
        {"grid": {"cell": ["rnn", "gru"]}, "init": {"forget_bias": 1.0}},
        r'^init\.forget_bias: cell "rnn" or "gru" has no such key; it belongs to lstm',
    ),
    "options of an absent cell": ({"gru": {"reset": "after"}}, r"^gru\.reset: cell .*; it belongs to gru"),
    "key of an absent task": (
        {"task": {"name": "sum", "order": "rows"}},
        r'^task\.order: task "sum" .*; it belongs to digits',
    ),
    "length of a fixed task": (
        {"task": {"name": "digits"}},
        r'^grid\.length: task "digits" has no such key; it belongs to sum and .* and file',
    ),
    "wrong at": ({"base": {"at": "frist"}}, r'^base\.at: expected "last", "every" or a list of steps.*got "frist"'),
    "a step twice": ({"base": {"at": [3, 3]}}, r"^base\.at: a step is repeated"),
    "a step beyond the end": ({"base": {"at": [2, 7]}}, r"^at: step 7 is beyond the last, 6 \(length\)"),
    "name with a slash": ({"name": "../x"}, r'^name: expected a name fit for a folder .* got "\.\./x"'),
    "name of dots": ({"name": ".."}, r"^name: expected a name fit for a folder"),
    "name missing": ({"name": None}, r"^name: expected a text, got null"),
    "table of the wrong type": ({"task": "sum"}, r'^task: expected a table \[task\], got "sum"'),
    "question of the wrong type": ({"question": 3}, r"^question: expected a text, got 3"),
    "what was found, as a list": ({"found": ["so"]}, r'^found: expected a text, got \["so"\]'),
    "figures no list": ({"report": {"figures": "decay"}}, r'^report\.figures: expected a list, got "decay"'),
    "an empty table": ({"base": {"hiden": {}}}, r'^base\.hiden: unknown key "hiden"; did you mean "hidden"\?'),
    "an empty table for a list": ({"grid": {"scale": {}}}, r"^grid\.scale: expected a list, got \{\}"),
    "given twice in [full]": (
        {"full": {"init.input_scale": 2.0, "init": {"input_scale": 3.0}}},
        r"^full\.init\.input_scale: given twice, in a table and as a quoted key",
    ),
    "more bits than a table holds": (
        {"base": {"hidden": 2**63}},
        r"^base\.hidden: expected a number of at most",
    ),
    "a number that no text holds": (
        {"grid": {"scale": [10**5000]}},
        r"^grid\.scale\[0\]: expected a number of at most",
    ),
    "nested too deeply": ({"base": {"at": [[[[[[[[[1]]]]]]]]]}}, r"^base\.at(\[0\]){7}: nested more than 8 deep"),
    "exponents without end": ({"base": {"hooks": ["lyapunov:" + "9" * 5000]}}, r"^base\.hooks\[0\]: lyapunov:999"),
    "a long value": ({"task": {"name": "x" * 5000}}, r'^task\.name: unknown task "x{48} … x{48}";'),
    "slip in [full]": ({"full": {"seds": 30}}, r'^full\.seds: unknown key "seds"; did you mean "seeds"\?'),
    "bad value in [full]": ({"full": {"length": [0]}}, r"^full\.length\[0\]: expected a whole number, at least 1"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_specifications_are_refused_in_one_line(case: str) -> None:
    changes, message = BAD[case]
    with pytest.raises(SpecError, match=message) as caught:
        tiny(**changes).plan  # noqa: B018
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": "x"}, r"^grid: missing"),
        ({"grid": {"cell": ["rnn"]}}, r"^name: missing"),
        ({"name": "x", "grid": {}}, r"^grid: the grid is empty"),
        ({"name": "x", "gird": {"cell": ["rnn"]}}, r'^gird: unknown key "gird"; did you mean "grid"\?'),
        ({"name": "x", "grid": 3}, r"^grid: expected a table \[grid\], got 3"),
        (
            {"name": "x", "grid": {"length": [3]}, "task": {"name": "sum"}},
            r"^cell: missing; choose from rnn, lstm, gru",
        ),
        ({"name": "x", "grid": {"cell": ["rnn"], "length": [3]}}, r"^task\.name: missing; choose from sum"),
        ({"name": "x", "grid": {"cell": ["rnn"]}, "task": {"name": "sum"}}, r"^length: missing; give the number"),
        ({"name": "x", "grid": {"cell": ["rnn"]}, "base": {"hooks": "gates"}}, r"^base\.hooks: expected a list"),
        ({"name": "x", "grid": {"hooks": ["gates"]}}, r"^grid\.hooks: hooks cannot vary; put them into \[base\]"),
    ],
)
def test_what_is_missing_is_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        Spec.from_tables(given)


def test_toml_errors_name_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text('name = "x"\n[grid\n')
    with pytest.raises(SpecError, match=r"broken\.toml: not valid TOML: .*line 2"):
        Spec.from_toml(path)
    path.write_bytes(b'name = "\xff"')
    with pytest.raises(SpecError, match=r"broken\.toml: is no UTF-8 text; expected a study"):
        Spec.from_toml(path)
    with pytest.raises(SpecError, match=f"{tmp_path.name}: is a folder; expected a study's TOML file"):
        Spec.from_toml(tmp_path)
    path.write_text(tiny().spec.toml(), encoding="utf-8-sig")
    assert Spec.from_toml(path).name == "tiny"
    with pytest.raises(SpecError, match=r"nowhere\.toml: no such file"):
        Spec.from_toml(tmp_path / "nowhere.toml")


def test_written_and_read_back_it_is_the_same(tmp_path: Path) -> None:
    spec = tiny(
        question='Does "ln‖δ‖" grow?\n\\ yes\x7f\t',
        found="It does, by 0.1.",
        grid={"init.forget_bias": [0, 1e-5, 2.5], "at": ["last", [1, 4]], "seeds": [3, 1]},
        rnn={"activation": "relu"},
        report={"figures": ["phase"]},
        full={"seeds": 4, "length": [50], "init": {"input_scale": 2}},
    ).spec
    path = tmp_path / "study.toml"
    path.write_text(spec.toml(), encoding="utf-8")
    assert Spec.from_toml(path) == spec
    assert Spec.from_toml(path).found == "It does, by 0.1."
    assert "found" not in tiny().spec.tables()
    assert Spec.from_toml(path, full=True).fixed["init.input_scale"] == 2.0


def test_a_key_may_stand_in_grid_base_or_its_own_table() -> None:
    written = [
        tables(init={"forget_bias": 1}),
        tables(base={"init.forget_bias": 1.0}),
        tables(base={"init": {"forget_bias": 1.0}}),
        tables(grid={"init.forget_bias": [1.0]}),
    ]
    ids = [[c.id for c in gl.Study(**given).plan.configurations] for given in written]
    assert ids[0] == ids[1] == ids[2] == ids[3]


def test_arrays_are_welcome_from_python() -> None:
    study = tiny(grid={"scale": np.linspace(0.5, 1.5, 2), "seeds": np.arange(2)})
    assert [c.id for c in study.plan.configurations] == [c.id for c in tiny().plan.configurations]


def test_full_replaces_what_it_names_and_nothing_else() -> None:
    given = tables(full={"seeds": 3, "hidden": 16, "length": 20, "at": [1, 2], "hooks": ["gates"]})
    full = Spec.from_tables(given, full=True)
    assert (full.seeds, full.hooks, full.full) == ((0, 1, 2), ("gates",), {})
    assert full.values("hidden") == (16,)
    assert full.values("at") == ((1, 2),)
    assert full.values("scale") == (0.5, 1.5)
    assert Spec.from_tables(given).seeds == (0, 1)


def test_full_moves_a_key_between_base_and_grid() -> None:
    full = Spec.from_tables(tables(full={"hidden": [8, 16], "length": 20}), full=True)
    assert full.values("hidden") == (8, 16)
    assert full.values("length") == (20,)
    assert Spec.from_tables(full.tables()) == full


@pytest.mark.parametrize("path", sorted(Path(__file__).parents[2].glob("studies/*.toml")), ids=lambda path: path.stem)
@pytest.mark.parametrize("full", [False, True])
def test_the_shipped_studies_are_valid_and_named_after_their_files(path: Path, full: bool) -> None:
    study = gl.Study.from_toml(path, full=full)
    assert study.spec.name == path.stem
    assert study.spec.question.endswith("?")
    assert study.spec.found.endswith(".")
    assert {len(group) for group in study.plan.groups()} <= set(range(1, 9))


@pytest.mark.parametrize("path", sorted(Path(__file__).parents[2].glob("studies/*.toml")), ids=lambda path: path.stem)
def test_what_holds_in_a_limit_is_not_exact_where_it_is_measured(path: Path) -> None:
    for entry in Spec.from_toml(path).published:
        assert entry.kind != "exact" or "→ ∞" not in entry.source + entry.reason


def test_edge_of_chaos_and_drive_name_what_mean_field_says() -> None:
    """Without input the shifted value at 512 units; with input, and at its edge, that of infinite width."""
    rows = {
        name: Spec.from_toml(Path(__file__).parents[2] / f"studies/{name}.toml").published
        for name in ("edge_of_chaos", "drive")
    }
    for one in rows["edge_of_chaos"]:
        where = one.where
        noise = 0.0 if where["task.kick"] else where["task.std"] ** 2
        known = mean_field(scale=where["scale"], input_var=noise, size=512)
        alone = noise == 0.0 and where["scale"] > 1.0
        assert one.value == pytest.approx(known.rate + (known.shift if alone else 0.0), abs=2e-6)
    for one in rows["drive"]:
        assert one.value == pytest.approx(mean_field(scale=1.0, input_var=one.where["task.std"] ** 2).rate, abs=2e-6)
