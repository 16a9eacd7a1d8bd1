"""The gradient of each step's loss at each earlier state.

All loss steps are carried back together, as columns of one product: at step s, one column per loss step t ≥ s.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradlab.arrays.scaled import Array, log_norm, normalise
from gradlab.bptt import Columns, Tape


def temporal(tape: Tape, direct: Columns) -> NDArray[np.float64]:
    """Return ln‖∂L_t/∂s_s‖ of the joint state for every loss step t and every s ≤ t.

    In a layer below others, L_t stands for the gradient that arrives at h_t from above. The cost grows with T².

    Parameters
    ----------
    tape : Tape
        The forward pass of one layer and direction.
    direct : Columns (T+1, H, B) or (T+1, S, B)
        The gradients that arrive from outside.

    Returns
    -------
    array (T, T+1, B)
        Nats, in row t − 1 and column s; −inf where the gradient is zero (s > t included), nan beyond a sequence's end.
    """
    T, B = tape.steps, tape.x.shape[-1]
    logs = np.full((T, T + 1, B), -np.inf)
    with np.errstate(all="ignore"):
        for s, sources, exponent, _ in sources_back(tape, direct):
            logs[max(s, 1) - 1 :, s] = log_norm(sources, exponent)[::-1]
    beyond = np.arange(T + 1)[:, None] > tape.ends
    return np.where(beyond[1:, None] | beyond, np.nan, logs)


def sources_back(tape: Tape, direct: Columns) -> Iterator[tuple[int, Array, NDArray[np.int64], Any]]:
    """Yield s = T … 0, the adjoints ``(n, S, B)`` of loss steps t ≥ max(s, 1), latest first, and their exponents.

    The last item yielded is the local derivative of step s; None for s = 0.
    """
    cell, T, B = tape.cell, tape.steps, tape.x.shape[-1]
    sources = np.empty((T, cell.state_size, B), cell.dtype)
    exponent = np.zeros((T, B), np.int64)
    for stretch in reversed(tape.stretches()):
        local = tape.linearise(stretch)
        for s in range(stretch.stop, stretch.start, -1):
            count = T - s + 1
            sources[count - 1] = 0.0
            sources[count - 1, : direct.mantissa.shape[1]] = direct.mantissa[s]
            exponent[count - 1] = direct.exponent[s]
            step = type(local)(*(array[s - 1 - stretch.start] for array in local))
            yield s, sources[:count], exponent[:count], step
            before, _ = cell.vjp(step, cell.split(sources[:count]))
            for target, array in zip(cell.split(sources[:count]), before, strict=True):
                target[...] = array
            normalise(sources[:count], exponent[:count])
    yield 0, sources, exponent, None
