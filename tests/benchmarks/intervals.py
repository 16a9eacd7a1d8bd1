"""How often the intervals of the rate hold the truth: made-up studies whose drift is known.

    python tests/benchmarks/intervals.py                # results/coverage/: 1000 studies a cell of the grid, 3 minutes

Every walk goes through `gradlab.statistics.rates.rate` as a run's ``ln‖δ‖`` does, burn-in and all, and every study's
rates through `across_seeds`; nothing of the estimate is repeated here.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import signal, special

from gradlab.files import write_whole
from gradlab.statistics.rates import across_seeds, rate

COMMAND = "python tests/benchmarks/intervals.py"
STUDIES, SEED = 1000, 5
LENGTHS, SEEDS, CORRELATIONS = (50, 100, 200, 400, 1000), (3, 5, 10, 20), (0.0, 0.5, 0.9)
DRIFT, SPREAD = -0.05, 0.3
#: The law that the intervals are known not to hold for.
HIDDEN = "slow under white noise"
#: N of the Gaussian Jacobians: few units, whose increments are skewed, and as many as a study has.
UNITS = (4, 64)
#: An autoregression that starts anywhere has forgotten it after this many steps: 0.9²⁰⁰ = 7e-10.
FORGOTTEN = 200
#: The part of the grid for which 95 ± 2 % is promised.
LEAST_LENGTH, MOST_CORRELATED, LEAST_SEEDS = 200, 0.5, 5

Draw = Callable[[np.random.Generator, int, int], NDArray[np.float64]]


def autoregression(phi: float) -> Draw:
    """Return a law of increments with drift `DRIFT` and autocorrelation φ, ``(steps, runs)``."""

    def draw(rng: np.random.Generator, steps: int, runs: int) -> NDArray[np.float64]:
        noise = rng.normal(0.0, SPREAD, (steps + FORGOTTEN, runs))
        found: NDArray[np.float64] = DRIFT + signal.lfilter([1.0], [1.0, -phi], noise, axis=0)[FORGOTTEN:]
        return found

    return draw


def hidden(rng: np.random.Generator, steps: int, runs: int) -> NDArray[np.float64]:
    """Return what one autocorrelation does not tell: white noise, and as much that slowly (0.9) comes and goes.

    Neighbours correlate by 0.45, as in a fast autoregression, but those far apart do so too.
    """
    slow = autoregression(0.9)(rng, steps, runs) - DRIFT
    return DRIFT + slow * np.sqrt(1 - 0.9**2) + rng.normal(0.0, SPREAD, (steps, runs))


def jacobians(units: int) -> Draw:
    """Return TRUTHS E18's exact law: of i.i.d. Gaussian Jacobians ``ln‖Jv‖² − ln‖v‖²`` is ``ln(χ²_N / N)``."""
    return lambda rng, steps, runs: 0.5 * np.log(rng.chisquare(units, (steps, runs)) / units)


def laws() -> Iterator[tuple[str, float, Draw, float]]:
    """Yield a law's name, its autocorrelation, how to draw from it, and its drift."""
    for phi in CORRELATIONS:
        yield "autoregression", phi, autoregression(phi), DRIFT
    for units in UNITS:
        drift = 0.5 * (special.digamma(units / 2) + np.log(2 / units))
        yield f"Gaussian Jacobians, N = {units}", 0.0, jacobians(units), float(drift)
    yield HIDDEN, 0.9, hidden, DRIFT


def rates(draw: Draw, length: int, studies: int, seeds: int, rng: np.random.Generator) -> pd.DataFrame:
    """Return ``rate``, ``low`` and ``high`` of every run of every study; one run is one walk of T steps."""
    runs = studies * seeds
    walks = np.concatenate([np.zeros((1, runs)), np.cumsum(draw(rng, length, runs), axis=0)])
    found = [rate(walks[:, [run]]) for run in range(runs)]
    table = pd.DataFrame({name: [getattr(one, name) for one in found] for name in ("rate", "low", "high")})
    return table.assign(study=np.repeat(np.arange(studies), seeds), seed=np.tile(np.arange(seeds), studies))


def covered(low: pd.Series, high: pd.Series, truth: float) -> dict[str, float]:
    """Return the share of the intervals that hold the truth, its Monte Carlo error, and half the median width."""
    known = low.notna() & high.notna()
    share = float(((low <= truth) & (truth <= high))[known].mean())
    return {
        "intervals": len(known),
        "unknown": float((~known).mean()),
        "coverage": share,
        "error": float(np.sqrt(share * (1 - share) / max(known.sum(), 1))),
        "half_width": float((high - low)[known].median() / 2),
    }


def cells(
    studies: int, lengths: tuple[int, ...] = LENGTHS, seeds: tuple[int, ...] = SEEDS
) -> Iterator[dict[str, object]]:
    """Yield one row a cell of the grid: the interval within every run, and that over the seeds of every study.

    A study of n seeds is the first n runs of one of the most, so that within a run there are as many intervals as
    studies times the most seeds.
    """
    for place, (law, phi, draw, truth) in enumerate(laws()):
        for length in lengths:
            rng = np.random.default_rng([SEED, place, length])
            runs = rates(draw, length, studies, max(seeds), rng)
            where = {"law": law, "autocorrelation": phi, "length": length}
            yield where | {"interval": "within a run", "seeds": 1} | covered(runs["low"], runs["high"], truth)
            for count in seeds:
                table = across_seeds(runs[runs["seed"] < count], ["study"])
                found = covered(table["rate_low"], table["rate_high"], truth)
                yield where | {"interval": "over seeds", "seeds": count} | found


def promised(table: pd.DataFrame) -> pd.Series:
    """Return which rows of the table must be 95 ± 2 %."""
    within = table["interval"] == "within a run"
    enough = within | (table["seeds"] >= LEAST_SEEDS)
    return enough & (table["length"] >= LEAST_LENGTH) & (table["autocorrelation"] <= MOST_CORRELATED)


def markdown(table: pd.DataFrame, studies: int) -> str:
    """Return the table with what it is in its header."""
    rows = table.to_dict("records")
    lines = [
        "# How often the 95 % intervals of the rate hold the truth",
        "",
        f"`{COMMAND}` writes this: {studies} made-up studies a cell, seed {SEED}. A run is one walk of T steps whose",
        f"increments have a known drift: an autoregression (drift {DRIFT}, innovations of standard deviation {SPREAD})",
        "or the exact law of Gaussian Jacobians. Its rate and interval are those of `gradlab.statistics.rates`, the",
        "burn-in left out. *Error* is the Monte Carlo standard error of the coverage: 0.7 % at 1000 studies, 0.15 %",
        "within a run, where every run of every study counts. *Half-width* is the median, in nats/step. The last",
        "column marks where 95 ± 2 % is promised: T ≥ 200, autocorrelation ≤ 0.5, and 5 seeds or more over seeds.",
        "",
        f"The last law, {HIDDEN}, is what an interval within a run cannot see through: half of the variance is white,",
        "the other half an autoregression at 0.9, so that neighbours correlate by 0.45 only. Over seeds it holds.",
        "",
        "| law | autocorrelation | T | interval | seeds | coverage | error | half-width | promised |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row, kept in zip(rows, promised(table), strict=True):
        lines.append(
            f"| {row['law']} | {row['autocorrelation']} | {row['length']} | {row['interval']} | {row['seeds']} "
            f"| {row['coverage']:.1%} | {row['error']:.2%} | {row['half_width']:.4f} | {'yes' if kept else ''} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the table, and say what of it is not as promised."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--studies", type=int, default=STUDIES)
    parser.add_argument("--out", type=Path, default=Path("results/coverage"))
    given = parser.parse_args()
    table = pd.DataFrame(cells(given.studies))
    given.out.mkdir(parents=True, exist_ok=True)
    header = f"# {COMMAND} --studies {given.studies}\n"
    write_whole(given.out / "coverage.csv", (header + table.to_csv(index=False, float_format="%.6g")).encode())
    write_whole(given.out / "coverage.md", markdown(table, given.studies).encode())
    kept = table[promised(table)]
    print(f"promised: {kept['coverage'].min():.1%} to {kept['coverage'].max():.1%} in {len(kept)} cells")
    rest = table.drop(kept.index)
    for name, part in rest.groupby(rest["law"] == HIDDEN):
        print(f"{HIDDEN if name else 'elsewhere'}: {part['coverage'].min():.1%} at least")


if __name__ == "__main__":
    main()
