"""The total gradients at the states and the gates."""

from __future__ import annotations

from gradlab.figures.facets import Picture
from gradlab.figures.quantities import Quantities

_TOTALS = Quantities(
    r"(dL/d(?!x).+)", "dL/dh", "gradients", "quantity", "log_gradient", "lag", what="a gradient's logarithm"
)
tabulate, draw, finding = _TOTALS.tabulate, _TOTALS.draw, _TOTALS.finding

PICTURE = Picture(
    tabulate,
    draw,
    finding,
    "Total gradients of the whole loss: logarithm of the norm of dL/dh, of an LSTM's dL/dc, and of dL/da at each "
    "gate's pre-activation, against the lag, for the longest sequences; each panel has its own scale; bands: 95 % "
    "t-intervals over the seeds; a control parameter with more than three values is shown at its lowest, "
    "middle and highest value",
    lambda table, layout: 1.6,
    hooks=("gradients",),
    own=True,
)
