"""Set-ups whose answer is known, by algebra, by the ground truths or by construction, and borderline ones.

A set-up that is judged wrong is a fault of the words, not of its row here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

import gradlab as gl
from gradlab.statistics.rates import rate
from gradlab.verdicts import WORDS, Evidence, Verdict, judge
from gradlab.verdicts.labels import UNCERTAIN

Array = NDArray[Any]


class Case(NamedTuple):
    name: str
    build: Callable[[], Verdict]
    word: str
    reason: str


def ones(B: int, H: int) -> gl.projection:
    return gl.projection(np.ones((B, H)))


def told(
    model: Any, T: int, *, B: int = 1, lag: int | None = None, loss: Any = None, drive: float = 0.0, **keys: Any
) -> Verdict:
    """Return the verdict on a pass over noise of std ``drive``, the loss a random projection of the last state."""
    rng = np.random.default_rng(7)
    cell = model if isinstance(model, gl.Cell) else None
    D = model.input_size
    x = drive * rng.standard_normal((T, B, D))
    size = cell.hidden_size if cell is not None else model.readout.W_hy.shape[0]
    reads = gl.projection(rng.standard_normal((B, size))) if loss is None else loss
    return gl.trace(model, x, reads, **keys).verdict(lag, rerun=False)


def linear(W: Any) -> gl.RNN:
    W = np.asarray(W, float)
    return gl.RNN(np.zeros((len(W), 1)), W, activation="identity")


def scalar(w: float, activation: str = "identity", bias: float = 0.0) -> gl.RNN:
    return gl.RNN(np.zeros((1, 1)), np.array([[w]]), np.array([bias]), activation=activation)


def positive(W: Any) -> gl.RNN:
    return gl.RNN(np.zeros((len(W), 1)), np.asarray(W, float), activation="relu")


def orthogonal(g: float) -> gl.RNN:
    return linear(g * gl.RNN.init(1, 6, recurrent="orthogonal", rng=2).W_hh)


def lstm(H: int, *, W: Any = 0.0, b_i: float = 0.0, b_f: float = 0.0, b_g: float = 0.0, b_o: float = 0.0) -> gl.LSTM:
    """An LSTM with the same bias in all units of a gate, W in the candidate, no other recurrent weights, no input."""
    recurrent = np.zeros((4 * H, H))
    recurrent[2 * H : 3 * H] = W
    bias = np.repeat([b_i, b_f, b_g, b_o], H).astype(float)
    return gl.LSTM(np.zeros((4 * H, 1)), recurrent, bias)


def gru(H: int, *, W: Any = 0.0, b_z: float = 0.0, **options: str) -> gl.GRU:
    recurrent = np.zeros((3 * H, H))
    recurrent[2 * H :] = W
    return gl.GRU(np.zeros((3 * H, 1)), recurrent, np.repeat([0.0, b_z, 0.0], H), **options)


def normal(H: int, radius: float) -> Array:
    """A symmetric matrix whose largest eigenvalue is ``radius``, twofold apart from the next."""
    Q = gl.RNN.init(1, H, recurrent="orthogonal", rng=5).W_hh
    return Q @ np.diag(radius * np.r_[1.0, np.linspace(0.5, 0.1, H - 1)]) @ Q.T


def tanh_rnn(scale: float, H: int = 64, seed: int = 0, **keys: Any) -> gl.RNN:
    return gl.RNN.init(1, H, scale=scale, rng=seed, **keys)


def borderline_matrix(T: int) -> Array:
    """Gaussian weights whose spectral radius, a complex pair's, leaves 1 % after T − 1 steps."""
    W = tanh_rnn(1.0, 32).W_hh
    return W / np.abs(np.linalg.eigvals(W)).max() * 0.01 ** (1 / (T - 1))


def at(step: int, T: int, H: int) -> gl.projection:
    """A loss that reads one step only."""
    return gl.projection((np.arange(1, T + 1) == step)[:, None, None] * np.ones((T, 1, H)))


def every(T: int, B: int, O: int) -> gl.mse:
    return gl.mse(np.random.default_rng(3).standard_normal((T, B, O)), at="every")


def dead_after(T: int, died: int) -> tuple[gl.RNN, Array]:
    """A ReLU unit that counts, and an input that switches it off at one step: its gradient ends there, exactly."""
    x = np.zeros((T, 1, 1))
    x[died - 1] = -1e6
    return gl.RNN(np.ones((1, 1)), np.ones((1, 1)), np.ones(1), activation="relu"), x


def switched_off(lag: int | None) -> Verdict:
    cell, x = dead_after(100, 60)
    return gl.trace(cell, x, ones(1, 1)).verdict(lag, rerun=False)


def per_sequence(factors: Any, T: int) -> Verdict:
    """Sequence b reads unit b of a diagonal network."""
    W = np.diag(np.asarray(factors, float))
    return told(linear(W), T, B=len(W), loss=gl.projection(np.eye(len(W))))


def stacked(lower: gl.Cell, upper: gl.Cell, T: int = 100) -> Verdict:
    H = upper.hidden_size
    return told(
        gl.Network([lower, upper], gl.Readout.init(H, 1, rng=0)), T, B=4, loss=gl.mse(np.ones((4, 1))), drive=0.3
    )


def bidirectional(at_: str, T: int = 60) -> Verdict:
    both = gl.Bidirectional(tanh_rnn(0.5, 8), tanh_rnn(0.5, 8, 1))
    targets = np.random.default_rng(3).standard_normal((T, 2, 1))
    return told(gl.Network([both], gl.Readout.init(16, 1, rng=0)), T, B=2, loss=gl.mse(targets, at=at_), drive=0.3)


def sequences(lengths: list[int]) -> Verdict:
    return told(scalar(0.9), max(lengths), B=len(lengths), lengths=lengths)


def bad_gradient() -> Verdict:
    """A user's loss whose own gradient overflows."""
    return told(
        scalar(0.9), 50, loss=lambda y: (y[-1, :, 0], np.where(np.arange(50)[:, None, None] == 49, np.inf, 0.0 * y))
    )


UNITS = lambda: np.ones((1, 1))  # noqa: E731  (an initial state of 1)

KNOWN = [
    # --- E01, E04: one factor a step ------------------------------------------------------------------------------
    Case("linear .9, T 100", lambda: told(scalar(0.9), 100), "VANISHING", "E01: .9^99 = 3e-5"),
    Case("linear 1.1, T 100", lambda: told(scalar(1.1), 100), "EXPLODING", "E01: 1.1^99 = 1.3e4"),
    Case("linear 1, T 1000", lambda: told(scalar(1.0), 1000), "STABLE", "E01: 1"),
    Case("linear −1, T 1000", lambda: told(scalar(-1.0), 1000), "STABLE", "E01: the sign changes, the norm does not"),
    Case("linear .99, T 100", lambda: told(scalar(0.99), 100), "STABLE", "E01: .99^99 = .37"),
    Case("linear .99, T 1000", lambda: told(scalar(0.99), 1000), "VANISHING", "E01: .99^999 = 4e-5"),
    Case("linear .99, T 100, lag 1000", lambda: told(scalar(0.99), 100, lag=1000), "VANISHING", "the task needs 1000"),
    Case("linear .99, T 1000, lag 50", lambda: told(scalar(0.99), 1000, lag=50), "STABLE", "the task needs 50: .61"),
    Case("linear .5, T 200", lambda: told(scalar(0.5), 200), "UNDERFLOWS IN float32", "ln .5 × 199 = −138 < −87.3"),
    Case("linear .5, T 120", lambda: told(scalar(0.5), 120), "VANISHING", "ln .5 × 119 = −82.5: float32 holds it"),
    Case("linear .001, T 100 000", lambda: told(scalar(1e-3), 100_000), "UNDERFLOWS IN float32", "−690 776 nats"),
    Case("linear 1.001, T 10 000", lambda: told(scalar(1.001), 10_000), "EXPLODING", "1.001^9999 = 2.2e4"),
    Case("lengths 30, 60, 100", lambda: sequences([30, 60, 100]), "VANISHING", "E01, the span that of the longest"),
    # --- E02, E03, E04: matrices ----------------------------------------------------------------------------------
    Case("orthogonal, g 1", lambda: told(orthogonal(1.0), 1000), "STABLE", "E02: every singular value is 1"),
    Case("orthogonal, g .95", lambda: told(orthogonal(0.95), 200), "VANISHING", "E02: .95^199 = 4e-5"),
    Case("orthogonal, g 1.05", lambda: told(orthogonal(1.05), 200), "EXPLODING", "E02: 1.05^199 = 1.6e4"),
    Case("Jordan block, T 10", lambda: told(linear([[0.9, 1], [0, 0.9]]), 11, B=4), "STABLE", "E03: ‖W^10‖ = 3.9"),
    Case("Jordan block, T 300", lambda: told(linear([[0.9, 1], [0, 0.9]]), 300), "VANISHING", "E03: ρ = .9 at last"),
    Case("diagonal, both kinds", lambda: per_sequence([1.1, 0.9], 100), "MIXED", "E04: one sequence each"),
    Case(
        "diagonal, the loss misses the direction that explodes",
        lambda: told(linear(np.diag([1.1, 0.9])), 100, loss=gl.projection(np.array([[0.0, 1.0]]))),
        "MIXED",
        "E04: λ₁ = .095, the gradient's rate −.105",
    ),
    Case("diagonal, all vanish", lambda: per_sequence([0.9, 0.8, 0.7], 100), "VANISHING", "E04"),
    # --- E05, E06: tanh at its fixed point ------------------------------------------------------------------------
    Case("tanh(1.1 h)", lambda: told(scalar(1.1, "tanh"), 100, state=UNITS()), "VANISHING", "E05: .822^99 = 4e-9"),
    Case("tanh(1.5 h)", lambda: told(scalar(1.5, "tanh"), 50, state=UNITS()), "VANISHING", "E05: .394^49 = 1e-20"),
    Case(
        "tanh(2 h)",
        lambda: told(scalar(2.0, "tanh"), 100, state=UNITS()),
        "UNDERFLOWS IN float32",
        "E05: .166^99 = 1e-77",
    ),
    Case("tanh(3 h)", lambda: told(scalar(3.0, "tanh"), 100, state=UNITS()), "UNDERFLOWS IN float32", "E05: .0305^99"),
    Case("tanh(h) from 0", lambda: told(scalar(1.0, "tanh"), 1000), "STABLE", "at h = 0 the slope is 1: 1^999"),
    Case(
        "tanh(1.1 h) from 0", lambda: told(scalar(1.1, "tanh"), 100), "EXPLODING", "h = 0 stays, where the slope is 1.1"
    ),
    Case(
        "tanh(h) from 1, lag 20 of 10 000",
        lambda: told(scalar(1.0, "tanh"), 10_000, state=UNITS(), lag=20),
        "STABLE",
        "E06: a power law, 1 − 20·1.5/10 000 is left of the last 20 steps",
    ),
    Case(
        "tanh(h) from 1, T 1000",
        lambda: told(scalar(1.0, "tanh"), 1000, state=UNITS()),
        "VANISHING",
        "E06: 1.635 · 1000^(−3/2) = 5e-5 is left",
    ),
    Case(
        "tanh(h) from 1, lag 10 of 30",
        lambda: told(scalar(1.0, "tanh"), 30, state=UNITS(), lag=10),
        "STABLE",
        "E06: (20/30)^(3/2) = .54 is left of the last ten steps",
    ),
    # --- E09, E10, E20, E21: many units ---------------------------------------------------------------------------
    Case(
        "logistic, weights 1",
        lambda: told(tanh_rnn(1.0, activation="logistic"), 200, B=4),
        "UNDERFLOWS IN float32",
        "E09: at most (σ_max/4)^199",
    ),
    Case("tanh, g .5, no input", lambda: told(tanh_rnn(0.5), 200, B=4), "UNDERFLOWS IN float32", "E20: ln ρ(W) = −.7"),
    Case(
        "tanh, g .5, driven", lambda: told(tanh_rnn(0.5), 100, B=8, drive=0.5), "VANISHING", "below ln .5 a step, T 100"
    ),
    Case(
        "tanh, g 1, s² = 1",
        lambda: told(tanh_rnn(1.0, 128), 300, B=8, drive=1.0),
        "UNDERFLOWS IN float32",
        "E21: input moves the edge to 1.86; at g = 1, half ln χ is −.36",
    ),
    Case(
        "tanh, g 3, s² = 1",
        lambda: told(tanh_rnn(3.0, 256), 200, B=8, drive=1.0),
        "EXPLODING",
        "E21: ½ ln 1.71 = .27 a step; E22's spread of a random input vector is of the same order",
    ),
    Case(
        "tanh, g 3, no input",
        lambda: told(tanh_rnn(3.0, 128), 300, state=np.ones((1, 128))),
        "EXPLODING",
        "E20: λ₁ = .31; 15 % of the exponents are positive, which is no spectrum of both kinds",
    ),
    Case(
        "relu, positive, ρ .85",
        lambda: told(positive([[0.5, 0.4], [0.3, 0.5]]), 100, state=np.ones((1, 2))),
        "VANISHING",
        "E10: P = W^k, ρ = .846",
    ),
    Case(
        "relu, positive, ρ 1.1",
        lambda: told(positive([[1.05, 0.05], [0.05, 1.05]]), 100, state=np.ones((1, 2))),
        "EXPLODING",
        "E10: P = W^k, eigenvalues 1.1 and 1",
    ),
    Case(
        "relu, positive, half and half",
        lambda: told(positive([[0.6, 0.5], [0.5, 0.6]]), 100, state=np.ones((1, 2))),
        "MIXED",
        "E10: P = W^k, eigenvalues 1.1 and .1: half of the directions explode, half vanish",
    ),
    # --- E10, and what breaks: zeros, overflow --------------------------------------------------------------------
    Case(
        "relu, never fires",
        lambda: told(scalar(1.0, "relu", bias=-1.0), 50),
        "DEAD",
        "E10: exactly zero after one step",
    ),
    Case("relu, switched off at t = 60 of 100", lambda: switched_off(None), "DEAD", "exactly zero beyond lag 41"),
    Case(
        "relu, switched off beyond the lag",
        lambda: switched_off(30),
        "STABLE",
        "one up to lag 40, of which the task needs 30",
    ),
    Case("no recurrent weights", lambda: told(scalar(0.0, "tanh"), 50), "DEAD", "δ_{t−1} = Wᵀ… = 0"),
    Case(
        "a target that is met",
        lambda: told(scalar(0.9), 50, loss=gl.mse(np.zeros((1, 1)))),
        "DEAD",
        "dL/dy is exactly 0",
    ),
    Case("linear 2, T 2000", lambda: told(scalar(2.0), 2000, state=UNITS()), "DIVERGED", "2^1024 is not finite"),
    Case(
        "linear 2, T 2000, from 0",
        lambda: told(scalar(2.0), 2000),
        "EXPLODING",
        "no state overflows, and the gradient has its exponent",
    ),
    Case(
        "relu pair that overflows",
        lambda: told(gl.RNN(np.ones((2, 1)), np.full((2, 2), 2.0), activation="relu"), 600, drive=1.0),
        "DIVERGED",
        "4^512",
    ),
    Case("a loss that overflows", bad_gradient, "DIVERGED", "dL/dy is infinite"),
    # --- E11, E12, E25: the LSTM ----------------------------------------------------------------------------------
    Case(
        "carousel",
        lambda: told(lstm(3, b_f=40.0, b_i=-800.0), 1000),
        "STABLE",
        "E11: dL/dh is 0 before T, the gradient lives in c: δ of the joint state is exactly constant",
    ),
    Case("LSTM, zero weights, b_f 0", lambda: told(lstm(3), 100), "VANISHING", "E12: σ(0) = ½ alone: −68.6 nats"),
    Case("LSTM, zero weights, b_f 0, T 200", lambda: told(lstm(3), 200), "UNDERFLOWS IN float32", "E12: −138 nats"),
    Case("LSTM, zero weights, b_f 5", lambda: told(lstm(3, b_f=5.0), 500), "STABLE", "E12: σ(5)^499 = .035"),
    Case("LSTM, below the edge", lambda: told(lstm(6, W=normal(6, 1.4)), 100), "VANISHING", "E12: ½ + 1.4/4 = .85"),
    Case("LSTM, above the edge", lambda: told(lstm(6, W=normal(6, 2.6)), 100), "EXPLODING", "E12: ½ + 2.6/4 = 1.15"),
    Case(
        "LSTM, at the edge, b_f 1",
        lambda: told(lstm(6, W=normal(6, 4 * (1 - 1 / (1 + np.exp(-1.0)))), b_f=1.0), 500),
        "STABLE",
        "E12: the largest eigenvalue is σ(1) + ¼·1.0758 = 1",
    ),
    Case(
        "LSTM, b_f 0, driven",
        lambda: told(gl.LSTM.init(1, 64, recurrent="uniform", rng=0), 100, B=8, drive=1.0),
        "VANISHING",
        "TRUTHS §3: −.44 a step at the common libraries' default",
    ),
    Case(
        "LSTM, b_f 5, driven",
        lambda: told(gl.LSTM.init(1, 64, recurrent="uniform", forget_bias=5.0, rng=0), 100, B=8, drive=1.0),
        "STABLE",
        "TRUTHS §3: +.009 a step",
    ),
    # --- E13, E14: the GRU ----------------------------------------------------------------------------------------
    Case("GRU, zero weights", lambda: told(gru(3), 100), "VANISHING", "E13: ½ a step"),
    Case("GRU, below the edge", lambda: told(gru(6, W=normal(6, 1.4)), 100), "VANISHING", "E13: .85"),
    Case("GRU, above the edge", lambda: told(gru(6, W=normal(6, 2.6)), 100), "EXPLODING", "E13: 1.15, no state but 0"),
    Case("GRU, at the edge", lambda: told(gru(6, W=normal(6, 2.0), reset="after"), 500), "STABLE", "E13: ½ + 2/4 = 1"),
    Case(
        "GRU that keeps everything", lambda: told(gru(4, b_z=-800.0), 1000, state=np.full((1, 4), 0.3)), "STABLE", "E14"
    ),
    Case(
        "GRU that keeps everything, PyTorch's way",
        lambda: told(gru(4, b_z=800.0, update="keep", reset="after"), 1000),
        "STABLE",
        "E14",
    ),
    # --- where the loss is, layers, directions --------------------------------------------------------------------
    Case(
        "loss at t = 50 of 100",
        lambda: told(scalar(0.9), 100, loss=at(50, 100, 1)),
        "VANISHING",
        ".9^49 = 6e-3, not dead: no loss lies later",
    ),
    Case("loss at t = 30 of 100", lambda: told(scalar(0.9), 100, loss=at(30, 100, 1)), "STABLE", ".9^29 = .047"),
    Case(
        "loss at every step",
        lambda: told(scalar(0.9), 100, loss=every(100, 1, 1), state=UNITS()),
        "VANISHING",
        "of the last step's loss alone; the whole loss' adjoint does not fall",
    ),
    Case(
        "two layers, both vanish",
        lambda: stacked(tanh_rnn(0.5, 16), tanh_rnn(0.5, 16).__class__.init(16, 16, scale=0.5, rng=1)),
        "VANISHING",
        "each below ln .5 or so",
    ),
    Case("bidirectional, every step", lambda: bidirectional("every"), "VANISHING", "both below ln .5 or so"),
    Case(
        "bidirectional, last step",
        lambda: bidirectional("last"),
        "VANISHING",
        "the reverse one is read after 1 step: not dead",
    ),
]


@pytest.mark.parametrize("case", KNOWN, ids=lambda case: case.name)
def test_known(case: Case) -> None:
    found = case.build()
    assert found.word == case.word, f"{case.reason}\n{found}"


def walk(drift: float, noise: float, phi: float, *, T: int, B: int = 1, seed: int = 0) -> Verdict:
    """A made-up ln‖δ‖: a random walk whose increments, about ``drift``, are an AR(1) process of std ``noise``."""
    rng = np.random.default_rng(seed)
    shocks = rng.standard_normal((T, B))
    increments = np.empty((T, B))
    increments[0] = shocks[0]
    for k in range(1, T):
        increments[k] = phi * increments[k - 1] + np.sqrt(1 - phi**2) * shocks[k]
    logs = np.concatenate([np.zeros((1, B)), np.cumsum(drift + noise * increments, axis=0)])
    left = tuple((logs[T] - logs[1]).tolist())
    return judge(Evidence(rate(logs), T - 1, left=left))


BORDERLINE = [
    Case(
        "tanh(h) from 1, T 20",
        lambda: told(scalar(1.0, "tanh"), 20, state=UNITS()),
        UNCERTAIN,
        "E06: 1.6 · 20^(−3/2) = 2 % is left, and a power law is not told from an exponential in 17 increments",
    ),
    Case(
        "tanh(h) from 1, lag 50 000 of 1000",
        lambda: told(scalar(1.0, "tanh"), 1000, state=UNITS(), lag=50_000),
        UNCERTAIN,
        "E06: a power law is not to be extrapolated",
    ),
    Case("3 steps", lambda: told(scalar(0.1), 3), UNCERTAIN, "two increments have no interval, whatever they are"),
    Case("1 step", lambda: told(scalar(0.1), 1), UNCERTAIN, "there is no lag 2"),
    Case(
        "one Jordan sequence, T 10",
        lambda: told(linear([[0.9, 1], [0, 0.9]]), 11),
        UNCERTAIN,
        "E03: it grows at first and would fall later; one sequence of ten steps does not tell",
    ),
    Case(
        "a pair of eigenvalues at 1 %",
        lambda: told(linear(borderline_matrix(200)), 200, B=2),
        UNCERTAIN,
        "E04: the leading pair leaves 1 % after 199 steps, and turns the gradient as it goes",
    ),
    Case(
        "tanh at the critical scale",
        lambda: told(tanh_rnn(1.41), 200, B=8, drive=0.1**0.5),
        UNCERTAIN,
        "E21: 1.409 for s² = .1; of 64 units, some .02 below 0: 4 ± 2 nats over the span",
    ),
    Case(
        "tanh a little beyond the critical scale",
        lambda: told(tanh_rnn(1.6), 200, B=8, drive=0.1**0.5),
        UNCERTAIN,
        "between STABLE at 1.5 and EXPLODING at 1.7",
    ),
    Case(
        "drift 0, strongly correlated",
        lambda: walk(0.0, 0.3, 0.9, T=300),
        UNCERTAIN,
        "the walk alone strays by ± 23 nats",
    ),
    Case(
        "drift at the border",
        lambda: walk(-4.605 / 200, 0.1, 0.0, T=200, B=8),
        UNCERTAIN,
        "−4.6 nats: half of the intervals' mass on each side",
    ),
    Case("drift −.06, correlated", lambda: walk(-0.06, 0.2, 0.9, T=200, B=2), UNCERTAIN, "−12 ± 17 nats"),
    Case("wide interval", lambda: walk(0.02, 1.0, 0.0, T=100), UNCERTAIN, "2 ± 20 nats"),
    Case(
        "half of the sequences vanish",
        lambda: per_sequence([0.9, 0.9, 1.0, 1.0], 100),
        UNCERTAIN,
        "the mean rate, −.053, vanishes; two of four sequences do not",
    ),
    Case(
        "bidirectional, nothing but the reverse direction",
        lambda: reverse_alone(),
        UNCERTAIN,
        "read after 1 step: no lag, and not dead",
    ),
]


def reverse_alone() -> Verdict:
    both = gl.Bidirectional(tanh_rnn(0.5, 8), tanh_rnn(0.5, 8, 1))
    model = gl.Network([both], gl.Readout.init(16, 1, rng=0))
    loss = gl.mse(np.ones((2, 1)))
    return gl.trace(model, np.random.default_rng(0).standard_normal((50, 2, 1)), loss).layers[0].reverse.verdict()


@pytest.mark.parametrize("case", BORDERLINE, ids=lambda case: case.name)
def test_borderline(case: Case) -> None:
    found = case.build()
    assert found.word == UNCERTAIN, f"{case.reason}\n{found}"
    assert found.suggestion is not None


def test_words_along_the_scale_come_in_their_order() -> None:
    """VANISHING, perhaps in doubt, STABLE, perhaps in doubt, EXPLODING: never back."""
    words = [told(tanh_rnn(g), 200, B=8, drive=0.1**0.5).word for g in (1.0, 1.2, 1.41, 1.5, 1.6, 1.7, 2.0)]
    assert words == [*["VANISHING"] * 2, UNCERTAIN, "STABLE", UNCERTAIN, *["EXPLODING"] * 2]


def test_there_are_enough_of_them() -> None:
    assert len(KNOWN) >= 40
    assert len(BORDERLINE) >= 10
    assert {case.word for case in KNOWN} == set(WORDS) - {UNCERTAIN}
