"""The lines that theory adds to a study's figures, as a table: which runs it speaks of, and what it says of them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from gradlab.analysis.factors import varying
from gradlab.theory.meanfield import mean_field

#: What a run must be for mean field to hold: without gates, Gaussian weights, no biases, Gaussian input or none.
HOLDS = {
    "cell": "rnn",
    "task.name": "noise",
    "init.recurrent": "gaussian",
    "init.input": "gaussian",
    "init.bias": "zero",
    "layer": 0,
}
#: Fewest inputs D that stand for an own noise of every unit: their mean square still varies by √(2/D) over the steps.
WIDE = 16
#: What sets the line, beside the scale; and what it does not depend on as H → ∞.
SETTING = ("rnn.activation", "task.std", "task.kick", "init.input_scale")
FREE = ("scale", "hidden", "length", "batch", "at", "task.input_size")
POINTS = 60


def mean_field_lines(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the exponent ``½ ln χ`` (:func:`~gradlab.theory.mean_field`) along the scale, for the runs it holds for.

    Of a run on the task ``noise`` the input's variance is ``std² · input_scale²``, or 0 where the network runs on its
    own. Gated cells get no line: a one-step χ does not predict weights that are the same at every step.

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
    if not {*HOLDS, *SETTING, "task.input_size", "scale"} <= set(runs.columns):
        return pd.DataFrame(columns=columns)
    held = runs[(runs[list(HOLDS)] == pd.Series(HOLDS)).all(axis=1) & (runs["scale"] > 0)]
    held = held[held["task.kick"].astype(bool) | (held["task.input_size"] >= WIDE)]
    groups = held.groupby(list(dict.fromkeys([*keys, *SETTING])), dropna=False)
    lines = [_line(part, keys) for _, part in groups]
    return pd.concat(lines, ignore_index=True)[columns] if lines else pd.DataFrame(columns=columns)


def _line(runs: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    one = runs.iloc[0]
    noise = 0.0 if one["task.kick"] else float(one["task.std"] * one["init.input_scale"]) ** 2
    scales = np.unique(np.linspace(runs["scale"].min(), runs["scale"].max(), POINTS))
    rates = [mean_field(one["rnn.activation"], scale=g, input_var=noise).rate for g in scales.tolist()]
    return pd.DataFrame({**one[keys].to_dict(), "scale": scales, "theory": rates})
