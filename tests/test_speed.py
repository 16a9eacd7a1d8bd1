"""A pass is not much slower than it was when its table was made: fails only where a ratio has gone badly wrong."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from benchmarks import one_pass, timing

RECORDED = Path(__file__).parents[1] / "results/benchmarks/one_pass.csv"
#: How far a ratio may be from the recorded one, and how often it is taken before it is said to be.
SLACK, TRIES = 1.5, 5
CASE = one_pass.CASES[0]


def slower(row: pd.Series, found: dict[str, float]) -> bool:
    """Return whether all ratios to gradlab's pass are worse than those recorded, by more than the slack."""
    worse = [found["floor"] > SLACK * row["floor"]]
    worse += [found["eager"] < row["eager"] / SLACK] if "eager" in found else []
    return all(worse)


def test_a_pass_keeps_its_speed() -> None:
    """Of another processor one ratio may be other than recorded; that both are says that gradlab became slow."""
    table = pd.read_csv(RECORDED).set_index(["cell", "T", "B", "H", "D", "dtype"])
    builds = {name: one_pass.RIVALS[name] for name in ("gradlab", "eager", "product", "tanh")}
    try:
        import torch  # noqa: F401
    except ImportError:
        del builds["eager"]
    with timing.rivals(builds, cores=1) as made:
        for name in ("rnn", "lstm"):
            row = table.loc[(name, *CASE, "float64")]
            for one in made.values():
                one.take(name, CASE, "float64")
            for _ in range(TRIES):
                found = one_pass.ratios(name, CASE, timing.in_turn(made, 2))
                if not slower(row, found):
                    break
            else:
                pytest.fail(f"{name}: {found}, recorded {dict(row)}")


def test_what_is_slower_is_told() -> None:
    row = pd.Series({"eager": 2.0, "floor": 3.0})
    assert slower(row, {"eager": 1.3, "floor": 4.6})
    assert not slower(row, {"eager": 1.4, "floor": 4.6})
    assert not slower(row, {"eager": 1.3, "floor": 4.4})
    assert slower(row, {"floor": 4.6})
