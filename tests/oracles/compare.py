"""The one comparison: normwise relative, and exact where zero is expected."""

from __future__ import annotations

from dataclasses import asdict
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def assert_normwise(
    actual: Any, expected: ArrayLike, relative: float, what: str = "", *, axis: int | tuple[int, ...] | None = -1
) -> None:
    """Assert ``‖actual − expected‖ ≤ relative · ‖expected‖`` for each vector along ``axis`` (None: all of it)."""
    have, want = np.asarray(actual), np.asarray(expected)
    assert have.shape == want.shape, f"{what}: shape {have.shape}, expected {want.shape}"
    assert want.size, f"{what}: nothing to compare"
    peaks = (np.abs(array).max(axis=axis, keepdims=True) for array in (want, have))
    unit = reduce(lambda first, second: np.where(first > 0, first, second), (*peaks, 1.0))
    with np.errstate(all="ignore"):
        error, size = _norm((have - want) / unit, axis), _norm(want / unit, axis)
        bad = ~(error <= relative * size)
        worst = np.max(error / size)
    assert not bad.any(), (
        f"{what}: {bad.sum()} of {bad.size} vectors differ, by {worst:.3g} where {relative:g} is allowed"
    )


def assert_same_fields(actual: Any, expected: Any) -> None:
    """Assert that two dataclasses agree to the last bit; nan equals nan, which ``==`` denies from Python 3.13 on."""
    assert type(actual) is type(expected)
    np.testing.assert_equal(asdict(actual), asdict(expected))


def _norm(array: NDArray[Any], axis: int | tuple[int, ...] | None) -> NDArray[Any]:
    return np.sqrt((np.abs(array) ** 2).sum(axis=axis))
