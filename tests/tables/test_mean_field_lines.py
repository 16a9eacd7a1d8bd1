"""Theory's line is drawn for the runs that it holds for, and for no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import gradlab as gl
from gradlab.tables import theory_lines
from gradlab.tables.tables import crossing
from gradlab.tables.theory_lines import WIDE, mean_field_lines
from gradlab.theory import mean_field


def runs_of(grid: dict[str, Any], task: dict[str, Any], **tables: Any) -> pd.DataFrame:
    study = gl.Study(
        name="x", grid={"scale": [1.5, 3.0]} | grid, base={"length": 3}, task={"name": "noise"} | task, **tables
    )
    frame = study.plan.frame()
    return frame.assign(layer=0, direction="forward", status="planned")


def test_a_network_on_its_own_has_the_autonomous_line() -> None:
    """E20: ½ ln χ at g = 1.5 is .065217, at g = 3 .310249."""
    lines = mean_field_lines(runs_of({"cell": ["rnn"]}, {"kick": True}))
    np.testing.assert_allclose(lines["theory"].iloc[[0, -1]], [0.065217, 0.310249], atol=1e-6)
    assert lines["scale"].is_monotonic_increasing
    assert set(lines["cell"]) == {"rnn"}


def test_noise_enters_with_its_variance_times_that_of_the_weights() -> None:
    """E21: (g, s²) = (3, 1) gives χ 1.710920; here s² = .5² · 2²."""
    task, init = {"input_size": WIDE, "std": 0.5}, {"input_scale": 2.0}
    lines = mean_field_lines(runs_of({"cell": ["rnn"]}, task, init=init))
    np.testing.assert_allclose(lines["theory"].iloc[-1], 0.5 * np.log(1.710920), atol=1e-6)


def test_a_line_for_each_value_of_what_varies() -> None:
    task, grid = {"input_size": WIDE}, {"cell": ["rnn"], "task.std": [0.1, 1.0], "hidden": [4, 8]}
    lines = mean_field_lines(runs_of(grid, task))
    ends = lines[lines["scale"] == 3.0].set_index("task.std")["theory"]
    assert ends.index.tolist() == [0.1, 1.0]
    for std, rate in ends.items():
        np.testing.assert_allclose(rate, mean_field(scale=3.0, input_var=std**2).rate, rtol=1e-12)


@pytest.mark.parametrize(
    ("grid", "task", "init"),
    [
        ({"cell": ["lstm", "gru"]}, {"kick": True}, {}),
        ({"cell": ["rnn"]}, {"kick": True}, {"recurrent": "orthogonal"}),
        ({"cell": ["rnn"]}, {"kick": True}, {"bias": "uniform"}),
        ({"cell": ["rnn"]}, {"kick": True}, {"input": "uniform"}),
    ],
)
def test_no_line_where_theory_does_not_hold(grid: dict[str, Any], task: dict[str, Any], init: dict[str, Any]) -> None:
    lines = mean_field_lines(runs_of(grid, task, init=init))
    assert lines.empty
    assert {"cell", "scale", "theory"} <= set(lines.columns)


@pytest.mark.parametrize("task", [{"name": "sum"}, {"input_size": WIDE - 1, "std": 0.5}])
def test_few_inputs_count_with_what_they_are_at_each_step(task: dict[str, Any]) -> None:
    """The edge of U[−1, 1], D = 1, lies at 1.585 (the module's own number); of many inputs like theirs, at 1.602."""
    study = runs_of({"cell": ["rnn"], "scale": [1.4, 1.8]}, task, init={"input_scale": 1.0}).assign(length=400)
    lines = mean_field_lines(study)
    if task.get("name") == "sum":
        np.testing.assert_allclose(crossing(lines["scale"], lines["theory"]), 1.585, atol=0.004)  # 4 000 inputs
    else:
        held = [mean_field(scale=g, input_var=0.25).rate for g in lines["scale"]]
        np.testing.assert_allclose(lines["theory"], held, atol=0.004)  # s² varies by √(2/15) only


def test_a_task_whose_data_are_not_at_hand_has_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    study = gl.Study(name="x", grid={"cell": ["rnn"], "scale": [1.5, 3.0]}, task={"name": "digits"})
    runs = study.plan.frame().assign(layer=0, direction="forward", status="planned")
    theory_lines._rates.cache_clear()
    with monkeypatch.context() as patched:
        patched.setattr("gradlab.tasks.digits.load_digits", _refuse)
        assert mean_field_lines(runs).empty
    assert len(mean_field_lines(runs))  # a refusal is not kept
    misses = theory_lines._rates.cache_info().misses
    assert len(mean_field_lines(runs))
    assert theory_lines._rates.cache_info().misses == misses  # a line is


def _refuse() -> None:
    raise gl.InputError("scikit-learn is missing")


def test_results_hand_the_line_to_the_figure(tmp_path: Path) -> None:
    study = gl.Study(
        name="x",
        grid={"cell": ["rnn", "gru"], "scale": [1.5, 3.0]},
        base={"length": 8, "hidden": 4, "hooks": ["lyapunov:2"]},
        task={"name": "noise", "kick": True},
    )
    results = study.run(tmp_path / "x", workers=0, progress=False)
    (ax,) = results.plot("lyapunov").axes
    (line,) = [found for found in ax.lines if found.get_label() == "mean field, H → ∞"]
    np.testing.assert_allclose(line.get_ydata()[[0, -1]], [0.065217, 0.310249], atol=1e-6)
    assert "There is no theory" not in (results.folder / "report.html").read_text(encoding="utf-8")
