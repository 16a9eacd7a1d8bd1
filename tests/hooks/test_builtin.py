"""What the built-in hooks measure, against the trace's own numbers; columns and quantities are the schema's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracles.family import FAMILY, make, spread

import gradlab as gl
from gradlab import schema

T, B, D, H = 40, 6, 2, 5
ENDS = np.array([40, 40, 25, 10, 2, 1])


def measured(hook: str, name: str = "lstm", lengths: Any = None, scale: float = 1.0) -> tuple[gl.Trace, Any, Any]:
    rng = np.random.default_rng(0)
    x, v = rng.standard_normal((T, B, D)), rng.standard_normal((B, H))
    trace = gl.trace(make(name, D, H, scale=scale), x, gl.projection(v), lengths=lengths, hooks=[hook])
    found = trace.measured()
    return trace, found["runs"], found["steps"]


def statistics(logs: Any) -> list[Any]:
    """Return mean, quantiles and zeros of one row of logs, as ``steps`` has them."""
    known = logs[np.isfinite(logs)]
    return [known.mean(), *np.quantile(known, (0.05, 0.5, 0.95)), np.isneginf(logs).sum()]


STATISTICS = ["mean_log", "q05", "q50", "q95", "zeros"]


@pytest.mark.parametrize(("name", "hook", "lengths"), spread(["gradients", "jacobians", "gates"], [None, ENDS]))
def test_columns_and_quantities_are_the_schemas(name: str, hook: str, lengths: Any) -> None:
    _, runs, steps = measured(hook, name, lengths)
    assert set(steps.columns) == set(schema.STEPS) - {"id"}
    assert set(runs.columns) <= set(schema.RUNS)
    for quantity in set(steps.quantity):
        known = quantity in schema.QUANTITIES or quantity.startswith(("dL/da_", "gate_", "saturation_"))
        assert known, quantity
    assert not steps.duplicated(["layer", "direction", "quantity", "t", "lag"]).any()
    assert (steps.lag >= 0).all()
    dtypes = {column: schema.STEPS[column].dtype for column in ("t", "lag", *STATISTICS)}
    assert {column: str(steps[column].dtype) for column in dtypes} == dtypes


@pytest.mark.parametrize("name", FAMILY)
def test_gradients(name: str) -> None:
    trace, runs, steps = measured("gradients", name)
    found = trace.horizon(np.exp(-1.0)).steps, trace.horizon().steps, trace.horizon(0.01).censored
    np.testing.assert_equal(tuple(runs.loc[0, ["horizon_e", "horizon_1pct", "censored"]]), found)
    assert runs.loc[0, "shape"] == trace.shape().word
    assert set(steps.quantity) == set(trace.layers[0].quantities)
    for quantity, rows in steps.groupby("quantity"):
        logs = trace.log_norm(quantity)
        assert len(rows) == len(logs)
        np.testing.assert_array_equal(rows.t + rows.lag, T)
        for row in rows.itertuples():
            at = logs[row.t - (T + 1 - len(logs))]
            if np.isfinite(at).any():
                np.testing.assert_allclose([getattr(row, s) for s in STATISTICS], statistics(at), rtol=1e-12)
            else:
                assert (row.zeros, np.isnan(row.mean_log)) == (B, True)


def test_jacobians_at_a_sample_or_at_all_steps() -> None:
    for hook, count in (("jacobians", 32), ("jacobians:all", T), ("jacobians:7", 7), ("jacobians:1000", T)):
        trace, runs, steps = measured(hook)
        values = trace.jacobians.singular_values()
        wanted = {
            "jac_norm2": np.log(values[..., 0]),
            "jac_fro": np.log(trace.jacobians.norm("fro")),
            "jac_cond": np.log(values[..., 0] / values[..., -1]),
            "jac_q75": np.log(np.percentile(values, 75, axis=-1)),
            "jac_q50": np.log(np.median(values, axis=-1)),
            "jac_q25": np.log(np.percentile(values, 25, axis=-1)),
            "jac_min": np.log(values[..., -1]),
        }
        assert set(steps.quantity) == set(wanted)
        for quantity, rows in steps.groupby("quantity"):
            assert len(rows) == count
            assert (rows.t.min(), rows.t.max()) == (1, T)
            np.testing.assert_allclose(
                rows[STATISTICS], [statistics(wanted[quantity][t - 1]) for t in rows.t], rtol=1e-9
            )
        chosen = steps[steps.quantity == "jac_norm2"].t.to_numpy() - 1
        for column, quantity in (("jac_norm2_median", "jac_norm2"), ("jac_cond_median", "jac_cond")):
            np.testing.assert_allclose(runs[column], np.exp(np.median(wanted[quantity][chosen])), rtol=1e-9)


def test_singular_jacobians_are_counted() -> None:
    """A dead ReLU layer: ‖J‖ is an exact zero, its logarithm in no average, its condition not a number."""
    cell = gl.RNN(np.ones((2, 1)), np.eye(2), activation="relu")
    trace = gl.trace(cell, np.full((3, 2, 1), -1.0), hooks=["jacobians"])
    runs, steps, _ = trace.measured().values()
    zeros = steps.set_index("quantity").zeros
    assert zeros["jac_norm2"].tolist() == zeros["jac_fro"].tolist() == [2, 2, 2]
    assert runs.jac_norm2_median[0] == 0.0
    assert steps.mean_log.isna().all()


def test_gates() -> None:
    trace, runs, steps = measured("gates", scale=4.0)
    limits = {"i": (0.1, 0.9), "f": (0.1, 0.9), "g": (-0.8, 0.8), "o": (0.1, 0.9)}
    shares = []
    for gate, (low, high) in limits.items():
        values = trace.gates[gate]
        share = ((values < low) | (values > high)).mean(axis=-1)
        shares.append(share.mean())
        rows = steps.set_index("quantity")
        activity = np.log(np.abs(values).mean(axis=-1))
        np.testing.assert_allclose(rows.loc[f"gate_{gate}", "mean_log"], activity.mean(axis=1), rtol=1e-12)
        np.testing.assert_array_equal(rows.loc[f"saturation_{gate}", "zeros"], (share == 0).sum(axis=1))
    assert 0.1 < np.mean(shares) < 0.9
    np.testing.assert_allclose(runs.saturation, np.mean(shares), rtol=1e-12)
    assert set(steps.quantity) == {f"{kind}_{gate}" for kind in ("gate", "saturation") for gate in limits}


def test_a_cell_without_gates_shows_its_output() -> None:
    trace, runs, steps = measured("gates", "rnn-tanh", scale=4.0)
    assert set(steps.quantity) == {"gate_h", "saturation_h"}
    np.testing.assert_allclose(runs.saturation, (np.abs(trace.states["h"][1:]) > 0.8).mean(), rtol=1e-12)


@pytest.mark.parametrize(
    ("cell", "gate"),
    [
        ("lstm", lambda gates: gates["f"]),
        ("gru-before-replace", lambda gates: 1 - gates["z"]),
        ("gru-after-keep", lambda gates: gates["z"]),
        ("rnn-tanh", lambda gates: np.full((T, 1, 1), np.nan)),
    ],
)
def test_the_gate_that_keeps_has_its_mean_within_the_sequences(cell: str, gate: Any) -> None:
    trace, runs, _ = measured("gates", cell, lengths=ENDS, scale=4.0)
    inside = np.arange(1, T + 1)[:, None] <= ENDS
    means = np.broadcast_to(gate(trace.gates).mean(axis=-1), inside.shape)
    np.testing.assert_allclose(runs.keep_gate_mean, means[inside].mean(), rtol=1e-12)


def test_activity_that_overflows_warns_no_one() -> None:
    cell = gl.RNN(np.ones((2, 1)), np.eye(2), activation="identity")
    trace = gl.trace(cell, np.zeros((2, 1, 1)), state=np.full((1, 2), 1.5e308), hooks=["gates"])
    runs, steps, _ = trace.measured().values()
    assert runs.saturation[0] == 1.0
    assert steps[steps.quantity == "gate_h"].mean_log.isna().all()


def test_saturation_leaves_out_what_lies_beyond_an_end() -> None:
    trace, runs, steps = measured("gates", "rnn-tanh", lengths=ENDS, scale=4.0)
    inside = np.arange(1, T + 1)[:, None] <= ENDS
    saturated = (np.abs(trace.states["h"][1:]) > 0.8).mean(axis=-1)
    np.testing.assert_allclose(runs.saturation, saturated[inside].mean(), rtol=1e-12)
    assert len(steps[steps.quantity == "gate_h"]) == len(
        np.unique(np.argwhere(inside)[:, 0] * 100 + ENDS[np.argwhere(inside)[:, 1]])
    )
