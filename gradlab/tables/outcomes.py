"""What training came to: loss and score on test data at every step measured, beside a constant's and the baselines'."""

from __future__ import annotations

import numpy as np
import pandas as pd

from gradlab.schema import BASELINE, TRAINING
from gradlab.statistics.rates import across_seeds
from gradlab.tables.factors import PLACES, SEED, TRAINED, arranged, combinations, ran

#: What a network is judged by, and between which bounds an interval of it lies.
JUDGED = {"loss": (-np.inf, np.inf), "score": (0.0, 1.0)}


def has_outcomes(runs: pd.DataFrame) -> bool:
    """Return whether these runs were trained, and what they came to is known."""
    return TRAINED in runs and "trained" in runs and bool(runs["loss"].notna().any())


def baselines(runs: pd.DataFrame) -> list[str]:
    """Return the columns that hold the loss and the score of others on the test data, a constant's first."""
    names = [
        f"{name[: -len('_loss')]}_{kind}" for name in map(str, runs) if name.endswith("_loss") for kind in BASELINE
    ]
    return [name for name in names if name in runs and runs[name].notna().any()]


def differences(runs: pd.DataFrame) -> pd.DataFrame:
    """Return each run's loss and score minus each baseline's on the same test data, one column per baseline."""
    found = dict[str, pd.Series]()
    for column in baselines(runs):
        baseline, _, kind = column.rpartition("_")
        if column not in TRAINING:  # a constant is fitted to nothing
            found[f"{kind}_less_{baseline}"] = runs[kind] - runs[column]
    return pd.DataFrame(found, index=runs.index)


def outcomes(runs: pd.DataFrame) -> pd.DataFrame:
    """Return loss and score of each combination of what varies but the seed, with 95 % intervals over the seeds.

    Parameters
    ----------
    runs : DataFrame
        The table ``runs`` of a study that trains; all layers of a configuration agree in what is taken from it.

    Returns
    -------
    DataFrame
        What varies, ``step`` among it; ``loss`` and ``score`` (of a task with one) with ``_low`` and ``_high``, of the
        runs that did not diverge; the same of a constant and of the task's baselines on the same test data, means;
        ``loss_less_<baseline>`` and ``score_less_<baseline>``, the differences, paired by seed and data, with ``_low``
        and ``_high``; ``seeds`` and ``diverged`` (runs).
    """
    by = [name for name in combinations(runs) if name not in PLACES or name == TRAINED]
    placed = ran(arranged(runs)).drop_duplicates([*by, SEED])
    lost = placed[by].assign(diverged=(placed["status"] == "diverged").astype("int64"))
    counts = lost.groupby(by, dropna=False, observed=True).sum().reset_index()
    table = counts[by]
    for name in [name for name in JUDGED if name in runs and runs[name].notna().any()]:
        table = table.merge(_mean(placed, by, name), on=by)
    beside = placed.groupby(by, dropna=False, observed=True)[baselines(runs)].mean().reset_index()
    table = table.merge(beside, on=by)
    paired = differences(placed)
    for name in map(str, paired):
        table = table.merge(_mean(placed.assign(**{name: paired[name]}), by, name), on=by)
    seeds = across_seeds(placed, by, "loss")[[*by, "seeds"]]
    return table.merge(seeds, on=by).merge(counts, on=by)


def _mean(placed: pd.DataFrame, by: list[str], name: str) -> pd.DataFrame:
    """Return the mean over the seeds with its interval, within the bounds of what is measured."""
    ends = [f"{name}_low", f"{name}_high"]
    found = across_seeds(placed, by, name)[[*by, name, *ends]]
    return found.assign(**found[ends].clip(*JUDGED.get(name, (-np.inf, np.inf))))
