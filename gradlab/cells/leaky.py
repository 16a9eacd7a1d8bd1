"""The leaky RNN, also called leaky integrator or discretised CTRNN."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from gradlab.arrays.checks import as_array, choice, float_array, number
from gradlab.arrays.scaled import Array
from gradlab.cells.activations import ACTIVATIONS
from gradlab.cells.base import (
    Cell,
    Intervention,
    Out,
    Record,
    State,
    Units,
    checked_dtype,
    checked_weights,
    product,
    rows_and_diagonal,
    rows_and_diagonal_product,
    rows_and_diagonal_squared,
    store_weights,
)
from gradlab.cells.initialisers import INIT_KEYS, Seed, biases, chrono_bias, input_weights, recurrent_weights, streams
from gradlab.cells.interventions import SEED, clear_bias, redraw_weights, scale_weights
from gradlab.cells.keep_gate import KeepGate
from gradlab.errors import InputError
from gradlab.options import Option

#: The leak where none is given: a step of 20 ms and a time constant of 100 ms, as in Yang et al. 2019.
ALPHA = 0.2
#: Leaks that a suggestion tries: 1/α is the time constant in steps.
SLOWER = (0.3, 0.1, 0.03, 0.01, 0.003)


class Local(NamedTuple):
    """J_t in factored form with the cell's own 1 − α: diag(1 − α) + diag(slope) W_hh."""

    slope: Array


def _leaks(size: int, longest: float, rng: np.random.Generator) -> Array:
    """Return α = 1/(1 + u) with u ~ U(1, T_max − 1): the share 1 − α that a gate with chrono's bias keeps."""
    return np.asarray(1.0 / (1.0 + np.exp(chrono_bias(size, longest, rng))))


@dataclass(frozen=True, eq=False, repr=False)
class LeakyRNN(Cell):
    r"""The leaky RNN, ``h_t = (1 − α) ⊙ h_{t−1} + α ⊙ φ(a_t)``, ``a_t = W_xh x_t + W_hh h_{t−1} + b_h``.

    It is Euler's method for the continuous-time network ``τ dh/dt = −h + φ(a)`` with step ``Δt = α τ``, the usual
    model of neuroscience. φ is tanh, relu, logistic or identity; α is fixed, one number or one per unit, and not
    trained. By the chain rule

    ``J_t = diag(1 − α) + diag(α φ'(a_t)) W_hh``,  ``dL/da_t = α φ'(a_t) ⊙ δ_t``,
    ``δ_{t−1} = (1 − α) ⊙ δ_t + W_hhᵀ dL/da_t``.

    α = 1 is the vanilla RNN. Not to be confused with: ``(1 − α)^k``, the additive path alone; the form that leaks the
    pre-activation, ``v_t = (1 − α) v_{t−1} + α (W_hh φ(v_{t−1}) + …)``, whose output is φ(v_t).

    Parameters
    ----------
    W_xh : ``(H, D)``
    W_hh : ``(H, H)``
    b_h : ``(H,)``, zeros where not given
    alpha : a number or ``(H,)``, each above 0 and at most 1; 1/α is the time constant in steps
    activation : "tanh", "relu", "logistic" or "identity"

    References
    ----------
    Jaeger, Lukoševičius, Popovici & Siewert 2007 (leaky-integrator units); Yang, Joglekar, Song, Newsome & Wang 2019,
    Methods (networks of rate units).

    Examples
    --------
    >>> LeakyRNN.init(input_size=3, hidden_size=5, alpha=0.1, rng=0)
    LeakyRNN(input_size=3, hidden_size=5, alpha=0.1, activation='tanh', float64)
    """

    W_xh: Array
    W_hh: Array
    b_h: Array = None  # type: ignore[assignment]
    alpha: float | Array = ALPHA
    activation: str = "tanh"

    name: ClassVar[str] = "leaky"
    of_ufuncs: ClassVar[bool] = True
    block_names: ClassVar[tuple[str, ...]] = ("h",)
    additive_state: ClassVar[int | None] = 0
    INIT_KEYS: ClassVar[Mapping[str, Option]] = {
        **INIT_KEYS,
        "chrono": Option(
            float, None, minimum=2.0, optional=True, meaning="T_max: α = 1/(1 + u), u ~ U(1, T_max − 1) (leaky)"
        ),
    }
    OPTION_KEYS: ClassVar[Mapping[str, Option]] = {
        "alpha": Option(float, ALPHA, minimum=0.0, meaning="the leak α: above 0, at most 1; 1 − α is kept"),
        "activation": Option(str, "tanh", choices=tuple(ACTIVATIONS), meaning="φ"),
    }
    INTERVENTIONS: ClassVar[Mapping[str, Intervention]] = {
        "scale_by": scale_weights,
        "recurrent": redraw_weights,
        "bias": clear_bias,
        "alpha": lambda cell, alpha: {"alpha": alpha},
        "chrono": lambda cell, longest: {"alpha": _leaks(cell.hidden_size, longest, np.random.default_rng(SEED))},
    }
    #: α and 1 − α as columns ``(H, 1)``, which steps read.
    _new: ClassVar[Array]
    _keep: ClassVar[Array]

    def __post_init__(self) -> None:
        choice("activation", self.activation, ACTIVATIONS)
        store_weights(self, checked_weights(self.W_xh, self.W_hh, self.b_h, 1))
        H = len(self.W_hh)
        per_unit = not np.isscalar(self.alpha)
        given = as_array("alpha", self.alpha) if per_unit else np.full(H, number("alpha", self.alpha))
        alpha = float_array("alpha", given, (H,)).astype(np.float64)
        with np.errstate(under="ignore"):
            used = alpha.astype(self.dtype)  # a number below the smallest of float32 becomes 0
        outside = ~((used > 0.0) & (alpha <= 1.0))
        if outside.any():
            raise InputError(f"alpha must be above 0 and at most 1 in {self.dtype}, got {alpha[outside][0]:g}")
        object.__setattr__(self, "alpha", alpha if per_unit else float(alpha[0]))
        object.__setattr__(self, "_new", used[:, None])
        object.__setattr__(self, "_keep", (1.0 - alpha)[:, None].astype(self.dtype))

    @classmethod
    @np.errstate(over="ignore")  # weights that overflow are refused by name
    def init(
        cls,
        input_size: int,
        hidden_size: int,
        *,
        recurrent: str = "gaussian",
        scale: float = 1.0,
        input: str = "gaussian",
        input_scale: float = 1.0,
        bias: str = "zero",
        chrono: float | None = None,
        alpha: float | Array = ALPHA,
        activation: str = "tanh",
        rng: Seed = None,
        dtype: str = "float64",
    ) -> Self:
        """Draw the weights and biases and return a cell.

        Parameters
        ----------
        input_size, hidden_size : int
            D and H.
        recurrent : str, default "gaussian"
            Law of W_hh: a name in ``gradlab.cells.initialisers.RECURRENT``; ``gradlab list inits`` describes them.
        scale : float, default 1
            Factor of W_hh; the same ``rng`` gives the same draw at every scale.
        input : str, default "gaussian"
            Law of W_xh: "gaussian", N(0, input_scale²/D), or "uniform", U(±input_scale/√H).
        input_scale : float, default 1
            Factor of W_xh.
        bias : str, default "zero"
            Law of the biases: "zero", or "uniform", the sum of two draws of U(±1/√H).
        chrono : float, optional
            T_max in steps, above 2: draws one α = 1/(1 + u) per unit, u ~ U(1, T_max − 1).
        alpha : float or array (H,), default 0.2
            The leak: above 0, at most 1. A step keeps 1 − α of h.
        activation : str, default "tanh"
            φ: "tanh", "relu", "logistic" or "identity".
        rng : int, Generator, SeedSequence or None
            Seed or source of all draws; None draws another cell each time.
        dtype : str, default "float64"
            "float64" or "float32".

        Returns
        -------
        LeakyRNN
            The cell.

        Raises
        ------
        InputError
            for a value that is refused, and for ``alpha`` together with ``chrono``.
        """
        for_recurrent, for_input, for_chrono, for_bias = streams(rng, 4)
        W_hh = recurrent_weights(recurrent, hidden_size, 1, scale, for_recurrent)
        W_xh = input_weights(hidden_size, input_size, input_scale, for_input, name=input, size=hidden_size)
        b_h = biases(bias, hidden_size, 1, for_bias).sum(axis=0).ravel()
        if chrono is not None:
            if not np.isscalar(alpha) or alpha != ALPHA:
                raise InputError(f"give alpha or chrono, not both; got {alpha} and {chrono}")
            alpha = _leaks(hidden_size, chrono, for_chrono)
        kind = checked_dtype(dtype)
        return cls(W_xh.astype(kind), W_hh.astype(kind), b_h.astype(kind), alpha, activation)

    @property
    def label(self) -> str:
        return f"leaky {self.activation} RNN"

    @property
    def alphas(self) -> Array:
        """α of every unit, ``(H,)``."""
        return self._new[:, 0]

    @property
    def constants(self) -> list[Array] | None:
        found = super().constants
        return None if found is None else [*found, self._new, self._keep]

    @property
    def kind(self) -> tuple[Any, ...]:
        """Return the class and φ; α is among the constants."""
        return type(self), self.activation

    def units(self, record: Record, after: State) -> dict[str, Units]:
        """Return φ(a), which h follows slowly."""
        return {"h": (self.activation, record["units"])}

    def step(self, drive: Array, state: State, out: Out | None = None) -> tuple[State, Record]:
        (h,) = state
        (h_out,), record = ((None,), {}) if out is None else out
        a = np.add(product(self.W_hh, h), drive, out=record.get("a"))
        units = ACTIVATIONS[self.activation].value(a, out=record.get("units"))
        after = np.multiply(self._keep, h, out=h_out)
        after += self._new * units
        return (after,), {"a": a, "units": units}

    def linearise(self, record: Record, before: State, after: State) -> Local:
        slope = ACTIVATIONS[self.activation].derivative(record["a"], record["units"])
        slope *= self._new
        return Local(slope)

    def jvp(self, local: Any, tangent: State, out: State | None = None) -> State:
        into = None if out is None else out[0]
        return (rows_and_diagonal_product(self.W_hh, local.slope, self._keep, tangent[0], into),)

    def vjp(self, local: Any, adjoint: State, out: tuple[State, Array] | None = None) -> tuple[State, Array]:
        (dh,) = adjoint
        (before,), into = ((None,), None) if out is None else out
        pre_grad = np.multiply(local.slope, dh, out=into)
        before = product(self.W_hh.T, pre_grad, before)
        before += self._keep * dh
        return (before,), pre_grad

    @property
    def keep_gate(self) -> KeepGate:
        return KeepGate("1 − α", "∏(1 − α)", "alpha", parameter="alphas", sign=-1.0, tries=SLOWER, decimals=4)

    def additive(self, local: Any) -> Array:
        return np.broadcast_to(self._keep, local.slope.shape)

    def dense(self, local: Any) -> Array:
        return rows_and_diagonal(self.W_hh, local.slope, self._keep[:, 0])

    def frobenius_squared(self, local: Any) -> tuple[Array, Array]:
        return rows_and_diagonal_squared(self.W_hh, local.slope, self._keep)
