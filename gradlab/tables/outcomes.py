"""Outcomes of training: loss and score on test data, the share that met a criterion, and the steps until it was met.

A training that ends at its last step without meeting the criterion is censored there, and the median is the
Kaplan–Meier one (`gradlab.statistics.survival`). A training that diverged will never meet the criterion. Censoring it
where it diverged would count it as one that might have met it later, so it is censored at the last step too.

References
----------
C. J. Clopper, E. S. Pearson (1934), *Biometrika* 26(4), 404–413: the interval of a proportion.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from gradlab.errors import InputError
from gradlab.schema import BASELINE, TRAINING
from gradlab.statistics.rates import across_seeds
from gradlab.statistics.survival import survival
from gradlab.tables.factors import PLACES, SEED, TRAINED, arranged, combinations, ran

#: Columns that measure a network's performance, and the bounds of their intervals.
JUDGED = {"loss": (-np.inf, np.inf), "score": (0.0, 1.0)}

#: Columns of `criterion_table` after the varying keys.
CRITERION = (
    *("solved", "solved_low", "solved_high"),
    *("steps_to_criterion", "steps_to_criterion_low", "steps_to_criterion_high"),
    *("limit", "censored_runs", "seeds"),
)


def has_outcomes(runs: pd.DataFrame) -> bool:
    """Return whether these runs were trained and at least one has a test loss."""
    return TRAINED in runs and "trained" in runs and bool(runs["loss"].notna().any())


def baselines(runs: pd.DataFrame) -> list[str]:
    """Return the columns with the test loss and score of a constant and of the task's baselines, if recorded."""
    names = [
        f"{name[: -len('_loss')]}_{kind}" for name in map(str, runs) if name.endswith("_loss") for kind in BASELINE
    ]
    return [name for name in names if name in runs and runs[name].notna().any()]


def differences(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the loss and score of each run minus those of each baseline on the same test data.

    Returns
    -------
    DataFrame
        ``loss_less_<baseline>`` and ``score_less_<baseline>``, one row per run.
    """
    found = dict[str, pd.Series]()
    for column in baselines(runs):
        baseline, _, kind = column.rpartition("_")
        if column not in TRAINING:  # constant_loss is not a baseline's
            found[f"{kind}_less_{baseline}"] = runs[kind] - runs[column]
    return pd.DataFrame(found, index=runs.index)


def outcomes(runs: pd.DataFrame) -> pd.DataFrame:
    """Return mean loss and score for each combination of the varying keys, with 95 % intervals over the seeds.

    Parameters
    ----------
    runs : DataFrame
        The table ``runs`` of a study that trains. The columns used are the same for all layers of a configuration.

    Returns
    -------
    DataFrame
        The varying keys, including ``step``; ``loss`` and, for a task with a score, ``score``, each with ``_low`` and
        ``_high``, over the runs that did not diverge; the mean loss and score of a constant and of the task's
        baselines on the same test data; ``loss_less_<baseline>`` and ``score_less_<baseline>`` (differences paired by
        seed and data) with ``_low`` and ``_high``; ``seeds`` and ``diverged`` (numbers of runs).
    """
    by = [name for name in combinations(runs) if name not in PLACES or name == TRAINED]
    placed = ran(arranged(runs)).drop_duplicates([*by, SEED])
    lost = placed[by].assign(diverged=(placed["status"] == "diverged").astype("int64"))
    counts = lost.groupby(by, dropna=False, observed=True).sum().reset_index()
    table = counts[by]
    for name in [name for name in JUDGED if name in runs and runs[name].notna().any()]:
        table = table.merge(_mean(placed, by, name), on=by)
    references = placed.groupby(by, dropna=False, observed=True)[baselines(runs)].mean().reset_index()
    table = table.merge(references, on=by)
    paired = differences(placed)
    for name in map(str, paired):
        table = table.merge(_mean(placed.assign(**{name: paired[name]}), by, name), on=by)
    seeds = across_seeds(placed, by, "loss")[[*by, "seeds"]]
    return table.merge(seeds, on=by).merge(counts, on=by)


def _mean(placed: pd.DataFrame, by: list[str], name: str) -> pd.DataFrame:
    """Return the mean over the seeds with its interval, clipped to the bounds of the column."""
    ends = [f"{name}_low", f"{name}_high"]
    found = across_seeds(placed, by, name)[[*by, name, *ends]]
    return found.assign(**found[ends].clip(*JUDGED.get(name, (-np.inf, np.inf))))


def has_criterion(runs: pd.DataFrame) -> bool:
    """Return whether these runs were trained with a criterion."""
    return "solved" in runs and bool(runs["solved"].notna().any())


def criterion_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the share solved and the steps to the criterion over the seeds, for each combination of the varying keys.

    Parameters
    ----------
    runs : DataFrame
        The table ``runs`` of a study that trains, with ``solved`` and ``steps_to_criterion``
        (`gradlab.schema.TRAINING`) and the key ``train.steps``. These are the same for all layers and steps of a
        configuration. A configuration that failed has none of them and is left out; one that diverged is not solved.

    Returns
    -------
    DataFrame
        The varying keys; ``solved`` with ``_low`` and ``_high`` (share, with its Clopper–Pearson 95 % interval);
        ``steps_to_criterion`` with ``_low`` and ``_high`` (Kaplan–Meier median and its 95 % interval in training
        steps, nan if not reached or not bounded); ``limit`` (longest observation, training steps); ``censored_runs``
        (share); and ``seeds`` (number of runs).

    Raises
    ------
    InputError
        If the runs were trained without a criterion.
    """
    if not has_criterion(runs):
        raise InputError('runs: no criterion was set; [train] until = "loss" or "score" sets one')
    by = [name for name in combinations(runs) if name not in PLACES]
    each = ran(arranged(runs)).dropna(subset="solved").drop_duplicates([*by, SEED])
    groups = each.groupby(by, dropna=False, observed=True)
    rows = [[*(key if isinstance(key, tuple) else (key,)), *_criterion(part)] for key, part in groups]
    return pd.DataFrame(rows, columns=[*by, *CRITERION]).astype(each[by].dtypes.to_dict() | {"seeds": "int64"})


def _criterion(runs: pd.DataFrame) -> list[float]:
    """Return the values of `CRITERION` for the runs of one combination."""
    from scipy import stats  # imported late: every process of a study would load it otherwise

    solved = runs["solved"].to_numpy() == 1.0
    share = stats.binomtest(int(solved.sum()), len(runs)).proportion_ci(0.95, method="exact")
    found = survival(np.where(solved, runs["steps_to_criterion"], runs["train.steps"]), solved)
    steps = [found.steps, found.low, found.high, found.limit, found.censored]
    return [float(solved.mean()), share.low, share.high, *steps, len(runs)]
