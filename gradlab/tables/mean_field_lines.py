"""The lines that theory adds to a study's figures, as a table: which runs it speaks of, and what it says of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from gradlab.errors import InputError
from gradlab.tables.factors import untrained, varying
from gradlab.tasks import TASKS
from gradlab.theory.driven import driven_rates
from gradlab.theory.meanfield import Array, mean_field

#: What a run must be for mean field to hold: without gates, Gaussian weights, no biases, the layer that has the input.
HOLDS = {"cell": "rnn", "init.recurrent": "gaussian", "init.input": "gaussian", "init.bias": "zero", "layer": 0}
#: Fewest inputs D of noise that stand for an own noise of every unit, the same at every step.
WIDE = 16
#: What sets the line, beside the scale and the task's own keys; and what it does not depend on as H → ∞.
SETTING = ("rnn.activation", "init.input_scale")
FREE = ("scale", "hidden", "length", "batch", "at")
#: Points of a line, and numbers of input that the rate is averaged over.
POINTS, INPUTS = 60, 4000


def mean_field_lines(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the rate that mean field expects along the scale, ``½ ln χ``, for the runs it holds for, none trained.

    The input counts with the variance that it gives the pre-activations at each step (:mod:`gradlab.theory.driven`), of
    the task's own inputs. Of ``noise`` on its own after a kick, or of so many inputs that they drive every step alike,
    that is :func:`~gradlab.theory.mean_field` in closed form. Gated cells get no line: a one-step χ does not predict
    weights that are the same at every step.

    Parameters
    ----------
    runs : a study's table ``runs``.

    Returns
    -------
    DataFrame
        ``cell``, what varies beside the scale and the sizes, ``scale``, and ``theory`` (nats/step, H → ∞); empty where
        theory holds for none of the runs.
    """
    keys = list(dict.fromkeys(["cell", *(name for name in varying(runs) if name not in FREE)]))
    columns = [*keys, "scale", "theory"]
    if not {*HOLDS, *SETTING, "task.name", "scale"} <= set(runs.columns):
        return pd.DataFrame(columns=columns)
    drawn = untrained(runs)
    held = drawn[(drawn[list(HOLDS)] == pd.Series(HOLDS)).all(axis=1) & (drawn["scale"] > 0)]
    tasks = [str(name) for name in runs.columns if str(name).startswith("task.")]
    groups = held.groupby(list(dict.fromkeys([*keys, *SETTING, *tasks])), dropna=False)
    lines = [line for _, part in groups if (line := _line(part, keys)) is not None]
    return pd.concat(lines, ignore_index=True)[columns] if lines else pd.DataFrame(columns=columns)


def _line(runs: pd.DataFrame, keys: list[str]) -> pd.DataFrame | None:
    """Return the line of runs that differ in nothing that it depends on; None if their task's data are not at hand."""
    one = runs.iloc[0]
    studied = np.unique(runs["scale"].to_numpy(dtype=np.float64))
    scales = np.unique(np.interp(np.linspace(0, len(studied) - 1, POINTS), np.arange(len(studied)), studied))
    keys_of_task = TASKS[one["task.name"]].KEYS
    options = {key: option.type(one[f"task.{key}"]) for key, option in keys_of_task.items()}
    rates = _rates(one, options, scales.tolist(), int(runs["length"].max()))
    return None if rates is None else pd.DataFrame({**one[keys].to_dict(), "scale": scales, "theory": rates})


def _rates(run: pd.Series, options: dict[str, Any], scales: list[float], length: int) -> Sequence[float] | Array | None:
    """Return ``½ ln χ`` at every scale, of a study's run with these options of its task."""
    activation, gain = run["rnn.activation"], float(run["init.input_scale"]) ** 2
    kick = bool(options.get("kick", False))
    if run["task.name"] == "noise" and (kick or options["input_size"] >= WIDE):
        noise = 0.0 if kick else gain * float(options["std"]) ** 2
        return [mean_field(activation, scale=g, input_var=noise).rate for g in scales]
    task = TASKS[run["task.name"]](**options)
    try:
        x, _ = task.sample(length, max(1, round(INPUTS / length)), rng=np.random.default_rng(0))
    except InputError:  # the data of a task come with a package that is not installed here
        return None
    return driven_rates(activation, scales=scales, input_vars=gain * np.square(x).mean(axis=-1))
