"""All tables of a study in every format: those with rows, with their captions; LaTeX makes a paper that compiles."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from report.test_latex import assert_compiles, assert_well_made
from report.test_page import GRID, LOST, Read
from synthetic import make_frames

from gradlab.errors import InputError
from gradlab.formatting.numbers import compact
from gradlab.report import format_tables
from gradlab.report.page import TABLES

PUBLISHED = {
    "claim": "λ₁ at the edge & beyond",
    "source": "Müller 2018, §4.1.1, a preprint of which this is a long title",
    "column": "rate",
    "where": {"cell": "rnn", "scale": 0.5},
    "value": -0.955,
    "tolerance": 0.05,
    "reason": "5 % of a value that was read off a figure",
}
STUDY = {"name": "made_up", "published": [PUBLISHED]}

#: The tables of a study that does not train.
MADE = [name for name in TABLES if name not in ("outcomes", "criterion")]


@pytest.fixture(scope="module")
def runs() -> pd.DataFrame:
    found, _ = make_frames(GRID, seeds=3, lost=LOST)
    known = found["status"] == "done"
    measured = {f"lyapunov_{rank}": (found["rate"] - 0.1 * rank).where(known) for rank in range(1, 5)}
    return found.assign(**measured, jac_norm2_median=np.where(known, 1.5, np.nan))


def test_every_table_has_its_caption(runs: pd.DataFrame) -> None:
    text = format_tables(runs, STUDY, "markdown")
    blocks = text.split("\n\n**")
    assert [block.strip("*").partition(".")[0] for block in blocks] == MADE
    for block in blocks:
        assert block.count("|\n") > 2
    assert "with 95 % t-intervals over 3 seeds. rnn: the gradient decays at every scale studied: −0." in text
    assert (
        "**comparisons.** Difference of rates at length 20, paired by seed and data, with intervals that hold" in text
    )
    assert "2 of 2 differ (1 without an interval); the largest difference: LSTM vanishes 0.356 [0.356, 0.356] " in text
    lost = format_tables(runs.assign(status="failed", error="no"), STUDY, "markdown")
    assert "No difference has an interval." in lost
    assert "**excluded.** Runs excluded from every mean. 3 diverged and 3 failed." in text
    assert "It does in every seed in 1 of 4 rows." in text
    assert "1 consistent (a part of the interval does: more runs would decide)." in text
    ends = runs.query("length == 20").groupby(["cell", "scale"])["lyapunov_1"].mean().agg(["min", "max"])
    shown = f"λ₁ (nats/step) {compact(ends['min'])} to {compact(ends['max'])}"
    assert f"Range of the means: geometric mean of median ‖J_t‖₂ 1.5 to 1.5; {shown}; λ₂" in text


def test_rates_stand_side_by_side(runs: pd.DataFrame) -> None:
    lines = format_tables(runs, STUDY, "markdown").splitlines()
    assert lines[2] == "| init scale g | rnn | lstm |"
    rates = runs.query("cell == 'rnn' and scale == 0.5 and length == 20")["rate"]
    assert lines[4].startswith(f"| 0.5 | −{abs(rates.mean()):.3f} ± ")


def test_csv_has_every_row(runs: pd.DataFrame) -> None:
    blocks = dict(block.split("\n", 1) for block in format_tables(runs, STUDY, "csv").removeprefix("# ").split("\n# "))
    assert list(blocks) == MADE
    rates = pd.read_csv(io.StringIO(blocks["rates"]))
    assert len(rates) == 12
    difference = pd.read_csv(io.StringIO(blocks["comparisons"]))
    assert difference.columns.tolist() == [
        *("scale", "a", "b", "difference (nats/step)", "difference_low (nats/step)", "difference_high (nats/step)"),
        *("pairs", "p_adjusted", "sentence"),
    ]


def test_latex_pastes_into_a_paper(runs: pd.DataFrame, tmp_path: Path) -> None:
    text = format_tables(runs, STUDY, "latex")
    assert text.startswith("% needs \\usepackage{booktabs} in the preamble\n\\begin{table}\n")
    assert_well_made(text)
    assert r"\label{tab:made-up-rates}" in text
    assert "in words" not in text
    assert_compiles(text, tmp_path)


def test_html_is_escaped_and_closed(runs: pd.DataFrame) -> None:
    read = Read(format_tables(runs, STUDY, "html"))
    assert not read.open
    assert [tag for tag, _ in read.tags].count("table") == len(MADE)
    assert "ValueError: <b>told you</b> & so" in read.text
    assert "λ₁ at the edge & beyond" in read.text


def test_tables_without_rows_are_left_out() -> None:
    runs, _ = make_frames({"cell": ["rnn"]}, seeds=1)
    text = format_tables(runs, {"name": "x"}, "markdown")
    assert text.startswith("**rates.** Rate of ln‖δ‖ in nats per step back in time, of one seed. rnn: −0.2")
    assert text.count("**") == 2


def test_an_unknown_format_is_named(runs: pd.DataFrame) -> None:
    with pytest.raises(InputError, match=r'unknown format "lates"; did you mean "latex"\?'):
        format_tables(runs, STUDY, "lates")
