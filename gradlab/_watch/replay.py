"""A call of another library's recurrent layers, run again: what was seen at its ends is enough for all in between.

Given a module's inputs, weights and first states, and the gradients that arrived at its outputs and last states, the
exact backward pass gives the gradient of every state, gate and input. What a layer put out is at once the check and
the states from which each step is taken again, so that rounding cannot grow from step to step.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradlab._trace.facade import LayerTrace
from gradlab.bptt import (
    Arriving,
    Columns,
    Gradients,
    Last,
    LastLoss,
    Run,
    Tape,
    follow,
    forward,
    output_of,
    run_backward,
    turned,
)
from gradlab.errors import InputError
from gradlab.models.network import Layer, Network, cells_of
from gradlab.schema import DIRECTIONS

Array = NDArray[Any]
#: One array a direction, one such list a layer, from the input upward.
ByLayer = Sequence[Sequence[Array]]
Tapes = list[tuple[Tape, ...]]
Found = list[tuple[Gradients, ...]]
#: What is left of a gradient when another is taken away is rounding below this many units in the last place.
ULPS = 64


class NotFinite(InputError):
    """A call whose numbers overflowed: a finding about the training, and nothing unseen."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What was seen of one call, as columns: ``x (T, D, B)``, outputs ``(T, O, B)``, in the order of time.

    Attributes
    ----------
    layers : the module's layers as cells.
    initial, last : joint states ``(S, B)`` by layer and direction, as given and as left.
    outputs : what each layer put out, bottom up; None where that is not known, or has been changed since.
    last : None where the last states have been changed since.
    output_grad, last_grad : the gradients that arrived at the top layer's output and at ``last``.
    lengths : each sequence's own, ``(B,)``, or None.
    tolerance : how far, relative to its norm, what is computed again may lie from ``outputs`` and ``last``.
    shift : power of two by which the loss was scaled beyond what is divided out of the gradients here.
    total_c : whether what arrived at an LSTM's c is the total dL/dc, as where h is computed from that very tensor, and
        not δ_c, which holds h fixed.
    """

    layers: Sequence[Layer]
    x: Array
    initial: ByLayer
    outputs: Sequence[Array | None]
    last: ByLayer | None
    output_grad: Array
    last_grad: ByLayer
    lengths: NDArray[np.int64] | None = None
    tolerance: float = 0.0
    shift: int = 0
    total_c: bool = False


def replay(seen: Seen) -> list[LayerTrace]:
    """Return every layer and direction of one call over T steps, with exact gradients.

    Raises
    ------
    InputError
        where the module did not compute what its weights say.
    """
    run = _run_again(seen)
    seen = _levelled(seen)
    found, _ = run_backward(run, seen.output_grad, seen.last_grad)
    return _traces(run.tapes, found, Last(run, seen.output_grad, found, seen.last_grad), seen.shift)


def replay_steps(calls: Sequence[Seen]) -> list[LayerTrace]:
    """Return every layer of one sequence that ran as ``calls`` of a single step each.

    What was seen to arrive at a state that the next call was given is the total already, and includes what was fed back
    through later inputs. ``direct`` is what is left of it without that of the layer's own recurrence; less than
    rounding of it is 0. The last step's gradient alone, from which the rate is taken, travels by the recurrence alone.
    """
    n, B = len(calls), calls[0].x.shape[-1]
    seen = _side_by_side(calls)
    run = _run_again(seen)
    if seen.total_c:
        seen = replace(seen, last_grad=_without_h(run.tapes[0][0], seen))
    seen = _levelled(seen)
    found, _ = run_backward(run, seen.output_grad, seen.last_grad)
    tapes: Tapes = [(_in_line(pair[0], n, B),) for pair in run.tapes]
    whole: Found = [(_line_gradients(one[0], tape[0], n, B),) for one, tape in zip(found, tapes, strict=True)]
    return _traces(tapes, whole, _LastCall(run.network, tapes, seen), seen.shift)


def _traces(tapes: Tapes, found: Found, last: LastLoss, shift: int) -> list[LayerTrace]:
    """Return the layers bottom up, forward before reverse."""
    traces = []
    for index, (pair, gradients) in enumerate(zip(tapes, found, strict=True)):
        for place, (tape, whole) in enumerate(zip(pair, gradients, strict=True)):
            traces.append(
                LayerTrace(
                    layer=index,
                    direction=DIRECTIONS[place],
                    tape=tape,
                    gradients=_unscaled(whole, shift),
                    last=_Unscaled(last, shift),
                    batch_loss=True,
                    above=len(tapes) - 1 - index,
                )
            )
    return traces


def _levelled(seen: Seen) -> Seen:
    """Return the call with its largest gradient near 1, so that most sums need no rescaling; ``shift`` has the rest."""
    peaks = [np.abs(array).max() for array in (seen.output_grad, *(array for pair in seen.last_grad for array in pair))]
    level = int(np.frexp(max(peaks))[1])
    last_grad = [[np.ldexp(array, -level) for array in pair] for pair in seen.last_grad]
    return replace(seen, output_grad=np.ldexp(seen.output_grad, -level), last_grad=last_grad, shift=seen.shift - level)


@dataclass(frozen=True, eq=False)
class _Unscaled:
    """A `LastLoss` divided by 2^shift, exactly."""

    last: LastLoss
    shift: int

    def gradients(self, layer: int, direction: str) -> Gradients:
        return _unscaled(self.last.gradients(layer, direction), self.shift)

    def needs_pass(self, direction: str) -> bool:
        return self.last.needs_pass(direction)


def _unscaled(found: Gradients, shift: int) -> Gradients:
    """Return the gradients of the loss divided by 2^shift, exactly."""
    if not shift:
        return found
    direct = Columns(found.direct.mantissa, found.direct.exponent - shift)
    return replace(found, exponent=found.exponent - shift, arriving=Arriving.everywhere(direct))


# --- forward ----------------------------------------------------------------------------------------


def _run_again(seen: Seen) -> Run:
    """Run the layers over what they were given; refuse if that is not what they put out."""
    arrived = [seen.output_grad, *(array for pair in seen.last_grad for array in pair)]
    if not all(np.isfinite(array).all() for array in arrived):
        raise NotFinite("the gradient that arrives is not finite")
    tapes: Tapes = []
    sequence = seen.x
    for layer, starts, known in zip(seen.layers, seen.initial, seen.outputs, strict=True):
        tapes.append(_layer_again(layer, sequence, starts, known, seen))
        sequence = output_of(tapes[-1], seen.lengths)
    for pair, ends in zip(tapes, seen.last or (), strict=seen.last is not None):
        for tape, end in zip(pair, ends, strict=True):
            _compare("last state", tape.states[-1], end, seen.tolerance)
    return Run(Network(list(seen.layers)), seen.lengths, tapes, sequence, None, sequence)


def _layer_again(layer: Layer, x: Array, starts: Sequence[Array], known: Array | None, seen: Seen) -> tuple[Tape, ...]:
    tapes, H = [], cells_of(layer)[0].hidden_size
    for place, (cell, start) in enumerate(zip(cells_of(layer), starts, strict=True)):
        inputs = turned(x, seen.lengths) if place else x
        if known is None:
            tapes.append(forward(cell, inputs, start, seen.lengths))
            continue
        output = known[:, place * H : (place + 1) * H]
        output = turned(output, seen.lengths) if place else output
        tape, given = follow(cell, inputs, start, output, seen.lengths)
        within = True if seen.lengths is None else np.arange(len(x))[:, None, None] < seen.lengths
        _compare("output", np.where(within, given, output), output, seen.tolerance)
        tapes.append(tape)
    return tuple(tapes)


def _compare(what: str, found: Array, expected: Array, tolerance: float) -> None:
    """Refuse where ``found`` is not ``expected``, normwise."""
    with np.errstate(all="ignore"):
        error, size = (float(np.linalg.norm(array)) for array in (found - expected, expected))
    if not np.isfinite(size):
        raise NotFinite(f"the {what} is not finite")
    if not error <= tolerance * size:
        raise InputError(
            f"the {what} is not what its weights and inputs give (off by {error / max(size, 1e-300):.1g} of its norm, "
            f"{tolerance:g} allowed): something unseen took part, such as a hook, dropout, changed weights or autocast "
            "in a stack; use a module for each layer, and do what is done to it outside of it"
        )


# --- steps as one sequence --------------------------------------------------------------------------


def _side_by_side(calls: Sequence[Seen]) -> Seen:
    """Return the calls of one step each as one call of that step, sequences side by side: call t's are t·B … ."""

    def joined(arrays: Iterable[Array]) -> Array:
        return np.concatenate(list(arrays), axis=-1)

    def by_layer(states: Iterable[ByLayer]) -> ByLayer:
        return [[joined(pair[0] for pair in pairs)] for pairs in zip(*states, strict=True)]

    return replace(
        calls[0],
        x=joined(call.x for call in calls),
        initial=by_layer(call.initial for call in calls),
        outputs=[None] * len(calls[0].layers),
        last=None if any(call.last is None for call in calls) else by_layer(call.last or () for call in calls),
        output_grad=joined(call.output_grad for call in calls),
        last_grad=by_layer(call.last_grad for call in calls),
    )


def _last_call(seen: Seen, n: int, B: int) -> NDArray[np.int64]:
    """Return the last call at which something arrives at each sequence, ``(B,)``; n for those that get nothing."""
    parts = [seen.output_grad[0], *(pair[0] for pair in seen.last_grad)]
    arrives = np.asarray(np.logical_or.reduce([part.any(axis=0) for part in parts])).reshape(n, B)
    return np.asarray(n - arrives[::-1].argmax(axis=0))


def _without_h(tape: Tape, seen: Seen) -> ByLayer:
    """Return ``last_grad`` with δ_c, where h is held fixed, in place of an LSTM cell's total dL/dc."""
    joint, local = seen.last_grad[0][0].copy(), tape.linearise(slice(0, 1))
    h, c = tape.cell.split(joint)
    arrived = (seen.output_grad[0] + h)[None]
    through_h = tape.cell.total(local, (arrived, np.zeros_like(arrived)))[1]
    c[...] = _left(Columns.of(c[None]), Columns.of(through_h)).plain()[0]
    return [[joint]]


def _left(whole: Columns, part: Columns) -> Columns:
    """Return what is left of ``whole`` without ``part``, 0 where that is no more than rounding of it."""
    rest = whole.plus(Columns(-part.mantissa, part.exponent))
    rounding = whole.log_norm() + np.log(ULPS * np.finfo(whole.mantissa.dtype).eps)
    return Columns(np.where((rest.log_norm() > rounding)[..., None, :], rest.mantissa, 0.0), rest.exponent)


def _in_line(tape: Tape, n: int, B: int) -> Tape:
    """Return the tape of n steps of B sequences from that of one step of n·B."""
    states = np.concatenate([tape.states[:1, :, :B], _unfolded(tape.states[1], n, B)])
    record = {name: _unfolded(array[0], n, B) for name, array in tape.record.items()}
    return Tape(tape.cell, _unfolded(tape.x[0], n, B), states, record, None)


def _unfolded(columns: Array, n: int, B: int) -> Array:
    """Return ``(F, n·B)`` as ``(n, F, B)``, and exponents ``(n·B,)`` as ``(n, B)``."""
    parts = columns.reshape(*columns.shape[:-1], n, B)
    return np.ascontiguousarray(np.moveaxis(parts, -2, 0))


def _line_gradients(found: Gradients, tape: Tape, n: int, B: int) -> Gradients:
    adjoint, exponent = _unfolded(found.adjoint[1], n, B), _unfolded(found.exponent[1], n, B)
    through = Columns(_unfolded(found.adjoint[0], n, B), _unfolded(found.exponent[0], n, B))
    first, later = (Columns(through.mantissa[part], through.exponent[part]) for part in (slice(1), slice(1, None)))
    direct = _left(Columns(adjoint[:-1], exponent[:-1]), later)
    nothing = Columns(np.zeros_like(first.mantissa), np.zeros_like(first.exponent))
    return Gradients(
        tape,
        np.concatenate([first.mantissa, adjoint]),
        np.concatenate([first.mantissa, _unfolded(found.total[1], n, B)]),
        _unfolded(found.pre_grad[0], n, B),
        np.concatenate([first.exponent, exponent]),
        Arriving.everywhere(_joined(nothing, direct, Columns(adjoint[-1:], exponent[-1:]))),
    )


def _joined(*parts: Columns) -> Columns:
    return Columns(np.concatenate([p.mantissa for p in parts]), np.concatenate([p.exponent for p in parts]))


class _LastCall:
    """The gradients of what arrived at each sequence's last call alone, on their way by the recurrence alone."""

    def __init__(self, network: Network, tapes: Tapes, seen: Seen) -> None:
        self._network, self._tapes, self._seen = network, tapes, seen
        self._found: Found | None = None

    def gradients(self, layer: int, direction: str) -> Gradients:
        """Return those of one layer; steps that ran as calls have one direction."""
        if self._found is None:
            self._found = self._backward()
        return self._found[layer][DIRECTIONS.index(direction)]

    def needs_pass(self, direction: str) -> bool:
        """Return whether they are still to be computed."""
        return self._found is None

    def _backward(self) -> Found:
        n, _, B = self._tapes[0][0].x.shape
        calls = _last_call(self._seen, n, B)
        columns = (calls - 1) * B + np.arange(B)
        arrived = self._seen.output_grad[0]
        grad = np.zeros((n, len(arrived), B), arrived.dtype)
        grad[calls - 1, :, np.arange(B)] = arrived[:, columns].T
        final = [[pair[0][:, columns]] for pair in self._seen.last_grad]
        tapes: Tapes = [(replace(pair[0], lengths=calls),) for pair in self._tapes]
        top = output_of(tapes[-1], calls)
        return run_backward(Run(self._network, calls, tapes, top, None, top), grad, final)[0]
