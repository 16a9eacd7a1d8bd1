"""Saturation of units: its thresholds, and the units beyond them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

#: A logistic unit is saturated below 0.1 and above 0.9 (Karpathy, Johnson & Li 2015).
LOGISTIC_LOW, LOGISTIC_HIGH = 0.1, 0.9
#: The same threshold for tanh(a) = 2σ(2a) − 1: |tanh| above 2·0.9 − 1.
TANH_HIGH = 0.8


def saturated(values: NDArray[Any], *, tanh: bool) -> NDArray[np.bool_]:
    """Return where units are saturated.

    Parameters
    ----------
    values : array
        Activations, of any shape.
    tanh : bool
        True for tanh units, False for logistic units.

    Returns
    -------
    array of bool
        In the shape of ``values``.
    """
    if tanh:
        return np.asarray(np.abs(values) > TANH_HIGH)
    return np.asarray((values < LOGISTIC_LOW) | (values > LOGISTIC_HIGH))
