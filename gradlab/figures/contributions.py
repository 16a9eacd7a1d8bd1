"""The contribution of each step to the parameter gradients."""

from __future__ import annotations

from gradlab.figures.facets import Picture
from gradlab.figures.quantities import Quantities

_PARTS = Quantities(
    r"contribution_(.+)", "contribution_W_hh", "contributions", "parameter", "part", "t", what="a step's part"
)
tabulate, draw, finding = _PARTS.tabulate, _PARTS.draw, _PARTS.finding

PICTURE = Picture(
    tabulate,
    draw,
    finding,
    "Contribution of each step to the gradient of a parameter: logarithm of the norm of its part of the batch-mean "
    "gradient, against t, for the longest sequences; bands: 95 % t-intervals over the seeds; a control parameter with "
    "more than three values is shown at its lowest, middle and highest value",
    lambda table, layout: 1.6,
    hooks=("contributions",),
    along="t",
)
