"""In a study that trains, the training step is a factor: no table and no figure averages over it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from synthetic import frames, in_training, make_frames

from gradlab import figures
from gradlab.tables import tables
from gradlab.tables.comparisons import comparisons
from gradlab.tables.factors import combinations, control, varying
from gradlab.verdicts.of_study import study_verdict

GRID = {"cell": ["rnn", "lstm"], "length": [60], "scale": [0.5, 2.0]}


@pytest.fixture(scope="module")
def studied() -> tuple[pd.DataFrame, pd.DataFrame]:
    return in_training(*make_frames(GRID, seeds=3))


def test_the_step_varies_and_is_the_control_only_where_nothing_else_is(studied: tuple[pd.DataFrame, ...]) -> None:
    runs = studied[0]
    assert varying(runs) == ["cell", "scale", "step"]
    assert control(runs) == "scale"
    alone = runs[runs["scale"] == 2.0]
    assert control(alone) == "step"
    assert varying(alone[alone["step"] == 0]) == ["cell"]
    assert "step" not in varying(make_frames(GRID, seeds=1)[0])


def test_rates_are_of_each_step(studied: tuple[pd.DataFrame, ...]) -> None:
    runs = studied[0]
    table = tables.rates(runs).set_index(["cell", "scale", "step"])
    for step in (0, 100):
        mine = runs[(runs["cell"] == "rnn") & (runs["scale"] == 2.0) & (runs["step"] == step)]
        row = table.loc[("rnn", 2.0, step)]
        assert row["rate"] == pytest.approx(mine["rate"].mean(), rel=1e-12)
        assert row["seeds"] == 3


def test_training_is_compared_with_its_start_by_seed(studied: tuple[pd.DataFrame, ...]) -> None:
    table = comparisons(studied[0], "step")
    row = table[(table["cell"] == "rnn") & (table["scale"] == 2.0)].iloc[0]
    before = tables.rates(studied[0]).set_index(["cell", "scale", "step"]).loc[("rnn", 2.0, 0), "rate"]
    assert row["difference"] == pytest.approx(-before / 2, rel=1e-12)
    assert "at scale 2" in row["sentence"]
    assert "after 100 steps" in row["sentence"]


def test_the_verdict_names_the_step(studied: tuple[pd.DataFrame, ...]) -> None:
    assert "after 100 steps" in str(study_verdict(studied[0]))


@pytest.mark.parametrize("name", ["decay", "phase", "rates", "training", "horizon"])
def test_figures_part_the_steps(name: str, studied: tuple[pd.DataFrame, ...]) -> None:
    table, _ = figures.FIGURES[name].table(frames(*studied))
    assert "step" in table
    assert set(table["step"].unique()) == {0, 100}
    by = [*combinations(studied[0]), "lag"] if "lag" in table and name != "training" else None
    assert by is None or not table.duplicated(by).any()
    figures.draw(name, frames(*studied))


def test_the_decay_after_training_is_half_of_that_before(studied: tuple[pd.DataFrame, ...]) -> None:
    table, _ = figures.FIGURES["decay"].table(frames(*studied))
    before, after = (table[table["step"] == step].reset_index(drop=True) for step in (0, 100))
    np.testing.assert_allclose(after["change"], before["change"] / 2, rtol=1e-12, atol=1e-12)
