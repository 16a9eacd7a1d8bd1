"""What a tape says of its cell, in the numbers of a verdict: what gates keep, what saturates, what is silent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradlab.arrays.scaled import log_norm
from gradlab.bptt import Tape
from gradlab.cells import RNN, Cell
from gradlab.cells.base import block
from gradlab.models.interventions import kept_bias
from gradlab.statistics.saturation import saturated
from gradlab.verdicts.evidence import Kept

Array = NDArray[Any]
#: What the gate of the additive path, and its product, are called.
GATES = {("forget_bias", 1): ("forget gate", "∏f"), ("b_z", -1): ("1 − z", "∏(1 − z)"), ("b_z", 1): ("z", "∏z")}


def facts(tape: Tape) -> dict[str, Any]:
    """Return the fields of `gradlab.verdicts.evidence.Evidence` that are about the cell."""
    within = np.arange(tape.steps)[:, None] < tape.ends
    cell = tape.cell
    if isinstance(cell, RNN):
        return {"cell": f"{cell.activation} RNN", **_vanilla(cell, tape.output, within)}
    named: dict[str, Any] = {"cell": type(cell).__name__, "kept": kept(tape)}
    if cell.gate_names:
        named["saturated"] = _saturated(cell, tape.record["gates"], within)
    return named


def _vanilla(cell: RNN, h: Array, within: NDArray[np.bool_]) -> dict[str, Any]:
    weights = cell.W_hh.astype(np.float64)
    with np.errstate(over="ignore"):
        frobenius = float(np.exp(log_norm(weights.reshape(-1, 1), 0)[0]))  # which squares no huge weight
    found: dict[str, Any] = {"scale": frobenius / np.sqrt(cell.hidden_size)}
    if cell.activation in ("tanh", "logistic"):
        share = saturated("h" if cell.activation == "tanh" else "logistic", h).mean(axis=1)
        found["saturated"] = float(share[within].mean())
    if cell.activation == "relu":
        found["silent"] = float(((h == 0) | ~within[:, None]).all(axis=(0, 2)).mean())
    if not np.isfinite(h).all():
        found["norm"] = float(np.linalg.norm(weights, 2))
    return found


def _saturated(cell: Cell, gates: Array, within: NDArray[np.bool_]) -> float:
    size = gates.shape[-2] // len(cell.gate_names)
    parts = [saturated(name, block(gates, k, size)).mean(axis=1) for k, name in enumerate(cell.gate_names)]
    return float(np.mean([share[within].mean() for share in parts]))


def kept_share(tape: Tape) -> Array | None:
    """Return the mean over the units of what the gate of the additive path keeps, ``(T, B)``; None without one."""
    if kept_bias(tape.cell) is None:
        return None
    return np.concatenate([part.mean(axis=1) for part in _additive(tape)])


def _additive(tape: Tape) -> Iterator[Array]:
    """Yield what every unit keeps on the additive path, stretch by stretch, ``(n, H, B)``."""
    for stretch in tape.stretches():
        with np.errstate(all="ignore"):
            part = tape.cell.additive(tape.linearise(stretch))
        yield part


def kept(tape: Tape) -> Kept | None:
    """Return what the gate of the additive path keeps; None of a cell without one."""
    bias, within = kept_bias(tape.cell), np.arange(tape.steps)[:, None] < tape.ends
    if bias is None:
        return None
    key, mean, sign = bias
    gate, product = GATES[key, int(sign)]
    with np.errstate(all="ignore"):
        each = [(part.mean(axis=1), np.log(part, dtype=np.float64).mean(axis=1)) for part in _additive(tape)]
    means, logs = (np.concatenate(arrays) for arrays in zip(*each, strict=True))
    return Kept(gate, product, float(means[within].mean()), float(logs[within].mean()), mean, key, sign)
