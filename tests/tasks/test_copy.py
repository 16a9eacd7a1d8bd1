"""The copy problem, read back from its own inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradlab.errors import InputError
from gradlab.tasks import Copy

BLANK, MARKER = 8, 9


def draw(wait: str, length: int, batch: int = 300, at: Any = "every") -> Any:
    x, loss = Copy(wait=wait).sample(length, batch, at=at, rng=np.random.default_rng(0))
    assert (x.sum(axis=-1) == 1.0).all()
    return x.argmax(axis=-1), loss


@pytest.mark.parametrize("wait", ["fixed", "variable"])
def test_ten_symbols_a_wait_a_marker_and_the_same_ten(wait: str) -> None:
    symbols, loss = draw(wait, 32)
    waits = set()
    for x, y in zip(symbols.T, loss.targets.T, strict=True):
        (marker,) = np.flatnonzero(x == MARKER)
        waits.add(marker - 10)
        assert (x[:10] < BLANK).all()
        np.testing.assert_array_equal(np.delete(x[10:], marker - 10), BLANK)
        np.testing.assert_array_equal(y[marker + 1 : marker + 11], x[:10])
        np.testing.assert_array_equal(np.delete(y, np.arange(marker + 1, marker + 11)), BLANK)
    assert waits == ({11} if wait == "fixed" else set(range(12)))  # T₀ = 12
    assert set(symbols[:10].ravel()) == set(range(8))


@pytest.mark.parametrize("wait", ["fixed", "variable"])
@pytest.mark.parametrize("blanks", [1, 12, 100])
def test_the_memoryless_loss(wait: str, blanks: int) -> None:
    """Who knows when an answer is due, and nothing of it: 10 ln 8/(T₀ + 20), by the loss itself."""
    length = blanks + 20
    _, loss = draw(wait, length)
    due = loss.targets < BLANK
    y = np.where(due[..., None], np.log([1 / 8] * 8 + [1e-300]), np.log([1e-300] * 8 + [1.0]))
    np.testing.assert_allclose(loss.evaluate(y)[0], 10 * np.log(8) / (blanks + 20), rtol=1e-12)
    assert Copy(wait).baseline(length, "every") == pytest.approx(10 * np.log(8) / (blanks + 20), rel=1e-12)
    assert due[-1].mean() * np.log(8) == pytest.approx(Copy(wait).baseline(length), abs=0.2)


def test_the_last_step_alone_costs_ln_8() -> None:
    assert Copy().baseline(50) == pytest.approx(np.log(8), rel=1e-15)


def test_each_answer_lies_a_lag_behind_its_symbol() -> None:
    symbols, loss = draw("fixed", 40)
    lag = Copy().lag(40)
    np.testing.assert_array_equal(loss.targets[lag : lag + 10], symbols[:10])


def test_the_score_is_the_share_of_the_symbols() -> None:
    _, loss = draw("variable", 40, batch=4, at="last")
    y = np.eye(9)[loss.targets]
    due = np.flatnonzero(loss.targets[:, 0] < BLANK)
    y[due[:3], 0] = np.eye(9)[(loss.targets[due[:3], 0] + 1) % 8]
    np.testing.assert_allclose(Copy().score(y, loss), [0.7, 1, 1, 1], rtol=1e-15)
    blank = np.zeros_like(y)
    blank[..., BLANK] = 1.0  # right nearly everywhere, and it has copied nothing
    np.testing.assert_array_equal(Copy().score(blank, loss), np.zeros(4))


def test_bad_input() -> None:
    with pytest.raises(InputError, match=r'unknown wait "fix"; did you mean "fixed"\?'):
        Copy("fix")
    with pytest.raises(InputError, match="copy needs a length of at least 21"):
        Copy().sample(20, 1, rng=np.random.default_rng(0))
