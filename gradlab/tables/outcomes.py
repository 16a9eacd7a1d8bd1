"""Outcomes of training: loss and score on test data, the share that met a criterion, and the steps until it was met.

A training that ended at its last step without meeting the criterion is censored there: it would have taken longer. The
median is Kaplan and Meier's (`gradlab.statistics.survival`). A training that diverged never meets the criterion;
it is censored at the last step too, not where it diverged, because that would count it as if it might have gone on.

References
----------
C. J. Clopper, E. S. Pearson (1934), *Biometrika* 26(4), 404–413: the interval of a share.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from gradlab.errors import InputError
from gradlab.schema import BASELINE, TRAINING
from gradlab.statistics.rates import across_seeds
from gradlab.statistics.survival import survival
from gradlab.tables.factors import PLACES, SEED, TRAINED, arranged, combinations, ran

#: What a network is judged by, and between which bounds an interval of it lies.
JUDGED = {"loss": (-np.inf, np.inf), "score": (0.0, 1.0)}

#: What the table says of each combination.
CRITERION = (
    *("solved", "solved_low", "solved_high"),
    *("steps_to_criterion", "steps_to_criterion_low", "steps_to_criterion_high"),
    *("limit", "censored_runs", "seeds"),
)


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


def has_criterion(runs: pd.DataFrame) -> bool:
    """Return whether these runs were trained until a criterion is met."""
    return "solved" in runs and bool(runs["solved"].notna().any())


def criterion_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the share solved and the steps to the criterion for each combination of what varies but the seed.

    Parameters
    ----------
    runs : DataFrame
        The table ``runs`` of a study that trains, with ``solved`` and ``steps_to_criterion``
        (`gradlab.schema.TRAINING`) and the key ``train.steps``; the layers and steps of a configuration agree in
        these. A configuration that failed has none of them and is left out; one that diverged is unsolved.

    Returns
    -------
    DataFrame
        What varies; ``solved`` with ``_low`` and ``_high`` (share, Clopper and Pearson's 95 % interval);
        ``steps_to_criterion`` with ``_low`` and ``_high`` (Kaplan–Meier median and its 95 % interval, nan where not
        reached or not bounded); ``limit`` (the most steps that a run was trained), ``censored_runs`` (share) and
        ``seeds`` (runs).

    Raises
    ------
    InputError
        If the runs were not trained until a criterion is met.
    """
    if not has_criterion(runs):
        raise InputError('runs: no criterion was set; [train] until = "loss" or "score" sets one')
    by = [name for name in combinations(runs) if name not in PLACES]
    each = ran(arranged(runs)).dropna(subset="solved").drop_duplicates([*by, SEED])
    groups = each.groupby(by, dropna=False, observed=True)
    rows = [[*(key if isinstance(key, tuple) else (key,)), *_criterion(part)] for key, part in groups]
    return pd.DataFrame(rows, columns=[*by, *CRITERION]).astype(each[by].dtypes.to_dict() | {"seeds": "int64"})


def _criterion(runs: pd.DataFrame) -> list[float]:
    from scipy import stats  # which every process of a study would load otherwise

    solved = runs["solved"].to_numpy() == 1.0
    share = stats.binomtest(int(solved.sum()), len(runs)).proportion_ci(0.95, method="exact")
    found = survival(np.where(solved, runs["steps_to_criterion"], runs["train.steps"]), solved)
    steps = [found.steps, found.low, found.high, found.limit, found.censored]
    return [float(solved.mean()), share.low, share.high, *steps, len(runs)]
