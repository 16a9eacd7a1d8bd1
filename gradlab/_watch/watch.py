"""Watch the gradients of a model while it trains."""

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
from gradlab.errors import InputError, StoreError
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

#: Default distance between two watched passes, in backward passes.
EVERY = 50
#: Notes on the numbers of a watched training, also written to the saved folder.
NOTES = {
    "gradients": "gradients of the user's own loss as they arrive in the backward pass, before any clipping",
    "loss_scale": "divided out if the GradScaler was given",
    "precision": "the model's float32 or float64; float16 and bfloat16 are computed in float32",
}
FILE = "watch.json"


class Log(Protocol):
    """An object that logs numbers by name and step: a run of Weights & Biases or trackio, or a class of your own."""

    def log(self, data: dict[str, Any], step: int) -> Any:
        """Log ``data``, numbers by name.

        Parameters
        ----------
        data : dict
            The numbers by name.
        step : int
            The training step.
        """


def watch(
    model: nn.Module | Training | Cell | Network,
    *,
    every: int | None = None,
    overhead: float | None = None,
    hooks: Iterable[Hook | str] = ("gradients",),
    log: Log | None = None,
    scaler: Any = None,
) -> Watch:
    """Watch the recurrent layers of a model while it trains; its training stays the same to the last bit.

    Every RNN, LSTM, GRU and cell of a PyTorch model is found, at any depth. In a watched pass, hooks record its inputs,
    its outputs and the gradients that arrive at the output, h_n and c_n. From these follow all Jacobians and the exact
    total gradient of every state, gate and input. A module that cannot be watched is listed in ``refused`` with the
    reason and an alternative; all others are watched.

    ``step`` is the number of the backward pass, from 0. Only passes that reach a recurrent layer's weights count. With
    gradient accumulation, several of them precede one step of the optimiser. The forward passes before backward pass 0,
    ``every``, 2 ``every`` … are watched.

    Each call of a module gives one record per backward pass that reaches it. Two calls in one pass are ``call`` 0 and 1
    of that step. A graph that is kept for two backward passes gives two records. A forward pass that no backward pass
    reaches gives no record. Checkpointing with ``use_reentrant=True`` runs a separate backward pass for each segment
    with a recurrent layer.

    Calls of a single step (a cell in a loop, a layer in a decoder) form one sequence as long as each call gets exactly
    the state that the previous call returned. A state that was detached, masked or changed in place starts a new
    sequence. In such a sequence the gradient at h_t includes feedback through later inputs. The rate is that of the
    recurrence alone.

    Parameters
    ----------
    model : nn.Module, Training, Cell or Network
        A ``torch.nn.Module``, or one of gradlab's own objects:

        * A :class:`gradlab.Training`: ``step`` is its training step, and ``runs`` has ``loss`` and ``kept``. Gradients
          are those of each sequence's loss: their log norms are ln B above those of the batch mean, at the same rates.
        * A gradlab cell or network that other code trains: see :meth:`Watch.record`.
    every : int, optional
        Watch every n-th backward pass, including the first; 50 unless ``overhead`` is given.
    overhead : float, optional
        Watch as often as this share of the time of all other passes allows. It replaces ``every``.
    hooks : iterable of str or Hook
        Names of built-in hooks, and :class:`~gradlab.hooks.Hook` objects.
    log : Log, optional
        An object with ``log(dict, step=…)``. It gets every number of ``runs`` as soon as it is measured.
    scaler : torch.amp.GradScaler, optional
        The scaler of the training; its scale is divided out of all results.

    Returns
    -------
    Watch
        A context manager: it watches inside the ``with`` block, and its tables remain afterwards.

    Raises
    ------
    InputError
        If the model has no recurrent layer or no trainable parameter, is TorchScript, or is DataParallel on several
        devices; if both ``every`` and ``overhead`` are given, or either is out of range; if a hook is unknown.

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
        raise InputError(f"give every or overhead, not both; got every={every} and overhead={overhead}")
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
    """The measurements of a model while it trains; made by :func:`watch`.

    Parameters
    ----------
    schedule : Schedule
        Decides which backward passes are watched.
    hooks : sequence of Hook
        The hooks that measure each watched pass.
    log : Log, optional
        Gets every number of ``runs`` as soon as it is measured.
    scaler : torch.amp.GradScaler, optional
        The scaler of the training; its scale is divided out.
    stored : mapping of DataFrame, optional
        The tables of a saved watch, by name.

    Attributes
    ----------
    refused : dict of str
        The reason why a module, a hook or a log is not watched or used, by its name.
    records : list of Record
        The measurements, one record per sequence of a module and watched backward pass.
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
        import pandas as pd  # noqa: F401  # imported here, so that its import does not slow the first watched pass

        if self.attachment is not None:
            self.attachment.attach()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.attachment is not None:
            self.attachment.detach()

    # --- measuring ------------------------------------------------------------------------------

    @property
    def watching(self) -> bool:
        """True if the current pass is watched."""
        return self.schedule.watching

    def record(
        self, trace: Trace, *, module: str = "model", facts: Mapping[str, float] | None = None, lost: str = ""
    ) -> None:
        """Count one pass of a gradlab model that trains, and measure it if :attr:`watching` is true.

        Parameters
        ----------
        trace : Trace
            The pass, as :func:`gradlab.trace` returns it.
        module : str
            Name of the model in the tables.
        facts : mapping of float, optional
            Further columns of ``runs``, such as ``kept`` and ``loss``.
        lost : str
            Reason why the training diverges in this pass. If given, a row with the reason replaces all measurements,
            also in a pass that is not watched.
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
        """Record the reason why a module or a hook is not watched; warn the first time.

        Parameters
        ----------
        name : str
            Name of the module, or type of the hook or log.
        reason : str
            The reason; a later one replaces it.
        """
        known = name in self.refused
        self.refused[name] = reason
        if not known:
            warnings.warn(f"gradlab: {name} is not watched: {reason}", stacklevel=2)

    def look(self, layer: Layered, step: int, call: int, calls: Sequence[Call]) -> dict[str, Any]:
        """Measure one sequence of a module in the middle of a backward pass; an exception never stops the training.

        Parameters
        ----------
        layer : Layered
            The module.
        step : int
            Number of the backward pass.
        call : int
            Number of the module's sequence in the pass, from 0.
        calls : sequence of Call
            The calls of the sequence: a single call, or one call per step.

        Returns
        -------
        dict
            The facts of the pass as columns of ``runs``. The caller may add more to it.
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
        """Record a row with the reason why nothing was measured."""
        row = {"layer": 0, "direction": schema.DIRECTIONS[0], "status": status, "error": reason}
        self._keep(Record(module, step, call, frames.measured([], [row]), facts))

    def _keep(self, record: Record) -> None:
        self.records.append(record)
        if self._log is not None:
            try:
                self._log.log(record.numbers(), step=record.step)
            except Exception as error:
                self.refuse(type(self._log).__name__, f"{type(error).__name__}: {error}")

    # --- results ------------------------------------------------------------------------------

    def frame(self, name: str = "runs") -> pd.DataFrame:
        """Return one table of all measurements.

        Parameters
        ----------
        name : str
            "runs" (one row per step, module, call, layer and direction), "steps" (one row per quantity and t of
            each row of "runs") or "spectra" (one row per exponent).

        Returns
        -------
        DataFrame
            The columns of :mod:`gradlab.schema`, in its order. ``module``, ``step`` and ``call`` come before the
            layer, and the numbers of :data:`gradlab.schema.WATCHED_RUNS` after it. A value that no hook measured is
            nan.

        Raises
        ------
        InputError
            If there is no such table.
        """
        schema.check_table(name)
        return table_of(self.records, name) if self._stored is None else self._stored[name].copy()

    @property
    def noticed(self) -> dict[str, str]:
        """Notes on the training itself: clipped gradients, or a scaled loss without a given scaler; text by topic."""
        runs = self.frame("runs")
        return noticed(runs["kept"], runs["loss_scale"]) if "kept" in runs else {}

    def verdict(self) -> Verdict:
        """Return the development of each layer's gradient, such as "starts to vanish at step 300".

        If a module has several calls in a pass, the verdict uses the first one.

        Returns
        -------
        Verdict
            The evidence also lists modules that are not watched, clipped gradients and an unknown loss scale.
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
        """Plot the rate over the training steps, or the columns, quantities or figure named.

        Parameters
        ----------
        name : str or sequence of str, optional
            A column of ``runs``, by default "rate", with one line per layer and direction; a quantity of ``steps`` such
            as "dL/dh", or a list of them, over the lag; or a figure of a study, such as "gates".
        ax : Axes, optional
            Axes for a figure of one panel; by default a new figure.
        x : str, optional
            The column of ``runs`` on the x axis if ``name`` is a column of ``runs``; by default "step".

        Returns
        -------
        Figure
            A matplotlib figure, which a notebook displays.

        Raises
        ------
        InputError
            If nothing was measured, or ``name`` was not; the message names the hook that measures it.

        Examples
        --------
        >>> w.plot("rate", x="step").savefig("rate.png")                          # doctest: +SKIP
        >>> w.plot("dL/dh"), w.plot("gates")                                      # doctest: +SKIP
        """
        from gradlab import figures

        tables = {table: self.frame(table) for table in schema.TABLES}
        if not (tables["runs"]["status"] == "done").any():
            raise InputError(
                "no watched pass was measured to its end, so there is nothing to draw; verdict() gives the reason"
            )
        if x is not None and name is not None and not (isinstance(name, str) and name in tables["runs"]):
            raise InputError(f'x="{x}" needs a column of runs as name, such as "rate"; got {name!r}')
        return figures.draw("rate" if name is None else name, as_study(tables), ax=ax, x=x or "step", hue="layers")

    def save(self, path: str | Path) -> Path:
        """Write the tables as Parquet files, and ``watch.json`` last; :func:`load_watch` opens the folder.

        Parameters
        ----------
        path : str or Path
            The folder to write.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        StoreError
            If the folder cannot be written.
        """
        folder = Path(path)
        facts: dict[str, Any] = {"gradlab": __version__, "passes": self.schedule.count, "refused": self.refused}
        facts |= {"notes": NOTES, "noticed": self.noticed}
        try:
            for name in schema.TABLES:
                with whole(folder / f"{name}.parquet") as file:
                    self.frame(name).to_parquet(file, index=False, compression="zstd")
            write_whole(folder / FILE, (json.dumps(facts, indent=2, ensure_ascii=False) + "\n").encode())
        except OSError as error:
            raise StoreError(f"{folder}: cannot be written ({error.strerror})") from None
        return folder

    def report(self, path: str | Path) -> Path:
        """Write ``report.html``, figures and tables into a folder.

        Parameters
        ----------
        path : str or Path
            The folder to write.

        Returns
        -------
        Path
            The path of ``report.html``.

        Raises
        ------
        InputError
            If nothing was watched.
        """
        from gradlab.report import Source, write_report

        if self.frame("runs").empty:
            raise InputError("nothing was watched, so there is nothing to report; verdict() gives the reason")
        tables = as_study({name: self.frame(name) for name in schema.TABLES})
        study = {"name": "watch", "question": "How do the gradients change while the model trains?"}
        return write_report(Path(path), Source(tables, study, NOTES | self.noticed))

    def __repr__(self) -> str:
        lines = [self._title, *(f"  {name} is not watched: {reason}" for name, reason in self.refused.items())]
        return "\n".join([*lines, *(f"  {key}: {note}" for key, note in (NOTES | self.noticed).items())])

    def _repr_html_(self) -> str:
        """Return the number of rows and passes, the last known loss and the verdict as HTML; no further pass runs."""
        runs = self.frame("runs")
        losses = runs["loss"].dropna()
        rows = [("loss", f"{losses.iloc[-1]:.4g} at step {runs['step'].loc[losses.index[-1]]}")] if len(losses) else []
        rows += markup.rows_of(str(self.verdict())) if len(runs) else []
        rows += [(name, f"is not watched: {reason}") for name, reason in self.refused.items()]
        return markup.html(self._title, [*rows, *(NOTES | self.noticed).items()])

    @property
    def _title(self) -> str:
        steps = self.frame("runs")["step"]
        seen = f"{len(steps)} rows, steps {steps.min()} to {steps.max()}" if len(steps) else "nothing measured yet"
        return f"Watch: {seen}, of {self.schedule.count} backward passes"


class Observation:
    """Observes gradlab's own training after each finished step, from :meth:`attach` to :meth:`detach`.

    Parameters
    ----------
    training : Training
        The training to observe.
    watch : Watch
        The watch that records its passes.
    """

    def __init__(self, training: Training, watch: Watch) -> None:
        self._training, self._watch = training, watch

    def attach(self) -> None:
        """Start to observe; the training's next step is the first that is watched."""
        self._watch.schedule.count = self._watch.schedule.next = self._training.step
        self._training.observers.append(self._seen)

    def detach(self) -> None:
        """Stop observing."""
        self._training.observers.remove(self._seen)

    def _seen(self, trace: Trace, step: int, facts: Mapping[str, float]) -> None:
        self._watch.schedule.count = step
        diverged = self._training.status == DIVERGED
        self._watch.record(trace, facts=facts, lost=self._training.reason if diverged else "")


def load_watch(path: str | Path) -> Watch:
    """Open a folder that :meth:`Watch.save` wrote; its files cannot run code.

    Parameters
    ----------
    path : str or Path
        The folder.

    Returns
    -------
    Watch
        A watch with the saved tables; it records nothing more.

    Raises
    ------
    StoreError
        If the folder holds no watched training, or one that cannot be read.
    """
    import pandas as pd

    folder = Path(path)
    try:
        facts = json.loads((folder / FILE).read_text(encoding="utf-8"))
        tables = {
            name: complete(pd.read_parquet(folder / f"{name}.parquet").rename(columns=schema.RENAMED), name)
            for name in schema.TABLES
        }
        found = Watch(Schedule(EVERY), (), stored=tables)
        found.refused, found.schedule.count = dict(facts["refused"]), int(facts["passes"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise StoreError(f"{folder}: holds no watched training that can be read ({error})") from None
    return found


def _over_steps(runs: pd.DataFrame) -> Verdict:
    """Return one verdict on the rows of ``runs``, with the layers of each module as its parts."""
    marked = runs.assign(verdict=runs["verdict"].where(runs["status"] == "done", runs["status"].str.upper()))
    if (marked["verdict"] == "").all():
        why = 'hooks=["gradients"] measures rates' if len(runs) else "no backward pass reached a layer while watching"
        return Verdict(UNCERTAIN, "no rate is known", why)
    parts = [(str(name), training_verdict(part)) for name, part in marked.groupby("module", sort=False)]
    return parts[0][1] if len(parts) == 1 else together(parts)
