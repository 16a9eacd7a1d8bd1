"""How many trainings met their criterion, and after how many steps, where some were ended before.

A training that was ended at its last step without having met the criterion says only that it would have taken longer:
it is censored, and the median is Kaplan and Meier's (`gradlab.statistics.survival`). One that diverged will never meet
it: censoring it where it diverged would count it as if it might have gone on, so it is censored at the last step too.

References
----------
C. J. Clopper, E. S. Pearson (1934), *Biometrika* 26(4), 404–413: the interval of a share.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from gradlab.errors import InputError
from gradlab.statistics.survival import survival
from gradlab.tables.factors import PLACES, SEED, arranged, combinations, ran

#: What the table says of each combination.
NUMBERS = (
    *("solved", "solved_low", "solved_high"),
    *("steps_to_criterion", "steps_to_criterion_low", "steps_to_criterion_high"),
    *("limit", "censored_runs", "seeds"),
)


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
    rows = [[*(key if isinstance(key, tuple) else (key,)), *_numbers(part)] for key, part in groups]
    return pd.DataFrame(rows, columns=[*by, *NUMBERS]).astype(each[by].dtypes.to_dict() | {"seeds": "int64"})


def _numbers(runs: pd.DataFrame) -> list[float]:
    from scipy import stats  # which every process of a study would load otherwise

    solved = runs["solved"].to_numpy() == 1.0
    share = stats.binomtest(int(solved.sum()), len(runs)).proportion_ci(0.95, method="exact")
    found = survival(np.where(solved, runs["steps_to_criterion"], runs["train.steps"]), solved)
    steps = [found.steps, found.low, found.high, found.limit, found.censored]
    return [float(solved.mean()), share.low, share.high, *steps, len(runs)]
