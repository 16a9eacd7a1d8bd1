"""Tables as text: units in the headers, values with their intervals, nothing that breaks the format."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from synthetic import make_frames

from gradlab.report import tabular
from gradlab.tables import tables

TABLE = pd.DataFrame(
    {
        "cell": ["rnn", "a|b"],
        "length": [50, 400],
        "scale": [0.5, np.nan],
        "rate": [-0.41234567, np.nan],
        "rate_low": [-0.4310001, np.nan],
        "rate_high": [-0.3930001, np.nan],
        "seeds": [5, 0],
        "diverged": [0, 5],
        "failed": [0, 0],
    }
)


def test_csv_has_units_and_six_digits() -> None:
    assert tabular.csv(TABLE) == (
        "cell,length (steps),scale,rate (nats/step),rate_low (nats/step),rate_high (nats/step),seeds,diverged,failed\n"
        "rnn,50,0.5,-0.412346,-0.431,-0.393,5,0,0\n"
        "a|b,400,,,,,0,5,0\n"
    )


def test_csv_reads_back() -> None:
    table = tables.rates(make_frames({"cell": ["rnn"], "scale": [0.5, 1.0]}, seeds=3)[0])
    back = pd.read_csv(io.StringIO(tabular.csv(table)))
    np.testing.assert_allclose(back["rate (nats/step)"], table["rate"], rtol=1e-5)


def test_markdown_puts_value_and_interval_together() -> None:
    assert tabular.markdown(TABLE).splitlines() == [
        "| cell | length T (steps) | init scale g | rate of ln‖δ‖ (nats/step), 95 % interval | seeds | diverged |",
        "| --- | --- | --- | --- | --- | --- |",
        "| rnn | 50 | 0.5 | −0.412 [−0.431, −0.393] | 5 | 0 |",
        "| a\\|b | 400 | — | — | 0 | 5 |",
    ]


def test_an_empty_table_keeps_its_header() -> None:
    assert tabular.csv(TABLE[:0]).count("\n") == 1
    assert tabular.markdown(TABLE[:0]).count("\n") == 2


def test_cells_side_by_side() -> None:
    runs, _ = make_frames({"cell": ["rnn", "lstm"], "scale": [0.5, 1.0]}, seeds=2, lost={("rnn", 1.0): "diverged"})
    wide = tabular.side_by_side(tables.rates(runs), "cell")
    assert wide.columns.tolist() == ["init scale g", "rnn", "lstm"]
    assert wide["init scale g"].tolist() == ["0.5", "1"]
    assert wide["rnn"].str.match(r"−0\.\d+ \[").tolist() == [True, False]
    assert wide["rnn"].tolist()[1] == "—"


def test_cells_alone_side_by_side() -> None:
    wide = tabular.side_by_side(tables.rates(make_frames({"cell": ["rnn", "lstm"]}, seeds=1)[0]), "cell")
    assert wide.columns.tolist() == ["rnn", "lstm"]
    assert len(wide) == 1


def test_side_by_side_of_a_key_that_one_cell_lacks() -> None:
    runs, _ = make_frames({"cell": ["rnn", "lstm"], "init.forget_bias": [0.0, 1.0]}, seeds=1)
    runs["init.forget_bias"] = runs["init.forget_bias"].where(runs["cell"] == "lstm")
    wide = tabular.side_by_side(tables.rates(runs), "cell")
    assert sorted(wide["forget bias b_f"]) == ["0", "1", "—"]
    assert (wide == "—").sum().tolist() == [1, 2, 1]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("−0.412 [−0.431, −0.393]", "-0.412"),
        ("-0.4", "-0.4"),
        ("50", "50"),
        ("5 of 5", "5"),
        ("1e+06", "1e+06"),
        ("1e−05", "1e-05"),
        ("∞", "Infinity"),
        ("< 0.001", "0.001"),
        ("−∞", "-Infinity"),
        ("—", ""),
        ("", ""),
        ("none from 0.5 to 2", ""),
        ("± 5 %", ""),
        ("3.11.7", ""),
        ("0, 1, 2", ""),
        ("2nd", ""),
    ],
)
def test_the_number_that_a_cell_begins_with(text: str, value: str) -> None:
    assert tabular.sort_value(text) == value


def test_rows_beyond_the_most_are_counted() -> None:
    words = pd.DataFrame({"cell": ["rnn", "gru"], "rate": ["−1", "—"]})
    rnn, gru = [tabular.Cell("rnn", ""), tabular.Cell("−1", "-1")], [tabular.Cell("gru", ""), tabular.Cell("—", "")]
    grid = tabular.grid
    assert grid(words) == grid(words, most=None) == tabular.Grid(["cell", "rate"], [rnn, gru], 0)
    assert grid(words, most=1) == tabular.Grid(["cell", "rate"], [rnn], 1)
