"""Two studies on one page: what differs, what both measured, paired as their keys are; each figure beside its like."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from report.test_page import DRAWN, PROVENANCE, Read
from synthetic import frames, make_frames

from gradlab.report import Source, pair, write_pair

GRID: dict[str, list[Any]] = {"cell": ["rnn", "lstm"], "length": [10, 20], "scale": [0.5, 1.0, 2.0]}
OTHER: dict[str, list[Any]] = {"cell": ["lstm", "gru"], "length": [20], "scale": [1.0, 2.0, 3.0]}
NAMES = ("first", "second")


def source(grid: dict[str, list[Any]], name: str = "made_up", folder: str = "", **keys: Any) -> Source:
    runs, steps = make_frames(grid, seeds=3, lost=keys.pop("lost", None))
    runs = runs.assign(**keys.pop("keys", {}))
    return Source(frames(runs, steps), {"name": name, **keys}, PROVENANCE, folder=folder)


def opened(folder: Path, one: Source, other: Source) -> Read:
    path = folder / "pair.html"
    assert write_pair(path, one, other) == path
    assert [found.name for found in folder.iterdir()] == ["pair.html"]
    found = Read(path.read_text(encoding="utf-8"))
    assert not found.open
    return found


@pytest.mark.parametrize(
    ("names", "folders", "expected"),
    [
        (("a", "b"), ("x", "y"), ("a", "b")),
        (("a", "a"), ("x", "y"), ("x", "y")),
        (("a", "a"), ("x", "x"), ("a (1)", "a (2)")),
        (("a", "a"), ("", "y"), ("a (1)", "a (2)")),
    ],
)
def test_each_has_a_name_of_its_own(names: Any, folders: Any, expected: Any) -> None:
    one, other = (Source({}, {"name": n}, {}, folder=f) for n, f in zip(names, folders, strict=True))
    assert pair.labels(one, other) == expected


def test_rates_of_what_both_have() -> None:
    one, other = source(GRID), source(OTHER, keys={"init.recurrent": "orthogonal"})
    shared = pair.shared_rates(one.runs, other.runs, NAMES).table
    assert shared[["cell", "length", "scale"]].to_numpy().tolist() == [["lstm", 20, 1.0], ["lstm", 20, 2.0]]
    for side, runs in (("one", one.runs), ("other", other.runs)):
        for (_, row), scale in zip(shared.iterrows(), [1.0, 2.0], strict=True):
            same = runs[(runs["cell"] == "lstm") & (runs["length"] == 20) & (runs["scale"] == scale)]["rate"]
            assert float(row[side].partition(" ")[0].replace("−", "-")) == pytest.approx(same.mean(), abs=2e-3)


def test_a_key_that_only_one_study_varies_is_met_where_the_other_has_it() -> None:
    one, other = source(GRID), source({"cell": ["lstm", "rnn"], "length": [10], "scale": [1.0]})
    for sides, cells in (((one, other), ["rnn", "lstm"]), ((other, one), ["lstm", "rnn"])):
        shared = pair.shared_rates(sides[0].runs, sides[1].runs, NAMES).table
        assert shared[["cell", "length", "scale"]].to_numpy().tolist() == [[cell, 10, 1.0] for cell in cells]


def test_a_key_that_a_cell_lacks_is_the_same_in_both() -> None:
    biased = source({"cell": ["rnn", "lstm"], "init.forget_bias": [0.0, 1.0]}).runs
    biased["init.forget_bias"] = biased["init.forget_bias"].where(biased["cell"] == "lstm")
    biased = biased.drop_duplicates(["cell", "init.forget_bias", "seed"])
    shared = pair.shared_rates(biased, biased.copy(), NAMES).table
    assert shared["cell"].tolist() == ["rnn", "lstm", "lstm"]
    assert shared["init.forget_bias"].isna().tolist() == [True, False, False]


def test_nothing_in_common() -> None:
    shared = pair.shared_rates(source(GRID).runs, source(GRID | {"scale": [9.0]}).runs, NAMES)
    assert shared.table.empty
    assert not shared.compared
    without = source(GRID).runs.assign(hooks="gates")
    assert pair.shared_rates(source(GRID).runs, without, NAMES).table.empty


def test_differences_are_paired_by_seed_and_named() -> None:
    pytest.importorskip("gradlab.tables.comparisons", reason="differences come with the module compare")
    one = source(GRID).runs
    moved = one.assign(rate=one["rate"] + np.where(one["cell"] == "lstm", 0.5, 0.0))
    shared = pair.shared_rates(one, moved, NAMES)
    assert shared.compared == 12
    assert len(shared.apart) == 6
    assert all("second" in sentence and "LSTM" in sentence for sentence in shared.apart)
    gaps = shared.table.set_index("cell")["gap"].str.partition(" ")[0].astype(float)
    assert gaps["lstm"].tolist() == pytest.approx([0.5] * 6)
    assert gaps["rnn"].tolist() == pytest.approx([0.0] * 6)


def test_the_page(tmp_path: Path) -> None:
    lost = {("rnn", 20, 2.0): "diverged", ("lstm", 10, 0.5): "failed"}
    one = source(GRID, "first", question="When?", found="At 1.", lost=lost)
    other = source(OTHER, "second", keys={"init.recurrent": "orthogonal"}, report={"figures": ["decay"]})
    found = opened(tmp_path, one, other)
    for expected in (
        "first and second",
        "question When?",
        "Found: At 1.",
        "cell rnn, lstm lstm, gru",
        "init.recurrent gaussian orthogonal",
        "rate of first rate of second",
        "3 diverged, 3 failed of 36 runs",
        "Traceback of 3 runs: ValueError: <b>told you</b> & so",
        "gradlab run study.toml --out ../first_again",
        "gradlab run study.toml --out ../second_again",
        "Pascanu et al. (2013)",
    ):
        assert expected in found.text, expected
    images = [attrs for tag, attrs in found.tags if tag == "img"]
    assert len(images) == 2 * len(DRAWN)  # those too that only the first study's own report shows
    assert all(str(attrs["src"]).startswith("data:image/svg+xml") and attrs["alt"] for attrs in images)


def test_a_figure_that_one_has_not_got_says_why(tmp_path: Path) -> None:
    found = opened(tmp_path, source(GRID, "first"), source({"cell": ["rnn"], "length": [10]}, "second"))
    assert "phase is not drawn: runs: nothing varies but the cell and the seed" in found.text


def test_two_of_the_same_differ_in_nothing(tmp_path: Path) -> None:
    found = opened(tmp_path, source(GRID, folder="x"), source(GRID, folder="y"))
    assert "None: they have the same settings and versions." in found.text
    assert "x and y" in found.text


def test_without_rates_there_is_nothing_to_compare(tmp_path: Path) -> None:
    one = source(GRID, "first", keys={"hooks": "gates"}, report={"figures": ["rates"]})
    found = opened(tmp_path, one, source(GRID, "second", report={"figures": ["rates"]}))
    assert "There is no combination with a rate in both studies." in found.text
    assert 'rates is not drawn: runs: no rates; hooks = ["gradients"] records them' in found.text


def test_the_runs_of_both_keep_no_key_but_what_makes_a_combination() -> None:
    one, other = source(GRID).runs, source(OTHER).runs
    both = pair.together(one, other, ["cell", "length", "scale"], NAMES)
    assert both.columns.tolist()[:7] == ["id", "study", "cell", "length", "scale", "seed", "layer"]
    assert both["study"].value_counts().to_dict() == {"first": len(one), "second": len(other)}
    pd.testing.assert_series_equal(both["rate"][: len(one)], one["rate"])
