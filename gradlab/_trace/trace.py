"""One pass: a model, inputs and a loss go in; states, gradients and Jacobians of every step come out."""

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
from gradlab.arrays.scaled import Array, ldexp, log_norm, sequences_first
from gradlab.bptt import Gradients, Last, Run, SegmentedRun, readout_gradients, run_backward, run_forward
from gradlab.cells import Cell
from gradlab.errors import InputError
from gradlab.formatting import markup
from gradlab.formatting.numbers import counted
from gradlab.hooks import Hook, frames, make_hooks
from gradlab.hooks.gradients import GradientsHook
from gradlab.layer import StateQuantity
from gradlab.models.interventions import changed
from gradlab.models.losses import Loss, LossFunction, evaluate, mean_loss, reading
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

#: The initial state of one cell: its array, or its arrays by the name of the state; None for zeros.
CellState = Array | Mapping[str, Array] | None
#: The initial state of a model: of a cell; or of each layer of a network, with a pair for two directions.
StateLike = CellState | Sequence[CellState | Sequence[CellState]]
AnyLoss = Loss | LossFunction | None
#: Joint initial states ``(S, B)`` by layer and direction.
Initial = list[list[Array]]
#: The length of each sequence, ``(B,)``; None if all have length T.
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
    """Run a model forward over ``x`` and exactly backward, and keep every step.

    Parameters
    ----------
    model : a cell, or a :class:`gradlab.Network`.
    x : the inputs, ``(T, B, D)``.
    loss : a loss of :mod:`gradlab.models.losses`, or a function ``y (T, B, O) -> (value (B,), dL/dy (T, B, O))``. The
        outputs y of a bare cell are its h. Beyond the end of a sequence y is zero, and dL/dy must be zero too. Without
        a loss, the trace has states and Jacobians but no gradients.
    state : the initial state, by default zeros. For a cell ``{"h": (B, H), "c": (B, H)}``, or a plain array if the cell
        has one state. For a network a list with one such entry (or None) per layer, a pair for two directions.
    lengths : the length of each sequence, ``(B,)``, 1 … T; steps beyond it are not read.
    hooks : :class:`~gradlab.hooks.Hook` objects, or names of built-in hooks.
    segment_length : number of steps of a segment. A longer pass keeps the states at which segments begin, and runs each
        segment again on the way back, so memory does not grow with T, except for what hooks keep. By default a pass is
        kept whole if it fits into half of the free memory, else it is cut into segments of 16 MiB. A loss that is a
        function needs all outputs, which are then kept.

    Returns
    -------
    Trace or SegmentedTrace
        A :class:`gradlab.SegmentedTrace` if the pass was cut: it has the loss, the parameter gradients and the
        measurements of the hooks, equal to those of the whole pass to 1e-12.

    Raises
    ------
    InputError
        for an invalid argument; the message has its name, what was expected and what came.

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
    """Run as :func:`trace` does, but keep the pass whole, so that no bit depends on the free memory."""
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
    model: Cell | Network, network: Network, x: Array, loss: AnyLoss, initial: Initial, ends: Ends, hooks: list[Hook]
) -> Trace:
    return Trace(model, run_forward(network, _columns(network, x, ends, slice(0, len(x))), initial, ends), loss, hooks)


def _segment_length(network: Network, T: int, B: int, ends: Ends, given: int | None) -> int:
    """Return the number of steps of a segment; T or more means a whole pass."""
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
    loss: AnyLoss,
    initial: Initial,
    ends: Ends,
    hooks: list[Hook],
    length: int,
) -> SegmentedTrace:
    T, B = x.shape[:2]
    columns = partial(_columns, network, x, ends)
    for start in range(0, T, length):
        columns(slice(start, min(start + length, T)))  # raises for input that is not finite, before any hook measures
    O = output_size(network.layers[-1]) if network.readout is None else len(network.readout.W_hy)
    like = np.zeros((1, B, O), network.dtype)
    read = None if loss is None else reading(loss, T, like, ends)
    run = SegmentedRun(network, columns, initial, ends, T, length, read, last=bool(hooks))
    return SegmentedTrace(model, run, read, hooks, length)


def _checked_shape(network: Network, x: Array) -> Array:
    given = as_array("x", x)
    if given.ndim != 3 or given.dtype.name not in FLOATS or 0 in given.shape or given.shape[2] != network.input_size:
        float_array("x", given, ("T", "B", network.input_size))  # raises with the shape that was expected
    return given


def _columns(network: Network, x: Array, ends: Ends, steps: slice) -> Array:
    """Return some steps of x as columns ``(n, D, B)``, checked to be finite, zero beyond the end of a sequence."""
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
        given: list[CellState | Sequence[CellState]] = [None] * len(network.layers)
    elif len(network.layers) == 1 and (isinstance(state, (Mapping, np.ndarray))):
        given = [state]
    elif isinstance(state, list | tuple) and len(state) == len(network.layers):
        given = list(state)
    else:
        raise InputError(
            f"state must be one entry per layer, {len(network.layers)} in a list, got {type(state).__name__}"
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
    """One pass of a model. If it has one layer, every name of its :class:`LayerTrace` works on the trace itself.

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
        self._recalled: Recalled | None = None
        self._readout_steps = slice(0)
        if loss is not None:
            self._backward(loss)
        self.layers = [self._layer_trace(index) for index in range(len(run.tapes))]
        frames.call(self.hooks, self.passes)

    def _backward(self, loss: Loss | LossFunction) -> None:
        self.loss, first, grad = evaluate(loss, self.outputs, self._run.lengths)
        self._recalled = None if isinstance(loss, Loss) else Recalled(self.loss, grad)
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
        """Every layer and direction, from the input upward, forward before reverse."""
        return [one for layer in self.layers for one in (layer, layer.reverse) if one is not None]

    @property
    def outputs(self) -> Array:
        """The outputs y_t, ``(T, B, O)``, h_t for a bare cell; read-only, and zero beyond the end of a sequence."""
        return sequences_first(self._run.y)

    @property
    def overflow_step(self) -> int:
        """The first index at which any state of any sequence is not finite; 0 if there is none."""
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
        layers = counted(count, "layer")
        return layers if passes == count else f"{layers} and {passes} directions in all"

    def _where(self, name: str) -> str:
        """Return how to ask a layer for a name, and the other direction of those layers that have one."""
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
        """Return :meth:`LayerTrace.log_norm` in nats; "dL/dW_hy" and "dL/db_y" are quantities of the readout."""
        if name in ("dL/dW_hy", "dL/db_y") and self._run.network.readout is not None:
            array = self._readout_grads()[name.removeprefix("dL/d")]
            return float(log_norm(array.reshape(-1, 1), 0)[0])
        return self._only(f'log_norm("{name}")').log_norm(name)

    # --- verdict -------------------------------------------------------------------------------------

    def verdict(self, lag: int | None = None, *, rerun: bool = True) -> Verdict:
        """Return the verdict on the gradient: a word, the evidence, and a suggestion, printed as three lines.

        The suggestion has been tried: the same inputs, loss, initial state and lengths ran again through the model with
        that one change, up to a dozen times, and the line contains the layer's new rate. With several layers, each has
        its own three lines; ``.word`` is the most severe word, or MIXED if some vanish and others explode.

        If the interval of the rate is too wide for a word, the word may rest on λ₁, or on the gradient that is left
        after the whole span. The lines then contain this basis: ``−0.3 ± 4.1 nats/step; measured: 1 % of the gradient
        is left after 14 of the 59 steps``.

        Parameters
        ----------
        lag : number of steps that the gradient has to travel for the task; by default from the loss to the first input.
        rerun : whether to try the suggestion; False only names it.

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
        """Return the evidence of a layer after the same pass of a changed model; None if it cannot be changed."""
        if isinstance(self._loss, Recalled):
            return None  # such a loss is known at the saved outputs alone
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
        """Return the name of parameter ``key`` of a layer and direction; for a bare cell it is ``key`` itself."""
        return key if isinstance(self.model, Cell) else place_of(one.layer, one.direction) + key

    @property
    def scaled_param_grads(self) -> dict[str, tuple[Array, int]]:
        """:attr:`param_grads` as pairs ``(mantissa, exponent)``; mantissa · 2^exponent neither over- nor underflows."""
        parts = ((one, one.scaled_param_grads.items()) for one in self.passes)
        found = {self.parameter_name(one, key): pair for one, pairs in parts for key, pair in pairs}
        return found | {f"{READOUT}{key}": (array, 0) for key, array in self._readout_grads().items()}

    @cached_property
    def param_grads(self) -> dict[str, Array]:
        """Gradients of the batch-mean loss: ``W_hh`` for a cell, ``layers.0.W_hh``, ``readout.W_hy`` for a network."""
        with np.errstate(all="ignore"):
            return {name: ldexp(m, np.asarray(e)) for name, (m, e) in self.scaled_param_grads.items()}

    def param_contributions(self) -> dict[str, NDArray[np.float64]]:
        """Return ln of the norm of each step's part of the gradients of recurrent parameters, ``(T,)``, in nats."""
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
        schema.check_table(name, "sequences")
        cells = [frames.cell_row(one.cell, one.steps, self._run.y.shape[-1]) for one in self.passes]
        return frames.table_of(self._measured(self._with_gradients), name, cells)

    @cached_property
    def _with_gradients(self) -> list[Hook]:
        """The hooks of this pass, with one that measures the gradients if none does."""
        if self.loss is None or any(isinstance(hook, GradientsHook) for hook in self.hooks):
            return self.hooks
        added = GradientsHook()
        frames.call([added], self.passes)
        return [added, *self.hooks]

    def measured(self) -> dict[str, pd.DataFrame]:
        """Return the tables that the hooks measured: ``runs`` (one per layer and direction), ``steps`` and ``spectra``.

        Raises
        ------
        InputError
            for a hook whose ``table`` is unknown.
        """
        return self._measured(self.hooks)

    def _measured(self, hooks: Sequence[Hook]) -> dict[str, pd.DataFrame]:
        rows = [frames.run_row(*_at(one), mean_loss(self.loss), self.overflow_step) for one in self.passes]
        return frames.measured(hooks, rows)

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
        return plots.plot(self.passes, name, theory=theory, ax=ax, loss=mean_loss(self.loss))

    def save(self, path: str | Path) -> Path:
        """Write the trace as one file (npz and JSON, no pickle), which :func:`gradlab.load_trace` opens.

        Raises
        ------
        InputError
            for a custom cell, whose equations no file can hold.
        StoreError
            if the file cannot be written.
        """
        return files.save(Path(path), self.model, self._run, self._loss, self._recalled)

    def __repr__(self) -> str:
        return markup.plain(self._title, [(one.name, one.cell) for one in self.passes])

    def _repr_html_(self) -> str:
        """Return each layer and its verdict as HTML; the verdict only if it needs no further pass."""
        rows = [row for one in self.passes for row in ((one.name, one.cell), *(("", line) for line in one.describe()))]
        return markup.html(self._title, rows)

    @property
    def _title(self) -> str:
        T, O, B = self._run.y.shape
        loss = "no loss" if self.loss is None else f"mean loss {mean_loss(self.loss):.4g}"
        return f"Trace: T {T}, B {B}, O {O}, {loss}"


def load_trace(path: str | Path, *, hooks: Iterable[Hook | str] = ()) -> Trace:
    """Load a trace that :meth:`Trace.save` wrote; the file holds no code.

    Each step starts again from its stored h, and the loss is evaluated again, so every number is the same up to
    rounding. A loss that was a function is known only at the saved outputs, so a verdict tries no change.

    Parameters
    ----------
    path : the file.
    hooks : hooks that measure the pass, as for :func:`trace`.

    Raises
    ------
    StoreError
        for a file that cannot be read, or that holds no trace.
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
