"""A cell is sorted by the number it begins with."""

from __future__ import annotations

import pandas as pd
import pytest

from gradlab.report.cells import Cell, Grid, grid, sort_value


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
    assert sort_value(text) == value


def test_rows_beyond_the_most_are_counted() -> None:
    words = pd.DataFrame({"cell": ["rnn", "gru"], "rate": ["−1", "—"]})
    rnn, gru = [Cell("rnn", ""), Cell("−1", "-1")], [Cell("gru", ""), Cell("—", "")]
    assert grid(words) == grid(words, most=None) == Grid(["cell", "rate"], [rnn, gru], 0)
    assert grid(words, most=1) == Grid(["cell", "rate"], [rnn], 1)
