"""The loop: one gradient a step, bit-reproducible, stopped anywhere, ended by success or divergence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from training.small import assert_same, model, training

import gradlab as gl
from gradlab.tasks import Digits, Sum


def test_a_step_is_the_gradient_of_the_batch_mean() -> None:
    """Plain descent by hand: θ − η dL/dθ of the mean over the batch of gl.trace."""
    start, task = model(gl.LSTM), Sum()
    t = gl.Training(start, task, length=7, batch=5, at="every", optimiser=gl.SGD(0.1), seed=2).run(2)
    parameters = dict(start.parameters)
    for step in range(2):
        x, loss = next(task.batches(7, 5, at="every", seed=2, start=step))
        trace = gl.trace(start.with_parameters(parameters), x, loss)
        np.testing.assert_allclose(t.losses[step], trace.loss.mean(), rtol=1e-14)
        squares = sum((grad**2).sum() for grad in trace.param_grads.values())
        np.testing.assert_allclose(t.norms[step], np.sqrt(squares), rtol=1e-13)
        parameters = {name: array - 0.1 * trace.param_grads[name] for name, array in parameters.items()}
    for name, array in parameters.items():
        np.testing.assert_allclose(t.model.parameters[name], array, rtol=1e-12, atol=1e-15)
    assert t.kept.tolist() == [1.0, 1.0]


def test_the_model_that_was_given_is_left_alone() -> None:
    start = model()
    before = {name: array.copy() for name, array in start.parameters.items()}
    t = training(network=start).run(3)
    for name, array in before.items():
        np.testing.assert_array_equal(start.parameters[name], array)
        assert not np.shares_memory(start.parameters[name], t.model.parameters[name])
        assert (t.model.parameters[name] != array).any()


def test_a_standing_model_is_never_written_to() -> None:
    t = training().run(3)
    kept = t.model
    before = {name: array.copy() for name, array in kept.parameters.items()}
    t.run(6)
    for name, array in before.items():
        np.testing.assert_array_equal(kept.parameters[name], array)


@pytest.mark.parametrize("optimiser", [gl.SGD(0.01), gl.Momentum(0.01), gl.RMSprop(), gl.Adam()])
def test_a_bare_cell_and_every_optimiser_in_float32(optimiser: gl.training.Optimiser) -> None:
    cell = gl.GRU.init(1, 4, rng=0, dtype="float32")
    rng = np.random.default_rng(0)
    batch = rng.standard_normal((5, 3, 1)), gl.mse(rng.standard_normal((3, 4)))
    t = gl.Training(cell, lambda step: batch, optimiser=optimiser, clip_norm=np.float64(0.1)).run(4)
    assert isinstance(t.model, gl.GRU)
    assert {array.dtype.name for array in (*t.model.parameters.values(), *t.training_state.slots)} == {"float32"}
    assert t.losses[-1] < t.losses[0]


def test_omega_in_float32() -> None:
    t = gl.Training(model(dtype="float32"), Sum(), length=4, batch=2, omega=0.1).run(2)
    assert {array.dtype.name for array in t.model.parameters.values()} == {"float32"}


def test_the_same_seed_is_the_same_training_in_any_portions() -> None:
    whole = training().run(9)
    parts = training()
    for total in (0, 1, 4, 4, 9):
        parts.run(total)
    assert_same(whole, parts)
    assert (training(seed=4).run(9).losses != whole.losses).all()


def test_a_batch_depends_on_its_step_alone() -> None:
    seen: list[int] = []

    def task(step: int) -> Any:
        seen.append(step)
        return next(Sum().batches(5, 4, seed=3, start=step))

    t = gl.Training(model(), task, optimiser=gl.Adam(0.01)).run(3).run(5)
    assert seen == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(t.losses, training().run(5).losses)


def test_it_learns() -> None:
    t = training(network=model(recurrent="identity", scale=1.0), optimiser=gl.Adam(0.02), batch=16).run(200)
    assert t.losses[-20:].mean() < 0.05 * t.losses[:5].mean()


def test_a_schedule_of_nothing_leaves_the_model() -> None:
    t = training(optimiser=gl.SGD(0.1), schedule=gl.Schedule("step", factor=0.0, every=2)).run(2)
    before = dict(t.model.parameters)
    t.run(5)
    for name, array in before.items():
        np.testing.assert_array_equal(t.model.parameters[name], array)


# --- its ends ---------------------------------------------------------------------------------------


def test_it_stops_when_the_loss_is_low_enough() -> None:
    free = training(optimiser=gl.Adam(0.05)).run(60)
    limit = 0.4
    means = np.convolve(free.losses, np.ones(5) / 5, "valid")
    first = int(np.argmax(means < limit)) + 5
    assert 5 < first < 60
    t = training(optimiser=gl.Adam(0.05), until=gl.Until("loss", below=limit, window=5)).run(60)
    assert (t.status, t.step, t.reason) == ("solved", first, "mean loss over 5 below 0.4")
    np.testing.assert_array_equal(t.losses, free.losses[:first])
    assert t.run(100).step == first


def test_a_cap_is_no_success() -> None:
    t = training(until=gl.Until("loss", below=1e-9)).run(5)
    assert (t.status, t.step, t.reason) == ("running", 5, "")


def test_it_stops_when_the_score_is_high_enough() -> None:
    """Every tenth step, on images that are not trained on: the task's score of the model as it stands then."""
    network = gl.Network([gl.RNN.init(8, 16, rng=0)], readout=gl.Readout.init(16, 10, rng=1))
    until = gl.Until("score", above=0.3, every=10)
    t = gl.Training(network, Digits(), batch=64, optimiser=gl.Adam(0.01), until=until, seed=3).run(200)
    assert (t.status, t.reason) == ("solved", "score above 0.3")
    assert t.scores[:, 0].tolist() == list(range(10, t.step + 1, 10))
    assert (t.scores[:-1, 1] <= 0.3).all()
    rng = np.random.default_rng(np.random.SeedSequence(3, spawn_key=(1, t.step)))
    x, loss = Digits().test.sample(8, 64, rng=rng)
    assert t.scores[-1, 1] == Digits().score(gl.trace(t.model, x).outputs, loss).mean() > 0.3


def test_until_refuses() -> None:
    with pytest.raises(gl.InputError, match=r"give below= or above=, one of them; got below=None and above=None"):
        gl.Until()
    with pytest.raises(gl.InputError, match='unknown criterion "los"; did you mean "loss"'):
        gl.Until("los", below=1.0)
    with pytest.raises(gl.InputError, match="a score needs a gradlab task"):
        gl.Training(model(), lambda step: None, until=gl.Until("score", above=0.9))  # type: ignore[arg-type, return-value]


def test_divergence_is_an_outcome() -> None:
    """A linear RNN with a huge rate: the step that is not finite is not taken, and the model is the last finite one."""
    t = training(network=model(activation="identity"), optimiser=gl.SGD(50.0)).run(100)
    assert t.status == "diverged"
    assert t.step < 20
    assert t.reason.startswith(f"step {t.step}: the ")
    assert len(t.losses) == t.step
    assert np.isfinite(t.losses).all()
    assert all(np.isfinite(array).all() for array in t.model.parameters.values())
    last = dict(t.model.parameters)
    t.run(200)
    for name, array in last.items():
        np.testing.assert_array_equal(t.model.parameters[name], array)


def _reason(**options: Any) -> str:
    return gl.Training(model(activation="identity"), **options).run(1).reason


def test_what_is_not_finite_is_named() -> None:
    x = np.ones((2, 1, 1))
    large = gl.Network([gl.RNN(W_xh=[[1e200]], W_hh=[[1e200]], activation="identity")], gl.Readout([[1.0]]))
    t = gl.Training(large, lambda step: (x, gl.mse(np.ones((1, 1))))).run(1)
    assert t.reason == "step 0: the state is not finite from t = 2 on"
    assert _reason(task=lambda step: (x, gl.mse(np.full((1, 1), 1e300)))) == "step 0: the loss is inf"
    grad = lambda y: (y[-1, :, 0], np.full(y.shape, np.inf))  # noqa: E731
    assert _reason(task=lambda step: (x, grad)) == "step 0: the gradient is not finite"
    huge = gl.mse(np.full((1, 1), 1e150))
    for optimiser in (gl.SGD(1e300), gl.Adam()):  # θ overflows, g² does
        reason = _reason(task=lambda step: (1e10 * x, huge), optimiser=optimiser)
        assert reason == "step 0: the parameters after it, or the optimiser's memory, are not finite"


@pytest.mark.parametrize("at", range(6))
def test_ctrl_c_leaves_a_whole_step(at: int) -> None:
    """Raised in the batch, the pass, the gradient, before and after the update, and in what looks on."""
    whole, t = training(clip_norm=1.0).run(8), training(clip_norm=1.0)
    places = [(t, "stream"), (t.layout, "gradient"), (t, "clip"), (t, "_updated"), (t, "_judged"), (t, "_note")]
    where, name = places[at]
    original, calls = getattr(where, name), []

    def interrupted(*args: Any) -> Any:
        calls.append(args)
        answer = original(*args)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return answer

    object.__setattr__(where, name, interrupted)
    with pytest.raises(KeyboardInterrupt):
        t.run(8)
    assert t.step == len(t.losses) == 3
    assert_same(t.run(8), whole)


def test_ctrl_c_while_someone_looks_on() -> None:
    whole, t = training().run(8), training()

    def look(trace: gl.Trace, step: int, facts: Any) -> None:
        if step == 3 and t.observers:
            t.observers.clear()
            raise KeyboardInterrupt

    t.observers.append(look)
    with pytest.raises(KeyboardInterrupt):
        t.run(8)
    assert t.step == 4
    assert_same(t.run(8), whole)


# --- what it says, what it refuses ------------------------------------------------------------------


def test_progress_without_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradlab.progress.EVERY", -1.0)
    training(until=gl.Until("loss", below=100.0, window=2)).run(2, progress=True)
    out, said = capsys.readouterr()
    lines = said.splitlines()
    assert out == ""
    assert lines[0].startswith("training: step 1 of 2, loss ")
    assert lines[0].endswith("left")
    assert lines[-1] == "training: solved, step 2: mean loss over 2 below 100"
    training().run(2)
    assert capsys.readouterr().err == ""


def test_a_bar_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    training().run(3, progress=True)
    assert "step 3 of 3, loss " in capsys.readouterr().err


def test_data_of_a_fixed_length_set_it() -> None:
    network = gl.Network([gl.RNN.init(8, 4, rng=0)], readout=gl.Readout.init(4, 10, rng=1))
    assert gl.Training(network, Digits()).stream.length == 8
    assert training(length=None).stream.length == 100


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"network": "rnn"}, "model must be a gradlab cell or Network, got str"),
        ({"optimiser": "adam"}, "optimiser must be a gl.Optimiser, got str"),
        ({"schedule": 0.1}, "schedule must be a gl.Schedule, got float"),
        ({"until": 0.1}, "until must be a gl.Until, got float"),
        ({"seed": -1}, "seed must be a whole number of at least 0, got -1"),
        ({"batch": 0}, "batch must be at least 1, got 0"),
        ({"length": 0}, "length must be at least 1, got 0"),
        ({"omega": -1.0}, "omega must be 0 or more, got -1"),
    ],
)
def test_bad_options(options: dict[str, Any], said: str) -> None:
    with pytest.raises(gl.InputError, match=said):
        training(**options)


def test_bad_calls() -> None:
    with pytest.raises(gl.InputError, match=r"task must be a gradlab task or a function step -> \(x, loss\), got int"):
        gl.Training(model(), 3)  # type: ignore[arg-type]
    with pytest.raises(gl.InputError, match=r"must return the pair \(x, loss\), got int"):
        gl.Training(model(), lambda step: 3).run(1)  # type: ignore[arg-type, return-value]
    with pytest.raises(gl.InputError, match=r"a whole number from 2 on, got 1"):
        training().run(2).run(1)
    with pytest.raises(gl.InputError, match=r"a whole number from 0 on, got 2.0"):
        training().run(2.0)  # type: ignore[arg-type]
    with pytest.raises(gl.InputError, match="checkpoint_every needs checkpoint="):
        training().run(2, checkpoint_every=1)
    cell = gl.custom_cell(lambda h, x: np.tanh(h + x), state_size=1, input_size=1)
    with pytest.raises(gl.InputError, match="there is nothing to train"):
        gl.Training(cell, Sum())


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: gl.SGD(-0.1), "lr must be 0 or more, got -0.1"),
        (lambda: gl.SGD("fast"), "lr must be a number, got 'fast'"),  # type: ignore[arg-type]
        (lambda: gl.Momentum(0.1, momentum=1.0), "momentum must be at least 0 and below 1, got 1.0"),
        (lambda: gl.RMSprop(alpha=2.0), "alpha must be at least 0 and below 1, got 2.0"),
        (lambda: gl.Adam(beta2=1.0), "beta2 must be at least 0 and below 1, got 1.0"),
        (lambda: gl.Adam(eps=-1.0), "eps must be 0 or more, got -1"),
        (lambda: gl.Schedule("cosin"), 'unknown schedule "cosin"; did you mean "cosine"'),
        (lambda: gl.Schedule("cosine"), 'over is the length in steps of a "cosine" and of nothing else, got None'),
        (lambda: gl.Schedule(warmup=-1), "warmup must be at least 1, got -1"),
    ],
)
def test_bad_rules(make: Any, said: str) -> None:
    with pytest.raises(gl.InputError, match=said):
        make()


def test_repr_says_where_it_stands() -> None:
    assert repr(training()).startswith("Training: running, step 0, Adam(lr=0.01")
