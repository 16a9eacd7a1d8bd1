"""The gradients that the states and the gates get."""

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
    "What the states and the gates get: logarithm of the norm of the total gradient dL/dh, of an LSTM's dL/dc, and of "
    "that at each gate's pre-activation, dL/da, of the whole loss, against the lag, for the longest sequences; a "
    "scale for each panel; bands: 95 % t-intervals over the seeds; of more than three values of what is turned, "
    "the lowest, the middle and the highest",
    lambda table, layout: 1.6,
    hooks=("gradients",),
    own=True,
)
