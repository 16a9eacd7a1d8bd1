"""What theory beside mean field expects of a study's runs: tables of lines, each with its law and where that stops.

A row is a point of a line: ``cell`` and what varies, the column that a figure has on x, ``theory``, and ``law``, the
line's name with its caveat. A table is empty where its law speaks of none of the runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from gradlab.tables.factors import control, given, untrained, varying
from gradlab.theory.diagonal import diagonal_memory
from gradlab.theory.gates import chrono_memory, gated_exponents, zero_state_edge
from gradlab.theory.products import newman_exponents

RESTING = "at rest, tied weights"
NEWMAN = "null model: a fresh W at every step"
CHRONO = "chrono biases alone"
#: Of a diagonal linear network under white input: 1/(1 − λ²), and (1 + λ²)/(1 − λ²)³.
STATE, SENSITIVITY = "exact E h²", "exact E (∂h/∂λ)²"
#: Of recurrent weights at scale 1, the radius of the disk or circle of their eigenvalues as H → ∞.
RADIUS = {"gaussian": 1.0, "orthogonal": 1.0, "cyclic": 1.0, "uniform": 1.0 / math.sqrt(3.0)}
#: What the laws do not depend on, or have on x, and points of a line.
FREE, POINTS = ("hidden", "length", "batch", "at", "task.input_size"), 60


def laws(runs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return every table of this module by name, ``resting`` along what the study turns."""
    turned = control(runs)
    resting = resting_lines(runs, turned) if turned in ("scale", "init.forget_bias") else pd.DataFrame()
    return {
        "resting": resting,
        "newman": newman_lines(runs),
        "chrono": chrono_lines(runs),
        "diagonal": diagonal_lines(runs),
    }


def resting_lines(runs: pd.DataFrame, along: str = "scale") -> pd.DataFrame:
    """Return λ₁ of LSTMs and GRUs at rest, ``ln(carry + ¼ g)``, nats per step; it is zero at the zero-state edge.

    The weights are tied: a one-step χ would put the edge elsewhere (:func:`~gradlab.theory.zero_state_edge`). Beyond it
    the state does not stay at rest, and what is measured lies below the line.

    Parameters
    ----------
    runs : a study's table ``runs``.
    along : the key on x, "scale" or "init.forget_bias".
    """
    if along not in runs:
        return pd.DataFrame()
    held = untrained(runs)
    held = held[held["cell"].isin(["lstm", "gru"]) & held["init.recurrent"].isin(list(RADIUS))]
    held = held[held["init.bias"].isin(["zero", "uniform"]) & held[along].notna()]
    parts, keys = [], _keys(runs, along, *FREE)
    for _, one in held.drop_duplicates(keys).iterrows():
        at = np.unique(np.linspace(held[along].min(), held[along].max(), POINTS))
        rates = [_at_rest(one.to_dict() | {along: value}) for value in at.tolist()]
        parts.append(pd.DataFrame({**one[keys].to_dict(), along: at, "theory": rates, "law": RESTING}))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def newman_lines(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the exponents of Gaussian matrices drawn anew at every step, over ``index_share``, nats per step.

    The null model of an RNN's spectrum at its H and scale: how far a measured one lies from it is what saturation, and
    weights that stay the same, have done.
    """
    held = untrained(runs)
    held = held[(held["cell"] == "rnn") & (held["init.recurrent"] == "gaussian") & (held["scale"] > 0)]
    parts, keys = [], list(dict.fromkeys([*_keys(runs, *FREE[1:]), "hidden", "scale"]))
    for _, one in held.drop_duplicates(keys).iterrows():
        found = newman_exponents(int(one["hidden"]), scale=float(one["scale"])).exponents
        share = np.arange(1, len(found) + 1) / len(found)
        parts.append(pd.DataFrame({**one[keys].to_dict(), "index_share": share, "theory": found, "law": NEWMAN}))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def chrono_lines(runs: pd.DataFrame) -> pd.DataFrame:
    """Return ln of what a random gradient keeps on the additive path under ``chrono``, ``½ ln E f^2k``, by ``lag``."""
    held = untrained(runs)
    held = held[given(held["init.chrono"])] if "init.chrono" in runs else held[:0]
    parts, keys = [], _keys(runs, *FREE)
    for _, one in held.drop_duplicates(keys).iterrows():
        lags = np.unique(np.linspace(0, int(held["length"].max()), POINTS).round()).astype(np.int64)
        kept = 0.5 * np.log(chrono_memory(float(one["init.chrono"]), 2 * lags).kept)
        parts.append(pd.DataFrame({**one[keys].to_dict(), "lag": lags, "theory": kept, "law": CHRONO}))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def diagonal_lines(runs: pd.DataFrame) -> pd.DataFrame:
    """Return E h² and E (∂h/∂λ)² of linear units with W_hh = λI under noise, over their ``memory``, 1/(1 − λ)."""
    wanted: dict[str, Any] = {
        "cell": "rnn",
        "rnn.activation": "identity",
        "init.recurrent": "identity",
        "init.input": "gaussian",
    }
    wanted |= {"init.bias": "zero", "task.name": "noise", "task.kick": False, "layer": 0}
    if not {*wanted, "scale", "init.input_scale", "task.std"} <= set(runs.columns):
        return pd.DataFrame()
    held = untrained(runs)
    held = held[(held[list(wanted)] == pd.Series(wanted)).all(axis=1) & (held["scale"] < 1.0)]
    parts, keys = [], _keys(runs, "scale", *FREE)
    for _, part in held.groupby(keys, dropna=False):
        one, scales = part.iloc[0], part["scale"].to_numpy(np.float64)
        memory = np.unique(np.geomspace(1.0 / (1.0 - scales.min()), 1.0 / (1.0 - scales.max()), POINTS))
        noise = float(one["init.input_scale"] * one["task.std"]) ** 2
        found = [diagonal_memory(1.0 - 1.0 / steps, input_var=noise) for steps in memory.tolist()]
        for law, values in zip((STATE, SENSITIVITY), zip(*found, strict=True), strict=True):
            parts.append(pd.DataFrame({**one[keys].to_dict(), "memory": memory, "theory": values, "law": law}))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _keys(runs: pd.DataFrame, *but: str) -> list[str]:
    return list(dict.fromkeys(["cell", *(name for name in varying(runs) if name not in but)]))


def _at_rest(one: Mapping[Any, Any]) -> float:
    bias = one.get("init.forget_bias")
    edge = zero_state_edge(one["cell"], forget_bias=0.0 if bias is None or math.isnan(bias) else bias)
    radius = RADIUS[one["init.recurrent"]] * one["scale"]
    return gated_exponents(edge.carry, edge.coupling, scale=radius).tied
