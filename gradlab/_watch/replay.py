"""Replay of a recorded call of another library's recurrent layers, to recover every intermediate state and gradient.

The replay needs a module's inputs, weights and initial states, and the gradients that arrived at its outputs and last
states. The exact backward pass then gives the gradient of every state, gate and input. The recorded outputs of a layer
serve twice. They check the replay, and each step starts from them, so that rounding cannot grow from step to step.
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
#: One list per layer from the input upward, with one array per direction.
ByLayer = Sequence[Sequence[Array]]
Tapes = list[tuple[Tape, ...]]
Found = list[tuple[Gradients, ...]]
#: A difference of two gradients that is below this many units in the last place counts as rounding.
ULPS = 64


class NotFinite(InputError):
    """A call with states or gradients that are not finite: a finding about the training, not a failure of the watch."""


@dataclass(frozen=True, eq=False)
class Seen:
    """The recorded inputs, outputs and gradients of one call, with time first and the sequences as columns.

    Attributes
    ----------
    layers : sequence of Layer
        The module's layers as gradlab cells.
    x : array (T, D, B)
        The input.
    initial : list of list of array (S, B)
        Initial joint states by layer and direction.
    outputs : list of array (T, O, B) or None
        Output of each layer, from the bottom; None where it is unknown or was changed in place.
    last : list of list of array (S, B), or None
        Last joint states by layer and direction; None where they were changed in place.
    output_grad : array (T, O, B)
        The gradient that arrived at the top layer's output.
    last_grad : list of list of array (S, B)
        The gradients that arrived at ``last``.
    lengths : int array (B,), optional
        Length of each sequence, if they differ.
    tolerance : float
        Largest accepted distance of the replayed outputs and last states from the recorded ones, relative to the norm.
    shift : int
        Exponent of the power of two in the loss scale that the gradients here still contain.
    total_c : bool
        True if the gradient at an LSTM's c is the total dL/dc, because h was computed from that tensor. False if it
        is δ_c, which holds h fixed.
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
    """Return the pass of every layer and direction of one call over T steps, with exact gradients.

    Parameters
    ----------
    seen : Seen
        The recorded call.

    Returns
    -------
    list of LayerTrace
        From the bottom layer upward, the forward direction before the reverse one.

    Raises
    ------
    InputError
        If the outputs do not follow from the weights and inputs.
    NotFinite
        If an output, a last state or an arriving gradient is not finite.
    """
    run = _run_again(seen)
    seen = _levelled(seen)
    found, _ = run_backward(run, seen.output_grad, seen.last_grad)
    return _traces(run.tapes, found, Last(run, seen.output_grad, found, seen.last_grad), seen.shift)


def replay_steps(calls: Sequence[Seen]) -> list[LayerTrace]:
    """Return the pass of every layer of one sequence that ran as ``calls`` of a single step each.

    The gradient recorded at a state that the next call got is already the total gradient. It includes feedback through
    later inputs. ``direct`` is this total minus the part through the layer's own recurrence, and 0 if the difference is
    within rounding. The rate comes from the gradient of the last step alone, which passes through the recurrence only.

    Parameters
    ----------
    calls : sequence of Seen
        The recorded calls in the order of time.

    Returns
    -------
    list of LayerTrace
        From the bottom layer upward.

    Raises
    ------
    InputError
        If the outputs do not follow from the weights and inputs.
    NotFinite
        If an output, a last state or an arriving gradient is not finite.
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
    """Return the layers from the bottom upward, the forward direction before the reverse one."""
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
    """Scale the gradients by a power of two so that the largest is near 1; ``shift`` keeps the exponent.

    Most sums of the backward pass then need no rescaling.
    """
    peaks = [np.abs(array).max() for array in (seen.output_grad, *(array for pair in seen.last_grad for array in pair))]
    level = int(np.frexp(max(peaks))[1])
    last_grad = [[np.ldexp(array, -level) for array in pair] for pair in seen.last_grad]
    return replace(seen, output_grad=np.ldexp(seen.output_grad, -level), last_grad=last_grad, shift=seen.shift - level)


@dataclass(frozen=True, eq=False)
class _Unscaled:
    """The gradients of a `LastLoss` divided by 2^shift, exactly."""

    last: LastLoss
    shift: int

    def gradients(self, layer: int, direction: str) -> Gradients:
        return _unscaled(self.last.gradients(layer, direction), self.shift)

    def needs_pass(self, direction: str) -> bool:
        return self.last.needs_pass(direction)


def _unscaled(found: Gradients, shift: int) -> Gradients:
    """Return the gradients divided by 2^shift, exactly."""
    if not shift:
        return found
    direct = Columns(found.direct.mantissa, found.direct.exponent - shift)
    return replace(found, exponent=found.exponent - shift, arriving=Arriving.everywhere(direct))


# --- forward ----------------------------------------------------------------------------------------


def _run_again(seen: Seen) -> Run:
    """Run the layers forward on the recorded inputs; raise if the results differ from the recorded outputs."""
    arrived = [seen.output_grad, *(array for pair in seen.last_grad for array in pair)]
    if not all(np.isfinite(array).all() for array in arrived):
        raise NotFinite("the arriving gradient is not finite")
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


def _compare(name: str, found: Array, expected: Array, tolerance: float) -> None:
    """Raise if ``found`` differs from ``expected`` by more than ``tolerance`` in the relative norm."""
    with np.errstate(all="ignore"):
        error, size = (float(np.linalg.norm(array)) for array in (found - expected, expected))
    if not np.isfinite(size):
        raise NotFinite(f"the {name} is not finite")
    if not error <= tolerance * size:
        raise InputError(
            f"the {name} does not follow from the weights and inputs (relative error {error / max(size, 1e-300):.1g}, "
            f"{tolerance:g} allowed): something unseen took part, such as a hook, dropout, changed weights or "
            "autocast in a stack; use one module per layer, and apply such operations outside of it"
        )


# --- steps as one sequence --------------------------------------------------------------------------


def _side_by_side(calls: Sequence[Seen]) -> Seen:
    """Return the single-step calls as one call of one step, with all sequences side by side.

    The columns t·B to (t + 1)·B − 1 belong to call t.
    """

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
    """Return per sequence the number (from 1) of the last call at which a gradient arrives, ``(B,)``; n if none."""
    parts = [seen.output_grad[0], *(pair[0] for pair in seen.last_grad)]
    arrives = np.asarray(np.logical_or.reduce([part.any(axis=0) for part in parts])).reshape(n, B)
    return np.asarray(n - arrives[::-1].argmax(axis=0))


def _without_h(tape: Tape, seen: Seen) -> ByLayer:
    """Return ``last_grad`` of an LSTM cell with δ_c, which holds h fixed, instead of the total dL/dc."""
    joint, local = seen.last_grad[0][0].copy(), tape.linearise(slice(0, 1))
    h, c = tape.cell.split(joint)
    arrived = (seen.output_grad[0] + h)[None]
    through_h = tape.cell.total(local, (arrived, np.zeros_like(arrived)))[1]
    c[...] = _left(Columns.of(c[None]), Columns.of(through_h)).plain()[0]
    return [[joint]]


def _left(whole: Columns, part: Columns) -> Columns:
    """Return ``whole`` minus ``part``; 0 where the difference is within rounding of ``whole``."""
    rest = whole.plus(Columns(-part.mantissa, part.exponent))
    rounding = whole.log_norm() + np.log(ULPS * np.finfo(whole.mantissa.dtype).eps)
    return Columns(np.where((rest.log_norm() > rounding)[..., None, :], rest.mantissa, 0.0), rest.exponent)


def _in_line(tape: Tape, n: int, B: int) -> Tape:
    """Convert the tape of one step of n·B sequences to the tape of n steps of B sequences."""
    states = np.concatenate([tape.states[:1, :, :B], _unfolded(tape.states[1], n, B)])
    record = {name: _unfolded(array[0], n, B) for name, array in tape.record.items()}
    return Tape(tape.cell, _unfolded(tape.x[0], n, B), states, record, None)


def _unfolded(columns: Array, n: int, B: int) -> Array:
    """Reshape ``(F, n·B)`` to ``(n, F, B)``, and exponents ``(n·B,)`` to ``(n, B)``."""
    parts = columns.reshape(*columns.shape[:-1], n, B)
    return np.ascontiguousarray(np.moveaxis(parts, -2, 0))


def _line_gradients(found: Gradients, tape: Tape, n: int, B: int) -> Gradients:
    """Convert the gradients of one step of n·B sequences to those of n steps of B sequences."""
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
    """Backward pass from the gradient that arrived at each sequence's last call, through the recurrence alone."""

    def __init__(self, network: Network, tapes: Tapes, seen: Seen) -> None:
        self._network, self._tapes, self._seen = network, tapes, seen
        self._found: Found | None = None

    def gradients(self, layer: int, direction: str) -> Gradients:
        """Return the gradients of one layer; sequences of single-step calls have one direction."""
        if self._found is None:
            self._found = self._backward()
        return self._found[layer][DIRECTIONS.index(direction)]

    def needs_pass(self, direction: str) -> bool:
        """Return whether the gradients are still to be computed."""
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
