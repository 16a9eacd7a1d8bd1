"""Derivatives of a PyTorch step by ``torch.func``. Torch is imported on first use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gradlab.arrays.scaled import Array
from gradlab.cells.autodiff import Autodiff


class Torch(Autodiff):
    """Reverse mode, mapped with ``vmap``, on the CPU. A module is a step with its own parameters."""

    library = "PyTorch"

    def __init__(self, step: Callable[..., Any], parameters: Mapping[str, Array]) -> None:
        from torch import nn

        own = isinstance(step, nn.Module) and not parameters and any(True for _ in step.parameters())
        super().__init__(_functional(step) if own else step, _arrays(step) if own else parameters)

    def mapped(self, question: str, *stacked: Array) -> Any:
        import torch
        from torch.func import jacrev, vjp, vmap

        parameters = {name: torch.tensor(array) for name, array in self.parameters.items()}

        def value(h: Any, x: Any) -> Any:
            return self.call(h, x, parameters)

        def parameter_slopes(h: Any, x: Any, adjoint: Any) -> Any:
            return vjp(lambda varied: self.call(h, x, varied), parameters)[1](adjoint)[0]

        asked = {"value": value, "slopes": jacrev(value, argnums=(0, 1)), "parameter_slopes": parameter_slopes}
        ask: Any = asked[question]
        with torch.no_grad():
            return _numpy(vmap(ask)(*(torch.tensor(array) for array in stacked)))


def _numpy(found: Any) -> Any:
    if isinstance(found, dict):
        return {name: _numpy(one) for name, one in found.items()}
    return tuple(_numpy(one) for one in found) if isinstance(found, tuple) else found.numpy()


def _arrays(module: Any) -> dict[str, Array]:
    return {name: tensor.detach().cpu().double().numpy() for name, tensor in module.named_parameters()}


def _functional(module: Any) -> Callable[..., Any]:
    """Return a module's ``forward(h, x)`` as a function of h, x and its parameters, with buffers in float64."""
    from torch.func import functional_call

    on_cpu = {name: tensor.cpu() for name, tensor in module.named_buffers()}
    buffers = {name: t.double() if t.is_floating_point() else t for name, t in on_cpu.items()}

    def step(h: Any, x: Any, parameters: Any) -> Any:
        return functional_call(module, buffers | parameters, (h, x))

    return step
