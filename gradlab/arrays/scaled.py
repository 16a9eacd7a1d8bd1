"""Arrays with their own exponent: a gradient is mantissa × 2^exponent, one exponent per sequence and step.

Passes work on *columns*, ``(…, F, B)``, features × sequences, with exponents ``(…, B)``. :class:`Scaled` presents the
same numbers sequences first, ``(…, B, F)``. Powers of two make rescaling exact. Components 2^1000 below a column's
largest one are lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]
LN2 = float(np.log(2.0))
#: Peaks stay within 2^±ROOM. One more step may then shrink them by 2^−900 (float32: 2^−116, below tanh'(40)).
ROOM = {"float64": 100, "float32": 10}


@dataclass(frozen=True, eq=False)
class Scaled:
    """``mantissa (…, B, F)`` × 2 ^ ``exponent (…, B)``; ``np.asarray`` returns floats, which may over- or underflow.

    Attributes
    ----------
    mantissa : array (…, B, F)
        Read-only if it is a view of a pass.
    exponent : int array (…, B)
        One exponent per vector.
    """

    mantissa: Array
    exponent: NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array, ``(…, B, F)``."""
        return self.mantissa.shape

    def __getitem__(self, index: Any) -> Scaled:
        """Index the leading axes (steps, then sequences) of mantissa and exponent together."""
        return Scaled(self.mantissa[index], self.exponent[index])

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        """Return plain floats; values out of range become 0 or inf."""
        with np.errstate(all="ignore"):
            plain = ldexp(self.mantissa, self.exponent[..., None])
        return plain if dtype is None else plain.astype(dtype)

    def log_norm(self) -> NDArray[np.float64]:
        """Return ln of the Euclidean norm over the last axis, ``(…, B)``, in nats; −inf where all is exactly zero."""
        return log_norm(np.swapaxes(self.mantissa, -1, -2), self.exponent)

    @property
    def zero(self) -> NDArray[np.bool_]:
        """Mask of the vectors that are exactly zero, ``(…, B)``."""
        return np.asarray(~self.mantissa.any(axis=-1))

    def __repr__(self) -> str:
        return f"Scaled{self.shape} {self.mantissa.dtype}: mantissa × 2^exponent; np.asarray(…) for plain floats"


def reader(columns: Array, exponent: NDArray[np.int64]) -> Scaled:
    """Return columns ``(…, F, B)`` as a :class:`Scaled` ``(…, B, F)``, a read-only view."""
    return Scaled(sequences_first(columns), exponent)


def sequences_first(columns: Array) -> Array:
    """Return columns ``(…, F, B)`` as ``(…, B, F)``, a read-only view, since it is the tape itself."""
    view = np.swapaxes(columns, -1, -2)
    view.flags.writeable = False
    return view


def ldexp(mantissa: Array, exponent: Array) -> Array:
    """Return mantissa × 2^exponent; exponents beyond any float's are clipped first, to fit C's int."""
    return np.asarray(np.ldexp(mantissa, np.minimum(np.maximum(exponent, -5000), 5000).astype(np.int32)))


def log_norm(columns: Array, exponent: NDArray[np.int64] | int) -> NDArray[np.float64]:
    """Return ln‖·‖₂ over the feature axis of ``columns (…, F, B)``, ``(…, B)``; squares never over- or underflow."""
    with np.errstate(all="ignore"):
        squares = np.einsum("...fb,...fb->...b", columns, columns).astype(np.float64)
        low, high = (1e-200, 1e200) if columns.dtype == np.float64 else (1e-20, 1e20)
        logs = 0.5 * np.log(squares)
        unsafe = ~((squares > low) & (squares < high))
        if unsafe.any():
            logs[unsafe] = _careful_log_norm(np.swapaxes(columns, -1, -2)[unsafe])
    return np.asarray(logs + np.asarray(exponent) * LN2)


def _careful_log_norm(vectors: Array) -> NDArray[np.float64]:
    wide = vectors.astype(np.float64)
    peak = np.abs(wide).max(axis=-1)
    unit = np.where((peak > 0) & np.isfinite(peak), peak, 1.0)
    return np.asarray(np.log(np.linalg.norm(wide / unit[..., None], axis=-1)) + np.log(unit))


def finite_mean(logs: NDArray[np.float64]) -> float:
    """Return the mean of the finite entries; nan without any."""
    finite = logs[np.isfinite(logs)]
    return float(finite.mean()) if finite.size else np.nan


def squared(columns: Array) -> Array:
    """Return the squared norms of ``columns (…, F, B)``, ``(…, B)``, which may over- or underflow."""
    with np.errstate(all="ignore"):
        return np.asarray(np.matmul(np.ones(columns.shape[-2], columns.dtype), columns * columns))


def in_room(squares: Array, dtype: np.dtype[Any], share: float = 1.0) -> bool:
    """Return whether columns with these squared norms all have peaks within 2^±ROOM, or within a share of it."""
    high = 4.0 ** (share * ROOM["float64" if dtype.itemsize == 8 else "float32"])  # dtype.name is slow
    return bool(squares.min() > 1.0 / high and squares.max() < high)


def normalise(columns: Array, exponent: NDArray[np.int64], share: float = 1.0) -> None:
    """Move powers of two from ``columns (…, F, B)`` to ``exponent (…, B)``, in place, once a peak leaves its room.

    Every finite, nonzero column is then scaled to about 1, which postpones the next rescaling. A ``share`` below 1
    rescales earlier, when a peak leaves that share of the room.
    """
    if in_room(squared(columns), columns.dtype, share):
        return
    peak = np.maximum(columns.max(axis=-2), -columns.min(axis=-2))
    shift = np.where(np.isfinite(peak) & (peak > 0), np.frexp(peak)[1], 0)
    if shift.any():
        columns[...] = ldexp(columns, -shift[..., None, :])
        exponent += shift


def add(
    one: Array, one_exponent: NDArray[np.int64], two: Array, two_exponent: NDArray[np.int64]
) -> tuple[Array, NDArray[np.int64]]:
    """Return the sum of two column arrays ``(…, F, B)`` on the larger exponent; zero columns have none."""
    if np.array_equal(one_exponent, two_exponent):
        return one + two, np.asarray(one_exponent)
    one_live, two_live = one.any(axis=-2), two.any(axis=-2)
    exponent = np.maximum(one_exponent, two_exponent)
    exponent = np.where(one_live, np.where(two_live, exponent, one_exponent), two_exponent)
    shifted = (
        ldexp(array, np.where(live, own - exponent, 0)[..., None, :])
        for array, own, live in ((one, one_exponent, one_live), (two, two_exponent, two_live))
    )
    first, second = shifted
    return first + second, exponent


def highest(columns: Array, exponent: NDArray[np.int64]) -> int | None:
    """Return the highest exponent of the nonzero columns of ``columns (T, F, B)``; None if all are zero."""
    level = int(exponent.max())
    while True:
        here = exponent == level
        if any((columns[t].any(axis=0) & here[t]).any() for t in np.flatnonzero(here.any(axis=1))):
            return level
        below = exponent < level
        if not below.any():
            return None
        level = int(exponent[below].max())


def common_exponent(columns: Array, exponent: NDArray[np.int64], axes: tuple[int, ...]) -> tuple[Array, Array]:
    """Return ``columns (…, F, B)`` on a common exponent along ``axes``, and that exponent with these axes kept."""
    lowest = np.iinfo(np.int64).min // 4
    peak = np.where(columns.any(axis=-2), exponent, lowest).max(axis=axes, keepdims=True)
    peak = np.where(peak == lowest, 0, peak)
    shift = np.minimum(exponent - peak, 0)
    if not shift.any():
        return columns, peak
    with np.errstate(all="ignore"):
        factor = np.exp2(np.maximum(shift, -3000).astype(columns.dtype))
        return columns * factor[..., None, :], peak
