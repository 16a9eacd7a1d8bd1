"""The loop: batch, pass, gradient, clipping, update. Its state is one object, which each whole step replaces."""

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
from gradlab.arrays.scaled import Array, ldexp
from gradlab.cells import Cell
from gradlab.errors import InputError
from gradlab.formatting import markup
from gradlab.models import archive
from gradlab.models.losses import At, mean_loss
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

Kind = TypeVar("Kind")
#: Default sequence length, if the task's data do not determine it.
LENGTH = 100
#: The numbers kept per step.
HISTORY = ("losses", "norms", "kept")
#: Called after a step with its pass, its number from 0, and its columns for a watch's ``runs``.
Observer = Callable[[Trace, int, dict[str, Any]], None]


class Training:
    """Train a model on a task, one batch per step, by the gradient of the batch-mean loss.

    A step is one pass of :func:`gradlab.trace` and an update. It measures nothing beyond its gradient. To measure more,
    watch the training (:func:`gradlab.watch`) or trace its current model (``gl.trace(training.model, …)``). The same
    seed gives the same training to the last bit, also if it is stopped, saved and loaded in between.

    Parameters
    ----------
    model : Cell or Network
        A model with parameters. It is not changed; ``training.model`` is the trained one.
    task : Task or callable
        A gradlab task, or a function ``step -> (x, loss)`` for step 0, 1 …, as :func:`gradlab.trace` takes them.
    length, batch, at
        Sequence length, batch size and steps read, for a gradlab task. The default length is the data's, or 100.
    optimiser : Optimiser, optional
        :class:`SGD`, :class:`Momentum`, :class:`RMSprop` or :class:`Adam` (default), with PyTorch's formulas.
    schedule : Schedule, optional
        The factor of the learning rate per step.
    clip_norm, clip_value : float, optional
        Limit of the gradient's norm over all parameters, or of each component; not both.
    omega : float
        Weight of Pascanu's regulariser (:func:`gradlab.training.regulariser.omega`), for RNNs only. Its gradient is
        added before clipping; ``losses`` do not include it.
    until : Until, optional
        The criterion of success.
    seed : int
        Seed of the batches; the batch of step n depends on (seed, n) alone.

    Attributes
    ----------
    model : Cell or Network
        The current model; after a divergence, the last one that was finite.
    step : int
        Number of steps done.
    losses : array (n,)
        Batch-mean loss per step, before its update.
    norms : array (n,)
        Norm of the gradient *before* clipping; inf if it exceeds float64.
    kept : array (n,)
        Share of that norm that clipping left; 1 without clipping.
    status : str
        "running", "solved" or "diverged".
    reason : str
        The criterion reached, or the step and kind of divergence.

    Raises
    ------
    InputError
        If an argument cannot be used; the message names what was expected and what came.

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
            self.stream.score(model, 0)  # raises now if the task has no score
        self.layout = Layout.of(model)
        vector = self.layout.pack(model.parameters)
        slots = tuple(np.zeros_like(vector) for _ in self.optimiser.slots)
        self.training_state = TrainingState(model.with_parameters(self.layout.unpack(vector)), vector, slots)
        self.observers: list[Observer] = []
        self.history = np.empty((len(HISTORY), 0))
        self.first: list[float] | None = None  # identifies the task, after its first batch

    # --- its state ---------------------------------------------------------------------------------

    @property
    def model(self) -> Cell | Network:
        """The current model."""
        return self.training_state.model

    @property
    def step(self) -> int:
        """Number of steps done."""
        return self.training_state.step

    @property
    def status(self) -> str:
        """Status: "running", "solved" or "diverged"."""
        return self.training_state.status

    @property
    def reason(self) -> str:
        """The criterion reached, or the step and kind of divergence; empty while running."""
        return self.training_state.reason

    @property
    def losses(self) -> NDArray[np.float64]:
        """Batch-mean loss per step, before its update, ``(n,)``."""
        return self._of_steps("losses")

    @property
    def norms(self) -> NDArray[np.float64]:
        """Norm of the gradient over all parameters per step, before clipping, ``(n,)``."""
        return self._of_steps("norms")

    @property
    def kept(self) -> NDArray[np.float64]:
        """Share of that norm that clipping left, per step, ``(n,)``."""
        return self._of_steps("kept")

    @property
    def scores(self) -> NDArray[np.float64]:
        """Steps after which the model was scored on a held-out batch, and the scores, ``(n, 2)``."""
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
        """Continue the training until ``total`` steps are done in all, or it is solved or diverges.

        Ctrl-C stops it after a whole step. It can then be saved, inspected and continued.

        Parameters
        ----------
        total : int
            Number of steps, counted from the start of the training.
        progress : bool
            Show a bar with the remaining time; without a terminal, one line per minute.
        checkpoint : str or Path, optional
            File that :meth:`save` writes at the end.
        checkpoint_every : int, optional
            Also write it after every this many steps.

        Returns
        -------
        Training
            The training itself.

        Raises
        ------
        InputError
            If the task's batches do not fit the model.
        StoreError
            If the checkpoint cannot be written.
        """
        every = None if checkpoint_every is None else positive("checkpoint_every", checkpoint_every)
        if every and checkpoint is None:
            raise InputError("checkpoint_every needs checkpoint=, the path to write to")
        if isinstance(total, bool) or not isinstance(total, int | np.integer) or total < self.step:
            raise InputError(f"total is the number of steps in all, a whole number from {self.step} on, got {total!r}")
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
        """Take one step, which counts from a single assignment on; then call the observers."""
        before = self.training_state
        x, loss = self.stream(before.step)
        seen = whole_trace(before.model, x, loss)
        if before.step == 0:
            self.first = summed(x, loss)
        mean, grad = mean_loss(seen.loss), self._gradient(seen)
        reason = _not_finite(seen, mean, grad)
        self._note(before.step, (mean, grad.norm, grad.kept))
        after = diverged(before, reason) if reason else self._updated(before, grad.grad)
        self.training_state = self._judged(after)
        for observer in tuple(self.observers):
            observer(seen, before.step, {"loss": mean, "kept": grad.kept})

    def _gradient(self, seen: Trace) -> Clipped:
        """Return the clipped gradient of mean loss and Ω."""
        vector, exponent = self.layout.gradient(seen)
        if self.omega:
            more = self.layout.pack(omega_gradients(seen), rest=0.0).astype(vector.dtype)
            vector = vector + ldexp(self.omega * more, np.asarray(-exponent))
        return self.clip(vector, exponent)

    def _updated(self, before: TrainingState, grad: Array) -> TrainingState:
        """Return the state after a step along ``grad``; diverged if it is not finite."""
        lr = self.optimiser.lr * float(self.schedule(before.step))
        with np.errstate(all="ignore"):
            change, slots = self.optimiser.change(grad, before.slots, before.step + 1, lr)
            vector = before.vector - change
        if not all(np.isfinite(array).all() for array in (vector, *slots)):
            return diverged(before, "the parameters after it, or the optimiser's memory, are not finite")
        model = before.model.with_parameters(self.layout.unpack(vector))
        return replace(before, model=model, vector=vector, slots=slots, step=before.step + 1)

    def _judged(self, after: TrainingState) -> TrainingState:
        """Return the state, as solved if the criterion is met."""
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
        """Store the numbers of a step; a repeated step overwrites its earlier numbers."""
        if step == self.history.shape[1]:
            self.history = np.concatenate([self.history, np.empty((len(HISTORY), step + 64))], axis=1)
        self.history[:, step] = values

    def save(self, path: str | Path) -> Path:
        """Write the training to one file, from which :func:`load_training` continues to the last bit.

        The file is written completely or not at all.

        Raises
        ------
        StoreError
            If the file cannot be written.
        InputError
            If the model has custom cells, whose equations a file cannot hold.
        """
        at, stream = self.training_state, self.stream
        page = {
            "gradlab": __version__,
            "model": archive.described(at.model),
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
        return archive.write(Path(path), checkpoint.FORMAT, page, arrays | {"history": self.history[:, : at.step]})

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


def _not_finite(seen: Trace, mean: float, grad: Clipped) -> str:
    """Describe the first quantity of a step that is not finite; empty if all are."""
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


def _one_of(name: str, value: object, kind: type[Kind]) -> Kind:
    if not isinstance(value, kind):
        raise InputError(f"{name} must be a gl.{kind.__name__}, got {type(value).__name__}")
    return value


def _name_of(optimiser: Optimiser) -> str:
    found = next((name for name, kind in OPTIMISERS.items() if type(optimiser) is kind), None)
    if found is None:
        raise InputError(f"a file cannot hold the formulas of {optimiser!r}, only {', '.join(OPTIMISERS)}")
    return found


def _listed(at: At) -> str | list[int]:
    return at if isinstance(at, str) else np.asarray(at).tolist()
