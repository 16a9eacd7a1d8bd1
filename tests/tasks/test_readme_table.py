"""The README's table of tasks, and its plain baselines, against the tasks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from gradlab.tasks import TASKS, Adding, Copy, DelayedXor, Digits, Sum, Sunspots, TemporalOrder, TwoSequence

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
ROWS = {
    cells[0].replace("`", ""): cells[3:]
    for line in README.partition("## Tasks")[2].partition("\n## ")[0].splitlines()
    if line.startswith("| `") and (cells := [cell.strip() for cell in line.strip("|").split("|")])
}
SHOWN: dict[str, list[Any]] = {
    "sum": [Sum()],
    "adding": [Adding()],
    "adding, original": [Adding("original")],
    "adding, mean": [Adding("mean")],
    "copy, fixed or variable wait": [Copy(), Copy("variable")],
    "temporal_order, 2 symbols": [TemporalOrder()],
    "temporal_order, 3 symbols": [TemporalOrder(symbols=3)],
    "delayed_xor": [DelayedXor()],
    "two_sequence": [TwoSequence()],
    "digits, by rows": [Digits()],
    "digits, by pixels or permuted": [Digits("pixels"), Digits("permuted")],
    "sunspots": [Sunspots()],
}


@pytest.mark.parametrize("name", SHOWN)
def test_lag_and_constant_loss(name: str) -> None:
    length, lag, constant = ROWS[name]
    for task in SHOWN[name]:
        assert str(task.lag(int(length))) == lag
        at = "every" if name.startswith("copy") else "last"
        assert f"{task.baseline(int(length), at):.4g}" == constant


def test_every_task_has_a_row() -> None:
    assert set(SHOWN) == set(ROWS)
    assert {name.partition(",")[0] for name in ROWS} == set(TASKS) - {"noise", "file"}


def test_plain_baselines() -> None:
    """Scikit-learn's solvers differ between versions by less than one image of 450."""
    (regression,) = re.findall(r"logistic regression tells ([\d.]+) of", README)
    assert Digits().logistic_regression() == pytest.approx(float(regression), abs=1.01 / 450)
    assert re.findall(r"costs (0\.492).*; (0\.800) over", README.replace("\n", " ")) == [
        (f"{Sunspots().persistence():.3f}", f"{Sunspots().test.persistence():.3f}")
    ]
