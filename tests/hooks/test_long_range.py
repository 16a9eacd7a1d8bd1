"""The hooks of what reaches far: lyapunov:k, paths, contributions, against the trace's own answers and the schema."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracles.family import ADDITIVE, FAMILY, make, spread

import gradlab as gl
from gradlab import schema
from gradlab.errors import GradlabError

T, B, D, H = 40, 4, 2, 5
ENDS = np.array([40, 25, 10, 1])
HOOKS = ("lyapunov:3", "paths", "contributions", "temporal")
cases = pytest.mark.parametrize("name", FAMILY)


def measured(hook: str, name: str = "lstm", lengths: Any = None) -> tuple[gl.Trace, Any, Any]:
    rng = np.random.default_rng(0)
    x, v = rng.standard_normal((T, B, D)), rng.standard_normal((B, H))
    trace = gl.trace(make(name, D, H), x, gl.projection(v), lengths=lengths, hooks=[hook])
    found = trace.measured()
    return trace, found["runs"], found["steps"]


@pytest.mark.parametrize(("name", "hook", "lengths"), spread(HOOKS, [None, ENDS]))
def test_columns_and_quantities_are_the_schemas(name: str, hook: str, lengths: Any) -> None:
    trace, runs, steps = measured(hook, name, lengths)
    numbered = {f"lyapunov_{i}" for i in range(1, 4)}
    assert set(runs.columns) - numbered <= set(schema.RUNS)
    parameters = {f"contribution_{key}" for key in trace.layers[0].cell.parameters}
    quantities = {
        "lyapunov:3": set(),
        "paths": {"path_additive", "path_gates", "path_all"} if name in ADDITIVE else set(),
        "contributions": parameters,
        "temporal": {"temporal"},
    }[hook]
    assert set(steps.get("quantity", [])) == quantities
    if quantities:
        assert set(steps.columns) == set(schema.STEPS) - {"id"}
        assert not steps.duplicated(["layer", "direction", "quantity", "t", "lag"]).any()
        assert (steps.lag >= 0).all()


# --- exponents ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "hook"), spread(["lyapunov", "lyapunov:1", "lyapunov:3"]))
def test_lyapunov(name: str, hook: str) -> None:
    """A tenth of the steps is warm-up."""
    trace, runs, _ = measured(hook, name)
    count = int(hook.partition(":")[2] or 1)
    found = trace.spectrum(count, warmup=4)
    assert f"lyapunov_{count + 1}" not in runs
    for i in range(count):
        assert runs[f"lyapunov_{i + 1}"][0] == found.exponents[i]
    for column in ("kaplan_yorke", "entropy"):
        np.testing.assert_array_equal(runs[column][0], getattr(found, column))


@pytest.mark.parametrize("scale", [1.0, 2.5])
@cases
def test_the_mean_of_all_exponents_and_how_many_are_positive(name: str, scale: float) -> None:
    """From the determinants where a cell has them in closed form, with one exponent known; else from all of them."""
    cell = make(name, D, H, scale=scale)
    x = np.random.default_rng(0).standard_normal((60, B, D))
    whole = gl.trace(cell, x).spectrum(cell.state_size, warmup=6).exponents
    runs = {k: gl.trace(cell, x, hooks=[f"lyapunov:{k}"]).measured()["runs"].iloc[0] for k in (1, cell.state_size)}
    closed = type(cell).log_abs_det is not gl.Cell.log_abs_det
    wanted = {1: whole.mean() if closed else np.nan, cell.state_size: whole.mean()}
    for k, row in runs.items():
        np.testing.assert_allclose(row["mean_exponent"], wanted[k], rtol=1e-9)
    positive = int((whole > 0).sum())
    assert runs[cell.state_size]["positive_exponents"] == positive
    assert (runs[1]["positive_exponents"] == 0) if positive == 0 else np.isnan(runs[1]["positive_exponents"])


def test_rows_of_spectra() -> None:
    trace = gl.trace(make("lstm", D, H), np.zeros((400, B, D)), hooks=["lyapunov:3"])
    rows = trace.measured()["spectra"]
    assert set(rows.columns) == set(schema.SPECTRA) - {"id"}
    found = trace.spectrum(3, warmup=40)
    assert rows["index"].tolist() == [1, 2, 3]
    np.testing.assert_array_equal(rows.exponent, found.exponents)
    np.testing.assert_array_equal(rows.stderr, found.stderr)


def test_a_small_state_has_all_its_exponents() -> None:
    trace = gl.trace(make("rnn-tanh", D, 2), np.zeros((T, B, D)), hooks=["lyapunov:8"])
    runs = trace.measured()["runs"]
    assert {"lyapunov_1", "lyapunov_2"} <= set(runs.columns)
    assert "lyapunov_3" not in runs


def test_short_sequences_do_not_spoil_the_others() -> None:
    """One of a single step lies within the warm-up: it is left out, the exponents are finite."""
    trace, runs, _ = measured("lyapunov:3", lengths=ENDS)
    longer = trace.spectrum(3, warmup=4).per_sequence[:3]
    np.testing.assert_allclose(runs.lyapunov_1[0], longer[:, 0].mean(), rtol=1e-14)


@pytest.mark.parametrize("count", ["0", "-1", "two", "1.5"])
def test_a_count_that_is_none(count: str) -> None:
    with pytest.raises(GradlabError, match=f'lyapunov:{count}: expected a number .* of at least 1, got "{count}"'):
        gl.trace(make("lstm", D, H), np.zeros((T, B, D)), hooks=[f"lyapunov:{count}"])


# --- paths ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lengths", [None, ENDS], ids=["equal", "lengths"])
@pytest.mark.parametrize("name", ADDITIVE)
def test_paths(name: str, lengths: Any) -> None:
    trace, runs, steps = measured("paths", name, lengths)
    found = trace.paths()
    ends = np.full(B, T) if lengths is None else lengths
    for quantity, logs in (
        ("path_additive", found.additive),
        ("path_gates", found.gates),
        ("path_all", found.everything),
    ):
        rows = steps[(steps.quantity == quantity) & (steps.t == 0)].set_index("lag")
        for lag in set(ends):
            at = logs[0, ends == lag]
            exact_zero = name == "lstm" and quantity == "path_gates" and lag == 1  # c_0 reaches h_1 through f alone
            np.testing.assert_allclose(rows.mean_log[lag], np.nan if exact_zero else at.mean(), rtol=1e-12)
            assert rows.zeros[lag] == exact_zero
    np.testing.assert_allclose(runs.path_share[0], found.share[0].mean(), rtol=1e-14)
    assert 0.0 < runs.path_share[0] < 1.0


def test_a_vanilla_cell_has_no_paths() -> None:
    _, runs, steps = measured("paths", "rnn-tanh")
    assert np.isnan(runs.path_share[0])
    assert steps.empty


# --- contributions --------------------------------------------------------------------------------------


@cases
def test_contributions(name: str) -> None:
    trace, _, steps = measured("contributions", name)
    for parameter, logs in trace.param_contributions().items():
        rows = steps[steps.quantity == f"contribution_{parameter}"].set_index("t")
        assert len(rows) == T
        np.testing.assert_array_equal(rows.index + rows.lag, T)
        finite = np.isfinite(logs)
        np.testing.assert_allclose(rows.mean_log.loc[np.arange(1, T + 1)[finite]], logs[finite], rtol=1e-13)
        np.testing.assert_array_equal(rows.zeros.loc[1:T], np.isneginf(logs))


def test_contributions_of_a_layer_that_reads_backward_have_lags_from_its_own_end() -> None:
    """It ends at t = 1: the lag there is 0, and T − 1 at the last step of the sequence."""
    layer = gl.Bidirectional(make("rnn-tanh", D, H), make("rnn-tanh", D, H, rng=1))
    x = np.random.default_rng(0).standard_normal((T, B, D))
    trace = gl.trace(gl.Network([layer]), x, gl.projection(np.ones((B, 2 * H))), hooks=["contributions"])
    steps = trace.measured()["steps"]
    rows = steps[(steps.quantity == "contribution_b_h") & (steps.direction != "forward")]
    np.testing.assert_array_equal(rows.sort_values("t")[["t", "lag"]], [(t, t - 1) for t in range(1, T + 1)])


def test_contributions_add_up() -> None:
    """Of a positive linear chain all parts of the bias gradient have one sign: their norms add up to its norm."""
    cell = gl.RNN(np.ones((1, 1)), np.array([[0.9]]), activation="identity")
    trace = gl.trace(cell, np.ones((T, B, 1)), gl.projection(np.ones((B, 1))), hooks=["contributions"])
    steps = trace.measured()["steps"]
    parts = np.exp(steps[steps.quantity == "contribution_b_h"].mean_log)
    np.testing.assert_allclose(parts.sum(), trace.param_grads["b_h"][0], rtol=1e-12)


# --- who teaches whom -----------------------------------------------------------------------------------


def read_at(at: Any, hook: str, lengths: Any = None, direction: str = "forward") -> tuple[gl.LayerTrace, Any]:
    x = np.random.default_rng(0).standard_normal((T, B, D))
    cells = (make("lstm", D, H), make("lstm", D, H, rng=1))
    model = cells[0] if direction == "forward" else gl.Network([gl.Bidirectional(*cells)])
    width = H if direction == "forward" else 2 * H
    trace = gl.trace(model, x, gl.mse(np.ones((B, width)), at), lengths=lengths, hooks=[hook])
    rows = trace.measured()["steps"]
    one = trace.layers[0] if direction == "forward" else trace.layers[0].reverse
    return one, rows[rows.direction == direction]


@pytest.mark.parametrize("lengths", [None, ENDS], ids=["equal", "lengths"])
@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_temporal_is_the_traces_matrix(direction: str, lengths: Any) -> None:
    """Mean over the sequences of every pair; lag counts from the loss step, as the cell ran."""
    one, rows = read_at("every", "temporal:all", lengths, direction)
    logs, ends = one.temporal(), np.full(B, T) if lengths is None else lengths
    parts: dict[tuple[int, int], list[float]] = {}
    for t, s, b in np.ndindex(T, T + 1, B):
        if s <= t + 1 <= ends[b]:
            true = s if direction == "forward" else int(ends[b]) - s + 1
            parts.setdefault((true, t + 1 - s), []).append(logs[t, s, b])
    found = {(t, lag): mean for t, lag, mean in zip(rows.t, rows.lag, rows.mean_log, strict=True)}
    assert len(rows) == len(found) == len(parts)
    for pair, values in parts.items():
        np.testing.assert_allclose(found[pair], np.mean(values), rtol=1e-12)


def test_temporal_keeps_loss_steps_that_are_read() -> None:
    """Of a loss at every step 32, evenly, first and last among them; of one at some steps or the last, those."""
    wanted = {"every": 32, "last": 1, (3, 7, 40): 3}
    for at, count in wanted.items():
        _, rows = read_at(list(at) if isinstance(at, tuple) else at, "temporal")
        loss_steps = sorted(set(rows.t + rows.lag))
        assert len(loss_steps) == count
        assert loss_steps[-1] == T
        assert len(rows) == sum(t + 1 for t in loss_steps)
    assert set(read_at("every", "temporal:2")[1].eval("t + lag")) == {1, T}


def test_temporal_of_a_dead_network_has_no_rows() -> None:
    cell = gl.RNN(np.ones((2, 1)), np.eye(2), activation="relu")
    trace = gl.trace(cell, -np.ones((5, 1, 1)), gl.projection(np.zeros((5, 1, 2))), hooks=["temporal"])
    assert trace.measured()["steps"].empty


@pytest.mark.parametrize("count", ["0", "-1", "some"])
def test_temporal_of_no_number(count: str) -> None:
    with pytest.raises(GradlabError, match=f'temporal:{count}: expected "all" or a number .* got "{count}"'):
        gl.trace(make("lstm", D, H), np.zeros((T, B, D)), hooks=[f"temporal:{count}"])
