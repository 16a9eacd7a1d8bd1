"""A user's recurrence: a plain function becomes a cell, with Jacobians by the complex step, differences or autodiff."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from gradlab.arrays.checks import choice, finite, positive
from gradlab.arrays.scaled import Array
from gradlab.cells.autodiff_jax import Jax
from gradlab.cells.autodiff_torch import Torch
from gradlab.cells.base import Cell, Pair, Record, State
from gradlab.cells.derivatives import Derivatives, Shifted
from gradlab.errors import InputError

#: The ways to differentiate a step.
DERIVATIVES = ("complex", "difference", "torch", "jax")
AUTODIFF = {"torch": Torch, "jax": Jax}
#: Upper limit for the numbers in all steps' contributions to a parameter's gradient, 1 GB.
MOST_PARTS = 2**27


class Local(NamedTuple):
    """Dense derivatives of the step, ``by_state (…, S, S, N)`` and ``by_input (…, S, D, N)``."""

    by_state: Array
    by_input: Array


@dataclass(frozen=True, eq=False, repr=False)
class CustomCell(Cell):
    """A recurrence ``h_t = function(h_{t−1}, x_t)``; made by :func:`custom_cell`."""

    function: Callable[..., Any]
    size: int
    inputs: int
    derivative: str
    engine: Derivatives

    name: ClassVar[str] = "custom"
    parameter_names: ClassVar[tuple[str, ...]] = ()

    @property
    def input_size(self) -> int:
        return self.inputs

    @property
    def hidden_size(self) -> int:
        return self.size

    @property
    def derivative_error(self) -> float:  # type: ignore[override]
        """Relative error of the derivatives: that of central differences, else 0."""
        return self.engine.error

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype("float64")

    @property
    def parameters(self) -> dict[str, Array]:
        return dict(self.engine.parameters)

    def with_parameters(self, changed: Mapping[str, Array]) -> Self:
        return replace(self, engine=self.engine.with_parameters(changed))

    def input_drive(self, x: Array) -> Array:
        """Return x itself; the function transforms it."""
        return x

    def step(self, drive: Array, state: State) -> tuple[State, Record]:
        h, x = _turned(state[0]), _turned(drive)
        after = self.engine.value(h, x)
        if after.shape != h.shape:
            raise InputError(
                f"step(h, x) must return h's shape, {h.shape} for x {x.shape}, got {after.shape}; {self.engine.given}"
            )
        return (_turned(after),), {"x": drive}

    def linearise(self, record: Record, before: State, after: State) -> Local:
        slopes = self.engine.slopes(_turned(before[0]), _turned(record["x"]))
        return Local(*(np.moveaxis(one, -3, -1) for one in slopes))

    def jvp(self, local: Any, tangent: State) -> State:
        return (np.einsum("...ijn,...jn->...in", local.by_state, tangent[0]),)

    def vjp(self, local: Any, adjoint: State) -> tuple[State, Array]:
        """Return Jᵀ δ and, in place of pre-activation gradients, dL/dx above δ itself, ``(…, D + S, N)``."""
        before, by_input = (np.einsum("...ijn,...in->...jn", part, adjoint[0]) for part in local)
        return (before,), np.concatenate([by_input, adjoint[0]], axis=-2)

    def input_vjp(self, pre_grad: Array) -> Array:
        return pre_grad[..., : self.inputs, :]

    def parameter_pairs(self, record: Record, before: State, pre_grad: Array, x: Array) -> dict[str, list[Pair]]:
        steps, _, batch = pre_grad.shape
        parts = steps * batch * sum(array.size for array in self.parameters.values())
        if parts > MOST_PARTS:
            raise InputError(
                f"a custom cell's parameter gradients take T·B·P = {parts} numbers, one for each step, sequence and "
                f"parameter, and at most {MOST_PARTS} are allowed; use fewer steps, or write a gl.Cell of its equations"
            )
        adjoint = pre_grad[..., self.inputs :, :]
        slopes = self.engine.parameter_slopes(*(_turned(array) for array in (before[0], record["x"], adjoint)))
        return {name: _pairs(array) for name, array in slopes.items()}

    def __repr__(self) -> str:
        called = getattr(self.function, "__name__", type(self.function).__name__)
        return (
            f"custom_cell({called}, state_size={self.size}, input_size={self.inputs}, derivative={self.derivative!r})"
        )


def _turned(columns: Array) -> Array:
    """Swap the last two axes: columns ``(…, F, N)`` become rows ``(…, N, F)``, and rows become columns."""
    return np.swapaxes(columns, -1, -2)


def _pairs(slopes: Array) -> list[Pair]:
    """Return the factors of a parameter's gradient, row by row, from each step's contribution ``(T, B, F[, G])``."""
    if slopes.ndim == 3:
        return [(_turned(slopes), None)]
    one = np.ones((len(slopes), 1, slopes.shape[1]))
    return [(one, _turned(slopes[:, :, row])) for row in range(slopes.shape[2])]


def custom_cell(
    step: Callable[..., Any],
    *,
    state_size: int,
    input_size: int,
    derivative: str = "complex",
    parameters: Mapping[str, Any] | None = None,
) -> CustomCell:
    """Return a cell made from a plain function; its state and input Jacobians come from differentiating the function.

    Everything runs in float64, on the CPU. Join several states (h, c, …) into one vector and slice it in the step.

    Parameters
    ----------
    step : ``step(h, x) -> h``. With "complex" and "difference" on NumPy arrays ``h (…, S)``, ``x (…, D)``, any leading
        axes, as in ``np.tanh(h @ W.T + x @ U.T)``. With "torch" and "jax" on that library's arrays of *one* sequence,
        ``h (S,)``, ``x (D,)``; a function that works on any leading axes works too.
    state_size, input_size : S and D
    derivative : "complex", exact for analytic functions (no ``abs``, ``maximum`` or comparison of h); "difference",
        central differences, about ten digits; "torch" or "jax", exact, by ``torch.func`` or JAX with ``vmap``. Tensors
        in a closure must be float64 in PyTorch; JAX widens them. Derivatives are the library's own: where a unit
        saturates (``|a| > 19``), PyTorch's ``1 − tanh²`` is 0; the derivatives of gradlab's own cells stay exact.
    parameters : only with "torch" and "jax": arrays or tensors of one or two axes by name. The step is then
        ``step(h, x, parameters)``, and the parameters have gradients as in every cell. A ``torch.nn.Module`` whose
        ``forward`` takes h and x brings its own parameters.

    Raises
    ------
    InputError
        for sizes below 1, an unknown derivative, a missing library, parameters with other axes or not finite.
        Without ``parameters``, asking for their gradients raises. A step that fails, or returns another shape or
        dtype, raises when it is first called.

    References
    ----------
    Squire & Trapp 1998 (the complex step).

    Examples
    --------
    >>> cell = custom_cell(lambda h, x: np.tanh(0.9 * h + x), state_size=2, input_size=2)
    """
    if not callable(step):
        raise InputError(f"step must be a function step(h, x) -> h, got {type(step).__name__}")
    choice("derivative", derivative, DERIVATIVES)
    sizes = positive("state_size", state_size), positive("input_size", input_size)
    return CustomCell(step, *sizes, derivative, _engine(step, derivative, parameters))


def _engine(step: Callable[..., Any], derivative: str, parameters: Mapping[str, Any] | None) -> Derivatives:
    if derivative not in AUTODIFF:
        if parameters is not None:
            raise InputError(f'parameters need derivative="torch" or "jax", got derivative="{derivative}"')
        return Shifted(step, derivative)
    plain = {name: _plain(one) for name, one in (parameters or {}).items()}
    try:
        engine = AUTODIFF[derivative](step, plain)
    except ImportError as missing:
        raise InputError(f'derivative="{derivative}" needs {derivative}, which is missing: {missing}') from missing
    for name, array in engine.parameters.items():
        if array.ndim not in (1, 2) or not array.size:
            raise InputError(f'parameter "{name}" must have one axis or two, none empty, got shape {array.shape}')
        finite(f'parameter "{name}"', array)
    return engine


def _plain(value: Any) -> Array:
    """Return a float64 copy of an array or a tensor."""
    return np.array(value.detach().cpu().double().numpy() if hasattr(value, "detach") else value, dtype=np.float64)
