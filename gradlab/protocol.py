"""The contract that `Trace`, `Watch` and `Results` share: tables, figures, a verdict and a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from gradlab.verdicts.verdict import Verdict

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@runtime_checkable
class Measurements(Protocol):
    """Something that was measured: one pass, the passes of a training, or those of a study.

    Examples
    --------
    >>> def steepest(measured: Measurements) -> float:
    ...     return float(measured.frame("runs")["rate"].abs().max())
    """

    def frame(self, name: str = "runs") -> pd.DataFrame:
        """Return one table, with every column that :mod:`gradlab.schema` gives it, in that order.

        Columns that only this object has are added: those that name a row stand before ``layer``, as a study's keys
        do, and all others behind.

        Parameters
        ----------
        name : "runs" (one row per pass, layer and direction), "steps" (one row per quantity and time step of these) or
            "spectra" (one row per exponent).

        Returns
        -------
        DataFrame
            What was not measured is nan, 0 in a column of whole numbers, or empty.

        Raises
        ------
        GradlabError
            If there is no such table; the message names the nearest.
        """
        ...

    def plot(self, name: str | Sequence[str] | None = None, *, ax: Axes | None = None) -> Figure:
        """Return a figure, which a notebook displays.

        Parameters
        ----------
        name : a quantity of ``steps`` or a list of them; a column of ``runs``; or one of `gradlab.figures.FIGURES`.
            Without it, the default view.
        ax : where to draw a figure of one panel, by default a new figure.

        Raises
        ------
        InputError
            If there is no such figure, or it needs what was not measured; the message names the hook that measures it.
        """
        ...

    def verdict(self) -> Verdict:
        """Return what the gradient does on its way back through time, with the evidence."""
        ...

    def save(self, path: str | Path) -> Path:
        """Write everything to ``path``, which the matching ``load`` function opens; return the path."""
        ...
