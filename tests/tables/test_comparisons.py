"""Differences against scipy's paired test, their family-wise error by simulation, and the sentence for every case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from synthetic import make_frames

from gradlab.errors import InputError
from gradlab.tables.comparisons import comparisons, simultaneous, together

CELLS, SCALES, SEEDS = ["rnn", "lstm", "gru"], [0.5, 1.0, 1.5, 2.0], 5


def study(
    rates: NDArray[np.float64], grid: Mapping[str, Sequence[object]] | None = None, **columns: object
) -> pd.DataFrame:
    """Return the runs of a grid (by default `CELLS` × `SCALES`) with rates ``(…grid, seeds)``."""
    runs, _ = make_frames(grid or {"cell": CELLS, "scale": SCALES}, seeds=rates.shape[-1])
    return runs.assign(rate=rates.ravel(), **columns)


def two(a: ArrayLike, b: ArrayLike, **columns: object) -> pd.Series:
    """Return the one row that compares an RNN's and a GRU's rates at scale 1."""
    grid = {"cell": ["rnn", "gru"], "scale": [1.0, 2.0]}
    rates = np.stack([np.asarray(one, dtype=np.float64) for one in (a, np.zeros_like(a), b, np.zeros_like(b))])
    runs = study(rates, grid, **columns)
    return comparisons(runs).set_index("scale").loc[1.0]


def drawn(rng: np.random.Generator, *shape: int) -> NDArray[np.float64]:
    """Return rates ``(…, cells, scales, seeds)`` without differences: a seed's share in all, and noise of each run."""
    shared = 0.1 * rng.normal(size=(*shape, 1, 1, SEEDS))
    return -0.3 + shared + 0.03 * rng.normal(size=(*shape, len(CELLS), len(SCALES), SEEDS))


def test_against_scipys_paired_test() -> None:
    rng = np.random.default_rng(1)
    rates = drawn(rng) + np.array([0.0, 0.05, 0.2])[:, None, None]
    table = comparisons(study(rates))
    assert table.columns.tolist() == [
        *("scale", "a", "b", "difference", "difference_low", "difference_high", "pairs", "p_adjusted", "sentence")
    ]
    assert len(table) == 12
    for _, row in table.iterrows():
        a, b = (rates[CELLS.index(row[side]), SCALES.index(row["scale"])] for side in ("a", "b"))
        found = stats.ttest_rel(b, a)
        low, high = found.confidence_interval(1 - 0.05 / 12)
        np.testing.assert_allclose(row["p_adjusted"], min(1.0, 12 * found.pvalue), rtol=1e-9)
        expected = [(b - a).mean(), low, high, SEEDS]
        np.testing.assert_allclose(
            row[["difference", "difference_low", "difference_high", "pairs"]].astype(float), expected, rtol=1e-9
        )


def rejected(rates: NDArray[np.float64], tests: int) -> NDArray[np.bool_]:
    """Return of each study ``(n, cells, scales, seeds)`` whether it finds any difference, out of 12."""
    d = np.stack([rates[:, j] - rates[:, i] for i, j in ((0, 1), (0, 2), (1, 2))], axis=1)
    mean, error = d.mean(axis=-1), d.std(axis=-1, ddof=1) / np.sqrt(SEEDS)
    half, p = simultaneous(mean, error, np.full(mean.shape, SEEDS), tests=tests, level=0.95)
    np.testing.assert_array_equal(p < 0.05, np.abs(mean) > half)
    return np.asarray((np.abs(mean) > half).any(axis=(1, 2)))


def test_family_wise_error_of_1000_studies_without_differences() -> None:
    rates = drawn(np.random.default_rng(2), 1000)
    error = rejected(rates, 12).mean()
    assert error <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 1000)  # three standard errors of a simulated 5 %
    assert error > 0.015  # the bound is not idle: these differences share runs, so it errs somewhat less than it may
    assert rejected(rates, 1).mean() > 0.2  # negative control: uncorrected, one study in three finds something


@pytest.mark.parametrize(
    "studies", [slice(0, 10), pytest.param(slice(10, 200), marks=pytest.mark.full)], ids=["10", "190"]
)
def test_the_table_is_what_was_simulated(studies: slice) -> None:
    rates = drawn(np.random.default_rng(2), 1000)
    expected = rejected(rates, 12)[studies]
    for one, found in zip(rates[studies], expected, strict=True):
        table = comparisons(study(one))
        apart = (table["difference_low"] > 0) | (table["difference_high"] < 0)
        assert apart.any() == found
        assert (apart == (table["p_adjusted"] < 0.05)).all()
        assert (apart == ~table["sentence"].str.contains("not distinguishable")).all()


def test_paired_beats_unpaired_where_seeds_share_variance() -> None:
    rates = drawn(np.random.default_rng(3))
    table = comparisons(study(rates, {"cell": CELLS, "scale": SCALES}).query("scale == 1.0 and cell != 'lstm'"))
    unpaired = stats.ttest_ind(rates[2, 1], rates[0, 1], equal_var=False).confidence_interval(0.95)
    width = (table["difference_high"] - table["difference_low"]).iloc[0]
    assert width < 0.5 * (unpaired.high - unpaired.low)  # 0.1 of variance between seeds against 0.03 within


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=6), st.floats(-1, 1))
def test_interval_and_p_decide_alike(differences: list[float], shift: float) -> None:
    d = np.array(differences) + shift
    n = len(d)
    half, p = simultaneous(d.mean(), d.std(ddof=1) / np.sqrt(n), n, tests=7, level=0.95)
    assert np.isclose(p, 0.05, rtol=1e-9) or (p < 0.05) == (abs(d.mean()) > half)


DOWN, UP, NONE = (np.array(rates) for rates in ([-0.5, -0.52, -0.48], [0.5, 0.52, 0.48], [-0.01, 0.013, 0.0]))
#: Of mean 0.1; its interval, one of two, is 0.1 ± t_2(1 − 0.05/4) · 0.01/√3 = 0.1 ± 0.0358.
MORE = np.array([0.1, 0.11, 0.09])


@pytest.mark.parametrize(
    ("a", "b", "sentence"),
    [
        (DOWN, DOWN + MORE, "GRU vanishes 0.100 [0.064, 0.136] nats/step slower than the RNN at scale 1"),
        (DOWN, DOWN - MORE, "GRU vanishes 0.100 [0.064, 0.136] nats/step faster than the RNN at scale 1"),
        (UP, UP + MORE, "GRU explodes 0.100 [0.064, 0.136] nats/step faster than the RNN at scale 1"),
        (UP, UP - MORE, "GRU explodes 0.100 [0.064, 0.136] nats/step slower than the RNN at scale 1"),
        (DOWN, UP, "GRU explodes while the RNN vanishes at scale 1: difference 1.00 [0.86, 1.14] nats/step"),
        (UP, DOWN, "GRU vanishes while the RNN explodes at scale 1: difference −1.00 [−1.14, −0.86] nats/step"),
        (NONE, NONE + MORE, "the rate of GRU is 0.100 [0.064, 0.136] nats/step above that of the RNN at scale 1"),
        (NONE, NONE - MORE, "the rate of GRU is 0.100 [0.064, 0.136] nats/step below that of the RNN at scale 1"),
        (
            DOWN,
            DOWN + np.array([0.05, -0.08, 0.01]),
            "GRU and the RNN are not distinguishable at scale 1: difference −0.01 [−0.25, 0.23] nats/step",
        ),
        (DOWN, DOWN, "GRU has the same rate as the RNN in all 3 pairs at scale 1"),
        (DOWN[:1], DOWN[:1] + 0.1, "too few pairs to compare GRU with the RNN at scale 1: 0.100 nats/step in one pair"),
        (
            [np.nan],
            [-0.4],
            "no pair of runs to compare GRU with the RNN at scale 1 (left out of 1 pairs: 1 without a rate)",
        ),
    ],
)
def test_sentences(a: NDArray[np.float64], b: NDArray[np.float64], sentence: str) -> None:
    assert two(a, b)["sentence"] == sentence


def test_lost_runs_are_counted_and_left_out() -> None:
    status = ["done"] * 6 + ["done"] * 6 + ["done", "diverged", "failed", "planned", "done", "done"] + ["done"] * 6
    row = two([-0.5, -0.4, -0.5, -0.5, -0.52, np.inf], [-0.4, 9.0, 9.0, 9.0, -0.421, -0.4], status=status)
    assert row["pairs"] == 2
    np.testing.assert_allclose(row["difference"], (0.1 + 0.099) / 2)
    assert row["sentence"].endswith("(left out of 6 pairs: 1 failed, 1 diverged, 1 planned, 1 without a rate)")


def test_a_difference_within_rounding_is_none() -> None:
    row = two([-0.5, -0.4, -0.3], [-0.5 + 1e-15, -0.4 + 1.1e-15, -0.3 + 1e-15])
    assert row[["difference", "difference_low", "difference_high", "p_adjusted"]].tolist() == [0, 0, 0, 1]


def test_the_same_difference_in_every_seed_is_certain() -> None:
    a = np.array([-0.91, -0.43, -0.17, -0.06])  # of several binades, so that the differences are rounded differently
    row = two(a, a + np.log(2))  # a ReLU network's: exactly the logarithm of the scales' ratio
    assert row["p_adjusted"] == 0
    assert row["difference_low"] == row["difference_high"] == row["difference"]


def test_along_a_number() -> None:
    rates = drawn(np.random.default_rng(4)) + 0.2 * np.arange(4)[:, None]
    table = comparisons(study(rates), "scale")
    assert table.columns.tolist()[:3] == ["cell", "a", "b"]
    assert len(table) == 3 * 6
    assert (table["a"] < table["b"]).all()
    assert table["cell"].tolist() == [cell for cell in CELLS for _ in range(6)]
    assert table["sentence"].str.contains(r"scale 2 .*scale 0\.5.* in the RNN").sum() == 1


def test_a_key_that_only_one_cell_has_hinders_no_pair() -> None:
    grid = {"cell": CELLS, "init.forget_bias": [0.0, 1.0]}
    rates = np.random.default_rng(5).normal(size=(3, 2, 3))
    runs = study(rates, grid)
    lstm = runs["cell"] == "lstm"
    runs = runs[lstm | (runs["init.forget_bias"] == 0.0)]
    runs["init.forget_bias"] = runs["init.forget_bias"].where(lstm)
    table = comparisons(runs)
    assert table[["a", "b"]].astype(str).agg("-".join, axis=1).value_counts().to_dict() == {
        "rnn-lstm": 2,
        "lstm-gru": 2,
        "rnn-gru": 1,
    }
    row = table[(table["b"] == "lstm") & (table["init.forget_bias"] == 1.0)].iloc[0]
    np.testing.assert_allclose(row["difference"], (rates[1, 1] - rates[0, 0]).mean())
    assert table.loc[table["b"] == "gru", "init.forget_bias"].isna().tolist() == [False, False, True]


def test_between_two_studies_on_what_both_have() -> None:
    rng = np.random.default_rng(6)
    one = study(drawn(rng), study="one")
    other = study(drawn(rng)[:2], {"cell": ["rnn", "lstm"], "scale": SCALES}, study="other", hooks="gradients, gates")
    other = other.drop(columns="precision").assign(**{"gru.reset": "before"})
    other = other[[*list(other.columns[:5]), "gru.reset", *list(other.columns[5:-1])]]
    table = comparisons(together([one.assign(hooks="gradients"), other]), "study")
    assert table.columns.tolist()[:4] == ["cell", "scale", "a", "b"]
    assert table[["cell", "a", "b"]].drop_duplicates().to_numpy().tolist() == [
        ["rnn", "one", "other"],
        ["lstm", "one", "other"],
    ]
    assert len(table) == 8
    assert (table["pairs"] == 5).all()
    assert table["sentence"].str.contains("other and one are not distinguishable in the RNN at scale 1:").sum() == 1


def test_cells_of_two_studies_are_compared_within_each() -> None:
    rng = np.random.default_rng(7)
    runs = together([study(drawn(rng), study="one"), study(drawn(rng), study="other")])
    table = comparisons(runs)
    assert len(table) == 24
    assert (
        table["sentence"].str.endswith("one, scale 1").sum() + table["sentence"].str.contains("one, scale 1:").sum()
        == 3
    )


def test_what_cannot_be_compared_is_refused() -> None:
    runs = study(drawn(np.random.default_rng(8)))
    with pytest.raises(InputError, match=r'unknown key "scael"; did you mean "scale"\?'):
        comparisons(runs, "scael")
    with pytest.raises(
        InputError, match=r"along: expected a key with two values or more, \['cell', 'scale'\]; got 'hidden'"
    ):
        comparisons(runs, "hidden")
    with pytest.raises(InputError, match=r"expected one of cell rnn for each seed and \['scale'\], got several"):
        comparisons(pd.concat([runs, runs]))
    with pytest.raises(InputError, match=r"level: expected a number in \(0, 1\)"):
        comparisons(runs, level=95)


def test_nothing_in_common_is_an_empty_table() -> None:
    runs = study(drawn(np.random.default_rng(9)))
    apart = runs[(runs["cell"] == "rnn") & (runs["scale"] < 1) | (runs["cell"] == "gru") & (runs["scale"] > 1)]
    table = comparisons(apart)
    assert table.empty
    assert table.columns.tolist()[0] == "scale"
