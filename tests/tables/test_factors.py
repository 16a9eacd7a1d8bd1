"""What varies is found from the runs, and each varying key gets its part."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from synthetic import BASE, make_frames

from gradlab.errors import InputError
from gradlab.study import Study
from gradlab.tables import factors
from gradlab.tables.factors import arranged, constants, control, longest, named, numeric_control, others, varying

TINY = {"cell": ["rnn", "lstm"], "length": [10, 20], "scale": [0.5, 1.5]}


def images() -> pd.DataFrame:
    """Return runs of a task that fixes the length: one for each order of an image."""
    runs, _ = make_frames({"cell": ["rnn", "lstm"], "task.order": ["rows", "pixels"], "scale": [0.5, 1.5]}, seeds=2)
    return runs.assign(length=runs["task.order"].map({"rows": 8, "pixels": 64}))


def test_varying_keys_are_the_grid_without_the_seed() -> None:
    assert varying(make_frames(TINY, seeds=2)[0]) == ["cell", "length", "scale"]


def test_constants_are_the_rest() -> None:
    runs, _ = make_frames(TINY, seeds=2, base=BASE | {"hooks": "gates", "at": [3, 5], "init.chrono": np.nan})
    assert constants(runs) | {"length": BASE["length"]} == BASE | {"at": "3, 5"}
    assert "length" not in constants(runs)


def test_a_layer_varies_too() -> None:
    runs, _ = make_frames(TINY, seeds=1)
    assert varying(pd.concat([runs, runs.assign(layer=1)]))[-1] == "layer"


def test_a_length_that_follows_from_another_key_does_not_vary() -> None:
    runs = images()
    assert varying(runs) == ["cell", "task.order", "scale"]
    assert "length" not in constants(runs)
    assert len(longest(runs)) == len(runs)


def test_longest_is_taken_for_each_task() -> None:
    summed, _ = make_frames({"cell": ["rnn"], "length": [50, 400]}, seeds=1)
    both = pd.concat([summed, summed.assign(length=[8, 16], **{"task.name": "digits"})])
    assert longest(both)["length"].tolist() == [400, 16]


def test_control_is_the_scale_before_other_numbers_before_names() -> None:
    grid = {"cell": ["rnn"], "length": [10, 20], "task.order": ["a", "b"], "hidden": [2, 4], "scale": [0.5, 1.5]}
    runs, _ = make_frames(grid, seeds=1)
    assert control(runs) == "scale"
    assert others(runs, "cell", "scale") == ("length", "task.order", "hidden")
    runs = runs[runs["scale"] == 1.5]
    assert control(runs) == numeric_control(runs) == "hidden"
    runs = runs[runs["hidden"] == 2]
    assert (control(runs), numeric_control(runs)) == ("task.order", None)
    assert control(runs[runs["task.order"] == "a"]) is None


def test_names_keep_the_order_of_the_plan() -> None:
    runs, _ = make_frames(TINY, seeds=1)
    assert arranged(runs)["cell"].cat.categories.tolist() == ["rnn", "lstm"]
    assert arranged(runs)["cell"].sort_values().unique().tolist() == ["rnn", "lstm"]


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("task.kick", True, "kick"),
        ("task.kick", np.False_, "no kick"),
        ("cell", "lstm", "lstm"),
        ("scale", 1.0, "scale 1"),
        ("init.forget_bias", -2.0, "forget_bias −2"),
        ("init.forget_bias", np.nan, "no forget_bias"),
        ("task.order", "rows", "order rows"),
        ("length", np.int64(400), "length 400"),
        ("step", 0, "before training"),
        ("step", np.int64(3000), "after 3000 steps"),
    ],
)
def test_named(key: str, value: object, text: str) -> None:
    assert named(key, value) == text


def test_refuses_what_is_no_table_of_runs() -> None:
    with pytest.raises(InputError, match=r"runs: expected a table of runs.*missing \['study', 'layer'\]"):
        varying(pd.DataFrame({"cell": ["rnn"], "status": ["done"]}))


def test_what_varies_is_found_once_in_a_block_and_anew_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Study(
        name="x", grid={"cell": ["rnn", "gru"], "scale": [0.5, 1.0]}, base={"length": 9}, task={"name": "sum"}
    ).plan.frame()
    runs = runs.assign(layer=0, direction="forward", status="planned")
    found, whole = list[int](), factors._varying
    monkeypatch.setattr(factors, "_varying", lambda table: found.append(len(table)) or whole(table))
    with factors.remembered():
        for _ in range(3):
            assert factors.varying(runs) == ["cell", "scale"]
            assert factors.varying(runs[runs["cell"] == "rnn"]) == ["scale"]  # another table, each time
        copy = factors.arranged(runs)
        copy["cell"] = "changed"
        assert factors.arranged(runs)["cell"].tolist() == runs["cell"].tolist()
    assert found.count(len(runs)) == 1
    runs["scale"] = 1.0
    assert factors.varying(runs) == ["cell"]
