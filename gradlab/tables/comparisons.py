"""Differences of rates between the levels of one key, paired by seed, with simultaneous intervals and sentences.

In a study, seed s fixes the data and the draws for every cell, so pairing by seed removes this common variation from a
difference. A table of m differences has m chances of an error, so each is tested at 5 %/m (Bonferroni).

References
----------
O. J. Dunn (1961), Multiple comparisons among means, *Journal of the American Statistical Association* 56(293), 52–64:
t-intervals at 1 − α/m hold together under any dependence between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import special

from gradlab.errors import InputError, unknown
from gradlab.formatting.numbers import estimate, numeral
from gradlab.tables.factors import SEED, TRAINED, arranged, keys, named, places, varying

#: Relative agreement of one configuration's numbers between machines; a smaller difference counts as zero.
AGREEMENT = 1e-12
#: Fewest pairs for an interval.
FEWEST_PAIRS = 2
#: Reasons to leave out a pair, in order of precedence; a reason applies if it holds for either run.
LEFT_OUT = ("failed", "diverged", "planned", "without a rate")
#: Numeric columns of a pair of runs, and of the table of comparisons.
_VALUES = ["difference", "rate_a", "rate_b"]
_NUMBERS = ["difference", "difference_low", "difference_high", "pairs", "p_adjusted"]


def comparisons(runs: pd.DataFrame, along: str = "cell", *, level: float = 0.95) -> pd.DataFrame:
    """Return the differences of the rate between the levels of one key, with all other keys equal.

    For each pair of levels, ``d_s = rate_b,s − rate_a,s`` over the seeds s that both have. A key that only one of the
    two levels has, such as the forget bias of an LSTM, does not prevent a pair. ``difference`` is ``mean_s d_s``, its
    interval is ``± t_{n−1}(1 − α/2m) s_d/√n``, and ``p_adjusted`` is ``min(1, m p)`` of the paired t-test. Here m is
    the number of differences in the table that have an interval. All intervals hold together with probability
    ``level = 1 − α`` (Dunn 1961), and p_adjusted < α exactly if the interval excludes 0. Holm's p values would be
    smaller, but they have no matching two-sided intervals. Fewer rows give narrower intervals, so compare only the
    levels of interest.

    Parameters
    ----------
    runs : DataFrame
        The table ``runs`` of a study, or of several studies (`together`).
    along : str
        The key to compare along: any key that varies, "layer", "direction" or "study".
    level : float
        Probability with which all intervals hold together, in (0, 1).

    Returns
    -------
    DataFrame
        The other varying keys, ``a`` and ``b`` (the two levels), ``difference``, ``difference_low``,
        ``difference_high`` (nats/step, b minus a), ``pairs`` (number of seeds for which both runs have a rate),
        ``p_adjusted`` and ``sentence``. The sentence also counts the pairs that were left out. It states that a level
        "vanishes" or "explodes" only if the interval of its own mean rate over those pairs, at ``level`` and without
        adjustment, has one sign.

    Raises
    ------
    InputError
        If ``along`` is not a key or has a single value, if two runs agree in every key and the seed, or if ``level``
        lies outside (0, 1).
    """
    if not 0 < level < 1:
        raise InputError(f"level: expected a number in (0, 1), got {level!r}")
    placed = _placed(runs, along)
    equal = _equal(placed, along)
    by = [*equal, "a", "b"]
    paired = _paired(placed, along, equal)
    groups = paired.groupby(by, dropna=False, observed=True)
    table = _estimated(groups, level)
    table = table.join(groups[list(LEFT_OUT)].sum()).reset_index()
    table["sentence"] = [_sentence(row, along, equal) for _, row in table.iterrows()]
    return table[[*by, *_NUMBERS, "sentence"]]


def together(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the tables ``runs`` of several studies as one table.

    Parameters
    ----------
    tables : sequence of DataFrame
        The tables ``runs``. A key that a study lacks is missing (nan) in its rows.
    """
    both = pd.concat(tables, ignore_index=True)
    named_keys = list(dict.fromkeys(key for table in tables for key in keys(table)))
    first = ["id", "study", *named_keys]
    return both[[*first, *(name for name in both.columns if name not in first)]]


def _placed(runs: pd.DataFrame, along: str) -> pd.DataFrame:
    """Return the runs with non-numeric keys as categories, after checking ``along``."""
    known = [name for name in ("study", *keys(runs), *places(runs)) if name not in (SEED, "hooks")]
    if along not in known:
        raise InputError(unknown("key", along, known))
    studies = pd.CategoricalDtype(list(runs["study"].unique()))
    placed = arranged(runs).assign(study=runs["study"].astype(studies))
    if len(_levels(placed[along])) < 2:
        raise InputError(
            f"along: expected a key with two values or more, {varying(runs)}; got {along!r}, which has not"
        )
    return placed


def _equal(placed: pd.DataFrame, along: str) -> list[str]:
    """Return the varying keys that the two runs of a pair must share; hooks are excluded, as they change no number."""
    names = [name for name in varying(placed) if name not in (along, "hooks")]
    return ["study", *names] if along != "study" and placed["study"].nunique() > 1 else names


def _paired(placed: pd.DataFrame, along: str, equal: list[str]) -> pd.DataFrame:
    """Return one row per pair of runs: ``equal…, a, b, rate_a, rate_b, difference``, and one bool per `LEFT_OUT`."""
    levels = _levels(placed[along])
    found = [_merged(placed, along, equal, a, b) for a, b in combinations(levels, 2)]
    filled = [pairs for pairs in found if len(pairs)]
    pairs = pd.concat(filled or found[:1], ignore_index=True)
    lost = _lost(pairs)
    names = ["rate_a", "rate_b"]
    pairs.loc[lost != "", names] = np.nan
    difference = pairs["rate_b"] - pairs["rate_a"]
    tiny = difference.abs() <= AGREEMENT * pairs[names].abs().max(axis=1)
    return pairs.assign(difference=difference.mask(tiny, 0.0), **{word: lost == word for word in LEFT_OUT})


def _merged(placed: pd.DataFrame, along: str, equal: list[str], a: Any, b: Any) -> pd.DataFrame:
    """Return the runs of level a joined with those of level b, by seed and by the keys that both levels have."""
    first, second = (_level(placed, along, equal, level) for level in (a, b))
    second = second.drop(columns=[name for name in equal if second[name].isna().all()])
    first = first.drop(columns=[name for name in equal if name in second and first[name].isna().all()])
    shared = [name for name in (*equal, SEED) if name in first and name in second]
    pairs = first.merge(second, on=shared, suffixes=("_a", "_b"))
    kind = placed[along].dtype
    return pairs.assign(**{side: pd.Series(level, pairs.index).astype(kind) for side, level in (("a", a), ("b", b))})


def _level(placed: pd.DataFrame, along: str, equal: list[str], level: Any) -> pd.DataFrame:
    runs: pd.DataFrame = placed.loc[placed[along] == level, [*equal, SEED, "rate", "status"]]
    if runs.duplicated([*equal, SEED]).any():
        raise InputError(
            f"runs: expected one of {along} {level} for each seed and {equal}, got several; name what differs"
        )
    return runs


def _lost(pairs: pd.DataFrame) -> NDArray[np.str_]:
    """Return the reason to leave out each pair, the first of `LEFT_OUT` that applies; "" for a pair that is kept."""
    known = np.isfinite(pairs[["rate_a", "rate_b"]].astype("float64")).all(axis=1)
    either = [(pairs["status_a"] == word) | (pairs["status_b"] == word) for word in LEFT_OUT[:-1]]
    return np.select([*either, ~known], LEFT_OUT, default="")


def _estimated(groups: Any, level: float) -> pd.DataFrame:
    """Return the mean difference of each group of pairs, its simultaneous interval and p, and the rates' signs."""
    mean, spread, pairs = groups[_VALUES].mean(), groups[_VALUES].std(), groups["difference"].count()
    spread = spread.mask(spread.le(AGREEMENT * mean.abs().max(axis=1), axis=0), 0.0)
    error = spread.div(np.sqrt(pairs), axis=0)
    tests = max(int((pairs >= FEWEST_PAIRS).sum()), 1)
    half, p = simultaneous(mean["difference"], error["difference"], pairs, tests=tests, level=level)
    alone = {side: simultaneous(mean[side], error[side], pairs, tests=1, level=level)[0] for side in _VALUES[1:]}
    return pd.DataFrame(
        {
            "difference": mean["difference"],
            "difference_low": mean["difference"] - half,
            "difference_high": mean["difference"] + half,
            "pairs": pairs,
            "p_adjusted": p,
            **{f"sign_{side[-1]}": np.sign(mean[side]).where(mean[side].abs() > alone[side], 0.0) for side in alone},
        }
    )


def simultaneous(
    mean: ArrayLike, error: ArrayLike, pairs: ArrayLike, *, tests: int, level: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return half the widths of simultaneous intervals of means, and the matching adjusted p values.

    Parameters
    ----------
    mean, error : array
        The means and their standard errors, of any one shape.
    pairs : array
        The number of pairs behind each mean; the results are nan for fewer than two.
    tests : int
        The number of means tested together.
    level : float
        Probability with which all intervals hold together.

    Returns
    -------
    half, p : array
        Half the width of each interval, in the unit of ``mean``, and p of the t-test times ``tests``, at most 1.
    """
    n = np.asarray(pairs, dtype=np.float64)
    freedom = np.where(n < FEWEST_PAIRS, np.nan, n - 1)
    size = np.abs(np.asarray(mean, dtype=np.float64))
    half = special.stdtrit(freedom, 1 - (1 - level) / (2 * tests)) * np.asarray(error)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = np.minimum(tests * 2 * special.stdtr(freedom, -size / error), 1.0)
    return half, np.where((size == 0) & (n >= FEWEST_PAIRS), 1.0, p)


def _levels(column: pd.Series) -> list[Any]:
    known = column.dropna()
    return list(known.cat.categories) if isinstance(known.dtype, pd.CategoricalDtype) else sorted(known.unique())


def _sentence(row: pd.Series, along: str, equal: list[str]) -> str:
    """Return the finding of a row: the direction and size of the difference, its place, and the pairs left out."""
    a, b = _named(along, row["a"]), _named(along, row["b"])
    the_a = f"the {a}" if along == "cell" else a
    return _said(row, a=the_a, b=b, where=_where(row, equal)) + _left_out(row)


def _said(row: pd.Series, *, a: str, b: str, where: str) -> str:
    difference, low, high = (row[name] for name in _NUMBERS[:3])
    told = f"difference {estimate(difference, low, high)} nats/step"
    if not row["pairs"]:
        return f"no pair of runs to compare {b} with {a}{where}"
    if row["pairs"] < FEWEST_PAIRS:
        return f"too few pairs to compare {b} with {a}{where}: {numeral(difference, 3)} nats/step in one pair"
    if low == high == 0:
        return f"{b} has the same rate as {a} in all {row['pairs']} pairs{where}"
    if low <= 0 <= high:
        return f"{b} and {a} are not distinguishable{where}: {told}"
    signs = (row["sign_a"], row["sign_b"])
    if signs in WORDS_APART:
        return f"{b} {WORDS_APART[signs][0]} while {a} {WORDS_APART[signs][1]}{where}: {told}"
    size = estimate(difference, low, high) if difference > 0 else estimate(-difference, -high, -low)
    if signs in WORDS_ALIKE:
        verb, more, less = WORDS_ALIKE[signs]
        return f"{b} {verb} {size} nats/step {more if difference > 0 else less} than {a}{where}"
    return f"the rate of {b} is {size} nats/step {'above' if difference > 0 else 'below'} that of {a}{where}"


#: The verb for two rates of one sign, and its adverbs if the rate of b is the larger and the smaller one.
WORDS_ALIKE = {(-1.0, -1.0): ("vanishes", "slower", "faster"), (1.0, 1.0): ("explodes", "faster", "slower")}
#: The verbs for b and a if their rates differ in sign.
WORDS_APART = {(-1.0, 1.0): ("explodes", "vanishes"), (1.0, -1.0): ("vanishes", "explodes")}


def _where(row: pd.Series, equal: list[str]) -> str:
    """Return the place of a row, as in `` in the LSTM at scale 1, length 400``; keys without a value are left out."""
    known = [name for name in equal if not pd.isna(row[name])]
    cell = f" in the {_named('cell', row['cell'])}" if "cell" in known else ""
    rest = [_named(name, row[name]) for name in known if name not in ("cell", TRAINED)]
    trained = f" {named(TRAINED, row[TRAINED])}" if TRAINED in known else ""
    return cell + (f" at {', '.join(rest)}" if rest else "") + trained


def _named(key: str, level: Any) -> str:
    """Return the text for a level: ``GRU`` for a cell, the name for a study, ``scale 1`` for another key."""
    if key == "cell":
        return str(level).upper()
    return str(level) if key == "study" else named(key, level)


def _left_out(row: pd.Series) -> str:
    told = [f"{row[word]} {word}" for word in LEFT_OUT if row[word]]
    total = row["pairs"] + sum(row[word] for word in LEFT_OUT)
    return f" (left out of {total} pairs: {', '.join(told)})" if told else ""
