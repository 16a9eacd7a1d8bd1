"""Laws of every task: sizes, streams, prefixes, the loss of a constant, losses that a network can be trained with."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradlab as gl
from gradlab.errors import InputError
from gradlab.tasks import TASKS, FunctionTask, Task
from gradlab.tasks.adding import SHORTEST
from gradlab.tasks.copy import WAITS
from gradlab.tasks.digits import ORDERS

LAKE = str(Path(__file__).with_name("lake.csv"))
#: Tasks in their variants, and a length that each can have; a task that is not here has its defaults and 24 steps.
VARIANTS: dict[str, tuple[Any, int]] = {
    "sum": (TASKS["sum"](), 12),
    "delayed_xor": (TASKS["delayed_xor"](delay=4), 12),
    "two_sequence": (TASKS["two_sequence"](), 12),
    "two_sequence-3b": (TASKS["two_sequence"](telling=3, noise=0.1), 12),
    "sunspots": (TASKS["sunspots"](), 40),
    "file": (TASKS["file"](path=LAKE, target="level", standardise=True), 12),
    "file-classes": (TASKS["file"](path=LAKE, inputs="level, rain", target="season", ahead=0, classes=True), 12),
    "noise-driven": (TASKS["noise"](input_size=3, std=2.0), 12),
    "noise-kick": (TASKS["noise"](kick=True), 12),
    **{f"adding-{variant}": (TASKS["adding"](variant=variant), 24) for variant in SHORTEST},
    **{f"copy-{wait}": (TASKS["copy"](wait=wait), 26) for wait in WAITS},
    **{f"temporal_order-{n}": (TASKS["temporal_order"](symbols=n), 25) for n in (2, 3)},
    **{f"digits-{order}": (TASKS["digits"](order=order), 8 if order == "rows" else 64) for order in ORDERS},
}
NAMED = {name.split("-")[0] for name in VARIANTS}
VARIANTS |= {name: (kind(), kind().fixed_length or 24) for name, kind in TASKS.items() if name not in NAMED}
#: Tasks of which a shorter sequence is the beginning of a longer one; the others say why not.
PREFIXES = ("sum", "delayed_xor", "two_sequence", "two_sequence-3b", "noise-driven", "noise-kick")
cases = pytest.mark.parametrize("name", VARIANTS)
BATCH = 5


def draw(name: str, seed: int = 0, batch: int = BATCH, length: int | None = None, **more: Any) -> Any:
    task, usual = VARIANTS[name]
    return task.sample(length or usual, batch, rng=np.random.default_rng(seed), **more)


def constant_by_step(targets: Any, T: int, labels: bool) -> Any:
    """Return the loss of the best constant at each step for a sample's own targets, ``(T,)``, written out."""
    per_step = targets if targets.ndim == (2 if labels else 3) else [targets] * T
    if not labels:
        return np.array([np.mean([np.mean((y - y.mean()) ** 2) for y in step.T]) for step in per_step])
    counts = [np.bincount(step) for step in per_step]
    return np.array([-sum(n / sum(c) * np.log(n / sum(c)) for n in c if n) for c in counts])


def test_every_task_is_tested() -> None:
    assert {name.split("-")[0] for name in VARIANTS} == set(TASKS)


@cases
def test_shapes_and_types(name: str) -> None:
    task, length = VARIANTS[name]
    x, _ = draw(name)
    assert x.shape == (length, BATCH, task.input_size)
    assert x.dtype == np.float64
    assert x.flags.c_contiguous
    assert task.fixed_length in (None, length)
    assert set(task.KEYS) <= set(task.__dataclass_fields__)
    assert TASKS[task.name] is type(task)
    assert 0 < task.lag(length) < length


@cases
def test_one_seed_is_one_batch(name: str) -> None:
    (x, loss), (again, same), (other, _) = draw(name, 3), draw(name, 3), draw(name, 4)
    np.testing.assert_array_equal(x, again)
    np.testing.assert_array_equal(loss.targets, same.targets)
    assert not np.array_equal(x, other)


@cases
def test_batch_n_needs_none_before_it(name: str) -> None:
    task, length = VARIANTS[name]
    first = list(islice(task.batches(length, 2, seed=7), 5))
    later = next(task.batches(length, 2, seed=7, start=4))
    np.testing.assert_array_equal(first[4][0], later[0])
    np.testing.assert_array_equal(first[4][1].targets, later[1].targets)
    seed = np.random.SeedSequence(7, spawn_key=(4,))
    np.testing.assert_array_equal(later[0], task.sample(length, 2, rng=np.random.default_rng(seed))[0])
    assert len({x.tobytes() for x, _ in first}) > 1


@pytest.mark.parametrize("name", PREFIXES)
def test_a_shorter_sequence_is_the_beginning_of_a_longer_one(name: str) -> None:
    (short, one), (long, two) = draw(name, 5), draw(name, 5, length=20)
    np.testing.assert_array_equal(short, long[:12])
    if one.kind == "projection":
        return  # there is nothing to learn
    if one.targets.ndim == 3:
        np.testing.assert_array_equal(one.targets, two.targets[:12])
    else:
        np.testing.assert_array_equal(one.targets, two.targets)


@pytest.mark.parametrize("name", sorted(set(VARIANTS) - set(PREFIXES)))
def test_what_is_no_prefix_says_so(name: str) -> None:
    task, _ = VARIANTS[name]
    said = " ".join((type(task).__doc__ or "").split())
    assert "no prefix" in said or task.fixed_length or "from_frame" in said


@pytest.mark.parametrize("at", ["last", "every"])
@cases
def test_a_network_can_be_traced_on_it(name: str, at: str) -> None:
    task, _ = VARIANTS[name]
    x, loss = draw(name, at=at)
    cell = gl.GRU.init(task.input_size, 6, rng=0)
    network = gl.Network([cell], gl.Readout.init(6, task.output_size, activation=task.readout, rng=1))
    trace = gl.trace(network, x, loss)
    assert trace.loss.shape == (BATCH,)
    assert np.isfinite(trace.log_norm("adjoint")[1:-1] if at == "every" else trace.layers[0].by_lag()[:-1]).all()


@pytest.mark.parametrize("name", [name for name in VARIANTS if not name.startswith(("noise", "copy-variable"))])
def test_a_constant_costs_what_is_stated(name: str) -> None:
    """The best constant for 20 000 sequences' own targets, step by step; of a finite set of images, for all of them.

    5 standard errors of a variance (relative √(2/n), fewer for bounded numbers) or an entropy are under 5 %; where
    nothing varies the loss is 0 exactly.
    """
    task, length = VARIANTS[name]
    batch = 1797 if name.startswith("digits") else 20_000
    _, loss = draw(name, batch=batch)
    found = constant_by_step(loss.targets, length, loss.labels)
    np.testing.assert_allclose(found, task.constant_loss(length), rtol=1e-12 if batch == 1797 else 0.05)


@pytest.mark.parametrize("name", [name for name in VARIANTS if not name.startswith(("noise", "copy"))])
def test_the_baseline_is_what_constant_outputs_lose(name: str) -> None:
    """Outputs made of the sample's own means, or log-frequencies, through the loss itself, at three sets of steps."""
    task, length = VARIANTS[name]
    for at in ("last", "every", [2, 5]):
        batch = 1797 if name.startswith("digits") else 20_000
        _, loss = draw(name, batch=batch, at=at)
        steps = np.broadcast_to(loss.targets, (length, *loss.targets.shape[-(1 if loss.labels else 2) :]))
        if loss.labels:
            shares = np.stack([np.bincount(y, minlength=task.output_size) for y in steps]) / batch
            constant = np.log(np.maximum(shares, 1e-300))
        else:
            constant = steps.mean(axis=1)
        y = np.broadcast_to(constant[:, None], (length, batch, task.output_size))
        lost = loss.evaluate(y)[0].mean()
        np.testing.assert_allclose(task.baseline(length, at), lost, rtol=0.05, atol=1e-12)


@cases
def test_perfect_answers_score_1_and_wrong_ones_0(name: str) -> None:
    task, length = VARIANTS[name]
    _, loss = draw(name, at="every")
    if not loss.labels and task.tolerance is None:
        with pytest.raises(InputError, match="near and far, none right or wrong"):
            task.score(np.zeros((length, BATCH, task.output_size)), loss)
        return
    steps = np.broadcast_to(loss.targets, (length, *loss.targets.shape[-(1 if loss.labels else 2) :]))
    perfect = np.eye(task.output_size)[steps] if loss.labels else steps.astype(float)
    np.testing.assert_array_equal(task.score(perfect, loss), np.ones(BATCH))
    near = perfect if loss.labels else steps + 0.999 * task.tolerance
    np.testing.assert_array_equal(task.score(near, loss), np.ones(BATCH))
    wrong = np.roll(perfect, 1, axis=-1) if loss.labels else steps - 1.001 * task.tolerance
    np.testing.assert_array_equal(task.score(wrong, loss), np.zeros(BATCH))
    lost = perfect.copy()
    lost[:, 0] = np.nan
    np.testing.assert_array_equal(task.score(lost, loss), np.arange(BATCH) > 0)


def test_a_score_is_of_the_steps_read() -> None:
    loss = gl.cross_entropy(np.array([[0, 1], [1, 1], [0, 0], [0, 1]]), at=[1, 2, 4])
    y = np.zeros((4, 2, 2))
    y[..., 1] = 1.0  # says 1 everywhere
    np.testing.assert_allclose(TASKS["digits"]().score(y, loss), [1 / 3, 1.0], rtol=1e-15)


def test_a_task_that_says_less_says_so() -> None:
    class Bare(Task):
        name = "bare"
        input_size = output_size = 1

        def sample(self, length: int, batch: int, *, at: Any = "last", rng: Any) -> Any:
            return np.zeros((length, batch, 1)), lambda y: (y[-1, :, 0], np.zeros_like(y))

    with pytest.raises(InputError, match='"bare" does not define the loss of a constant prediction'):
        Bare().baseline(10)
    x, loss = next(Bare().batches(3, 2))
    with pytest.raises(InputError, match='"bare" has a loss that is a function; it defines no right answer'):
        Bare().score(x, loss)
    assert Bare().lag(10) == 9
    assert Bare().train.test.fixed_length is None


@pytest.mark.parametrize("name", ["digits-rows", "sunspots", "file", "file-classes"])
def test_what_is_kept_from_training_is_never_trained_on(name: str) -> None:
    task, length = VARIANTS[name]
    length = min(length, 12) if name != "digits-rows" else 8
    rng = np.random.default_rng(0)
    trained, kept = (part.sample(length, 300, rng=rng)[0] for part in (task.train, task.test))
    ours, theirs = ({part[:, b].tobytes() for b in range(300)} for part in (trained, kept))
    assert not ours & theirs


def test_function_task_is_no_registered_one() -> None:
    assert FunctionTask.name not in TASKS
