"""Every ground truth holds, and a broken derivative is noticed."""

from __future__ import annotations

import pytest

from gradlab.cells import LSTM, RNN
from gradlab.cells.variants import variants
from gradlab.errors import InputError
from gradlab.tables.published import RULES
from truths import TRUTHS, measured_row


@pytest.mark.parametrize("name", TRUTHS)
def test_every_truth_holds(name: str) -> None:
    found = measured_row(TRUTHS[name])
    assert found["word"] == "reproduced", found


@pytest.mark.parametrize("name", ["E01 state", "E03 early", "E05"])
def test_a_wrong_derivative_is_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: a Jacobian that is a thousandth too large."""
    true = RNN.linearise

    def wrong(cell: RNN, *args: object, **keys: object) -> object:
        local = true(cell, *args, **keys)  # type: ignore[arg-type]
        return local._replace(slope=local.slope * 1.001)

    monkeypatch.setattr(RNN, "linearise", wrong)
    assert measured_row(TRUTHS[name])["word"] == "not reproduced"


@pytest.mark.parametrize("name", ["sum, gradient of the state", "sum, gradient of the gate"])
def test_a_forget_gate_that_keeps_too_little_on_the_way_back_is_seen(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = LSTM.linearise

    def wrong(cell: LSTM, *args: object, **keys: object) -> object:
        local = true(cell, *args, **keys)  # type: ignore[arg-type]
        return local._replace(f=local.f * (1 - 1e-9))

    monkeypatch.setattr(LSTM, "linearise", wrong)
    assert measured_row(TRUTHS[name])["word"] == "not reproduced"


def test_the_table_has_the_columns_of_published_numbers() -> None:
    for truth in TRUTHS.values():
        assert len({*truth.allows} & {"tolerance", "absolute", "bound"}) == 1
        assert truth.claim
        assert truth.reason
    assert len(TRUTHS) >= 25
    assert set(RULES) == {"reproduced", "consistent", "not reproduced", "not comparable"}


def test_an_unknown_cell_is_refused() -> None:
    with pytest.raises(InputError, match='unknown cell "lsmt"; did you mean "lstm"'):
        list(variants("lsmt"))
    assert [name for name, _ in variants("lstm")] == ["lstm"]
    assert len(list(variants("gru"))) == 4
