"""What is watched on CUDA: the same gradients, the same training. Skipped where there is no such device."""

from __future__ import annotations

import os

import pytest
from watch.test_watch_gradients import assert_right
from watch.test_watch_training import model, trained

import gradlab as gl

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuDNN's sums differ from call to call


pytestmark = pytest.mark.torch_oracle


@pytest.fixture(autouse=True)
def cuda() -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")


@pytest.mark.parametrize("seed", range(30))
def test_random_architectures_on_cuda(seed: int) -> None:
    assert_right(seed, "cuda")


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell"])
def test_training_on_cuda_is_the_same_to_the_last_bit(kind: str) -> None:
    import torch

    with torch.device("cuda"):
        alone, weights = trained(model(kind))
        made = model(kind)
        w = gl.watch(made, every=2, hooks=["gradients", "jacobians", "gates", "lyapunov:2", "paths"])
        watched, others = trained(made, w)
    assert next(made.parameters()).is_cuda
    assert watched == alone
    assert all(torch.equal(one, other) for one, other in zip(weights, others, strict=True))
    assert not w.refused
    assert sorted(set(w.frame("runs")["step"])) == [0, 2, 4]


def test_products_in_tf32_are_within_what_is_allowed() -> None:
    """cuDNN multiplies float32 with eleven bits unless it is told otherwise."""
    import torch

    with torch.device("cuda"):
        made = model("LSTM")
        w = gl.watch(made, hooks=["gradients"])
        trained(made, w, steps=2)
    assert not w.refused
