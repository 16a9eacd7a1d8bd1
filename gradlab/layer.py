"""One layer in one direction after a pass, as data: its states, gradients, Jacobians, log norms and rate.

Hooks measure from it. What is asked of a layer beyond that, its verdict and its pictures, stands above the hooks in
:class:`gradlab._trace.facade.LayerTrace`.

Arrays are in the order in which the cell ran: index t, with the initial state at 0. An array per step has step t at
index t − 1. In the reverse direction that order starts at the sequence's end; tables carry the true t.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from gradlab.arrays.scaled import Array, Scaled, ldexp, log_norm, reader, sequences_first
from gradlab.bptt import Columns, Gradients, LastLoss, Tape, contribution_norms, parameter_gradients, sequence_norms
from gradlab.cells import Cell
from gradlab.cells.base import block
from gradlab.errors import InputError, unknown
from gradlab.jacobians.steps import Jacobians
from gradlab.jacobians.temporal import temporal
from gradlab.statistics.decay_shapes import Shape
from gradlab.statistics.profiles import step_rows
from gradlab.statistics.rates import Rate
from gradlab.statistics.survival import Horizon
from gradlab.verdicts.decay import Decay, by_lag

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")
#: Columns of a table of one quantity, by name: arrays of equal length, and numbers or text that hold for every row.
Row = dict[str, Array | str | int]
#: Quantities with one norm per step and sequence; other names may be a parameter's, whose norm is one number.
StateQuantity = Literal["dL/dh", "dL/dc", "adjoint", "last_adjoint", "direct", "dL/dx"]


class _Names(dict[str, T]):
    """Arrays by name; an unknown name raises an InputError that lists the known ones."""

    def __missing__(self, name: str) -> T:
        raise InputError(unknown("name", name, self))


@dataclass(frozen=True, eq=False)
class Place:
    """Position of a segment in its pass.

    Attributes
    ----------
    start : number of steps before the segment.
    steps : T, the steps of the whole pass.
    ends : the last step of each sequence in the whole pass, ``(B,)``.
    overflow_step : the first index in the whole pass at which a state is not finite, ``(B,)``; 0 if there is none.
    """

    start: int
    steps: int
    ends: NDArray[np.int64]
    overflow_step: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class LayerPass:
    """States and gradients of one layer and direction after a pass, or in one segment of a pass.

    A segment has the steps start + 1 … start + n. Its entry 0 of a state or gradient belongs to the segment before,
    which adds the gradient from above to it; so entry 0 is complete in the first segment alone.

    Attributes
    ----------
    layer : the layer, counted from 0 at the input.
    direction : "forward" or "reverse".
    tape : the states and records of the cell that ran.
    reverse : the other direction of the same layer, or None.
    gradients : the gradients of the loss; None after a pass without a loss.
    last : the gradients of the last loss step's loss alone; None if they equal ``gradients``.
    above : number of layers above this one.
    batch_loss : True if the loss is one number for the whole batch; parameter gradients are then not a batch mean.
    along : the axis of :meth:`rows` for sequences of unequal lengths: "lag", "t", or "" for one row per pair of both.
    place : the position of a segment in its pass; None for a whole pass.
    """

    layer: int
    direction: str
    tape: Tape = field(repr=False)
    reverse: LayerPass | None = field(default=None, repr=False)
    gradients: Gradients | None = field(default=None, repr=False)
    last: LastLoss | None = field(default=None, repr=False)
    above: int = 0
    batch_loss: bool = False
    along: str = ""
    place: Place | None = None

    # --- where in the pass ------------------------------------------------------------------------

    @property
    def start(self) -> int:
        """Number of steps of the pass before this segment; 0 for a whole pass."""
        return 0 if self.place is None else self.place.start

    @property
    def steps(self) -> int:
        """T, the steps of the whole pass."""
        return self.tape.steps if self.place is None else self.place.steps

    @property
    def ends(self) -> NDArray[np.int64]:
        """The last step of each sequence in the whole pass, ``(B,)``."""
        return self.tape.ends if self.place is None else self.place.ends

    @property
    def own(self) -> NDArray[np.int64]:
        """The indices of the states that this segment owns: 1 … n, and 0 too in the first segment."""
        return np.arange(1 if self.start else 0, self.tape.steps + 1)

    # --- forward ----------------------------------------------------------------------------------

    @property
    def cell(self) -> Cell:
        """The cell that ran."""
        return self.tape.cell

    @cached_property
    def states(self) -> dict[str, Array]:
        """The states by name, ``(T+1, B, H)``; a state is constant beyond the end of its sequence."""
        return self._named(self.cell.state_names, sequences_first, self.cell.split(self.tape.states))

    @cached_property
    def gates(self) -> dict[str, Array]:
        """The gates by name, ``(T, B, H)``; empty for a cell without gates."""
        if not self.cell.gate_names:
            return {}
        return self._blocks(self.cell.gate_names, self.tape.record["gates"])

    @cached_property
    def t(self) -> NDArray[np.int64]:
        """The true time step of every index, ``(T+1, B)``; the initial state has 0 (in reverse: one beyond the end)."""
        index, ends = self.start + np.arange(self.tape.steps + 1)[:, None], self.ends
        return np.broadcast_to(index, (len(index), len(ends))) if self.direction == "forward" else ends - index + 1

    @cached_property
    def lag(self) -> NDArray[np.int64]:
        """Steps to the end of each sequence, ``(T+1, B)``: T − t forward, t − 1 in reverse; negative beyond the end."""
        return self.ends - self.start - np.arange(self.tape.steps + 1)[:, None]

    @cached_property
    def jacobians(self) -> Jacobians:
        """The step Jacobians J_t = ∂s_t/∂s_{t−1} of every step and sequence, computed on demand."""
        return Jacobians(self.tape)

    @cached_property
    def overflow_step(self) -> NDArray[np.int64]:
        """The first index at which a state is not finite, ``(B,)``; 0 if there is none."""
        return self.tape.overflow_step() if self.place is None else self.place.overflow_step

    # --- backward ---------------------------------------------------------------------------------

    @property
    def _backward(self) -> Gradients:
        if self.gradients is None:
            raise InputError("this trace has no gradients; give gl.trace a loss")
        return self.gradients

    @property
    def _last(self) -> Gradients:
        """The gradients of the last loss step's loss alone."""
        whole = self._backward
        return whole if self.last is None else self.last.gradients(self.layer, self.direction)

    @cached_property
    def grad(self) -> dict[str, Scaled]:
        """Total gradients dL/ds_t by state, ``(T+1, B, H)``, through every later step; for c through h_t too."""
        return self._states_of(self._backward.total)

    @cached_property
    def adjoint(self) -> dict[str, Scaled]:
        """The joint adjoint δ_t by state, ``(T+1, B, H)``; unlike :attr:`grad`, its part for c holds h_t fixed."""
        return self._states_of(self._backward.adjoint)

    @cached_property
    def direct(self) -> dict[str, Scaled]:
        """Direct gradients by state, ``(T+1, B, H)``: this layer's recurrence is cut; mostly only h receives any."""
        arrived = self._backward.direct
        joint = np.zeros((len(arrived.mantissa), self.cell.state_size, arrived.mantissa.shape[-1]), self.cell.dtype)
        joint[:, : arrived.mantissa.shape[1]] = arrived.mantissa
        parts = self.cell.split(joint)
        return self._named(self.cell.state_names, lambda part: reader(part, arrived.exponent), parts)

    @cached_property
    def pre_grad(self) -> dict[str, Scaled]:
        """Gradients at the pre-activations by block, dL/da_f and so on, ``(T, B, H)``."""
        found = self._backward
        parts = self._blocks(self.cell.block_names, found.pre_grad)
        return {name: Scaled(part, found.exponent[1:]) for name, part in parts.items()}

    @cached_property
    def input_grad(self) -> Scaled:
        """Gradients dL/dx_t at the input, ``(T, B, D)``, through this direction alone."""
        return reader(self._backward.input.mantissa, self._backward.input.exponent)

    @cached_property
    def scaled_param_grads(self) -> dict[str, tuple[Array, int]]:
        """:attr:`param_grads` as pairs ``(mantissa, exponent)``; mantissa · 2^exponent neither over- nor underflows."""
        pairs, exponent = self._backward.pairs, self._backward.exponent[1:]
        found = parameter_gradients(pairs, exponent)
        return {name: (mantissa * self._of_the_mean, e) for name, (mantissa, e) in found.items()}

    @property
    def _of_the_mean(self) -> int:
        """Factor from the batch mean to the loss itself: B for a batch loss, else 1."""
        return self.tape.x.shape[-1] if self.batch_loss else 1

    @cached_property
    def param_grads(self) -> dict[str, Array]:
        """Gradients of the batch-mean loss by parameter, as plain arrays; of the loss itself if ``batch_loss``."""
        with np.errstate(all="ignore"):
            return {name: ldexp(m, np.asarray(e)) for name, (m, e) in self.scaled_param_grads.items()}

    def param_contributions(self) -> dict[str, NDArray[np.float64]]:
        """Return ln of the norm of each step's part of a parameter's gradient, ``(T,)`` by parameter, in nats.

        One part covers step t of all sequences, because the gradient belongs to the batch. Index t − 1 is the true
        step t in both directions.
        """
        pairs, exponent = self._backward.pairs, self._backward.exponent[1:]
        if self.direction == "reverse":
            pairs = {
                name: [(self._by_t(a), None if b is None else self._by_t(b)) for a, b in factors]
                for name, factors in pairs.items()
            }
            exponent = self._by_t(exponent)
        times = np.log(self._of_the_mean)
        return {name: contribution_norms(factors, exponent) + times for name, factors in pairs.items()}

    def param_sensitivity(self, name: str = "W_hh") -> NDArray[np.float64]:
        """Return ln(‖∂ℓ/∂θ‖ / ‖∂ℓ/∂s‖) of each sequence, ``(B,)``, in nats: how far a parameter θ moves the state s.

        ℓ is the loss of one sequence at the last loss step, and s is the state that ℓ reads. If W_hh = λI and φ is the
        identity, then ``∂ℓ/∂W_hh = ∂ℓ/∂h ⊗ u`` with ``u_j = ∂h_j/∂λ_j``, and the result is ``ln‖u‖``.

        Raises
        ------
        InputError
            for a parameter that the cell does not have, or a pass without a loss.
        """
        found = self._last
        if name not in self.cell.parameters:
            raise InputError(unknown("parameter", name, self.cell.parameters))
        with np.errstate(invalid="ignore"):
            return np.asarray(sequence_norms(found.pairs[name], found.exponent[1:]) - self.from_loss()[0])

    def _by_t(self, of_steps: Array) -> Array:
        """Return ``(T, …, B)`` of the reverse direction, which starts at a sequence's end, in order of the true t."""
        index, ends = np.arange(self.tape.steps)[:, None], self.tape.ends
        order = np.where(index < ends, ends - 1 - index, index)
        wide = order.reshape(len(order), *(1,) * (of_steps.ndim - 2), -1)
        return np.asarray(np.take_along_axis(of_steps, wide, axis=0))

    # --- norms ------------------------------------------------------------------------------------

    @property
    def quantities(self) -> tuple[str, ...]:
        """The names that :meth:`log_norm` takes, except those of parameters."""
        totals = (f"dL/d{name}" for name in self.cell.state_names)
        gates = (f"dL/da_{name}" for name in self.cell.block_names)
        return ("adjoint", "last_adjoint", *totals, "direct", "dL/dx", *gates)

    @overload
    def log_norm(self, name: StateQuantity) -> NDArray[np.float64]: ...
    @overload
    def log_norm(self, name: str) -> Any: ...
    def log_norm(self, name: str) -> Any:
        """Return the log norm ln‖·‖ of a gradient in nats.

        Parameters
        ----------
        name : a quantity. "dL/dh" and "dL/dc" are total gradients, "adjoint" is the joint δ, "last_adjoint" is δ of the
            last loss step's loss alone, "direct" is the direct gradient. "dL/dx" and "dL/da_f" … are the gradients at
            the input and at the pre-activations, "dL/dW_hh" … those of the parameters.

        Returns
        -------
        array or float
            ``(T+1, B)`` for states, ``(T, B)`` for the input and pre-activations, one float for a parameter. An exact
            zero has −inf; steps beyond the end of a sequence have nan.

        Raises
        ------
        InputError
            for an unknown name, or a pass without a loss.
        """
        parameters = {f"dL/d{key}": key for key in self.cell.parameters}
        if name in parameters:
            mantissa, exponent = self.scaled_param_grads[parameters[name]]
            return float(log_norm(mantissa.reshape(-1, 1), exponent)[0])
        if name not in self.quantities:
            raise InputError(unknown("quantity", name, (*self.quantities, *parameters)))
        logs = self._log_norm(name)
        beyond = self.lag[-len(logs) :] < 0
        return np.where(beyond, np.nan, logs) if beyond.any() else logs

    def _log_norm(self, name: str) -> NDArray[np.float64]:
        if name in ("adjoint", "last_adjoint"):
            found = self._backward if name == "adjoint" else self._last
            return log_norm(found.adjoint, found.exponent)
        if name == "direct":
            return self._backward.direct.log_norm()
        if name == "dL/dx":
            return self._backward.input.log_norm()
        if name.startswith("dL/da_"):
            return self.pre_grad[name.removeprefix("dL/da_")].log_norm()
        return self.grad[name.removeprefix("dL/d")].log_norm()

    def by_lag(self, name: str = "last_adjoint") -> NDArray[np.float64]:
        """Return :meth:`log_norm` of a state's quantity by lag 0 … T from each sequence's own end, ``(T+1, B)``."""
        return by_lag(self.log_norm(name), self.tape.ends)

    # --- long range -------------------------------------------------------------------------------

    def temporal(self) -> NDArray[np.float64]:
        """Return ln‖∂L_t/∂s_s‖ in nats, ``(T, T+1, B)``; see :func:`gradlab.jacobians.temporal.temporal`."""
        return temporal(self.tape, self._backward.direct)

    @property
    def last_adjoint(self) -> Columns:
        """The joint adjoint δ of the last loss step's loss alone, columns ``(T+1, S, B)``; the source of the rate."""
        return Columns(self._last.adjoint, self._last.exponent)

    def from_loss(self) -> NDArray[np.float64]:
        """Return ln‖δ‖ of the last loss step's loss by steps back from that step, ``(T+1, B)``, in nats.

        If the loss reads the end of a sequence, this equals :meth:`by_lag`. If it reads an earlier step, the lags after
        that step are exactly zero and are left out. Entries beyond the first state are nan.
        """
        return self.decay.from_loss

    @cached_property
    def decay(self) -> Decay:
        """The decay of ‖δ‖ backward in time; the rate, the shape and the horizon follow from it."""
        return Decay(self.by_lag(), self.tape.ends, self.overflow_step, self.above)

    def rate(self) -> Rate:
        """Return the mean increment of ln‖δ‖ per step backward in time, in nats, with its 95 % interval."""
        return self.decay.rate()

    def shape(self) -> Shape:
        """Return the shape of the decay of ‖δ‖: exponential, power law, none, or down and up."""
        return self.decay.shape

    def horizon(self, fraction: float = 0.01) -> Horizon:
        """Return the lag at which ‖δ‖ falls below a fraction of its value at lag 1: Kaplan–Meier over the sequences."""
        return self.decay.horizon(fraction)

    def rows(self, quantity: str, logs: NDArray[np.float64], indices: Array) -> Row:
        """Return the columns of the ``steps`` table for one quantity.

        Parameters
        ----------
        quantity : str
            The name of the quantity.
        logs : array (n, B)
            Its logarithms in nats.
        indices : array of int (n,)
            The states to which the logarithms belong: :attr:`own` or some of them.

        Raises
        ------
        InputError
            for another number of indices than of logarithms, and for a state that the segment does not own.
        """
        if len(logs) != len(indices):
            raise InputError(f'rows of "{quantity}": got {len(logs)} rows for {len(indices)} indices of segment.own')
        if self.start and 0 in indices:
            raise InputError(
                f'rows of "{quantity}": index 0 is a state that the segment before owns; measure the states '
                "segment.own alone"
            )
        return self._rows(quantity, logs, indices)

    def _rows(self, quantity: str, logs: NDArray[np.float64], indices: Array) -> Row:
        where: Row = {"layer": self.layer, "direction": self.direction}
        return where | step_rows(quantity, logs, self.t[indices], self.lag[indices], self.along)

    def profile(self, name: str) -> pd.DataFrame:
        """Return a quantity of :meth:`log_norm` by lag from each sequence's own end, with the columns of ``steps``.

        One row covers the sequences that reach its lag; ``t`` is that of the longest sequence.
        """
        import pandas as pd

        logs = self.log_norm(name)
        over = replace(self, along="lag")
        return pd.DataFrame(over._rows(name, logs, np.arange(self.tape.steps + 1)[-len(logs) :]))

    # --- how arrays are named ----------------------------------------------------------------------

    @staticmethod
    def _named(names: Iterable[str], make: Callable[[Array], T], parts: Iterable[Array]) -> dict[str, T]:
        return _Names((name, make(part)) for name, part in zip(names, parts, strict=True))

    def _states_of(self, joint: Array) -> dict[str, Scaled]:
        exponent = self._backward.exponent
        return self._named(self.cell.state_names, lambda part: reader(part, exponent), self.cell.split(joint))

    def _blocks(self, names: tuple[str, ...], stacked: Array) -> dict[str, Array]:
        size = stacked.shape[-2] // len(names)
        return _Names((name, sequences_first(block(stacked, index, size))) for index, name in enumerate(names))

    @property
    def name(self) -> str:
        """The layer and direction as text: ``layer 0, forward``."""
        return f"layer {self.layer}, {self.direction}"
