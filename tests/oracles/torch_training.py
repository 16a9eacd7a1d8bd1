"""The oracle of training: gradients of oracles/torch_loop.py, clipping, schedules and optimisers of PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from oracles import torch_loop
from torch import Tensor, nn

import gradlab as gl

Array = NDArray[Any]
Change = Callable[[list[Tensor]], Any]

OPTIMISERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.8),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.8, nesterov=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, alpha=0.9, eps=1e-3),
    "rmsprop-momentum": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.7),
    "adam": lambda p: torch.optim.Adam(p, lr=0.02, betas=(0.8, 0.95), eps=1e-3),
    "defaults": lambda p: torch.optim.Adam(p),
}
SCHEDULES: dict[str, Callable[..., Any]] = {
    "constant": lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda step: 1.0),
    "step": lambda o: torch.optim.lr_scheduler.StepLR(o, step_size=3, gamma=0.4),
    "exponential": lambda o: torch.optim.lr_scheduler.ExponentialLR(o, gamma=0.8),
    "cosine": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=9, eta_min=0.0),
    "warm": lambda o: torch.optim.lr_scheduler.LinearLR(o, start_factor=0.25, total_iters=3),
}


def train(
    network: gl.Network,
    batches: list[tuple[Array, Callable[[Tensor], Tensor]]],
    optimiser: str,
    *,
    clip: Change | None = None,
    schedule: str = "constant",
) -> tuple[dict[str, Array], list[float], list[float]]:
    """Return the parameters after a step on each batch, the losses, and what ``clip`` returned at each step."""
    masters = {name: nn.Parameter(torch.tensor(array)) for name, array in network.parameters.items()}
    made = OPTIMISERS[optimiser](list(masters.values()))
    rate, losses, norms = SCHEDULES[schedule](made), [], []
    for x, loss in batches:
        plain = {name: master.detach().numpy().copy() for name, master in masters.items()}
        answer = torch_loop.run(network.with_parameters(plain), x, loss)
        for name, grad in gradients(answer).items():
            masters[name].grad = grad / x.shape[1]
        losses.append(float(answer.loss.detach().mean()))
        norms.append(float(clip(list(masters.values()))) if clip else 0.0)
        made.step()
        rate.step()
    return {name: master.detach().numpy() for name, master in masters.items()}, losses, norms


def gradients(answer: torch_loop.Answer) -> Mapping[str, Tensor]:
    """Return the gradients of the summed loss under gradlab's names."""
    found = {}
    for index, directions in enumerate(answer.layers):
        for way, one in zip(("", "reverse."), directions, strict=False):
            found |= {f"layers.{index}.{way}{name}": tensor.grad for name, tensor in one.parameters.items()}
    return found | {f"readout.{name}": tensor.grad for name, tensor in answer.readout.items()}


def omega(pre: Array, grad: Array, W: Array, slope: Callable[[Tensor], Tensor]) -> tuple[float, Array]:
    """Return Pascanu's Ω and its derivative by W of one sequence: a_t ``(T, H)`` and dL/da_t ``(T, H)`` are fixed."""
    weights, value = torch.tensor(W, requires_grad=True), torch.zeros((), dtype=torch.float64)
    for t in range(len(pre) - 1):
        arriving = torch.tensor(grad[t + 1])
        if not arriving.any():
            continue
        carried = (arriving @ weights) * slope(torch.tensor(pre[t]))
        value = value + (carried.norm() / arriving.norm() - 1) ** 2
    if value.requires_grad:
        value.backward()
    return float(value.detach()), np.zeros_like(W) if weights.grad is None else weights.grad.numpy()
