"""Theoretical lines for the runs of a study, as tables: mean field and other laws, each with its condition.

A row is one point of a line: ``cell`` and the varying keys, the column on the x axis of the figure, ``theory``, and
``law`` (the name of the line, with its condition). A table is empty if its law applies to none of the runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from gradlab.errors import InputError
from gradlab.tables.factors import control, given, untrained, varying
from gradlab.tasks import TASKS, Task
from gradlab.theory.diagonal import diagonal_memory
from gradlab.theory.driven import driven_rates
from gradlab.theory.gates import chrono_memory, gated_exponents, zero_state_edge
from gradlab.theory.meanfield import mean_field
from gradlab.theory.products import newman_exponents

RESTING = "at rest, tied weights"
NEWMAN = "null model: a fresh W at every step"
CHRONO = "chrono biases alone"
#: Laws of a diagonal linear network under white input: 1/(1 − λ²), and (1 + λ²)/(1 − λ²)³.
STATE, SENSITIVITY = "exact E h²", "exact E (∂h/∂λ)²"
#: Radius of the disk or circle of the eigenvalues of recurrent weights at scale 1, as H → ∞.
RADIUS = {"gaussian": 1.0, "orthogonal": 1.0, "cyclic": 1.0, "uniform": 1.0 / math.sqrt(3.0)}
#: Keys that the laws do not depend on or that are on the x axis, and the number of points of a line.
FREE, POINTS = ("hidden", "length", "batch", "at", "task.input_size"), 60

#: Conditions for mean field: no gates, Gaussian weights, no biases, and the layer that reads the input.
HOLDS = {"cell": "rnn", "init.recurrent": "gaussian", "init.input": "gaussian", "init.bias": "zero", "layer": 0}
#: Smallest input size D of noise for which the input variance counts as the same at every step.
WIDE = 16
#: Keys that determine the mean-field line, besides the scale and the keys of the task; and keys without influence on
#: it as H → ∞.
SETTING = ("rnn.activation", "init.input_scale")
ANY_SIZE = ("scale", "hidden", "length", "batch", "at")
#: Number of inputs that the mean-field rate is averaged over.
INPUTS = 4000


def laws(runs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return every table of this module by name; ``resting`` is along the control of the study."""
    turned = control(runs)
    resting = resting_lines(runs, turned) if turned in ("scale", "init.forget_bias") else pd.DataFrame()
    return {
        "resting": resting,
        "newman": newman_lines(runs),
        "chrono": chrono_lines(runs),
        "diagonal": diagonal_lines(runs),
    }


def resting_lines(runs: pd.DataFrame, along: str = "scale") -> pd.DataFrame:
    """Return λ₁ of LSTMs and GRUs at rest, ``ln(carry + ¼ g)``, in nats per step; it is 0 at the zero-state edge.

    The weights are tied; a one-step χ would put the edge elsewhere (:func:`~gradlab.theory.zero_state_edge`). Beyond
    the edge the state does not stay at rest, and measured exponents lie below the line.

    Parameters
    ----------
    runs : DataFrame
        The table ``runs`` of a study.
    along : "scale" or "init.forget_bias"
        The key on the x axis.
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
    """Return the exponents of Gaussian matrices drawn anew at every step, over ``index_share``, in nats per step.

    They are the null model of the spectrum of an RNN with the same H and scale. The distance of a measured spectrum
    from it is the effect of saturation and of tied weights.
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
    """Return the expected log norm of a random gradient on the additive path under ``chrono``, by ``lag``.

    The line is ``½ ln E f^2k`` in nats, relative to lag 0.
    """
    held = untrained(runs)
    held = held[given(held["init.chrono"])] if "init.chrono" in runs else held[:0]
    parts, keys = [], _keys(runs, *FREE)
    for _, one in held.drop_duplicates(keys).iterrows():
        lags = np.unique(np.linspace(0, int(held["length"].max()), POINTS).round()).astype(np.int64)
        kept = 0.5 * np.log(chrono_memory(float(one["init.chrono"]), 2 * lags).kept)
        parts.append(pd.DataFrame({**one[keys].to_dict(), "lag": lags, "theory": kept, "law": CHRONO}))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def diagonal_lines(runs: pd.DataFrame) -> pd.DataFrame:
    """Return E h² and E (∂h/∂λ)² of linear units with W_hh = λI under noise, over ``memory``, 1/(1 − λ) in steps."""
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


def mean_field_lines(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the rate that mean field predicts along the scale, ``½ ln χ``, for the untrained runs to which it applies.

    The inputs of the task enter through the variance that they give the pre-activations at each step
    (:mod:`gradlab.theory.driven`). For the task ``noise`` this reduces to :func:`~gradlab.theory.mean_field` if the
    input is a single kick, or if D is so large that the variance is nearly the same at every step. Gated cells get no
    line: a one-step χ does not predict cells with the same weights at every step.

    Parameters
    ----------
    runs : DataFrame
        The table ``runs`` of a study.

    Returns
    -------
    DataFrame
        ``cell``, the varying keys other than the scale and the sizes, ``scale``, and ``theory`` (nats/step, H → ∞).
        It is empty if the theory applies to none of the runs.
    """
    keys = list(dict.fromkeys(["cell", *(name for name in varying(runs) if name not in ANY_SIZE)]))
    columns = [*keys, "scale", "theory"]
    if not {*HOLDS, *SETTING, "task.name", "scale"} <= set(runs.columns):
        return pd.DataFrame(columns=columns)
    drawn = untrained(runs)
    held = drawn[(drawn[list(HOLDS)] == pd.Series(HOLDS)).all(axis=1) & (drawn["scale"] > 0)]
    tasks = [str(name) for name in runs.columns if str(name).startswith("task.")]
    groups = held.groupby(list(dict.fromkeys([*keys, *SETTING, *tasks])), dropna=False)
    lines = [line for _, part in groups if (line := _mean_field_line(part, keys)) is not None]
    return pd.concat(lines, ignore_index=True)[columns] if lines else pd.DataFrame(columns=columns)


def _mean_field_line(runs: pd.DataFrame, keys: list[str]) -> pd.DataFrame | None:
    """Return the line of runs that share all keys that determine it; None if the data of their task are missing."""
    one = runs.iloc[0]
    studied = np.unique(runs["scale"].to_numpy(dtype=np.float64))
    scales = np.unique(np.interp(np.linspace(0, len(studied) - 1, POINTS), np.arange(len(studied)), studied))
    keys_of_task = TASKS[one["task.name"]].KEYS
    options = {key: option.type(one[f"task.{key}"]) for key, option in keys_of_task.items()}
    setting = (str(one["rnn.activation"]), float(one["init.input_scale"]) ** 2, str(one["task.name"]))
    task = TASKS[setting[2]]
    try:
        rates = _rates(*setting, task, tuple(options.items()), tuple(scales.tolist()), int(runs["length"].max()))
    except InputError:  # the package with the task's data is not installed
        return None
    return pd.DataFrame({**one[keys].to_dict(), "scale": scales, "theory": rates})


@lru_cache(maxsize=256)
def _rates(
    activation: str,
    gain: float,
    name: str,
    task: Callable[..., Task],
    options: tuple[tuple[str, Any], ...],
    scales: tuple[float, ...],
    length: int,
) -> tuple[float, ...]:
    """Return ``½ ln χ`` at every scale, nats per step; the cache computes it once per setting.

    Parameters
    ----------
    activation : str
        The activation φ.
    gain : float
        σ², so that inputs x give the pre-activations the variance ``σ² |x|²/D``.
    name, task, options
        The name of the task, its constructor, and its keys.
    scales : tuple of float
        The scales g.
    length : int
        T, the steps of a sequence.

    Raises
    ------
    InputError
        If the data of the task come with a package that is not installed.
    """
    keys = dict(options)
    kick = bool(keys.get("kick", False))
    if name == "noise" and (kick or keys["input_size"] >= WIDE):
        noise = 0.0 if kick else gain * float(keys["std"]) ** 2
        return tuple(mean_field(activation, scale=g, input_var=noise).rate for g in scales)
    x, _ = task(**keys).sample(length, max(1, round(INPUTS / length)), rng=np.random.default_rng(0))
    return tuple(driven_rates(activation, scales=scales, input_vars=gain * np.square(x).mean(axis=-1)).tolist())
