"""Theoretical predictions of rates and exponents, for comparison with measured ones.

All results are for infinitely wide or random networks, and each docstring states its limits. A one-step χ does **not**
predict gated cells, because their weights are the same at every step: see :func:`gated_exponents`.
"""

from gradlab.theory.diagonal import DiagonalMemory, diagonal_memory
from gradlab.theory.gates import (
    ChronoMemory,
    GatedExponents,
    ZeroStateEdge,
    chrono_memory,
    gated_exponents,
    zero_state_edge,
)
from gradlab.theory.meanfield import CriticalScale, MeanField, critical_scale, mean_field
from gradlab.theory.products import GaussianGrowth, NewmanExponents, gaussian_growth, newman_exponents

__all__ = [
    "ChronoMemory",
    "CriticalScale",
    "DiagonalMemory",
    "GatedExponents",
    "GaussianGrowth",
    "MeanField",
    "NewmanExponents",
    "ZeroStateEdge",
    "chrono_memory",
    "critical_scale",
    "diagonal_memory",
    "gated_exponents",
    "gaussian_growth",
    "mean_field",
    "newman_exponents",
    "zero_state_edge",
]
