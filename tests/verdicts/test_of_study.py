"""A study's verdict: the word of each setting over its seeds, why, and which setting of its own is STABLE."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from synthetic import make_frames

from gradlab.verdicts.of_study import settings, study_verdict

SCALES = {"cell": ["rnn", "lstm"], "length": [20, 101], "scale": [0.5, 1.0, 1.5, 2.0]}


def runs_of(rates: dict[Any, float], seeds: int = 3, spread: float = 0.002, **grid: list[Any]) -> pd.DataFrame:
    """Return a study whose rates are given by cell and control (by cell alone where nothing varies)."""
    runs, _ = make_frames({"cell": list(dict.fromkeys(k[0] for k in rates)), "length": [101], **grid}, seeds=seeds)
    control = next(iter(grid), None)
    keys = zip(runs["cell"], runs[control] if control else runs["cell"], strict=True)
    base = np.array([rates[key] for key in keys])
    noise = spread * (runs["seed"] - runs["seed"].mean())
    return runs.assign(rate=base + noise, rate_low=base - 0.001, rate_high=base + 0.001)


LINE = {("rnn", 0.5): -1.5, ("rnn", 1.0): -0.3, ("rnn", 1.5): 0.001, ("rnn", 2.0): 0.3}


def test_words_along_the_control() -> None:
    found = study_verdict(runs_of(LINE, scale=[0.5, 1.0, 1.5, 2.0]))
    first, second, third = str(found).splitlines()
    assert found.word == "MIXED"
    half = stats.t.ppf(0.975, 2) * 0.002 / np.sqrt(3)
    assert half == pytest.approx(0.005, abs=4e-4)
    assert first == (
        "MIXED       rnn: UNDERFLOWS IN float32 at scale 0.5 (−1.5000 [−1.5050, −1.4950]), "
        "VANISHING at scale 1 (−0.3000 [−0.3050, −0.2950]), STABLE at scale 1.5 (0.0010 [−0.0040, 0.0060]), "
        "EXPLODING at scale 2 (0.3000 [0.2950, 0.3050])"
    )
    assert second == "because     means over 3 seeds with 95 % t-intervals, judged over 100 steps"
    assert third == "try         in this study rnn with scale=1.5 is STABLE (0.0010 [−0.0040, 0.0060])"
    assert found.suggestion.change == {"scale": 1.5}
    assert found.suggestion.tried.rate == pytest.approx(0.001)


def test_neighbours_with_one_word_are_one_stretch() -> None:
    found = study_verdict(runs_of(dict.fromkeys(LINE, -0.3), scale=[0.5, 1.0, 1.5, 2.0]))
    assert found.word == "VANISHING"
    assert found.finding.startswith("rnn: VANISHING at every scale studied, 0.5 … 2 (−0.30 … ")
    assert str(found.suggestion).startswith("in this study no rnn is STABLE, nearest scale=0.5 (−0.3000 ")


def test_each_cell_has_its_own_words_at_the_longest_length() -> None:
    runs, _ = make_frames(SCALES, seeds=5)  # rnn: ln(g/1.3), lstm: −.65 + .1 g
    found = study_verdict(runs)
    rnn, lstm = found.finding.split("; ")
    assert rnn.startswith("rnn: UNDERFLOWS IN float32 at scale 0.5 (−0.95")
    assert ", VANISHING at scale 1 (−0.2" in rnn
    assert ", EXPLODING at scale 1.5 … 2 (0.1" in rnn
    assert lstm.startswith("lstm: VANISHING at every scale studied, 0.5 … 2 (")
    assert "judged over 100 steps" in found.evidence
    assert {one.evidence.span for one in settings(runs[runs["length"] == 20])} == {19}


def test_where_all_is_well_nothing_is_suggested() -> None:
    found = study_verdict(runs_of({("rnn", 0.5): 0.0, ("rnn", 1.0): 0.001}, scale=[0.5, 1.0]))
    assert (found.word, found.suggestion) == ("STABLE", None)


def test_a_wide_interval_over_the_seeds_is_uncertain() -> None:
    assert study_verdict(runs_of({("rnn", "rnn"): -0.1}, spread=0.05)).word == "UNCERTAIN"
    assert study_verdict(runs_of({("rnn", "rnn"): -0.1}, spread=0.001)).word == "VANISHING"


def test_one_seed_has_its_own_interval() -> None:
    found = study_verdict(runs_of({("rnn", "rnn"): -0.1}, seeds=1))
    assert found.finding == "rnn: VANISHING, −0.1000 [−0.1010, −0.0990] nats/step"
    assert found.evidence.startswith("one seed, the run's own 95 % interval")


def test_more_than_one_thing_varies() -> None:
    grid = {"scale": [1.0], "init.forget_bias": [0.0, 1.0, 5.0], "hidden": [8, 16]}
    rates = {("lstm", 1.0): -0.1}
    runs = runs_of(rates, **grid)
    runs["rate"] += 0.02 * runs["init.forget_bias"]
    found = study_verdict(runs)
    assert found.finding.startswith("lstm: VANISHING 4, STABLE 2 of 6 settings; nearest to STABLE 0.0000 [")
    assert found.suggestion.text.startswith("in this study lstm with hidden=8 and forget_bias=5 is STABLE (0.0000 [")
    assert found.suggestion.change["init.forget_bias"] == 5.0


def test_what_diverged_or_died_is_its_setting_s_word() -> None:
    runs = runs_of(LINE, scale=[0.5, 1.0, 1.5, 2.0])
    broken = runs["scale"] == 2.0
    runs.loc[broken, ["status", "verdict", "rate", "overflow_step"]] = ["diverged", "DIVERGED", np.nan, 37]
    runs.loc[runs["scale"] == 0.5, ["verdict", "rate"]] = ["DEAD", np.nan]
    found = study_verdict(runs)
    assert "rnn: DEAD at scale 0.5 (DEAD), " in found.finding
    assert found.finding.endswith("DIVERGED at scale 2 (DIVERGED)")
    assert "3 of 12 runs diverged" in found.evidence


def test_a_loss_before_the_end_has_the_shorter_span() -> None:
    for at, span in (("last", 100), ("every", 100), ("10, 40", 39), ([10, 40], 39)):
        runs = runs_of({("rnn", "rnn"): -0.1})
        assert settings(runs.assign(at=[at] * len(runs)))[0].evidence.span == span


def test_exponents_and_saturation_are_told_where_they_were_recorded() -> None:
    runs = runs_of(LINE, scale=[0.5, 1.0, 1.5, 2.0])
    apart = 0.04 * (runs["seed"] - 1)  # single runs lie beyond the means
    runs = runs.assign(lyapunov_1=runs["rate"], saturation=0.1 * runs["scale"] + apart)
    told = "rnn, each setting's mean over its seeds: λ₁ −1.5 … 0.30, saturated 5 % … 20 %"
    assert told in study_verdict(runs).evidence


def test_what_has_not_run_is_no_part_of_the_verdict() -> None:
    runs = runs_of(LINE | {("lstm", scale): -0.3 for _, scale in LINE}, scale=[0.5, 1.0, 1.5, 2.0])
    left = (runs["cell"] == "lstm") | (runs["scale"] > 1.0) | ((runs["scale"] == 1.0) & (runs["seed"] == 2))
    runs.loc[left, ["rate", "rate_low", "rate_high"]] = np.nan
    runs.loc[left, "status"] = "planned"
    found = study_verdict(runs)
    rnn, lstm = found.finding.split("; ")
    assert rnn.startswith("rnn: UNDERFLOWS IN float32 at scale 0.5 (−1.5000 [")
    assert ", VANISHING at scale 1 (−0.30" in rnn
    assert rnn.endswith("), 2 of 4 settings not run yet")
    assert lstm == "lstm: not run yet"
    assert found.evidence.startswith("means over 2 to 3 seeds with 95 % t-intervals")
    assert found.evidence.endswith("19 of 24 runs not run yet")
    assert "UNCERTAIN" not in str(found)
    assert str(found.suggestion).startswith("in this study so far no rnn is STABLE")
    only = runs.assign(status=runs["status"].where(runs["scale"] == 0.5, "planned"))
    assert study_verdict(only).finding == (
        "rnn: UNDERFLOWS IN float32, −1.5000 [−1.5050, −1.4950] nats/step at scale 0.5, 3 of 4 settings not run yet; "
        "lstm: not run yet"
    )


def test_where_the_longest_has_not_run_it_says_so() -> None:
    runs, _ = make_frames(SCALES, seeds=1)
    found = study_verdict(runs.assign(status=runs["status"].where(runs["length"] == 20, "planned")))
    assert found.finding == "the longest length, 101, is not run yet"


def test_gradients_without_a_constant_rate_are_counted() -> None:
    runs = runs_of({("rnn", "rnn"): -0.1}, seeds=4)
    told = study_verdict(runs.assign(shape=["power law", "exponential", "power law", "non-monotone"])).evidence
    assert "; 2 of 4 gradients fall by a power law; 1 of 4 gradients turn on their way" in told


def test_layers_are_cells_of_their_own() -> None:
    one = runs_of({("rnn", "rnn"): -0.1})
    found = study_verdict(pd.concat([one, one.assign(layer=1, rate=0.0 * one["rate"])], ignore_index=True))
    assert found.finding.startswith("rnn layer 0: VANISHING, −0.1000 [")
    assert "; rnn layer 1: STABLE, 0.00" in found.finding


def test_without_rates_or_runs_it_says_so() -> None:
    runs = runs_of({("rnn", "rnn"): -0.1})
    bare = study_verdict(runs.assign(hooks="gates"))
    assert str(bare).splitlines() == [
        'UNCERTAIN   no rates were recorded; hooks = ["gradients"] records them',
        "because     of 3 runs 3 done",
    ]
    assert study_verdict(runs.assign(status="failed")).finding == "no run is done"
