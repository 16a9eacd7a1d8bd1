"""Clipping of a gradient by norm or by value, as in ``torch.nn.utils``; reported norms are those before clipping."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from gradlab.arrays.checks import number
from gradlab.arrays.scaled import Array, ldexp
from gradlab.errors import InputError

#: PyTorch adds this to the norm by which it divides.
EPS = 1e-6


class Clipped(NamedTuple):
    """A clipped gradient.

    Attributes
    ----------
    grad : array (P,)
        The gradient after clipping.
    norm : float
        Its norm before clipping.
    kept : float
        The share of that norm that is left.
    """

    grad: Array
    norm: float
    kept: float


@dataclass(frozen=True)
class Clip:
    """Clipping by ``norm`` c, ``g · min(1, c/(‖g‖ + 1e-6))`` over all parameters, or by ``value`` v; none by default.

    References
    ----------
    Pascanu, Mikolov & Bengio 2013, algorithm 1 (norm); Mikolov 2012 (value: each component to [−v, v]).
    """

    norm: float | None = None
    value: float | None = None

    def __post_init__(self) -> None:
        if self.norm is not None and self.value is not None:
            raise InputError(f"give clip_norm or clip_value, not both; got {self.norm} and {self.value}")
        for name, limit in (("norm", self.norm), ("value", self.value)):
            if limit is None:
                continue
            object.__setattr__(self, name, number(f"clip_{name}", limit))  # NumPy's float64 would widen float32
            if limit <= 0.0:
                raise InputError(f"clip_{name} must be above 0, got {limit}; None is no clipping")

    def __call__(self, vector: Array, exponent: int = 0) -> Clipped:
        """Clip ``vector · 2^exponent``; the result is exact even if that product overflows."""
        with np.errstate(all="ignore"):
            size = norm(vector)
            whole, unit = _power(exponent), _power(-exponent)
            if self.norm is not None:
                factor = min(whole, self.norm / (size + EPS * unit))
                return Clipped(vector * factor if factor != 1.0 else vector, size * whole, factor * unit)
            plain = ldexp(vector, np.asarray(exponent)) if exponent else vector
            if self.value is None:
                return Clipped(plain, size * whole, 1.0)
            cut = np.clip(plain, -self.value, self.value)
            return Clipped(cut, size * whole, norm(cut) / (size * whole) if size else 1.0)


def norm(vector: Array) -> float:
    """Return ‖vector‖₂ in float64, without over- or underflow of squares."""
    wide = vector.astype(np.float64, copy=False)
    with np.errstate(all="ignore"):
        plain = float(np.linalg.norm(wide))
        if 1e-150 < plain < 1e150:
            return plain
        peak = float(np.abs(wide).max())
        return peak * float(np.linalg.norm(wide / peak)) if 0.0 < peak < np.inf else peak


def _power(exponent: int) -> float:
    """Return 2^exponent; inf or 0 if it is out of range."""
    return float(np.ldexp(1.0, max(min(exponent, 5000), -5000)))
