"""Made-up studies: random walks whose drift depends on the cell and the scale, in the tables' real columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from gradlab.schema import RUNS, SPECTRA, STEPS

#: Drift in nats/step of each cell at scale g: the first turns positive at g = 1.3, the others nowhere near.
DRIFTS = {
    "rnn": lambda g: np.log(g / 1.3),
    "lstm": lambda g: -0.65 + 0.1 * g,
    "gru": lambda g: -0.25 + 0.08 * g,
}
GRID: dict[str, list[Any]] = {
    "cell": ["rnn", "lstm", "gru"],
    "length": [50, 100, 200, 400],
    "scale": [0.5, 0.7, 0.9, 1.0, 1.2, 1.5, 2.0],
}
BASE = {
    "hidden": 64,
    "length": 64,
    "batch": 16,
    "at": "last",
    "precision": "float64",
    "task.name": "sum",
    "init.recurrent": "gaussian",
}


REASONS = {"failed": "ValueError: <b>told you</b> & so", "diverged": "the state is not finite from t = 37 on"}


def make_frames(
    grid: Mapping[str, Sequence[Any]] = GRID,
    *,
    seeds: int = 5,
    base: Mapping[str, Any] = BASE,
    lost: Mapping[tuple[Any, ...], str] | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return ``runs`` and ``steps`` of a full grid; ``lost`` gives the status of combinations that are not done."""
    runs, steps = [], []
    for values in product(*grid.values(), range(seeds)):
        keys = dict(base) | dict(zip([*grid, "seed"], values, strict=True))
        status = (lost or {}).get(values[:-1], "done")
        run = _run(keys, status, f"c{len(runs):04d}")
        runs.append(run)
        if status == "done":
            steps.append(_steps(run, keys))
    order = ["id", "study", *grid, "seed", *base, *list(RUNS)[2:]]
    columns = {name: np.concatenate([one[name] for one in steps]) if steps else [] for name in STEPS}
    every = pd.DataFrame(columns, dtype=None if steps else object)
    return pd.DataFrame(runs)[list(dict.fromkeys(order))], every


def frames(runs: pd.DataFrame, steps: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the tables of a study without exponents by name."""
    return {"runs": runs, "steps": steps, "spectra": pd.DataFrame(columns=list(SPECTRA))}


def with_long_range(runs: pd.DataFrame, steps: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return all tables of a study whose hooks measured exponents and, of gated cells, paths too."""
    known = runs[runs["status"] == "done"]
    spectra = [_spectrum(run) for _, run in known.iterrows()]
    walks = steps[(steps["quantity"] == "last_adjoint") & ~steps["id"].isin(runs.loc[runs["cell"] == "rnn", "id"])]
    lost = {"path_all": 0.0, "path_gates": 0.01, "path_additive": 0.2}
    paths = [walks.assign(quantity=name, mean_log=walks["mean_log"] - r * walks["lag"]) for name, r in lost.items()]
    exponents = {"lyapunov_1": runs["rate"], "lyapunov_2": runs["rate"] - 0.1}
    squares = {"state_power": np.exp(-runs["rate"]), "weight_sensitivity": np.exp(-3 * runs["rate"])}
    return {
        "runs": runs.assign(**exponents, **squares),
        "steps": pd.concat([steps, *paths, *_hooked(steps), _temporal(known)], ignore_index=True),
        "spectra": pd.concat(spectra, ignore_index=True) if spectra else pd.DataFrame(columns=list(SPECTRA)),
    }


def trained(runs: pd.DataFrame, steps: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the tables of a study that looked before training and after 100 steps of it, which halve every loss."""
    after = steps.assign(mean_log=steps["mean_log"] / 2, step=100)
    runs = runs.assign(
        solved=(runs["seed"] > 0).astype("float64"), steps_to_criterion=np.where(runs["seed"], 60.0, np.inf)
    )
    runs.insert(list(runs.columns).index("study") + 1, "train.steps", 100)
    return frames(runs, pd.concat([steps.assign(step=0), after], ignore_index=True))


def in_training(runs: pd.DataFrame, steps: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return ``runs`` and ``steps`` at the training steps 0 and 100, at which every rate is halved."""
    after = runs.assign(step=100, **{name: runs[name] / 2 for name in ("rate", "rate_low", "rate_high")})
    return pd.concat([runs.assign(step=0), after], ignore_index=True), trained(runs, steps)["steps"]


def _hooked(steps: pd.DataFrame) -> list[pd.DataFrame]:
    """Return what the hooks gates, jacobians and contributions would have measured of the same runs."""
    walks = steps[steps["quantity"] == "last_adjoint"]
    flat = {"gate_f": np.log(0.7), "gate_i": np.log(0.4), "jac_norm2": 0.2, "jac_q75": -0.1, "jac_q50": -0.5}
    flat |= {"jac_q25": -1.0, "jac_min": -3.0}
    parts = {"contribution_W_hh": 0.0, "contribution_b_h": -1.0}
    return [
        *(walks.assign(quantity=name, mean_log=value, q05=value, q95=value) for name, value in flat.items()),
        *(walks.assign(quantity=name, mean_log=walks["mean_log"] + value) for name, value in parts.items()),
    ]


def _temporal(runs: pd.DataFrame) -> pd.DataFrame:
    """Return who teaches whom in every run, where each step back costs half a nat."""
    t, s = (index.ravel() for index in np.indices((7, 7)))
    table = pd.DataFrame({"t": s, "lag": t - s, "quantity": "temporal", "mean_log": (s - t) / 2})[(s <= t) & (t > 0)]
    keys = runs[["id", "layer", "direction"]]
    return keys.merge(table, how="cross").assign(zeros=0)


def _spectrum(run: pd.Series) -> pd.DataFrame:
    index = np.arange(1, 9)
    table = pd.DataFrame({"index": index, "exponent": run["rate"] - 0.1 * (index - 1), "stderr": 0.01})
    return table.assign(id=run["id"], layer=0, direction="forward")[list(SPECTRA)]


def _run(keys: Mapping[str, Any], status: str, name: str) -> dict[str, Any]:
    rng = np.random.default_rng([keys["seed"], 7])
    drift = DRIFTS[keys["cell"]](keys.get("scale", 1.0)) + 0.02 * rng.normal()
    known = drift if status == "done" else np.nan
    steps = np.ceil(np.log(0.01) / drift) if known < 0 else np.inf
    reached = steps < keys["length"]
    measured = dict.fromkeys(RUNS, np.nan) | {
        "id": name, "study": "made_up", "layer": 0, "direction": "forward", "status": status, "verdict": "",
        "error": REASONS.get(status, ""),
        "traceback": "Traceback …" if status == "failed" else "",
        "rate": known, "rate_low": known - 0.03, "rate_high": known + 0.03, "window": 40,
        "horizon_1pct": steps if reached else np.nan, "censored": 0.0 if reached else 1.0,
        "overflow_step": 37 if status == "diverged" else 0, "loss": 0.5,
    }  # fmt: skip
    return measured | dict(keys)


def _steps(run: Mapping[str, Any], keys: Mapping[str, Any]) -> dict[str, Any]:
    length = keys["length"]
    rng = np.random.default_rng([keys["seed"], 11])
    walk = np.r_[0.3, -0.7 + np.cumsum(rng.normal(run["rate"], 0.3, length))]
    lag = np.arange(length + 1)
    one = {"t": length - lag, "lag": lag, "mean_log": walk, "q05": walk - 1, "q50": walk, "q95": walk + 1}
    rows = 2 * len(lag)
    same = {"id": run["id"], "layer": 0, "direction": "forward", "zeros": 0}
    return {
        **{name: np.tile(values, 2) for name, values in one.items()},
        **{name: np.full(rows, value, object if isinstance(value, str) else None) for name, value in same.items()},
        "quantity": np.repeat(np.array(["last_adjoint", "dL/dh"], object), len(lag)),
    }
