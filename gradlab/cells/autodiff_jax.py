"""Derivatives of a JAX step by ``jax.jacrev`` and ``jax.vjp``. JAX is imported on first use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Any

import numpy as np

from gradlab.arrays.scaled import Array
from gradlab.cells.autodiff import Autodiff


class Jax(Autodiff):
    """Reverse mode, mapped with ``vmap`` and compiled; float64 is enabled for these calls only."""

    library = "JAX"

    def __init__(self, step: Callable[..., Any], parameters: Mapping[str, Array]) -> None:
        import jax  # noqa: F401  raises here if it is missing

        super().__init__(step, parameters)

    def mapped(self, question: str, *stacked: Array) -> Any:
        import jax

        with _float64():
            return jax.tree.map(np.asarray, self._compiled[question](self.parameters, *stacked))

    @cached_property
    def _compiled(self) -> dict[str, Callable[..., Any]]:
        import jax

        def value(parameters: Any, h: Any, x: Any) -> Any:
            return self.call(h, x, parameters)

        def parameter_slopes(parameters: Any, h: Any, x: Any, adjoint: Any) -> Any:
            return jax.vjp(lambda varied: self.call(h, x, varied), parameters)[1](adjoint)[0]

        asked = {"value": value, "slopes": jax.jacrev(value, argnums=(1, 2)), "parameter_slopes": parameter_slopes}
        return {
            name: jax.jit(jax.vmap(ask, in_axes=(None, *(0,) * (3 if ask is parameter_slopes else 2))))
            for name, ask in asked.items()
        }


def _float64() -> AbstractContextManager[Any]:
    """Return the context that enables float64 in JAX; its place depends on the version."""
    import jax

    if hasattr(jax, "enable_x64"):
        switch: AbstractContextManager[Any] = jax.enable_x64(True)
        return switch
    from jax.experimental import enable_x64

    older: AbstractContextManager[Any] = enable_x64()
    return older
