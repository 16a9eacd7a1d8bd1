"""Temporal order, delayed xor and two-sequence, read back from their own inputs."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

import gradlab as gl
from gradlab.errors import InputError
from gradlab.tasks import DelayedXor, TemporalOrder, TwoSequence

RNG = np.random.default_rng


@pytest.mark.parametrize(("symbols", "starts"), [(2, (5, 25)), (3, (5, 15, 30))])
def test_temporal_order(symbols: int, starts: tuple[int, ...]) -> None:
    """Telling symbols in [.1T, .2T), [.5T, .6T), or [.1T, .2T), [.3T, .4T), [.6T, .7T), and nowhere else; T = 50."""
    task = TemporalOrder(symbols=symbols)
    x, loss = task.sample(50, 4000, rng=RNG(0))
    assert (x.sum(axis=-1) == 1.0).all()
    seen = x.argmax(axis=-1)
    telling = seen < 2
    assert set(np.flatnonzero(telling.any(axis=1))) == {s + i for s in starts for i in range(5)}
    np.testing.assert_array_equal(telling.sum(axis=0), symbols)
    orders: dict[tuple[int, ...], set[int]] = {}
    for b, label in enumerate(loss.targets):
        orders.setdefault(tuple(seen[telling[:, b], b]), set()).add(int(label))
    assert set(orders) == set(product((0, 1), repeat=symbols))
    assert sorted(map(min, orders.values())) == list(range(2**symbols)) == sorted(map(max, orders.values()))
    counts = np.bincount(loss.targets)
    assert np.abs(counts - 4000 / 2**symbols).max() < 5 * np.sqrt(4000 / 2**symbols)
    assert np.bincount(seen[~telling], minlength=6)[2:].min() > 0.24 * (~telling).sum()
    assert task.lag(50) == 49 - starts[0]
    assert task.baseline(50) == pytest.approx(symbols * np.log(2), rel=1e-15)
    assert loss.evaluate(np.zeros((50, 4000, 2**symbols)))[0] == pytest.approx(symbols * np.log(2), rel=1e-14)


def test_delayed_xor() -> None:
    """y_t = |s_{t−d} − s_{t−2d}| step by step, bits before the first 0; a network that carries 2d bits is exact."""
    task = DelayedXor(delay=3)
    x, loss = task.sample(20, 50, at="every", rng=RNG(0))
    bits = x[..., 0]
    assert set(np.unique(bits)) == {0.0, 1.0}
    for t in range(20):
        near = bits[t - 3] if t >= 3 else np.zeros(50)
        far = bits[t - 6] if t >= 6 else np.zeros(50)
        np.testing.assert_array_equal(loss.targets[t, :, 0], (near != far).astype(float))
    line = gl.RNN(np.eye(6)[:, :1], np.eye(6, k=-1), activation="identity")
    states = gl.trace(line, x).states["h"]  # h_t holds s_t … s_{t−5}, and h_{t−1} the one before
    near, far = states[1:, :, 3], states[:-1, :, 5]
    np.testing.assert_array_equal(np.abs(near - far), loss.targets[..., 0])


def test_delayed_xors_lag_is_where_the_target_begins_to_turn() -> None:
    """Turning the bit 2d back turns every last target; turning any other but the one d back turns none."""
    task = DelayedXor(delay=4)
    turned = []
    for place in range(30):
        bits = RNG(1).integers(2, size=(30, 8, 1))

        class Turned:
            def integers(self, *_: Any, place: int = place, bits: Any = bits, **__: Any) -> Any:
                return np.where(np.arange(30)[:, None, None] == place, 1 - bits, bits)

        last = [task.sample(30, 8, rng=rng)[1].targets[-1] for rng in (Turned(), RNG(1))]  # type: ignore[arg-type]
        if (last[0] != last[1]).any():
            assert (last[0] != last[1]).all()
            turned.append(29 - place)
    assert turned == [task.lag(30), task.delay]


@pytest.mark.parametrize(("telling", "noise"), [(1, 0.0), (3, 0.0), (3, 0.1)])
def test_two_sequence(telling: int, noise: float) -> None:
    """±1 first, and N(0, 0.2) after; 5 standard errors of a variance from 4000 sequences are 12 %, from all 2 %."""
    task = TwoSequence(telling=telling, noise=noise)
    x, loss = task.sample(20, 4000, rng=RNG(0))
    target = loss.targets[:, 0]
    assert set(target) == {0.0, 1.0}
    assert abs(target.mean() - 0.5) < 5 * 0.5 / np.sqrt(4000)
    start = x[:telling, :, 0] - (2 * target - 1)
    np.testing.assert_allclose(start.var(), noise, rtol=0.12)
    rest = x[telling:, :, 0]
    np.testing.assert_allclose([rest.var(), rest.mean()], [0.2, 0.0], rtol=0.02, atol=0.01)
    assert abs(np.corrcoef(rest.mean(axis=0), target)[0, 1]) < 5 / np.sqrt(4000)
    assert task.lag(20) == 20 - telling
    assert loss.evaluate(np.full(x.shape, 0.5))[0] == pytest.approx(task.baseline(20), rel=1e-15)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: TemporalOrder(symbols=4), "symbols must be 2 or 3, got 4"),
        (lambda: TemporalOrder().sample(9, 1, rng=RNG(0)), "temporal_order needs a length of at least 10"),
        (lambda: DelayedXor(delay=0), "delay must be at least 1, got 0"),
        (lambda: DelayedXor(delay=5).sample(10, 1, rng=RNG(0)), "at least 11 .more than twice the delay., got 10"),
        (lambda: TwoSequence(noise=-1.0), "noise is a variance and must be at least 0, got -1.0"),
        (lambda: TwoSequence(telling=3).sample(2, 1, rng=RNG(0)), "two_sequence needs a length of at least 3"),
    ],
)
def test_bad_input(made: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        made()
