"""A published number is reproduced where it lies within its tolerance of the measured mean over the seeds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from analysis.synthetic import make_frames
from scipy import stats

from gradlab.analysis.beside import beside

RUNS = make_frames({"cell": ["rnn", "lstm"], "scale": [0.5, 1.0]}, seeds=4)[0]
CHOSEN = RUNS[(RUNS["cell"] == "rnn") & (RUNS["scale"] == 1.0)]["rate"]


def row(runs: pd.DataFrame = RUNS, **changes: Any) -> pd.Series:
    entry = {
        "claim": "a rate", "source": "me", "column": "rate", "where": {"cell": "rnn", "scale": 1.0},
        "value": CHOSEN.mean(), "tolerance": 0.1, "reason": "why not",
    } | changes  # fmt: skip
    (_, found), *rest = beside(runs, [{k: v for k, v in entry.items() if v is not None}]).iterrows()
    assert not rest
    return found


def test_measured_is_the_mean_over_seeds_with_its_t_interval() -> None:
    found = row()
    half = stats.t.ppf(0.975, 3) * CHOSEN.std() / 2
    np.testing.assert_allclose(
        found[["measured", "measured_low", "measured_high"]].astype(float),
        [CHOSEN.mean(), CHOSEN.mean() - half, CHOSEN.mean() + half],
    )
    assert found["seeds"] == 4
    assert found["setup"] == "rnn, scale 1"


@pytest.mark.parametrize(
    ("off", "tolerance", "absolute", "word"),
    [
        (1.05, 0.1, None, "reproduced"),
        (1.2, 0.1, None, "not reproduced"),
        (0.8, 0.1, None, "not reproduced"),
        (1.2, None, 0.1, "reproduced"),
        (1.2, None, 0.01, "not reproduced"),
    ],
)
def test_the_word_follows_from_the_tolerance(
    off: float, tolerance: float | None, absolute: float | None, word: str
) -> None:
    found = row(value=off * CHOSEN.mean(), tolerance=tolerance, absolute=absolute)
    assert found["word"] == word
    assert found["tolerance"] == ("± 10 %" if tolerance else f"± {absolute}")


def test_a_column_may_be_divided_by_a_key() -> None:
    np.testing.assert_allclose(row(per="hidden", value=0.0)["measured"], CHOSEN.mean() / 64)


def test_what_was_not_measured_says_so() -> None:
    for runs in (RUNS.assign(rate=np.nan), RUNS.assign(status="diverged"), RUNS.drop(columns="rate")):
        found = row(runs)
        assert found["word"] == "not measured"
        assert found["seeds"] == 0
