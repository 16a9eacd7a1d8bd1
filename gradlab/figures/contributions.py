"""How much each step gives to the gradients of the parameters."""

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
    "What each step gives to the gradient of a parameter: logarithm of the norm of its part of the batch's mean "
    "gradient, against t, for the longest sequences; bands: 95 % t-intervals over the seeds; of more than three values "
    "of what is turned, the lowest, the middle and the highest",
    lambda table, layout: 1.6,
    hooks=("contributions",),
    along="t",
)
