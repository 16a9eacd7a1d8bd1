"""One pass: a model, inputs and a loss go in; every timestep's states, gradients and Jacobians come out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from gradlab import schema
from gradlab._trace import files, plots
from gradlab._trace.facade import EXPONENTS, LayerTrace
from gradlab._trace.files import Recalled
from gradlab._trace.one_layer import OneLayer
from gradlab._trace.segmented import SegmentedTrace, chosen_length
from gradlab.arrays.checks import FLOATS, as_array, finite, float_array, positive
from gradlab.arrays.memory import free_memory
from gradlab.arrays.scaled import ldexp, log_norm, sequences_first
from gradlab.bptt import Gradients, Last, Run, SegmentedRun, readout_gradients, run_backward, run_forward
from gradlab.cells import Cell
from gradlab.errors import InputError, unknown
from gradlab.formatting import markup
from gradlab.hooks import Hook, frames, make_hooks
from gradlab.hooks.gradients import GradientsHook
from gradlab.layer import StateQuantity
from gradlab.models.interventions import changed
from gradlab.models.losses import Loss, LossFunction, evaluate, reading
from gradlab.models.network import READOUT, Layer, Network, cells_of, output_size, place_of
from gradlab.protocol import Measurements
from gradlab.schema import DIRECTIONS
from gradlab.verdicts.evidence import Evidence
from gradlab.verdicts.suggestions import Change
from gradlab.verdicts.verdict import Verdict, judge, together

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[Any]
#: The initial state of one layer: its array, or arrays by state name; of two directions, a pair of those.
StateLike = Array | Mapping[str, Array] | Sequence[Any] | None
#: Joint initial states ``(S, B)`` by layer and direction.
Initial = list[list[Array]]
#: Each sequence's own length, ``(B,)``; None where all have T.
Ends = NDArray[np.int64] | None


@overload
def trace(
    model: Cell | Network,
    x: Array,
    loss: Loss | LossFunction | None = None,
    *,
    state: StateLike = None,
    lengths: Sequence[int] | Array | None = None,
    hooks: Iterable[Hook | str] = (),
    segment_length: None = None,
) -> Trace: ...
@overload
def trace(
    model: Cell | Network,
    x: Array,
    loss: Loss | LossFunction | None = None,
    *,
    state: StateLike = None,
    lengths: Sequence[int] | Array | None = None,
    hooks: Iterable[Hook | str] = (),
    segment_length: int,
) -> Trace | SegmentedTrace: ...
def trace(
    model: Cell | Network,
    x: Array,
    loss: Loss | LossFunction | None = None,
    *,
    state: StateLike = None,
    lengths: Sequence[int] | Array | None = None,
    hooks: Iterable[Hook | str] = (),
    segment_length: int | None = None,
) -> Trace | SegmentedTrace:
    """Run ``model`` forward over ``x`` and exactly backward, and keep what every timestep says.

    Parameters
    ----------
    model : a cell, or a :class:`gradlab.Network`
    x : ``(T, B, D)``
    loss : a loss of :mod:`gradlab.models.losses`, or a function ``y (T, B, O) -> (value (B,), dL/dy)``. A bare cell's
        y is its h. y is zero beyond a sequence's own end, and dL/dy must be zero there too. None: forward and Jacobians
        only.
    state : the initial state, zeros unless given: of a bare cell ``{"h": (B, H), "c": (B, H)}`` (a plain array where
        there is one state); of a network a list, one such entry (or None) a layer, a pair for two directions.
    lengths : each sequence's own length ``(B,)``, 1 … T; what lies beyond it is not read.
    hooks : :class:`~gradlab.hooks.Hook` objects, or names of built-in ones.
    segment_length : steps of a segment; of a pass of more steps only the states where segments begin are kept, and each
        is run again on the way back, so that memory does not grow with T but for what the hooks keep. The answer is
        then a :class:`gradlab.SegmentedTrace`: loss, parameter gradients and what the hooks measured, the same to
        1e-12. Unless given, a pass is whole where it fits into half of the memory that is free, and otherwise
        cut into segments of 16 MiB. A loss that is a function sees all outputs, which are then kept.

    Raises
    ------
    InputError
        naming what was expected, what came and where.

    Examples
    --------
    >>> import gradlab as gl, numpy as np
    >>> cell = gl.RNN(W_xh=np.zeros((1, 1)), W_hh=np.array([[0.5]]), activation="identity")
    >>> t = gl.trace(cell, np.zeros((10, 1, 1)), gl.projection(np.ones((1, 1))))
    >>> float(t.log_norm("dL/dh")[0, 0] / np.log(2))
    -10.0
    """
    network, given, initial, ends = _checked(model, x, state, lengths)
    T, B = given.shape[:2]
    length = _segment_length(network, T, B, ends, segment_length)
    if length < T:
        return _in_segments(model, network, given, loss, initial, ends, make_hooks(hooks), length)
    return _whole(model, network, given, loss, initial, ends, make_hooks(hooks))


def whole_trace(
    model: Cell | Network, x: Array, loss: Loss | LossFunction | None = None, *, hooks: Iterable[Hook | str] = ()
) -> Trace:
    """Run as :func:`trace` does, and keep all whatever memory is free, so that bits do not depend on it."""
    network, given, initial, ends = _checked(model, x, None, None)
    return _whole(model, network, given, loss, initial, ends, make_hooks(hooks))


def _checked(model: Cell | Network, x: Array, state: StateLike, lengths: Any) -> tuple[Network, Array, Initial, Ends]:
    network = Network([model]) if isinstance(model, Cell) else model
    if not isinstance(network, Network):
        raise InputError(f"model must be a gradlab cell or Network, got {type(model).__name__}")
    given = _checked_shape(network, x)
    T, B = given.shape[:2]
    ends = None if lengths is None else _checked_lengths(lengths, T, B)
    return network, given, _checked_state(network, state, B), ends


def _whole(
    model: Cell | Network, network: Network, x: Array, loss: Any, initial: Initial, ends: Ends, hooks: list[Hook]
) -> Trace:
    return Trace(model, run_forward(network, _columns(network, x, ends, slice(0, len(x))), initial, ends), loss, hooks)


def _segment_length(network: Network, T: int, B: int, ends: Any, given: int | None) -> int:
    """Return the steps of a segment, T or more for a whole pass."""
    turned = ends is not None and any(len(cells_of(layer)) > 1 for layer in network.layers)
    if given is None:
        return T if turned else chosen_length(network, T, B, free_memory)
    if turned and positive("segment_length", given) < T:
        raise InputError(
            "segment_length: in the reverse direction sequences of unequal lengths begin at different steps, which "
            f"segments cannot; leave lengths out, or give segment_length={T}"
        )
    return positive("segment_length", given)


def _in_segments(
    model: Cell | Network,
    network: Network,
    x: Array,
    loss: Any,
    initial: Initial,
    ends: Ends,
    hooks: list[Hook],
    length: int,
) -> SegmentedTrace:
    T, B = x.shape[:2]
    columns = partial(_columns, network, x, ends)
    for start in range(0, T, length):
        columns(slice(start, min(start + length, T)))  # refuses what is not finite before anything is measured
    O = output_size(network.layers[-1]) if network.readout is None else len(network.readout.W_hy)
    like = np.zeros((1, B, O), network.dtype)
    read = None if loss is None else reading(loss, T, like, ends)
    run = SegmentedRun(network, columns, initial, ends, T, length, read, last=bool(hooks))
    return SegmentedTrace(model, run, read, hooks, length)


def _checked_shape(network: Network, x: Array) -> Array:
    given = as_array("x", x)
    if given.ndim != 3 or given.dtype.name not in FLOATS or 0 in given.shape or given.shape[2] != network.input_size:
        float_array("x", given, ("T", "B", network.input_size))  # says which
    return given


def _columns(network: Network, x: Array, ends: Ends, steps: slice) -> Array:
    """Return some steps of x as columns ``(n, D, B)``, zero beyond each sequence's end, checked to be finite."""
    given = x[steps]
    if ends is not None:
        given = np.where(np.less.outer(np.arange(steps.start, steps.stop), ends)[..., None], given, 0.0)
    name = "x" if not steps.start else f"x[{steps.start}:]"
    finite(name, given)
    with np.errstate(over="ignore"):
        columns = np.ascontiguousarray(given.swapaxes(1, 2), dtype=network.dtype)
    if given.dtype != network.dtype:
        finite(f"{name} in {network.dtype}", columns)
    return columns


def _checked_lengths(lengths: Any, T: int, B: int) -> NDArray[np.int64]:
    ends = np.asarray(lengths)
    if ends.dtype.kind not in "iu" or ends.shape != (B,):
        raise InputError(f"lengths must be whole numbers of shape (B,) = ({B},), got {ends.dtype} {ends.shape}")
    if ends.min() < 1 or ends.max() > T:
        raise InputError(f"lengths must be 1 … T = {T}, got {ends.min()} … {ends.max()}")
    return ends.astype(np.int64)


def _checked_state(network: Network, state: StateLike, B: int) -> list[list[Array]]:
    """Return joint initial states ``(S, B)`` of each layer and direction."""
    if state is None:
        given: list[Any] = [None] * len(network.layers)
    elif len(network.layers) == 1 and (isinstance(state, (Mapping, np.ndarray))):
        given = [state]
    elif isinstance(state, list | tuple) and len(state) == len(network.layers):
        given = list(state)
    else:
        raise InputError(
            f"state must be one entry a layer, {len(network.layers)} in a list, got {type(state).__name__}"
        )
    names = ["state"] if len(given) == 1 else [f"state[{i}]" for i in range(len(given))]
    entries = zip(names, network.layers, given, strict=True)
    return [_layer_state(name, layer, entry, B) for name, layer, entry in entries]


def _layer_state(name: str, layer: Layer, given: Any, B: int) -> list[Array]:
    cells = cells_of(layer)
    if len(cells) == 1:
        return [_joint_state(name, cells[0], given, B)]
    pair = (None, None) if given is None else given
    if not isinstance(pair, list | tuple) or len(pair) != 2:
        raise InputError(f"{name} must be a pair (forward, reverse), got {type(given).__name__}")
    return [_joint_state(f"{name}[{i}]", cell, one, B) for i, (cell, one) in enumerate(zip(cells, pair, strict=True))]


def _joint_state(name: str, cell: Cell, given: Any, B: int) -> Array:
    joint = np.zeros((cell.state_size, B), cell.dtype)
    if given is None:
        return joint
    if not isinstance(given, Mapping):
        if len(cell.state_names) > 1:
            raise InputError(f"{name} must name its arrays, {list(cell.state_names)}, got {type(given).__name__}")
        given = {cell.state_names[0]: given}
    for key, array in given.items():
        if key not in cell.state_names:
            raise InputError(f'{name} has no "{key}"; its states are {list(cell.state_names)}')
        part = cell.split(joint)[cell.state_names.index(key)]
        part[...] = float_array(f'{name}["{key}"]', array, (B, len(part))).T
    return joint


class Trace(OneLayer, Measurements):
    """What one pass left. If it has one layer, every name of its :class:`LayerTrace` works on the trace itself.

    Attributes
    ----------
    layers : one :class:`~gradlab._trace.facade.LayerTrace` per layer, from the input upward; ``.reverse`` is the other
        direction.
    loss : ``(B,)`` or None.
    hooks : the hooks that measured this pass.
    """

    def __init__(self, model: Cell | Network, run: Run, loss: Loss | LossFunction | None, hooks: list[Hook]) -> None:
        self.model, self._run, self._loss, self.hooks = model, run, loss, hooks
        self.loss: Array | None = None
        self._gradients: list[tuple[Gradients, ...]] | None = None
        self._last: Last | None = None
        self._readout_grad: Array | None = None
        self._said: Recalled | None = None
        self._readout_steps = slice(0)
        if loss is not None:
            self._backward(loss)
        self.layers = [self._layer_trace(index) for index in range(len(run.tapes))]
        frames.call(self.hooks, self.passes)

    def _backward(self, loss: Loss | LossFunction) -> None:
        self.loss, first, grad = evaluate(loss, self.outputs, self._run.lengths)
        self._said = None if isinstance(loss, Loss) else Recalled(self.loss, grad)
        loss_grad = np.ascontiguousarray(np.swapaxes(grad, 1, 2))
        self._gradients, self._readout_grad = run_backward(self._run, loss_grad, first=first)
        self._readout_steps = slice(first, first + len(grad))
        self._last = Last(self._run, loss_grad, self._gradients, first=first)

    def _layer_trace(self, index: int) -> LayerTrace:
        directions: list[LayerTrace] = []
        for place, tape in reversed(list(enumerate(self._run.tapes[index]))):
            directions.append(
                LayerTrace(
                    layer=index,
                    direction=DIRECTIONS[place],
                    tape=tape,
                    reverse=directions[-1] if directions else None,
                    gradients=None if self._gradients is None else self._gradients[index][place],
                    last=self._last,
                    above=len(self._run.tapes) - 1 - index,
                )
            )
        return directions[-1]

    @property
    def passes(self) -> list[LayerTrace]:
        """Every layer and direction, bottom up, forward before reverse."""
        return [one for layer in self.layers for one in (layer, layer.reverse) if one is not None]

    @property
    def outputs(self) -> Array:
        """y_t of all steps, ``(T, B, O)``, zero beyond a sequence's end, of a bare cell h_t; not to be written to."""
        return sequences_first(self._run.y)

    @property
    def overflow_step(self) -> int:
        """The first index at which any state of any sequence is not finite; 0 where there is none."""
        found = np.concatenate([one.overflow_step for one in self.passes])
        return int(found[found > 0].min()) if found.any() else 0

    # --- names of the one layer --------------------------------------------------------------------

    def _only(self, name: str) -> LayerTrace:
        if len(self.passes) > 1:
            raise InputError(f"this trace has {self._counted}; ask one of them: {self._where(name)}")
        return self.layers[0]

    @property
    def _counted(self) -> str:
        count, passes = len(self.layers), len(self.passes)
        layers = f"{count} layer" if count == 1 else f"{count} layers"
        return layers if passes == count else f"{layers} and {passes} directions in all"

    def _where(self, name: str) -> str:
        """Return how a name is asked of a layer, and of the other direction of those that have one."""
        last = len(self.layers) - 1
        both = [one.layer for one in self.layers if one.reverse is not None]
        forward = f"trace.layers[i].{name}, i 0 … {last}" if last else f"trace.layers[0].{name}"
        if not both:
            return forward
        if len(both) == 1:
            return f"{forward}, or trace.layers[{both[0]}].reverse.{name}"
        which = "" if len(both) > last else f", i {' or '.join(map(str, both))}"
        return f"{forward}, or trace.layers[i].reverse.{name}{which}"

    @overload
    def log_norm(self, name: StateQuantity) -> NDArray[np.float64]: ...
    @overload
    def log_norm(self, name: str) -> Any: ...
    def log_norm(self, name: str) -> Any:
        """See :meth:`LayerTrace.log_norm`; ``"dL/dW_hy"`` and ``"dL/db_y"`` are the readout's."""
        if name in ("dL/dW_hy", "dL/db_y") and self._run.network.readout is not None:
            array = self._readout_grads()[name.removeprefix("dL/d")]
            return float(log_norm(array.reshape(-1, 1), 0)[0])
        return self._only(f'log_norm("{name}")').log_norm(name)

    # --- words -------------------------------------------------------------------------------------

    def verdict(self, lag: int | None = None, *, rerun: bool = True) -> Verdict:
        """Return what the gradient does over the span, why, and what to try, in three lines (``str`` of it, or print).

        What it suggests has been tried: the same inputs, loss, initial state and lengths run again through the model
        with that one change, up to a dozen times; the layer's new rate stands in the line. Of several layers each has
        its own three lines, and ``.word`` is the gravest, or MIXED where some vanish and others explode.

        Where the interval of the rate is too wide for a word, it may rest on λ₁, or on what is left of the gradients
        that were measured over the whole span, where these leave no doubt. Then the lines say so: ``−0.3 ± 4.1
        nats/step; measured: 1 % of the gradient is left after 14 of the 59 steps``, as does the title of :meth:`plot`.

        Parameters
        ----------
        lag : steps that the task needs the gradient to travel; those from the loss to the first input unless given.
        rerun : False says what to try without trying it.

        Raises
        ------
        InputError
            for a trace without a loss, or a lag below 1.
        """
        parts = [(_place(one, self.passes), self._judged(one, lag, rerun)) for one in self.passes]
        return together(parts) if len(parts) > 1 else parts[0][1]

    def _judged(self, one: LayerTrace, lag: int | None, rerun: bool) -> Verdict:
        found = one.evidence(lag, exponents=EXPONENTS)
        again = partial(self._again, one.layer, one.direction, lag)
        return judge(found, again if rerun else None)

    def _again(self, layer: int, direction: str, lag: int | None, change: Change) -> Evidence | None:
        """Return the evidence of a layer after the same pass of a changed model; None where it cannot be changed."""
        if isinstance(self._loss, Recalled):
            return None  # it knows nothing of other outputs
        network = changed(self._run.network, layer, direction, change)
        if network is None:
            return None
        bottom, tapes = self._run.tapes[0][0], self._run.tapes
        states = [[tape.states[0] for tape in pair] for pair in tapes]
        run = run_forward(network, bottom.x, states, self._run.lengths)
        found = next(one for one in Trace(network, run, self._loss, []).passes if _at(one) == (layer, direction))
        return found.evidence(lag, cell=False)

    # --- parameters --------------------------------------------------------------------------------

    def parameter_name(self, one: LayerTrace, key: str) -> str:
        """Return how parameter ``key`` of a layer and direction is called: as it is in a bare cell."""
        return key if isinstance(self.model, Cell) else place_of(one.layer, one.direction) + key

    @property
    def scaled_param_grads(self) -> dict[str, tuple[Array, int]]:
        """:attr:`param_grads` as ``(mantissa, exponent)``: mantissa · 2^exponent neither over- nor underflows."""
        parts = ((one, one.scaled_param_grads.items()) for one in self.passes)
        found = {self.parameter_name(one, key): pair for one, pairs in parts for key, pair in pairs}
        return found | {f"{READOUT}{key}": (array, 0) for key, array in self._readout_grads().items()}

    @cached_property
    def param_grads(self) -> dict[str, Array]:
        """Gradients of the batch-mean loss: ``W_hh`` of a cell, ``layers.0.W_hh``, ``readout.W_hy`` of a network."""
        with np.errstate(all="ignore"):
            return {name: ldexp(m, np.asarray(e)) for name, (m, e) in self.scaled_param_grads.items()}

    def param_contributions(self) -> dict[str, NDArray[np.float64]]:
        """Return ln of the norm of each step's part of the recurrent parameters' gradients, ``(T,)``, in nats."""
        parts = ((one, one.param_contributions().items()) for one in self.passes)
        return {self.parameter_name(one, key): logs for one, pairs in parts for key, logs in pairs}

    def _readout_grads(self) -> dict[str, Array]:
        if self._readout_grad is None:
            return {}
        return readout_gradients(self._readout_grad, self._run.top[self._readout_steps])

    # --- tables ------------------------------------------------------------------------------------

    def frame(self, name: str = "runs") -> pd.DataFrame:
        """Return one table of the pass.

        The hooks of the trace have measured what stands in it. The gradients are added where the trace has a loss.

        Parameters
        ----------
        name : "runs" (one row per layer and direction), "steps" (one row per layer, direction, quantity and t),
            "spectra" (one row per exponent), or "sequences" (one row per layer, direction, quantity, sequence and t,
            with ``log_norm`` in nats).

        Returns
        -------
        DataFrame
            The columns of :mod:`gradlab.schema`, in its order; ``id`` and ``study`` are empty. ``runs`` has the cell
            and the length before the layer. What no hook measured is nan.

        Raises
        ------
        InputError
            If there is no such table.

        Examples
        --------
        >>> import gradlab as gl, numpy as np
        >>> cell = gl.RNN(W_xh=np.zeros((1, 1)), W_hh=np.array([[0.5]]), activation="identity")
        >>> found = gl.trace(cell, np.zeros((10, 1, 1)), gl.projection(np.ones((1, 1))))
        >>> round(float(found.frame("runs")["rate"].iloc[0]), 4)
        -0.6931
        """
        import pandas as pd

        if name == "sequences":
            return pd.concat([_tidy(one, of) for one in self.passes for of in one.quantities], ignore_index=True)
        if name not in schema.TABLES:
            raise InputError(unknown("table", name, (*schema.TABLES, "sequences")))
        return frames.table_of(
            self._measured(self._with_gradients), name, [frames.cell_row(one) for one in self.passes]
        )

    @cached_property
    def _with_gradients(self) -> list[Hook]:
        """The hooks of this pass, with one that measures the gradients if none does."""
        if self.loss is None or any(isinstance(hook, GradientsHook) for hook in self.hooks):
            return self.hooks
        added = GradientsHook()
        frames.call([added], self.passes)
        return [added, *self.hooks]

    def measured(self) -> dict[str, pd.DataFrame]:
        """Return what the hooks measured by table: ``runs`` (one row a layer and direction), ``steps``, ``spectra``.

        Raises
        ------
        InputError
            for a hook whose ``table`` is none of these.
        """
        return self._measured(self.hooks)

    def _measured(self, hooks: Sequence[Hook]) -> dict[str, pd.DataFrame]:
        rows = [frames.run_row(*_at(one), self._mean_loss, self.overflow_step) for one in self.passes]
        return frames.measured(hooks, rows)

    @property
    def _mean_loss(self) -> float:
        with np.errstate(all="ignore"):
            return float("nan") if self.loss is None else float(self.loss.astype(np.float64).mean())

    def plot(self, name: str | Sequence[str] | None = None, *, ax: Axes | None = None, theory: bool = False) -> Figure:
        """Plot the gradients over the lag, or what is named.

        The default view of one layer shows the total gradient dL/dh_t and what arrives directly, and the joint adjoint
        if the cell has more states than h, under the verdict's word and the rate. Of several layers and directions it
        shows the total gradient of each, with its word.

        Parameters
        ----------
        name : a quantity of ``steps`` such as "dL/dh", or a list of them; a column of ``runs``; or a figure of a
            study, such as "gates". The hooks that it needs measure this pass now.
        ax : where to draw a figure of one panel, by default a new figure.
        theory : whether to add the line of mean-field theory, of slope ½ ln χ from lag 1 on, to quantities of one
            layer. Where it does not hold, the legend gives the reason.

        Returns
        -------
        Figure
            A matplotlib figure, which a notebook displays. Bands are over the sequences, from 5 % to 95 %.

        Raises
        ------
        InputError
            If there is no such figure, or this pass has not got what it shows.
        """
        return plots.plot(self.passes, name, theory=theory, ax=ax)

    def save(self, path: str | Path) -> Path:
        """Write the trace as one file (npz and JSON, no pickle), which :func:`gradlab.load_trace` opens.

        Raises
        ------
        InputError
            for a custom cell, whose equations no file can hold.
        StoreError
            where the file cannot be written.
        """
        return files.save(Path(path), self.model, self._run, self._loss, self._said)

    def __repr__(self) -> str:
        return markup.plain(self._title, [(one.name, one.cell) for one in self.passes])

    def _repr_html_(self) -> str:
        """Return each layer with its verdict, where that takes no further pass: sums over arrays that are there."""
        rows = [row for one in self.passes for row in ((one.name, one.cell), *(("", line) for line in one.describe()))]
        return markup.html(self._title, rows)

    @property
    def _title(self) -> str:
        T, O, B = self._run.y.shape
        said = "no loss" if self.loss is None else f"mean loss {self._mean_loss:.4g}"
        return f"Trace: T {T}, B {B}, O {O}, {said}"


def load_trace(path: str | Path, *, hooks: Iterable[Hook | str] = ()) -> Trace:
    """Open what :meth:`Trace.save` wrote: a trace that answers every question; nothing in the file can run.

    Each step is taken again from the h that it had, and the loss reads the outputs again, so all is what it was but for
    rounding. Of a loss that was a function only what it said is known: a verdict then has no change tried.

    Parameters
    ----------
    hooks : what is to be measured of the pass, as for :func:`trace`.

    Raises
    ------
    StoreError
        for a file that cannot be read, or is none of ours.
    """
    return Trace(*files.load(Path(path)), make_hooks(hooks))


def _at(one: LayerTrace) -> tuple[int, str]:
    return one.layer, one.direction


def _place(one: LayerTrace, passes: Sequence[LayerTrace]) -> str:
    both = sum(other.layer == one.layer for other in passes) > 1
    return f"layer {one.layer}" + (f" {one.direction}" if both else "")


def _tidy(one: LayerTrace, name: str) -> pd.DataFrame:
    import pandas as pd

    logs = one.log_norm(name)
    t, lag = one.t[-len(logs) :], one.lag[-len(logs) :]
    sequence = np.broadcast_to(np.arange(logs.shape[1]), logs.shape)
    inside = lag >= 0
    return pd.DataFrame(
        {
            "layer": one.layer,
            "direction": one.direction,
            "quantity": name,
            "sequence": sequence[inside],
            "t": t[inside],
            "lag": lag[inside],
            "log_norm": logs[inside],
        }
    )
