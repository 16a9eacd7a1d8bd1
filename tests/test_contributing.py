"""The hook and the figure that CONTRIBUTING prints run as they stand; its printed cell is in cells/test_contract.py."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from oracles.family import make

import gradlab as gl
from gradlab import figures, hooks, schema

TEXT = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", TEXT, flags=re.M | re.S)
(DECLARED,) = re.findall(r"^```text\n(.*?)^```", TEXT, flags=re.M | re.S)
T, B, D, H = 20, 3, 2, 8


def printed(block: int) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "contributing"}
    exec(compile(BLOCKS[block], "CONTRIBUTING.md", "exec", dont_inherit=True), names)
    return names


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Enter the hook and the figure into their tables."""
    monkeypatch.setitem(hooks.HOOKS, "small", printed(1)["SmallHook"])
    monkeypatch.setitem(figures.FIGURES, "small_units", printed(2)["PICTURE"])
    return monkeypatch


def traced(**options: Any) -> Any:
    rng = np.random.default_rng(0)
    x, loss = 0.2 * rng.standard_normal((T, B, D)), gl.projection(rng.standard_normal((B, H)))
    return gl.trace(make("gru-before-keep", D, H), x, loss, **options)


def test_the_printed_hook_measures_what_it_claims_in_segments_too(known: Any) -> None:
    trace = traced(hooks=["small"])
    share = (np.abs(trace.states["h"]) < 0.1).mean(axis=-1)
    whole = trace.measured()
    assert whole["runs"]["small_share"].item() == pytest.approx(share.mean(), rel=1e-12)
    assert len(whole["steps"]) == T + 1
    for name, table in traced(hooks=["small"], segment_length=6).measured().items():
        pd.testing.assert_frame_equal(table, whole[name], rtol=1e-12)


def test_the_printed_declaration_names_its_numbers() -> None:
    (name, recorded), *more = eval(f"{{{DECLARED}}}", {"Recorded": schema.Recorded, "Column": schema.Column}).items()
    found = traced(hooks=[printed(1)["SmallHook"]()]).measured()
    assert not more
    assert name == "small"
    assert set(recorded.quantities) == set(found["steps"]["quantity"])
    assert set(recorded.columns) == set(found["runs"]) - set(traced(hooks=[]).measured()["runs"])


def test_the_printed_figure_draws_one_pass_and_a_study(known: Any, tmp_path: Path) -> None:
    figure = traced().plot("small_units")
    assert isinstance(figure.axes[0], Axes)
    grid, base = {"cell": ["rnn", "gru"], "seeds": 2}, {"hidden": 4, "length": 8, "batch": 3, "hooks": ["small"]}
    known.setitem(schema.RUNS, "small_share", schema.Column("float64", "", "…"))
    study = gl.Study(name="mine", grid=grid, base=base, task={"name": "sum"}).run(tmp_path, workers=0)
    drawn = figures.draw("small_units", {name: study.frame(name) for name in ("runs", "steps", "spectra")})
    assert [ax.get_title() for ax in drawn.axes] == ["rnn", "gru"]
    assert (drawn.axes[0].get_xlabel(), drawn.axes[0].get_ylabel()) == ("t (steps)", "share")
