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
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from gradlab.arrays.scaled import Scaled, ldexp, log_norm, reader, sequences_first
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

Array = NDArray[Any]
#: Quantities that every shipped cell has per step; another name may be a parameter's, whose norm is one number.
StateQuantity = Literal["dL/dh", "dL/dc", "adjoint", "last_adjoint", "direct", "dL/dx"]


class _Names(dict[str, Any]):
    """Arrays by name; a name that is not there is told apart from the ones that are."""

    def __missing__(self, name: str) -> Any:
        raise InputError(unknown("name", name, self))


@dataclass(frozen=True, eq=False)
class Place:
    """Where a segment lies in its pass: ``start`` steps were taken before, of ``steps``; ``ends (B,)`` as there.

    ``overflow_step (B,)`` is the pass's too.
    """

    start: int
    steps: int
    ends: NDArray[np.int64]
    overflow_step: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class LayerPass:
    """What one pass left in one layer and direction, or a segment of a pass, which starts where ``place`` says.

    A segment's arrays have the steps start + 1 … start + n. Its entry 0 of a state or gradient is the last one of the
    segment before, where what arrives from above is added; it is complete in the first segment alone.

    Attributes
    ----------
    layer : counted from 0 at the input.
    direction : "forward" or "reverse".
    tape : the states and records of the cell that ran.
    reverse : the same layer's other direction, or None.
    gradients : those of the loss; None of a pass without a loss.
    last : the gradients of the last loss step's loss alone; None where these are ``gradients``.
    above : how many layers lie above this one.
    batch_loss : whether the loss is one number of the whole batch, so that parameter gradients are its own and no mean.
    along : the axis of :meth:`rows` of unequal lengths: "lag", "t", or "" for one row per pair of both.
    place : where a segment of a longer pass lies; None of a whole pass.
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
        """How many steps of the pass the cell had taken before; 0 of a whole pass."""
        return 0 if self.place is None else self.place.start

    @property
    def steps(self) -> int:
        """T, the steps of the whole pass."""
        return self.tape.steps if self.place is None else self.place.steps

    @property
    def ends(self) -> NDArray[np.int64]:
        """Each sequence's last step in the whole pass, ``(B,)``."""
        return self.tape.ends if self.place is None else self.place.ends

    @property
    def own(self) -> NDArray[np.int64]:
        """The places of the states that are this segment's own: 1 … n, and 0 too where the pass begins."""
        return np.arange(1 if self.start else 0, self.tape.steps + 1)

    # --- forward ----------------------------------------------------------------------------------

    @property
    def cell(self) -> Cell:
        """The cell that ran."""
        return self.tape.cell

    @cached_property
    def states(self) -> dict[str, Array]:
        """The states by name, ``(T+1, B, H)``; beyond a sequence's own end a state stands still."""
        return self._named(self.cell.state_names, sequences_first, self.cell.split(self.tape.states))

    @cached_property
    def gates(self) -> dict[str, Array]:
        """The gates by name, ``(T, B, H)``; empty for a cell that has none."""
        if not self.cell.gate_names:
            return {}
        return self._blocks(self.cell.gate_names, self.tape.record["gates"])

    @cached_property
    def t(self) -> NDArray[np.int64]:
        """The true time step of every index, ``(T+1, B)``; the initial state is at 0 (reverse: one beyond the end)."""
        index, ends = self.start + np.arange(self.tape.steps + 1)[:, None], self.ends
        return np.broadcast_to(index, (len(index), len(ends))) if self.direction == "forward" else ends - index + 1

    @cached_property
    def lag(self) -> NDArray[np.int64]:
        """Steps to the sequence's own end, ``(T+1, B)``: T − t forward, t − 1 in reverse; negative beyond the end."""
        return self.ends - self.start - np.arange(self.tape.steps + 1)[:, None]

    @cached_property
    def jacobians(self) -> Jacobians:
        """J_t = ∂s_t/∂s_{t−1} of every step and sequence, as a view."""
        return Jacobians(self.tape)

    @cached_property
    def overflow_step(self) -> NDArray[np.int64]:
        """The first index at which a sequence's state is not finite, ``(B,)``; 0 where there is none."""
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
        """Total gradients dL/ds_t by state, ``(T+1, B, H)``: through all that is later, for c through h_t too."""
        return self._states_of(self._backward.total)

    @cached_property
    def adjoint(self) -> dict[str, Scaled]:
        """The joint adjoint δ_t by state, ``(T+1, B, H)``: as total, but δ's c-part holds h_t fixed."""
        return self._states_of(self._backward.adjoint)

    @cached_property
    def direct(self) -> dict[str, Scaled]:
        """What arrives at s_t with this layer's own recurrence cut, ``(T+1, B, H)``; in most passes only h receives."""
        arrived = self._backward.direct
        joint = np.zeros((len(arrived.mantissa), self.cell.state_size, arrived.mantissa.shape[-1]), self.cell.dtype)
        joint[:, : arrived.mantissa.shape[1]] = arrived.mantissa
        parts = self.cell.split(joint)
        return self._named(self.cell.state_names, lambda part: reader(part, arrived.exponent), parts)

    @cached_property
    def pre_grad(self) -> dict[str, Scaled]:
        """Gradients at the pre-activations, dL/da_f and so on, by gate, ``(T, B, H)``."""
        found = self._backward
        parts = self._blocks(self.cell.block_names, found.pre_grad)
        return {name: Scaled(part, found.exponent[1:]) for name, part in parts.items()}

    @cached_property
    def input_grad(self) -> Scaled:
        """dL/dx_t, ``(T, B, D)``, through this direction."""
        return reader(self._backward.input.mantissa, self._backward.input.exponent)

    @cached_property
    def scaled_param_grads(self) -> dict[str, tuple[Array, int]]:
        """:attr:`param_grads` as ``(mantissa, exponent)``: mantissa · 2^exponent neither over- nor underflows."""
        pairs, exponent = self._backward.pairs, self._backward.exponent[1:]
        found = parameter_gradients(pairs, exponent)
        return {name: (mantissa * self._of_the_mean, e) for name, (mantissa, e) in found.items()}

    @property
    def _of_the_mean(self) -> int:
        """How many times the mean over the sequences the loss is."""
        return self.tape.x.shape[-1] if self.batch_loss else 1

    @cached_property
    def param_grads(self) -> dict[str, Array]:
        """Gradients of the batch-mean loss (see ``batch_loss``) by parameter, plain arrays."""
        with np.errstate(all="ignore"):
            return {name: ldexp(m, np.asarray(e)) for name, (m, e) in self.scaled_param_grads.items()}

    def param_contributions(self) -> dict[str, NDArray[np.float64]]:
        """Return ln of the norm of each true step's part of a parameter's gradient, ``(T,)`` by parameter, in nats.

        Step t of all sequences together, as the gradient is the batch's; in the reverse direction too by the true t.
        """
        pairs, exponent = self._backward.pairs, self._backward.exponent[1:]
        if self.direction == "reverse":
            pairs = {name: [(self._by_t(a), self._by_t(b)) for a, b in factors] for name, factors in pairs.items()}
            exponent = self._by_t(exponent)
        times = np.log(self._of_the_mean)
        return {name: contribution_norms(factors, exponent) + times for name, factors in pairs.items()}

    def param_sensitivity(self, name: str = "W_hh") -> NDArray[np.float64]:
        """Return ln(‖∂ℓ/∂θ‖ / ‖∂ℓ/∂s‖) of each sequence, ``(B,)``, in nats: how far a parameter θ moves the state s.

        ℓ is the last loss step's loss, of one sequence, and s the state that it reads. Where W_hh = λI and φ is the
        identity, ``∂ℓ/∂W_hh = ∂ℓ/∂h ⊗ u`` with ``u_j = ∂h_j/∂λ_j``, so that this is ``ln‖u‖``.
        """
        found = self._last
        if name not in self.cell.parameters:
            raise InputError(unknown("parameter", name, self.cell.parameters))
        with np.errstate(invalid="ignore"):
            return np.asarray(sequence_norms(found.pairs[name], found.exponent[1:]) - self.from_loss()[0])

    def _by_t(self, of_steps: Array | None) -> Any:
        """Return ``(T, …, B)``, which the reverse direction ran from each one's own end, in the order of the true t."""
        if of_steps is None:
            return None
        index, ends = np.arange(self.tape.steps)[:, None], self.tape.ends
        order = np.where(index < ends, ends - 1 - index, index)
        wide = order.reshape(len(order), *(1,) * (of_steps.ndim - 2), -1)
        return np.take_along_axis(of_steps, wide, axis=0)

    # --- norms ------------------------------------------------------------------------------------

    @property
    def quantities(self) -> tuple[str, ...]:
        """The names that :meth:`log_norm` takes, but the parameters'."""
        totals = (f"dL/d{name}" for name in self.cell.state_names)
        gates = (f"dL/da_{name}" for name in self.cell.block_names)
        return ("adjoint", "last_adjoint", *totals, "direct", "dL/dx", *gates)

    @overload
    def log_norm(self, name: StateQuantity) -> NDArray[np.float64]: ...
    @overload
    def log_norm(self, name: str) -> Any: ...
    def log_norm(self, name: str) -> Any:
        """Return ln‖·‖ in nats, −inf for an exact zero, nan beyond a sequence's own end.

        Parameters
        ----------
        name : "dL/dh", "dL/dc" (total), "adjoint" (joint δ), "last_adjoint" (δ of the last loss step's loss alone),
            "direct": ``(T+1, B)``; "dL/dx", "dL/da_f" …: ``(T, B)``; "dL/dW_hh" …: a number.
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
        """Return a state quantity's :meth:`log_norm` by lag 0 … T, each sequence from its own end, ``(T+1, B)``."""
        return by_lag(self.log_norm(name), self.tape.ends)

    # --- long range -------------------------------------------------------------------------------

    def temporal(self) -> NDArray[np.float64]:
        """Return ln‖∂L_t/∂s_s‖, ``(T, T+1, B)``; see :func:`gradlab.jacobians.temporal.temporal`."""
        return temporal(self.tape, self._backward.direct)

    @property
    def last_adjoint(self) -> Columns:
        """δ of the last loss step's loss alone, from which the rate is taken, as columns ``(T+1, S, B)``."""
        return Columns(self._last.adjoint, self._last.exponent)

    def from_loss(self) -> NDArray[np.float64]:
        """Return ln‖δ‖ of the last loss step's loss by steps back from that step, ``(T+1, B)``; nan beyond the first.

        Where the loss reads a sequence's end this is :meth:`by_lag`. Where it reads an earlier step (in the reverse
        direction: does not read t = 1), nothing lies behind it, and those lags, exactly zero, are left out.
        """
        return self.decay.from_loss

    @cached_property
    def decay(self) -> Decay:
        """How ‖δ‖ fades on its way back; the rate, the shape and the horizon follow from it."""
        return Decay(self.by_lag(), self.tape.ends, self.overflow_step, self.above)

    def rate(self) -> Rate:
        """Return the mean per-step increment of ln‖δ‖ backward in time, with its 95 % interval (DESIGN §3)."""
        return self.decay.rate()

    def shape(self) -> Shape:
        """Return whether ‖δ‖ decays exponentially, by a power law, not at all, or down and up (analysis.shapes)."""
        return self.decay.shape

    def horizon(self, fraction: float = 0.01) -> Horizon:
        """Return after how many steps less than a fraction of ‖δ‖ at lag 1 is left: Kaplan–Meier over the sequences."""
        return self.decay.horizon(fraction)

    def rows(self, quantity: str, logs: NDArray[np.float64], indices: Array) -> dict[str, Any]:
        """Return columns of the ``steps`` table for ``logs (n, B)`` at the n positions ``indices`` (0 … T)."""
        where = {"layer": self.layer, "direction": self.direction}
        return where | step_rows(quantity, logs, self.t[indices], self.lag[indices], self.along)

    def profile(self, name: str) -> pd.DataFrame:
        """Return a quantity of :meth:`log_norm` by lag, each sequence from its own end, in the columns of ``steps``.

        A row is of the sequences that reach its lag, t that of the longest.
        """
        import pandas as pd

        logs = self.log_norm(name)
        over = replace(self, along="lag")
        return pd.DataFrame(over.rows(name, logs, np.arange(self.tape.steps + 1)[-len(logs) :]))

    # --- how arrays are named ----------------------------------------------------------------------

    @staticmethod
    def _named(names: Iterable[str], make: Callable[[Array], Any], parts: Iterable[Array]) -> dict[str, Any]:
        return _Names((name, make(part)) for name, part in zip(names, parts, strict=True))

    def _states_of(self, joint: Array) -> dict[str, Scaled]:
        exponent = self._backward.exponent
        return self._named(self.cell.state_names, lambda part: reader(part, exponent), self.cell.split(joint))

    def _blocks(self, names: tuple[str, ...], stacked: Array) -> dict[str, Array]:
        size = stacked.shape[-2] // len(names)
        return _Names((name, sequences_first(block(stacked, index, size))) for index, name in enumerate(names))

    @property
    def name(self) -> str:
        """Which layer and direction this is."""
        return f"layer {self.layer}, {self.direction}"
