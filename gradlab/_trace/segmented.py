"""A pass too long to keep: the measurements of its hooks, its loss, and the gradients of its parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from gradlab import schema
from gradlab._trace.facade import LayerTrace
from gradlab.arrays.scaled import Array, ldexp
from gradlab.bptt import Gradients, Segment, SegmentedRun
from gradlab.cells import Cell
from gradlab.errors import InputError
from gradlab.formatting import markup
from gradlab.formatting.numbers import estimate
from gradlab.hooks import Hook, Info, frames
from gradlab.layer import Place
from gradlab.models.losses import Reading, mean_loss
from gradlab.models.network import READOUT, Network, cells_of, place_of
from gradlab.schema import DIRECTIONS
from gradlab.verdicts.verdict import Verdict, together

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Share of the free memory that the arrays of a pass may take; :func:`layer_numbers` counts them.
SHARE = 0.5
#: Bytes of a segment by default: few enough to leave memory free, many enough to make NumPy's calls efficient.
ROOM = 2**24
#: Bytes that a whole pass may take without a look at the free memory, which takes as long as some steps.
UNASKED = 2**26
#: The hook that measures what a whole trace would answer.
GRADIENTS = (
    *("rate", "shape", "horizon", "verdict", "evidence", "word", "log_norm", "by_lag", "from_loss", "profile"),
    *("quantities", "describe"),
)
HOOKS = {
    **dict.fromkeys(GRADIENTS, "gradients"),
    "jacobians": "jacobians:all",
    "gates": "gates",
    "spectrum": "lyapunov:k",
    "paths": "paths",
    "param_contributions": "contributions",
}
#: Questions that need all steps at once.
WHOLE = (
    "propagator",
    "propagator_norms",
    "temporal",
    "sensitivity",
    "truncation",
    "save",
    "layers",
    "passes",
    "reverse",
)


class NotKept(InputError, AttributeError):
    """A question that needs a whole pass, asked of a trace that kept segments: ``hasattr`` is False for it."""


class SegmentedTrace:
    """A pass that kept one segment at a time: loss, parameter gradients, and the measurements of its hooks.

    Every other question to a :class:`Trace` raises an InputError that names the hook that answers it.

    Attributes
    ----------
    model : the cell or network that ran.
    loss : ``(B,)`` or None.
    hooks : the hooks that measured this pass, segment by segment.
    segment_length : number of steps of a segment.
    """

    def __init__(
        self, model: Cell | Network, run: SegmentedRun, reading: Reading | None, hooks: list[Hook], segment_length: int
    ) -> None:
        self.model, self.hooks, self.segment_length = model, hooks, segment_length
        self._run = run
        self._network = run.network
        layers = [(*_named(place), self._cell(place)) for place in run.places]
        info = Info(layers, run.steps, run.batch, whole=False)
        for hook in hooks:
            hook.begin(info)
        for segment in run.forward():
            for hook in hooks:
                hook.forward(self._layer(segment))
        self.loss: Array | None = None if reading is None else reading.value
        if hooks or reading is not None:
            for segment in run.backward():
                for hook in hooks:
                    hook.segment(self._layer(segment))
        run.let_go()

    def _cell(self, place: tuple[int, int]) -> Cell:
        return cells_of(self._network.layers[place[0]])[place[1]]

    def _layer(self, segment: Segment) -> LayerTrace:
        layer, direction = _named(segment.place)
        run = self._run
        return LayerTrace(
            layer=layer,
            direction=direction,
            tape=segment.tape,
            gradients=segment.gradients,
            last=None if segment.last is None else _Known(segment.last),
            above=len(self._network.layers) - 1 - layer,
            place=Place(segment.start, run.steps, run.ends, run.overflow[segment.place]),
        )

    @property
    def overflow_step(self) -> int:
        """The first index at which any state of any sequence is not finite; 0 if there is none."""
        found = np.concatenate(list(self._run.overflow.values()))
        return int(found[found > 0].min()) if found.any() else 0

    # --- parameters --------------------------------------------------------------------------------

    @property
    def scaled_param_grads(self) -> dict[str, tuple[Array, int]]:
        """:attr:`param_grads` as pairs ``(mantissa, exponent)``; mantissa · 2^exponent neither over- nor underflows."""
        if self.loss is None:
            raise InputError("this trace has no gradients; give gl.trace a loss")
        bare = isinstance(self.model, Cell)
        parts = self._run.param_grads.items()
        found = {
            key if bare else place_of(*_named(place)) + key: pair for place, own in parts for key, pair in own.items()
        }
        return found | {f"{READOUT}{key}": (array, 0) for key, array in self._run.readout_grads.items()}

    @cached_property
    def param_grads(self) -> dict[str, Array]:
        """Gradients of the batch-mean loss: ``W_hh`` for a cell, ``layers.0.W_hh``, ``readout.W_hy`` for a network."""
        with np.errstate(all="ignore"):
            return {name: ldexp(m, np.asarray(e)) for name, (m, e) in self.scaled_param_grads.items()}

    # --- tables ------------------------------------------------------------------------------------

    def measured(self) -> dict[str, pd.DataFrame]:
        """Return the tables that the hooks measured, as :meth:`Trace.measured` does."""
        rows = [frames.run_row(*_named(place), mean_loss(self.loss), self.overflow_step) for place in self._run.places]
        return frames.measured(self.hooks, rows)

    def frame(self, name: str = "runs") -> pd.DataFrame:
        """Return one table of the hooks' measurements, as :meth:`Trace.frame` does; no hook is added.

        Raises
        ------
        InputError
            If there is no such table.
        """
        run = self._run
        cells = [frames.cell_row(self._cell(place), run.steps, run.batch) for place in run.places]
        return frames.table_of(self.measured(), name, cells)

    def plot(self, name: str | Sequence[str] | None = None, *, ax: Axes | None = None) -> Figure:
        """Plot the total gradient over the lag, or what is named, if the hooks measured it; see :meth:`Trace.plot`.

        Raises
        ------
        InputError
            If there is no such figure, or no hook measured what it shows.
        """
        from gradlab import figures

        tables = {table: self.frame(table) for table in schema.TABLES}
        return figures.draw("dL/dh" if name is None else name, tables, ax=ax)

    def verdict(self) -> Verdict:
        """Return the word and the rate of each layer and direction, which the hook "gradients" measured.

        Raises
        ------
        InputError
            If there was no such hook.
        """
        runs = self.frame("runs")
        if (runs["verdict"] == "").any():
            self._refuse("verdict")
        parts = [
            (
                f"layer {row['layer']} {row['direction']}",
                Verdict(
                    row["verdict"],
                    f"{estimate(row['rate'], row['rate_low'], row['rate_high'])} nats/step",
                    f"mean of {row['window']} increments, of the gradient alone; a whole trace adds the exponents",
                ),
            )
            for row in runs.to_dict("records")
        ]
        return together(parts) if len(parts) > 1 else parts[0][1]

    # --- questions that need a whole pass -------------------------------------------------------------------------

    def __getattr__(self, name: str) -> NoReturn:
        """Raise an InputError that names how to get what a whole :class:`Trace` would answer, else AttributeError."""
        if name.startswith("_") or not (hasattr(LayerTrace, name) or name in HOOKS or name in (*WHOLE, "outputs")):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        self._refuse(name)

    def _refuse(self, name: str) -> NoReturn:
        every = f"this trace kept no more than the states at every {self.segment_length} steps (segment_length)"
        if name in WHOLE:
            raise NotKept(f'{every}, and "{name}" needs all steps at once; give segment_length={self._run.steps}')
        own = f"a gl.Hook whose segment(segment) reads segment.{name}"
        source = f'the hook "{HOOKS[name]}", or {own}' if name in HOOKS else own
        raise NotKept(f'{every}, so it has no "{name}"; give gl.trace {source}')

    def __repr__(self) -> str:
        return markup.plain(*self._shown())

    def _repr_html_(self) -> str:
        return markup.html(*self._shown())

    def _shown(self) -> tuple[str, list[tuple[str, object]]]:
        loss = "no loss" if self.loss is None else f"mean loss {mean_loss(self.loss):.4g}"
        title = f"SegmentedTrace: T {self._run.steps}, B {self._run.batch}, segments of {self.segment_length}, {loss}"
        return title, [(f"layer {p[0]}, {DIRECTIONS[p[1]]}", self._cell(p)) for p in self._run.places]


def _named(place: tuple[int, int]) -> tuple[int, str]:
    return place[0], DIRECTIONS[place[1]]


@dataclass(frozen=True, eq=False)
class _Known:
    """A `LastLoss` of one segment, whose gradients are computed already."""

    found: Gradients

    def gradients(self, layer: int, direction: str) -> Gradients:
        return self.found

    def needs_pass(self, direction: str) -> bool:
        return False


def layer_numbers(cell: Cell) -> int:
    """Return how many numbers a whole pass keeps per step and sequence in one layer and direction.

    These are the pre-activations and gates, the states, their adjoints, and with several states their total gradients;
    then the gradients at the pre-activations, the direct gradient at h, and that of a loss read at every step.
    """
    k, s = max(len(cell.block_names), 1), len(cell.state_names)
    return (3 * k + (3 * s if s > 1 else 2) + 1) * cell.hidden_size


def chosen_length(network: Network, steps: int, batch: int, free_memory: Callable[[], float | None]) -> int:
    """Return the number of steps of a segment: all if the whole pass fits into the free memory, else about ``ROOM``.

    A small pass is kept whole without a look at the free memory.
    """
    numbers = sum(layer_numbers(cell) for layer in network.layers for cell in cells_of(layer)) + 4 * network.input_size
    bytes = numbers * batch * network.dtype.itemsize
    free = None if bytes * steps <= UNASKED else free_memory()
    if free is None or bytes * steps <= SHARE * free:
        return steps
    return int(np.clip(min(ROOM, SHARE * free) // bytes, 1, steps))
