"""The loop: batch, pass, gradient, clipping, update; where it stands is one object, replaced by a whole step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from gradlab import __version__
from gradlab._trace.trace import Trace, whole_trace
from gradlab.arrays.checks import number, positive
from gradlab.arrays.scaled import ldexp
from gradlab.cells import Cell
from gradlab.errors import InputError
from gradlab.formatting import markup
from gradlab.models.losses import At
from gradlab.models.network import Network
from gradlab.progress import ProgressReporter
from gradlab.tasks import Task
from gradlab.training import checkpoint
from gradlab.training.batches import Batch, Stream, summed
from gradlab.training.checkpoint import RUNNING, SOLVED, TrainingState, diverged
from gradlab.training.clipping import Clip, Clipped
from gradlab.training.optimisers import OPTIMISERS, Adam, Layout, Optimiser
from gradlab.training.regulariser import check_regularised, omega_gradients
from gradlab.training.schedule import Schedule, Until

Array = NDArray[Any]
Kind = TypeVar("Kind")
#: Sequence length unless one is given or the task's data set it.
LENGTH = 100
#: What is kept of every step.
HISTORY = ("losses", "norms", "kept")
#: Called after a step with its pass, its number from 0, and what is known of it as columns of a watch's ``runs``.
Observer = Callable[[Trace, int, dict[str, Any]], None]


class Training:
    """A model that is trained on a task, one batch a step, by the gradient of the batch-mean loss.

    A step is one pass of :func:`gradlab.trace` and an update, and nothing is measured beyond its gradient; what else is
    to be known is watched (:func:`gradlab.watch`), or traced where it stands (``gl.trace(training.model, …)``).
    The same seed gives the same training to the last bit, whether or not it was stopped, saved and loaded between.

    Parameters
    ----------
    model : a cell or network with parameters; it is left as it is, ``training.model`` is the trained one.
    task : a gradlab task, or a function ``step -> (x, loss)`` for step 0, 1 … as :func:`gradlab.trace` takes them.
    length, batch, at : of a gradlab task's batches; length 100 unless given or set by the task's data.
    optimiser : :class:`SGD`, :class:`Momentum`, :class:`RMSprop` or :class:`Adam`, to PyTorch's formulas.
    schedule : the learning rate's factor over the steps.
    clip_norm, clip_value : limit of the gradient's norm over all parameters, or of each component; not both.
    omega : weight of Pascanu's regulariser (:func:`gradlab.training.regulariser.omega`), for RNNs only. Its gradient
        is added before clipping; ``losses`` are without it.
    until : the criterion of success.
    seed : of the batches; the one of step n depends on nothing but (seed, n).

    Attributes
    ----------
    model : as it stands; after a divergence, as it was when all was finite last.
    step : steps done.
    losses : ``(n,)``, each step's batch-mean loss, before its update.
    norms : ``(n,)``, the gradient's norm *before* clipping; inf where it is beyond float64.
    kept : ``(n,)``, the share of that norm that clipping left, 1 where there was none.
    status : "running", "solved" or "diverged".
    reason : how it diverged, and in which step, or what was reached.

    Raises
    ------
    InputError
        for what cannot be trained, naming what was expected and what came.

    Examples
    --------
    >>> import gradlab as gl
    >>> from gradlab.tasks import Sum
    >>> model = gl.Network([gl.RNN.init(1, 8, rng=0)], readout=gl.Readout.init(8, 1, rng=1))
    >>> Training(model, Sum(), length=5, batch=4, optimiser=Adam(0.01), seed=0).run(20)
    Training: running, step 20, loss 1.32, Adam(lr=0.01, beta1=0.9, beta2=0.999, eps=1e-08)
    """

    def __init__(
        self,
        model: Cell | Network,
        task: Task | Callable[[int], Batch],
        *,
        length: int | None = None,
        batch: int = 32,
        at: At = "last",
        optimiser: Optimiser | None = None,
        schedule: Schedule | None = None,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        omega: float = 0.0,
        until: Until | None = None,
        seed: int = 0,
    ) -> None:
        if not isinstance(model, Cell | Network):
            raise InputError(f"model must be a gradlab cell or Network, got {type(model).__name__}")
        fixed = task.fixed_length if isinstance(task, Task) else None
        self.stream = Stream(task, (fixed or LENGTH) if length is None else length, batch, at, _seed(seed))
        self.optimiser = _one_of("optimiser", Adam() if optimiser is None else optimiser, Optimiser)  # type: ignore[type-abstract]
        self.schedule = _one_of("schedule", Schedule() if schedule is None else schedule, Schedule)
        self.clip = Clip(clip_norm, clip_value)
        self.omega = number("omega", omega, least=0.0)
        self.until = None if until is None else _one_of("until", until, Until)
        if self.omega:
            check_regularised(model)
        if self.until is not None and self.until.of == "score":
            self.stream.score(model, 0)  # a task that has no score says so now
        self.layout = Layout.of(model)
        vector = self.layout.pack(model.parameters)
        slots = tuple(np.zeros_like(vector) for _ in self.optimiser.slots)
        self.training_state = TrainingState(model.with_parameters(self.layout.unpack(vector)), vector, slots)
        self.observers: list[Observer] = []
        self.history = np.empty((len(HISTORY), 0))
        self.first: list[float] | None = None  # what tells the task from others, once it has been drawn from

    # --- where it stands ---------------------------------------------------------------------------

    @property
    def model(self) -> Cell | Network:
        """The model as it stands."""
        return self.training_state.model

    @property
    def step(self) -> int:
        """Steps done."""
        return self.training_state.step

    @property
    def status(self) -> str:
        """Which of "running", "solved" and "diverged" it is."""
        return self.training_state.status

    @property
    def reason(self) -> str:
        """How it diverged, and in which step, or what was reached; empty while it runs."""
        return self.training_state.reason

    @property
    def losses(self) -> NDArray[np.float64]:
        """Each step's batch-mean loss, before its update."""
        return self._of_steps("losses")

    @property
    def norms(self) -> NDArray[np.float64]:
        """Each step's norm of the gradient over all parameters, before clipping."""
        return self._of_steps("norms")

    @property
    def kept(self) -> NDArray[np.float64]:
        """Each step's share of that norm that clipping left."""
        return self._of_steps("kept")

    @property
    def scores(self) -> NDArray[np.float64]:
        """The steps after which the model was scored on a fresh batch, and the scores, ``(n, 2)``."""
        return np.array(self.training_state.scores, np.float64).reshape(-1, 2)

    def _of_steps(self, name: str) -> NDArray[np.float64]:
        return self.history[HISTORY.index(name), : self.step].copy()

    # --- a step ------------------------------------------------------------------------------------

    def run(
        self,
        total: int,
        *,
        progress: bool = False,
        checkpoint: str | Path | None = None,
        checkpoint_every: int | None = None,
    ) -> Training:
        """Go on from where the training stands up to *total* step ``total``, or until it is solved or diverges.

        Ctrl-C leaves it at a whole step: it can be saved, looked at, and run on.

        Parameters
        ----------
        progress : a bar with the time left; without a terminal one line per minute.
        checkpoint : where :meth:`save` writes at the end, and after every ``checkpoint_every`` steps if given.

        Raises
        ------
        InputError
            where the task's batches do not fit the model.
        StoreError
            where the checkpoint cannot be written.
        """
        every = None if checkpoint_every is None else positive("checkpoint_every", checkpoint_every)
        if every and checkpoint is None:
            raise InputError("checkpoint_every needs checkpoint=, the path to write to")
        if isinstance(total, bool) or not isinstance(total, int | np.integer) or total < self.step:
            raise InputError(f"run goes on to a total step, a whole number from {self.step} on, got {total!r}")
        left = total - self.step
        reporter = ProgressReporter("training", unit="step", quiet=not progress)
        with reporter.begin({"done": self.step, "planned": left}, left):
            while self.status == RUNNING and self.step < total:
                before = self.step
                self._advance()
                loss = float(self.history[0, self.step - 1]) if self.step else float("nan")
                new = self.step - before
                reporter.advance(["done"] * new, new, f"loss {loss:.4g}")
                if every and checkpoint is not None and self.step % every == 0:
                    self.save(checkpoint)
        if progress:
            reporter.say(f"{self.status}, step {self.step}" + (f": {self.reason}" if self.reason else ""))
        if checkpoint is not None:
            self.save(checkpoint)
        return self

    def _advance(self) -> None:
        """Take one step, and let it count by one assignment; observers see it after that."""
        before = self.training_state
        x, loss = self.stream(before.step)
        seen = whole_trace(before.model, x, loss)
        if before.step == 0:
            self.first = summed(x, loss)
        mean, grad = _mean_loss(seen), self._gradient(seen)
        reason = _not_finite(seen, mean, grad)
        self._note(before.step, (mean, grad.norm, grad.kept))
        after = diverged(before, reason) if reason else self._updated(before, grad.grad)
        self.training_state = self._judged(after)
        for observer in tuple(self.observers):
            observer(seen, before.step, {"loss": mean, "kept": grad.kept})

    def _gradient(self, seen: Trace) -> Clipped:
        """Return the gradient of the mean loss and of Ω, clipped."""
        vector, exponent = self.layout.gradient(seen)
        if self.omega:
            more = self.layout.pack(omega_gradients(seen), rest=0.0).astype(vector.dtype)
            vector = vector + ldexp(self.omega * more, np.asarray(-exponent))
        return self.clip(vector, exponent)

    def _updated(self, before: TrainingState, grad: Array) -> TrainingState:
        """Return where the training stands after a step along ``grad``, if all of it is finite."""
        lr = self.optimiser.lr * float(self.schedule(before.step))
        with np.errstate(all="ignore"):
            change, slots = self.optimiser.change(grad, before.slots, before.step + 1, lr)
            vector = before.vector - change
        if not all(np.isfinite(array).all() for array in (vector, *slots)):
            return diverged(before, "the parameters after it, or the optimiser's memory, are not finite")
        model = before.model.with_parameters(self.layout.unpack(vector))
        return replace(before, model=model, vector=vector, slots=slots, step=before.step + 1)

    def _judged(self, after: TrainingState) -> TrainingState:
        """Return it as solved where the criterion is met."""
        if self.until is None or after.status != RUNNING:
            return after
        if self.until.of == "score":
            if after.step % self.until.every:
                return after
            scores = (*after.scores, (after.step, self.stream.score(after.model, after.step)))
            after = replace(after, scores=scores)
            met = self.until.met([score for _, score in scores])
        else:
            met = self.until.met(self.history[0, : after.step])
        return replace(after, status=SOLVED, reason=str(self.until)) if met else after

    def _note(self, step: int, values: tuple[float, ...]) -> None:
        """Keep a step's numbers; those of a step that is taken again take the place of the first ones."""
        if step == self.history.shape[1]:
            self.history = np.concatenate([self.history, np.empty((len(HISTORY), step + 64))], axis=1)
        self.history[:, step] = values

    def save(self, path: str | Path) -> Path:
        """Write all that :func:`load_training` needs to go on to the last bit, as one file, whole or not at all.

        Raises
        ------
        StoreError
            where the file cannot be written.
        InputError
            for a model of custom cells, whose equations no file can hold.
        """
        at, stream = self.training_state, self.stream
        page = {
            "gradlab": __version__,
            "model": checkpoint.described(at.model),
            "task": checkpoint.describe_task(stream.task),
            "first": self.first,
            "stream": {"length": stream.length, "batch": stream.batch, "seed": stream.seed, "at": _listed(stream.at)},
            "optimiser": {"name": _name_of(self.optimiser), "options": asdict(self.optimiser)},
            "schedule": asdict(self.schedule),
            "clip": asdict(self.clip),
            "omega": self.omega,
            "until": None if self.until is None else asdict(self.until),
            "standing": {"step": at.step, "status": at.status, "reason": at.reason, "scores": at.scores},
        }
        arrays = {f"parameters/{name}": array for name, array in at.model.parameters.items()}
        arrays |= {f"slots/{name}": slot for name, slot in zip(self.optimiser.slots, at.slots, strict=True)}
        return checkpoint.write(Path(path), page, arrays | {"history": self.history[:, : at.step]})

    def __repr__(self) -> str:
        loss = f", loss {self.losses[-1]:.3g}" if self.step else ""
        reason = f" ({self.reason})" if self.reason else ""
        return f"Training: {self.status}{reason}, step {self.step}{loss}, {self.optimiser}"

    def _repr_html_(self) -> str:
        """Return the status, the step, the last loss, norm and score, and the optimiser; nothing is computed."""
        rows: list[tuple[str, object]] = [("status", f"{self.status}: {self.reason}" if self.reason else self.status)]
        rows += [("step", self.step)]
        if self.step:
            names = {"loss": self.losses, "gradient norm": self.norms, "kept of it": self.kept}
            rows += [(name, f"{values[-1]:.4g}") for name, values in names.items()]
        if len(self.scores):
            rows.append(("score", f"{self.scores[-1, 1]:.4g} after step {self.scores[-1, 0]:.0f}"))
        return markup.html("Training", [*rows, ("optimiser", self.optimiser), ("model", self.model)])


def _mean_loss(seen: Trace) -> float:
    assert seen.loss is not None
    with np.errstate(all="ignore"):
        return float(seen.loss.astype(np.float64).mean())


def _not_finite(seen: Trace, mean: float, grad: Clipped) -> str:
    """Return what of a step is not finite, in words; nothing where all is."""
    if seen.overflow_step:
        return f"the state is not finite from t = {seen.overflow_step} on"
    if not np.isfinite(mean):
        return f"the loss is {mean}"
    if not np.isfinite(grad.grad).all():
        return "the gradient is not finite"
    return ""


def _seed(seed: object) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise InputError(f"seed must be a whole number of at least 0, got {seed!r}")
    return int(seed)


def _one_of(name: str, value: Any, kind: type[Kind]) -> Kind:
    if not isinstance(value, kind):
        raise InputError(f"{name} must be a gl.{kind.__name__}, got {type(value).__name__}")
    return value


def _name_of(optimiser: Optimiser) -> str:
    found = next((name for name, kind in OPTIMISERS.items() if type(optimiser) is kind), None)
    if found is None:
        raise InputError(f"a file cannot hold the formulas of {optimiser!r}, only {', '.join(OPTIMISERS)}")
    return found


def _listed(at: At) -> Any:
    return at if isinstance(at, str) else np.asarray(at).tolist()
