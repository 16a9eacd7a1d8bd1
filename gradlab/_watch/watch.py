"""Many passes: what the gradients of a model do while it trains."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np

from gradlab import __version__, schema
from gradlab._watch.hooks import Attachment, Layered, Schedule
from gradlab._watch.records import Record, as_study, complete, layer_row, noticed, place_name, table_of
from gradlab._watch.replay import NotFinite, replay, replay_steps
from gradlab.arrays.checks import number, positive
from gradlab.cells import Cell
from gradlab.errors import InputError, StoreError, unknown
from gradlab.files import whole, write_whole
from gradlab.formatting import markup
from gradlab.hooks import Hook, frames, make_hooks
from gradlab.layer import LayerPass
from gradlab.models.network import Network
from gradlab.protocol import Measurements
from gradlab.training import Training
from gradlab.training.checkpoint import DIVERGED
from gradlab.verdicts.labels import UNCERTAIN
from gradlab.verdicts.of_training import training_verdict
from gradlab.verdicts.verdict import Verdict, together
from gradlab.weights.weights import torch_layers

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import nn

    from gradlab._trace.trace import Trace
    from gradlab._watch.modules import Call

#: Backward passes between two that are watched, unless told otherwise.
EVERY = 50
#: What the numbers of a watched training are, in words; they stand in the saved folder too.
NOTES = {
    "gradients": "of the user's own loss, as they arrive in the backward pass: before any clipping",
    "loss_scale": "divided out, where the GradScaler was given",
    "precision": "float32 and float64 as they are; float16 and bfloat16 computed in float32",
}
FILE = "watch.json"


class Log(Protocol):
    """Whatever takes numbers by name at a step: a run of Weights & Biases or trackio, or a class of one's own."""

    def log(self, data: dict[str, Any], step: int) -> Any:
        """Keep ``data``."""


def watch(
    model: nn.Module | Training | Cell | Network,
    *,
    every: int | None = None,
    overhead: float | None = None,
    hooks: Iterable[Hook | str] = ("gradients",),
    log: Log | None = None,
    scaler: Any = None,
) -> Watch:
    """Watch the recurrent layers of a model while it trains; the training is left as it is, to the last bit.

    Every RNN, LSTM, GRU and cell of a PyTorch model is found, at any depth. In a watched pass its inputs, outputs and
    the gradients that arrive at the output, at h_n and at c_n are seen by hooks, and from these the exact total
    gradient of every state, gate and input follows, and all Jacobians. What cannot be seen from outside is named in
    ``refused``, with what to do, and the rest is watched.

    What is recorded: ``step`` is the number of the backward pass, of those that reach a recurrent layer's weights, from
    0; no optimiser is asked, so with gradient accumulation there are several before it steps. What runs forward before
    step 0, ``every``, 2 ``every`` … is watched, and gives one record for each call of a module and each backward pass
    that reaches the call: two calls in one pass are ``call`` 0 and 1 of that step; a graph that is kept and walked
    twice gives a record for each walk. Calls of a single step (a cell in a loop, a layer in a decoder) are one sequence
    as long as each is given the very state that the one before it gave; a state that was detached, masked or changed in
    place begins a new one. There the gradient at h_t includes what was fed back through later inputs, and the rate is
    that of the recurrence alone. A forward pass that no backward pass reaches leaves nothing. Checkpointing with
    ``use_reentrant=True`` makes a backward pass of its own of each segment that holds a recurrent layer.

    Parameters
    ----------
    model : a ``torch.nn.Module``; a :class:`gradlab.Training`, of which ``step`` is its own number, gradients are those
        of each sequence's loss (ln B above those of their mean, at the same rates), and ``runs`` have ``loss`` and
        ``kept``; or a gradlab cell or network that trains elsewhere, for whose passes see :meth:`Watch.record`.
    every : watch every so manieth pass, the first included; 50 unless ``overhead`` is given.
    overhead : instead of ``every``: watch as often as this share of the time of all other passes allows.
    hooks : names of built-in hooks, and :class:`~gradlab.hooks.Hook` objects.
    log : anything with ``log(dict, step=…)``, which gets every number of ``runs`` as it is measured.
    scaler : the ``torch.amp.GradScaler``, if there is one, whose scale is divided out of what is reported.

    Raises
    ------
    InputError
        for a model without recurrent layers, TorchScript, and DataParallel over several devices.

    Examples
    --------
    >>> with watch(model, every=50, hooks=["gradients", "lyapunov:8"]) as w:      # doctest: +SKIP
    ...     for x, y in batches:
    ...         optimiser.zero_grad()
    ...         loss(model(x), y).backward()
    ...         optimiser.step()
    >>> w.frame("runs")[["step", "module", "layer", "rate", "verdict"]]           # doctest: +SKIP
    """
    if every is not None and overhead is not None:
        raise InputError(f"give every or overhead, not both; got {every} and {overhead}")
    if overhead is not None and not number("overhead", overhead) > 0:
        raise InputError(f"overhead must be a share above 0, such as 0.05; got {overhead}")
    schedule = Schedule(EVERY if every is None else positive("every", every), overhead)
    found = Watch(schedule, make_hooks(hooks), log=log, scaler=scaler)
    if isinstance(model, Training):
        found.attachment = Observation(model, found)
    elif not isinstance(model, Cell | Network):
        found.attachment = Attachment(model, schedule, found.look, found.refuse)
    return found


class Watch(Measurements):
    """What was seen of a model while it trained; made by :func:`watch`.

    Attributes
    ----------
    refused : why a module, or a hook, could not be watched, by its name.
    """

    def __init__(
        self,
        schedule: Schedule,
        hooks: Sequence[Hook],
        *,
        log: Log | None = None,
        scaler: Any = None,
        stored: Mapping[str, pd.DataFrame] | None = None,
    ) -> None:
        self.schedule, self.hooks, self._log, self._scaler, self._stored = schedule, hooks, log, scaler, stored
        self.refused: dict[str, str] = {}
        self.records: list[Record] = []
        self.attachment: Attachment | Observation | None = None

    def __enter__(self) -> Self:
        import pandas as pd  # noqa: F401  # its import is not the first watched pass's to pay

        if self.attachment is not None:
            self.attachment.attach()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.attachment is not None:
            self.attachment.detach()

    # --- what is seen ------------------------------------------------------------------------------

    @property
    def watching(self) -> bool:
        """Whether the pass that is under way is to be watched."""
        return self.schedule.watching

    def record(
        self, trace: Trace, *, module: str = "model", facts: Mapping[str, float] | None = None, lost: str = ""
    ) -> None:
        """Take in one pass of a gradlab model that trains, and count it: where :attr:`watching`, it is measured.

        Parameters
        ----------
        facts : what else is known of it, by columns of ``runs``: ``kept``, ``loss``.
        lost : why the training diverges in this pass: a row in place of all that would be measured, watching or not.
        """
        known = {"precision": trace.passes[0].cell.dtype.name, "loss_scale": 1.0, **(facts or {})}
        if lost:
            self._lost(module, self.schedule.count, 0, known, "diverged", lost)
        elif self.watching:
            start = time.perf_counter()
            self._measure(trace.passes, module, self.schedule.count, 0, known)
            self.schedule.spent += time.perf_counter() - start
        self.schedule.passed()

    def refuse(self, name: str, reason: str) -> None:
        """Note that a module or a hook is not watched, the newest reason for it, and warn of the first."""
        known = name in self.refused
        self.refused[name] = reason
        if not known:
            warnings.warn(f"gradlab: {name} is not watched: {reason}", stacklevel=2)

    def look(self, layer: Layered, step: int, call: int, calls: Sequence[Call]) -> dict[str, Any]:
        """Measure one sequence of a module in the middle of a backward pass; whatever goes wrong, training goes on.

        Returns what is known of the pass as columns of ``runs``; more may be added to it.
        """
        facts: dict[str, Any] = {"precision": calls[0].precision, "loss_scale": 1.0}
        try:
            scale = 1.0 if self._scaler is None else float(self._scaler.get_scale())
            facts["loss_scale"] = scale
            layers = torch_layers(layer.module)
            seen = [one.seen(layers, scale) for one in calls]
            passes = replay_steps(seen) if calls[0].one_step else replay(seen[0])
        except NotFinite as error:
            self._lost(layer.name, step, call, facts, "diverged", str(error))
        except Exception as error:
            reason = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
            self._lost(layer.name, step, call, facts, "failed", reason)
            self.refuse(layer.name, f"step {step}: {reason}")
        else:
            self._measure(passes, layer.name, step, call, facts)
        return facts

    def _measure(self, passes: Sequence[LayerPass], module: str, step: int, call: int, facts: dict[str, Any]) -> None:
        start, measured = time.perf_counter(), []
        rows = [layer_row(one, float(facts.get("loss_scale", 1.0))) for one in passes]
        with np.errstate(all="ignore"):
            for hook in self.hooks:
                try:
                    frames.call([hook], passes)
                    measured.append(hook)
                except Exception as error:
                    self.refuse(type(hook).__name__, f"{module}, step {step}: {type(error).__name__}: {error}")
            tables = frames.measured(measured, rows)
        tables["runs"]["seconds"] = time.perf_counter() - start
        self._keep(Record(module, step, call, tables, facts))

    def _lost(self, module: str, step: int, call: int, facts: dict[str, Any], status: str, reason: str) -> None:
        """Keep a row that says why there is nothing else."""
        row = {"layer": 0, "direction": schema.DIRECTIONS[0], "status": status, "error": reason}
        self._keep(Record(module, step, call, frames.measured([], [row]), facts))

    def _keep(self, record: Record) -> None:
        self.records.append(record)
        if self._log is not None:
            try:
                self._log.log(record.numbers(), step=record.step)
            except Exception as error:
                self.refuse(type(self._log).__name__, f"{type(error).__name__}: {error}")

    # --- what it says ------------------------------------------------------------------------------

    def frame(self, name: str = "runs") -> pd.DataFrame:
        """Return one table of all that was seen.

        Parameters
        ----------
        name : "runs" (one row per step, module, call, layer and direction), "steps" (one row per quantity and t of
            these) or "spectra" (one row per exponent).

        Returns
        -------
        DataFrame
            The columns of :mod:`gradlab.schema`, in its order. ``module``, ``step`` and ``call`` stand before the
            layer, and the numbers of :data:`gradlab.schema.WATCHED_RUNS` behind. What no hook measured is nan.

        Raises
        ------
        InputError
            If there is no such table.
        """
        if name not in schema.TABLES:
            raise InputError(unknown("table", name, schema.TABLES))
        return table_of(self.records, name) if self._stored is None else self._stored[name]

    @property
    def noticed(self) -> dict[str, str]:
        """What was noticed of the training itself: that gradients are clipped, or the loss scaled unsaid."""
        runs = self.frame("runs")
        return noticed(runs["kept"], runs["loss_scale"]) if "kept" in runs else {}

    def verdict(self) -> Verdict:
        """Return what became of each layer's gradient, "starts to vanish at step 300", and what was noticed.

        Of several calls in one pass the first one speaks. What is not watched, and that gradients are clipped or a loss
        scale unsaid, stands in the evidence.
        """
        runs = self.frame("runs")
        notes = [f"{name} is not watched: {reason}" for name, reason in self.refused.items()]
        notes += [f"{name}: {note}" for name, note in self.noticed.items()]
        broken = runs[runs["status"] != "done"].drop_duplicates(["module", "layer", "direction"], keep="last")
        notes += [
            f"{place_name(row)} at step {row['step']}: {row['status']}, {row['error']}"
            for row in broken.to_dict("records")
        ]
        found = _over_steps(runs[runs["call"] == 0] if len(runs) else runs)
        return replace(found, evidence="; ".join(filter(None, [found.evidence, *notes])))

    def plot(self, name: str | Sequence[str] | None = None, *, ax: Axes | None = None, x: str | None = None) -> Figure:
        """Plot the rate over the steps of training, or what is named.

        Parameters
        ----------
        name : a column of ``runs``, drawn with one line per layer and direction, by default "rate"; a quantity of
            ``steps`` such as "dL/dh", or a list of them, over the lag; or a figure of a study, such as "gates".
        ax : where to draw a figure of one panel, by default a new figure.
        x : the column of ``runs`` to draw a column over, by default "step".

        Returns
        -------
        Figure
            A matplotlib figure, which a notebook displays.

        Raises
        ------
        InputError
            If nothing was measured, or what is named was not; the message names the hook that measures it.

        Examples
        --------
        >>> w.plot("rate", x="step").savefig("rate.png")                          # doctest: +SKIP
        >>> w.plot("dL/dh"), w.plot("gates")                                      # doctest: +SKIP
        """
        from gradlab import figures

        tables = {table: self.frame(table) for table in schema.TABLES}
        if not (tables["runs"]["status"] == "done").any():
            raise InputError("nothing was watched to its end, so there is nothing to draw; verdict() says why")
        if x is not None and name is not None and not (isinstance(name, str) and name in tables["runs"]):
            raise InputError(f'x="{x}" goes with a column of runs, such as "rate"; got {name!r}')
        return figures.draw(name or "rate", as_study(tables), ax=ax, x=x or "step", hue="layers")

    def save(self, path: str | Path) -> Path:
        """Write the tables as Parquet files, and ``watch.json`` last; :func:`load_watch` opens the folder.

        Raises
        ------
        StoreError
            where the folder cannot be written.
        """
        folder = Path(path)
        told: dict[str, Any] = {"gradlab": __version__, "passes": self.schedule.count, "refused": self.refused}
        told |= {"notes": NOTES, "noticed": self.noticed}
        try:
            for name in schema.TABLES:
                with whole(folder / f"{name}.parquet") as file:
                    self.frame(name).to_parquet(file, index=False, compression="zstd")
            write_whole(folder / FILE, (json.dumps(told, indent=2, ensure_ascii=False) + "\n").encode())
        except OSError as error:
            raise StoreError(f"{folder}: cannot be written ({error.strerror})") from None
        return folder

    def report(self, path: str | Path) -> Path:
        """Write ``report.html``, figures and tables into a folder; return the page's path.

        Raises
        ------
        InputError
            where nothing was watched.
        """
        from gradlab.report import Source, write_report

        if self.frame("runs").empty:
            raise InputError("nothing was watched, so there is nothing to report; verdict() says why")
        tables = as_study({name: self.frame(name) for name in schema.TABLES})
        study = {"name": "watch", "question": "What do the gradients do while the model trains?"}
        return write_report(Path(path), Source(tables, study, NOTES | self.noticed))

    def __repr__(self) -> str:
        lines = [self._title, *(f"  {name} is not watched: {reason}" for name, reason in self.refused.items())]
        return "\n".join([*lines, *(f"  {key}: {note}" for key, note in (NOTES | self.noticed).items())])

    def _repr_html_(self) -> str:
        """Return what was seen, the last loss if it is known, and the verdict, which reads the table alone."""
        runs = self.frame("runs")
        losses = runs["loss"].dropna()
        rows = [("loss", f"{losses.iloc[-1]:.4g} at step {runs['step'].loc[losses.index[-1]]}")] if len(losses) else []
        rows += markup.rows_of(str(self.verdict())) if len(runs) else []
        rows += [(name, f"is not watched: {reason}") for name, reason in self.refused.items()]
        return markup.html(self._title, [*rows, *(NOTES | self.noticed).items()])

    @property
    def _title(self) -> str:
        steps = self.frame("runs")["step"]
        seen = f"{len(steps)} rows, steps {steps.min()} to {steps.max()}" if len(steps) else "nothing seen yet"
        return f"Watch: {seen}, of {self.schedule.count} backward passes"


class Observation:
    """A watch's eye on gradlab's own training, from :meth:`attach` to :meth:`detach`: it sees steps that are done."""

    def __init__(self, training: Training, watch: Watch) -> None:
        self._training, self._watch = training, watch

    def attach(self) -> None:
        """Look on from the step at which the training stands, the first that is watched."""
        self._watch.schedule.count = self._watch.schedule.next = self._training.step
        self._training.observers.append(self._seen)

    def detach(self) -> None:
        """Look away."""
        self._training.observers.remove(self._seen)

    def _seen(self, trace: Trace, step: int, facts: Mapping[str, float]) -> None:
        self._watch.schedule.count = step
        diverged = self._training.status == DIVERGED
        self._watch.record(trace, facts=facts, lost=self._training.reason if diverged else "")


def load_watch(path: str | Path) -> Watch:
    """Open what :meth:`Watch.save` wrote; nothing in the folder can run code.

    Raises
    ------
    StoreError
        where the folder holds no watched training, or one that cannot be read.
    """
    import pandas as pd

    folder = Path(path)
    try:
        told = json.loads((folder / FILE).read_text(encoding="utf-8"))
        tables = {
            name: complete(pd.read_parquet(folder / f"{name}.parquet").rename(columns=schema.RENAMED), name)
            for name in schema.TABLES
        }
        found = Watch(Schedule(EVERY), (), stored=tables)
        found.refused, found.schedule.count = dict(told["refused"]), int(told["passes"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise StoreError(f"{folder}: holds no watched training that can be read ({error})") from None
    return found


def _over_steps(runs: pd.DataFrame) -> Verdict:
    """Return the verdict on the rows of ``runs`` of every module, each one's layers as its parts."""
    told = runs.assign(verdict=runs["verdict"].where(runs["status"] == "done", runs["status"].str.upper()))
    if (told["verdict"] == "").all():
        why = 'hooks=["gradients"] measures rates' if len(runs) else "no backward pass reached a layer while it looked"
        return Verdict(UNCERTAIN, "no rate is known", why)
    parts = [(str(name), training_verdict(part)) for name, part in told.groupby("module", sort=False)]
    return parts[0][1] if len(parts) == 1 else together(parts)
