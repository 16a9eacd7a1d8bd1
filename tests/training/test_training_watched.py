"""gl.watch on gradlab's own training: it changes nothing, and says what it says of the same training in PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from training.small import assert_same, model, training

import gradlab as gl

T, B, D, H, STEPS = 12, 4, 2, 5, 7


def test_the_training_is_the_same_to_the_last_bit() -> None:
    plain, watched = training(clip_norm=0.5, length=20).run(9), training(clip_norm=0.5, length=20)
    with gl.watch(watched, every=2, hooks=("gradients", "jacobians", "lyapunov:2")) as w:
        watched.run(4)
        watched.run(9)
    assert_same(plain, watched)
    runs = w.frame("runs")
    assert runs["step"].tolist() == [0, 2, 4, 6, 8]
    np.testing.assert_array_equal(runs["kept"], watched.kept[::2])
    np.testing.assert_array_equal(runs["loss"], watched.losses[::2])
    assert runs["lyapunov_1"].notna().all()
    assert "clipping" in w.noticed
    watched.run(12)
    assert len(w.records) == 5


def test_it_looks_on_from_where_the_training_stands() -> None:
    t = training(length=20).run(3)
    with gl.watch(t, every=4) as w:
        t.run(9)
    assert w.frame("runs")["step"].tolist() == [3, 7]
    trace = gl.trace(training(length=20).run(7).model, *t.stream(7))
    np.testing.assert_array_equal(w.frame("runs")["rate"].iloc[1], trace.layers[0].rate().rate)


def test_overhead_instead_of_every() -> None:
    t = training(length=20)
    with gl.watch(t, overhead=0.5) as w:
        t.run(30)
    assert 1 <= len(w.records) <= 30
    assert w.frame("runs")["step"].iloc[0] == 0


def test_a_divergence_is_a_row() -> None:
    t = training(network=model(activation="identity"), optimiser=gl.SGD(50.0))
    with gl.watch(t, every=100) as w:
        t.run(100)
    runs = w.frame("runs")
    assert runs["status"].tolist() == ["done", "diverged"]
    assert runs["step"].tolist() == [0, t.step]
    assert runs["error"].iloc[1] == t.reason
    assert t.reason in w.verdict().evidence


@pytest.mark.torch_oracle
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("limits", [{}, {"clip_norm": 0.05}])
def test_it_says_what_it_says_of_pytorch(kind: str, limits: dict[str, float]) -> None:
    """Same weights, data and optimiser: rates, intervals, exponents and the clipped share, to 1e-9.

    PyTorch's loss is the batch mean, so that its log norms are lower by ln B. Two layers, two directions.
    """
    import torch
    from torch import nn

    torch.manual_seed(0)
    module = getattr(nn, kind)(D, H, num_layers=2, bidirectional=True, dtype=torch.float64)
    linear = nn.Linear(2 * H, 1, dtype=torch.float64)
    for name, parameter in module.named_parameters():
        if name.startswith("bias_hh"):
            moving = torch.zeros(len(parameter))
            moving[2 * H :] = 1.0 if kind == "GRU" else 0.0
            parameter.register_hook(lambda grad, moving=moving: grad * moving)
    readout = gl.Readout(linear.weight.detach().numpy().copy(), linear.bias.detach().numpy().copy())
    t = gl.Training(gl.Network(gl.from_torch(module).layers, readout=readout), _batch, optimiser=gl.SGD(0.1), **limits)
    hooks = ("gradients", "jacobians:all", "lyapunov:3")
    with gl.watch(t, every=3, hooks=hooks) as own:
        t.run(STEPS)
    optimiser = torch.optim.SGD([*module.parameters(), *linear.parameters()], lr=0.1)
    with gl.watch(module, every=3, hooks=hooks) as other:
        for step in range(STEPS):
            x, loss = _batch(step)
            optimiser.zero_grad()
            ((linear(module(torch.tensor(x))[0][-1]) - torch.tensor(loss.targets)) ** 2).mean().backward()
            if limits:
                nn.utils.clip_grad_norm_([*module.parameters(), *linear.parameters()], limits["clip_norm"])
            optimiser.step()
    one, two = own.frame("runs"), other.frame("runs")
    assert one["step"].tolist() == two["step"].tolist() == [0] * 4 + [3] * 4 + [6] * 4
    assert one["verdict"].tolist() == two["verdict"].tolist()
    for column in ("rate", "rate_low", "rate_high", "horizon_1pct", "lyapunov_1", "lyapunov_3", "jac_norm2_median"):
        np.testing.assert_allclose(one[column], two[column], rtol=1e-9, atol=1e-9, err_msg=column)
    np.testing.assert_allclose(one["kept"], two["kept"], rtol=1e-9)
    assert (one["kept"] < 0.999).any() == bool(limits)
    steps, theirs = own.frame("steps"), other.frame("steps")
    logs = steps["quantity"].isin(["adjoint", "last_adjoint", "dL/dh"])
    np.testing.assert_allclose(steps["mean_log"][logs] - np.log(B), theirs["mean_log"][logs], rtol=1e-9, atol=1e-9)


def _batch(step: int) -> Any:
    rng = np.random.default_rng([7, step])
    return rng.standard_normal((T, B, D)), gl.mse(rng.standard_normal((B, 1)))
