"""A whole network forward and backward: layers, directions, unequal lengths, readout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradlab.arrays.scaled import Array
from gradlab.bptt.backward import Arriving, Columns, Gradients, backward
from gradlab.bptt.forward import Tape, follow, forward
from gradlab.models.network import Network, cells_of

Lengths = NDArray[np.int64] | None


@dataclass(frozen=True, eq=False)
class Run:
    """A forward pass of a network.

    Attributes
    ----------
    network : Network
        The network that ran.
    lengths : int array (B,), optional
        The sequences' own lengths.
    tapes : list of tuples of Tape
        One tuple per layer, one tape per direction.
    top : array (T, H, B)
        The output sequence of the top layer.
    readout_a : array (T, O, B), optional
        Pre-activations of the readout; None without one.
    y : array (T, O, B)
        Outputs; zero beyond a sequence's own end.
    """

    network: Network
    lengths: Lengths
    tapes: list[tuple[Tape, ...]]
    top: Array
    readout_a: Array | None
    y: Array


def run_forward(
    network: Network,
    x: Array,
    initial: Sequence[Sequence[Array]],
    lengths: Lengths,
    outputs: Sequence[Sequence[Array]] | None = None,
) -> Run:
    """Run the network over ``x (T, D, B)`` from joint initial states, one ``(S, B)`` per layer and direction.

    ``outputs (T, H, B)``, one per layer and direction, in the order in which it runs, are those of an earlier run:
    steps are then taken from them, see :func:`~gradlab.bptt.forward.follow`.
    """
    tapes, sequence = [], x
    for index, (layer, starts) in enumerate(zip(network.layers, initial, strict=True)):
        pair: list[Tape] = []
        for place, (cell, start) in enumerate(zip(cells_of(layer), starts, strict=True)):
            inputs = turned(sequence, lengths) if place else sequence
            if outputs is None:
                pair.append(forward(cell, inputs, start, lengths))
            else:
                pair.append(follow(cell, inputs, start, outputs[index][place], lengths)[0])
        tapes.append(tuple(pair))
        sequence = output_of(pair, lengths)
    if network.readout is None:
        return Run(network, lengths, tapes, sequence, None, _ended(sequence, lengths))
    with np.errstate(all="ignore"):
        a, y = network.readout.forward(sequence)
    return Run(network, lengths, tapes, sequence, a, _ended(y, lengths))


def _ended(y: Array, lengths: Lengths) -> Array:
    """Return ``y (T, O, B)`` with zeros beyond each sequence's end."""
    if lengths is None:
        return y
    return np.where((np.arange(len(y))[:, None] < lengths)[:, None], y, 0.0).astype(y.dtype)


def output_of(pair: Sequence[Tape], lengths: Lengths) -> Array:
    """Return a layer's output sequence ``(T, H, B)`` in order of time; two directions side by side."""
    if len(pair) == 1:
        return pair[0].output
    return np.concatenate([pair[0].output, turned(pair[1].output, lengths)], axis=-2)


def turned(sequence: Array, lengths: Lengths) -> Array:
    """Return ``(T, …, B)`` with each sequence reversed within its own length; the map is its own inverse."""
    if lengths is None:
        return sequence[::-1]
    steps = np.arange(len(sequence))[:, None]
    order = np.where(steps < lengths, lengths - 1 - steps, steps)
    spread = order if sequence.ndim == 2 else order[:, None, :]
    return np.take_along_axis(sequence, np.broadcast_to(spread, sequence.shape), axis=0)


def run_backward(
    run: Run, grad: Array, final: Sequence[Sequence[Array]] | None = None, *, first: int = 0
) -> tuple[list[tuple[Gradients, ...]], Array | None]:
    """Return the gradients of each layer and direction for dL/dy, and dL/da of the readout.

    Parameters
    ----------
    grad : array (n, O, B)
        dL/dy at n consecutive steps; zero at all others.
    final : nested sequences of arrays, optional
        Further gradients at the last states, where each sequence ends as its direction runs: per layer and direction
        one array ``(H, B)`` at h, or ``(S, B)`` at the joint state.
    first : int
        Number of steps before those of ``grad``.
    """
    readout_grad, arriving = None, grad
    if run.network.readout is not None:
        assert run.readout_a is not None
        with np.errstate(all="ignore"):
            steps = slice(first, first + len(grad))
            arriving, readout_grad = run.network.readout.vjp(run.readout_a[steps], run.y[steps], grad)
    top, layers = Arriving(Columns.of(arriving), 1 + first, len(run.y) + 1), list[tuple[Gradients, ...]]()
    for index, tapes in reversed(list(enumerate(run.tapes))):
        found = _layer_backward(tapes, top, run.lengths, None if final is None else final[index])
        layers.append(found)
        if index:
            top = Arriving.everywhere(_after_nothing(_input_grad(found, run.lengths)))
    return layers[::-1], readout_grad


def _layer_backward(
    tapes: Sequence[Tape], top: Arriving, lengths: Lengths, final: Sequence[Array] | None
) -> tuple[Gradients, ...]:
    if len(tapes) == 1 and final is None:
        return (backward(tapes[0], top),)
    width, whole = tapes[0].cell.hidden_size, top.whole
    direct = [Columns(whole.mantissa[:, :width], whole.exponent)]
    if len(tapes) > 1:
        reverse = Columns(turned(whole.mantissa[1:, width:], lengths), turned(whole.exponent[1:], lengths))
        direct.append(_after_nothing(reverse))
    if final is not None:
        direct = [_at_the_end(*found) for found in zip(direct, final, tapes, strict=True)]
    return tuple(backward(tape, Arriving.everywhere(found)) for tape, found in zip(tapes, direct, strict=True))


def _at_the_end(direct: Columns, final: Array, tape: Tape) -> Columns:
    """Return ``direct (T+1, H, B)`` plus ``final (H, B)`` or ``(S, B)`` at each sequence's end."""
    width = max(len(final), direct.mantissa.shape[1])
    mantissa = np.zeros((len(direct.mantissa), width, final.shape[1]), direct.mantissa.dtype)
    mantissa[:, : direct.mantissa.shape[1]] = direct.mantissa
    exponent, sequence = direct.exponent.copy(), np.arange(final.shape[1])
    end, last = (tape.ends, slice(None), sequence), (tape.ends, sequence)
    arrived = Columns(np.ascontiguousarray(mantissa[end].T), exponent[last])
    total = arrived.plus(Columns.of(final.astype(mantissa.dtype)))
    mantissa[end], exponent[last] = total.mantissa.T, total.exponent
    return Columns(mantissa, exponent)


def _after_nothing(arriving: Columns) -> Columns:
    """Return the gradients at h_1 … h_T with a zero in front for h_0."""
    mantissa, exponent = (np.concatenate([np.zeros_like(a[:1]), a]) for a in (arriving.mantissa, arriving.exponent))
    return Columns(mantissa, exponent)


def _input_grad(found: Sequence[Gradients], lengths: Lengths) -> Columns:
    """Return dL/dx_t of a layer, summed over its directions, in order of time."""
    if len(found) == 1:
        return found[0].input
    other = found[1].input
    return found[0].input.plus(Columns(turned(other.mantissa, lengths), turned(other.exponent, lengths)))
