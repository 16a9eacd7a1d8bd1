"""A pass in bounded memory: only the states at the starts of segments are kept, and each segment runs again.

The pass runs forward one segment at a time, then backward one segment at a time, from the adjoint at the later
neighbour's start. Segments are stretches of true time, the same for every layer and direction, so one at a time is in
memory. Each segment is computed by :func:`forward` and :func:`backward`, as a whole pass is.

References
----------
Griewank & Walther 2000, *ACM Transactions on Mathematical Software* 26(1), 19–45: checkpointing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from gradlab.arrays.scaled import Array, ldexp, sequences_first
from gradlab.bptt.backward import Arriving, Columns, Gradients, backward, parameter_gradients
from gradlab.bptt.forward import Tape, forward
from gradlab.bptt.last_loss import last_steps
from gradlab.bptt.layers import Lengths, _after_nothing, _ended, _input_grad, output_of, turned
from gradlab.models.losses import Reading
from gradlab.models.network import Network, cells_of

#: A layer, and 0 for its forward, 1 for its reverse direction.
Place = tuple[int, int]
#: mantissa · 2^exponent
Number = tuple[Array, int]
Made = TypeVar("Made")


@dataclass(frozen=True, eq=False)
class Segment:
    """One layer and direction over some steps.

    Attributes
    ----------
    place : tuple of int
        Layer, and 0 for its forward or 1 for its reverse direction.
    start : int
        Number of steps that the cell took before these.
    tape : Tape
        The forward pass of the segment.
    gradients : Gradients, optional
        Its backward pass; None on the way forward and without a loss.
    last : Gradients, optional
        The same for the last loss step's loss alone.
    """

    place: Place
    start: int
    tape: Tape
    gradients: Gradients | None = None
    last: Gradients | None = None


class SegmentedRun:
    """A network's pass over T steps in segments of n: first :meth:`forward`, then :meth:`backward`, each once.

    Attributes
    ----------
    places : list of tuples
        Layers and directions, bottom up, forward before reverse.
    param_grads : dict
        After the backward pass, per place the gradients of the batch-mean loss by name, as mantissa and exponent.
    readout_grads : dict of arrays
        The same for the readout, as plain arrays.
    overflow : dict of int arrays (B,)
        Per place the first index at which a sequence's state is not finite; 0 if all are finite.
    """

    def __init__(
        self,
        network: Network,
        x: Callable[[slice], Array],
        initial: Sequence[Sequence[Array]],
        lengths: Lengths,
        steps: int,
        length: int,
        reading: Reading | None,
        *,
        last: bool = True,
    ) -> None:
        self.network, self._x, self._lengths, self._reading = network, x, lengths, reading
        self.steps, self.stretches = steps, [slice(a, min(a + length, steps)) for a in range(0, steps, length)]
        self._both = [len(cells_of(layer)) > 1 for layer in network.layers]
        self.places = places = [(index, place) for index, both in enumerate(self._both) for place in range(1 + both)]
        self.batch = initial[0][0].shape[-1]
        first = {0: 0, 1: len(self.stretches) - 1}
        #: Initial states of each segment; adjoints of its last states, by name in `_sources`.
        self._states = {(p, first[p[1]]): initial[p[0]][p[1]] for p in places}
        self._adjoints: dict[tuple[str, Place, int], Columns] = {}
        self._alone: dict[str, NDArray[np.int64] | None] = {"whole": None}
        self._with_last, self._at, self._cache = last, -1, dict[Any, Any]()
        self.overflow = {p: np.zeros(self.batch, np.int64) for p in places}
        self.param_grads: dict[Place, dict[str, Number]] = {p: {} for p in places}
        self.readout_grads: dict[str, Array] = {}

    @property
    def ends(self) -> NDArray[np.int64]:
        """Each sequence's last step, ``(B,)``."""
        return np.full(self.batch, self.steps) if self._lengths is None else self._lengths

    def let_go(self) -> None:
        """Drop everything that only further steps would need."""
        self._states, self._adjoints, self._cache, self._at = {}, {}, {}, -1
        self._reading = None

    # --- in which order ---------------------------------------------------------------------------

    def _sweeps(self) -> list[list[Place]]:
        """Return the groups of places that run through time together, bottom up.

        Neighbouring layers with one direction form a group; each direction of a layer with two is a group.
        """
        sweeps: list[list[Place]] = []
        for index, both in enumerate(self._both):
            if index and not both and not self._both[index - 1]:
                sweeps[-1].append((index, 0))
            else:
                sweeps += [[(index, place)] for place in range(1 + both)]
        return sweeps

    def _order(self, place: int) -> list[int]:
        """Return the segments in the order in which a direction runs."""
        return list(range(len(self.stretches)))[:: -1 if place else 1]

    def _within(self, k: int) -> Lengths:
        """Return the number of steps of segment k that each sequence takes, ``(B,)``."""
        if self._lengths is None:
            return None
        steps = self.stretches[k]
        return np.clip(self._lengths - steps.start, 0, steps.stop - steps.start)

    def _start(self, place: Place, k: int) -> int:
        return self.steps - self.stretches[k].stop if place[1] else self.stretches[k].start

    def _once(self, k: int, key: Any, make: Callable[[], Made]) -> Made:
        """Return a cached value of segment k; the cache of any other segment is dropped."""
        if self._at != k:
            self._at, self._cache = k, {}
        if key not in self._cache:
            self._cache[key] = make()
        found: Made = self._cache[key]
        return found

    # --- forward ----------------------------------------------------------------------------------

    def forward(self) -> Iterator[Segment]:
        """Yield every segment on the way forward, bottom up; afterwards the loss is known."""
        sweeps = self._sweeps()
        for sweep in sweeps:
            for k in self._order(sweep[0][1]):
                for place in sweep:
                    tape = self._tape(place, k)
                    self._note(place, k, tape)
                    yield Segment(place, self._start(place, k), tape)
                if sweep is sweeps[-1] and self._reading is not None:
                    self._reading.show(self.stretches[k], sequences_first(self._y(k)))

    def _note(self, place: Place, k: int, tape: Tape) -> None:
        found, start = tape.overflow_step(), self._start(place, k)
        overflow = self.overflow[place]
        overflow[...] = np.where((overflow == 0) & (found > 0), start + found, overflow)
        self._states[place, k + (-1 if place[1] else 1)] = tape.states[-1].copy()  # a view would keep them all

    def _tape(self, place: Place, k: int) -> Tape:
        return self._once(k, ("tape", place), lambda: self._run(place, k))

    def _run(self, place: Place, k: int) -> Tape:
        index, reverse = place
        inputs = self._sequence(index, k)
        if reverse:
            inputs = turned(inputs, None)
        return forward(cells_of(self.network.layers[index])[reverse], inputs, self._states[place, k], self._within(k))

    def _sequence(self, index: int, k: int) -> Array:
        """Return the inputs of layer ``index`` in segment k, in order of time, ``(n, D, B)``."""
        if not index:
            return self._once(k, "x", lambda: self._x(self.stretches[k]))
        return self._once(k, ("below", index), lambda: output_of(self._pair(index - 1, k), None))

    def _pair(self, index: int, k: int) -> list[Tape]:
        return [self._tape((index, place), k) for place in range(1 + self._both[index])]

    def _a_and_y(self, k: int) -> tuple[Array | None, Array]:
        """Return the readout's pre-activations and the outputs in segment k, ``(n, O, B)``."""
        top, readout = self._sequence(len(self._both), k), self.network.readout
        with np.errstate(all="ignore"):
            a, y = (None, top) if readout is None else readout.forward(top)
        return a, _ended(y, self._within(k))

    def _y(self, k: int) -> Array:
        return self._once(k, "y", lambda: self._a_and_y(k))[1]

    # --- backward ---------------------------------------------------------------------------------

    def backward(self) -> Iterator[Segment]:
        """Yield every segment on the way back, top down; without a loss these have no gradients."""
        sources = self._sources()
        for sweep in reversed(self._sweeps()):
            for k in self._order(1 - sweep[0][1]):
                for place in reversed(sweep):
                    yield self._segment(place, k, sources)

    def _sources(self) -> list[str]:
        """Return the names of the gradients to carry: of the whole loss, and of each direction's last loss step."""
        if self._reading is None:
            return []
        if self._with_last:
            for place in range(1 + any(self._both)):
                step = last_steps(self._reading.arrives, reverse=place == 1)
                if step is not None:
                    self._alone[f"last {place}"] = step
        return list(self._alone)

    def _segment(self, place: Place, k: int, sources: Sequence[str]) -> Segment:
        tape, start = self._tape(place, k), self._start(place, k)
        if not sources:
            return Segment(place, start, tape)
        found = {source: self._gradients(source, place, k) for source in sources}
        whole = found["whole"]
        own = self.param_grads[place]
        for name, gradient in parameter_gradients(whole.pairs, whole.exponent[1:]).items():
            own[name] = _sum(own.get(name), gradient)
        if place == (len(self._both) - 1, 0):
            self._add_readout(k)
        return Segment(place, start, tape, whole, found.get(f"last {place[1]}", whole))

    def _gradients(self, source: str, place: Place, k: int) -> Gradients:
        return self._once(k, (source, place), lambda: self._back(source, place, k))

    def _back(self, source: str, place: Place, k: int) -> Gradients:
        """Return the gradients in segment k; store the adjoint of its first state for the earlier segment."""
        tape, direct = self._tape(place, k), _after_nothing(self._arriving(source, place, k))
        later = self._adjoints.get((source, place, k))
        found = backward(tape, Arriving.everywhere(direct if later is None else _with(direct, later)))
        earlier = k + (1 if place[1] else -1)
        self._adjoints[source, place, earlier] = Columns(found.adjoint[0].copy(), found.exponent[0].copy())
        return replace(found, arriving=Arriving.everywhere(direct))

    def _arriving(self, source: str, place: Place, k: int) -> Columns:
        """Return the gradients that arrive from above at h of this direction, in the order in which it runs."""
        index, reverse = place
        whole = self._once(k, (source, "above", index), lambda: self._from_above(source, index, k))
        H = cells_of(self.network.layers[index])[0].hidden_size
        mine = Columns(whole.mantissa[:, reverse * H : (reverse + 1) * H], whole.exponent)
        return Columns(turned(mine.mantissa, None), turned(mine.exponent, None)) if reverse else mine

    def _from_above(self, source: str, index: int, k: int) -> Columns:
        if index == len(self._both) - 1:
            return Columns.of(self._top(source, k)[0])
        above = [self._gradients(source, (index + 1, place), k) for place in range(1 + self._both[index + 1])]
        return _input_grad(above, None)

    def _top(self, source: str, k: int) -> tuple[Array, Array | None]:
        """Return dL/dh of the top sequence in segment k, ``(n, H, B)``, and dL/da of the readout."""
        return self._once(k, (source, "top"), lambda: self._through_readout(self._loss_grad(source, k), k))

    def _loss_grad(self, source: str, k: int) -> Array:
        assert self._reading is not None
        steps, only = self.stretches[k], self._alone[source]
        grad = self._reading.grad(steps, sequences_first(self._y(k)))
        if only is not None:
            here = np.arange(steps.start + 1, steps.stop + 1)[:, None] == only
            grad = np.where(here[..., None], grad, 0.0).astype(grad.dtype)
        return np.ascontiguousarray(np.swapaxes(grad, 1, 2))

    def _through_readout(self, grad: Array, k: int) -> tuple[Array, Array | None]:
        if self.network.readout is None:
            return grad, None
        a = self._once(k, "y", lambda: self._a_and_y(k))[0]
        assert a is not None
        with np.errstate(all="ignore"):
            return self.network.readout.vjp(a, self._y(k), grad)

    def _add_readout(self, k: int) -> None:
        grad = self._top("whole", k)[1]
        if grad is not None:
            found = readout_gradients(grad, self._sequence(len(self._both), k))
            for name, array in found.items():
                self.readout_grads[name] = self.readout_grads.get(name, 0.0) + array


def readout_gradients(pre_grad: Array, h: Array) -> dict[str, Array]:
    """Return the readout's parameter gradients of the batch mean, for dL/da ``(T, O, B)`` and ``h (T, H, B)``."""
    batch = pre_grad.shape[-1]
    with np.errstate(all="ignore"):
        weights = np.tensordot(pre_grad, h, ((0, 2), (0, 2))) / batch
        return {"W_hy": weights, "b_y": pre_grad.sum(axis=(0, 2)) / batch}


def _with(direct: Columns, later: Columns) -> Columns:
    """Return ``direct (n+1, H, B)`` plus, at its end, the adjoint ``(S, B)`` of the later segment's first state."""
    n, H, B = direct.mantissa.shape
    mantissa, exponent = np.zeros((n, len(later.mantissa), B), direct.mantissa.dtype), direct.exponent.copy()
    mantissa[:, :H] = direct.mantissa
    total = Columns(mantissa[-1], exponent[-1]).plus(later)
    mantissa[-1], exponent[-1] = total.mantissa, total.exponent
    return Columns(mantissa, exponent)


def _sum(one: Number | None, two: Number) -> Number:
    """Return the sum of two arrays with an exponent each, on the larger exponent."""
    if one is None or not one[0].any():
        return two
    if not two[0].any():
        return one
    highest = max(one[1], two[1])
    with np.errstate(all="ignore"):
        first, second = (ldexp(array, np.asarray(e - highest)) for array, e in (one, two))
        return first + second, highest


def continued(tape: Tape | None, done: int, after: Tape) -> Tape:
    """Return one tape with the steps of ``tape`` from ``done`` on, followed by those of ``after``."""
    if tape is None or done == tape.steps:
        return after
    joined = {name: np.concatenate([array[done:], after.record[name]]) for name, array in tape.record.items()}
    return Tape(
        tape.cell,
        np.concatenate([tape.x[done:], after.x]),
        np.concatenate([tape.states[done:], after.states[1:]]),
        joined,
        None,
    )
