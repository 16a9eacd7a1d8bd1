"""Facts about the cell of a tape, for a verdict: what the keep gate keeps, what saturates, what is silent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradlab.arrays.scaled import Array, log_norm
from gradlab.bptt import Tape
from gradlab.cells import Cell
from gradlab.statistics.saturation import saturated
from gradlab.verdicts.evidence import Kept


def facts(tape: Tape) -> dict[str, Any]:
    """Return the fields of `gradlab.verdicts.evidence.Evidence` that are about the cell."""
    cell, within = tape.cell, _within(tape)
    found: dict[str, Any] = {"cell": cell.label, "kept": kept(tape), "interventions": tuple(cell.INTERVENTIONS)}
    if cell.gate_names:
        found["saturates"] = "gates"
    elif "scale_by" in cell.INTERVENTIONS:
        found |= _weights(cell, tape.output)
    return found | _units(tape, within)


def _within(tape: Tape) -> NDArray[np.bool_]:
    """Return the steps that lie before each sequence's own end, ``(T, B)``."""
    return np.asarray(np.arange(tape.steps)[:, None] < tape.ends)


def _weights(cell: Cell, h: Array) -> dict[str, float]:
    """Return the scale of W_hh, and its largest singular value if a state overflowed."""
    weights = cell.W_hh.astype(np.float64)
    with np.errstate(over="ignore"):
        frobenius = float(np.exp(log_norm(weights.reshape(-1, 1), 0)[0]))  # squares no huge weight
    found = {"scale": frobenius / np.sqrt(cell.hidden_size)}
    return found if np.isfinite(h).all() else found | {"norm": float(np.linalg.norm(weights, 2))}


def _units(tape: Tape, within: NDArray[np.bool_]) -> dict[str, float]:
    """Return the share of saturated units, the mean over the cell's tanh and logistic layers, and of silent ones."""
    units = tape.cell.units(tape.record, tape.cell.split(tape.states[1:])).values()
    bounded = [saturated(values, tanh=kind == "tanh") for kind, values in units if kind in ("tanh", "logistic")]
    found: dict[str, float] = {}
    if bounded:
        found["saturated"] = float(np.mean([one.mean(axis=1)[within].mean() for one in bounded]))
    silent = [((values == 0) | ~within[:, None]).all(axis=(0, 2)).mean() for kind, values in units if kind == "relu"]
    return found | ({"silent": float(np.mean(silent))} if silent else {})


def kept_share(tape: Tape) -> Array | None:
    """Return the mean over the units of what the keep gate keeps, ``(T, B)``; None without one."""
    if tape.cell.keep_gate is None:
        return None
    return np.concatenate([part.mean(axis=1) for part in _additive(tape)])


def _additive(tape: Tape) -> Iterator[Array]:
    """Yield what every unit keeps on the additive path, stretch by stretch, ``(n, H, B)``."""
    for stretch in tape.stretches():
        with np.errstate(all="ignore"):
            part = tape.cell.additive(tape.linearise(stretch))
        yield part


def kept(tape: Tape) -> Kept | None:
    """Return what the keep gate keeps; None for a cell without one."""
    gate, within = tape.cell.keep_gate, _within(tape)
    if gate is None:
        return None
    with np.errstate(all="ignore"):
        each = [(part.mean(axis=1), np.log(part, dtype=np.float64).mean(axis=1)) for part in _additive(tape)]
    means, logs = (np.concatenate(arrays) for arrays in zip(*each, strict=True))
    return Kept(gate, float(means[within].mean()), float(logs[within].mean()), gate.setting(tape.cell))
