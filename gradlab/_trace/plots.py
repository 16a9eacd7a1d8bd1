"""Figures of the layers and directions of one pass: their quantities over the lag, theory, and the default view.

The tables come from :class:`gradlab.layer.LayerPass`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from gradlab.cells import CELLS
from gradlab.errors import InputError
from gradlab.hooks import frames
from gradlab.layer import LayerPass
from gradlab.statistics.increments import FIRST_LAG
from gradlab.verdicts.labels import basis, word_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Size of titles in points, as in all figures.
TITLE = 8
#: The theory's line with the columns lag, theory and rate, and ""; or None and the reason why there is none.
Line = tuple["pd.DataFrame | None", str]
NO_LINE: Line = (None, "")


def plot(
    passes: Sequence[LayerPass],
    name: str | Sequence[str] | None,
    *,
    theory: bool = False,
    ax: Axes | None = None,
    loss: float = float("nan"),
) -> Figure:
    """Return the `overview`, or a figure, quantities or a column of some layers and directions; see `Trace.plot`."""
    from gradlab import figures

    if name is None:
        return figures.figure_of(overview(passes, theory=theory, ax=ax))
    names, one = figures.names_of(name), passes[0]
    if names and len(passes) == 1 and set(names) <= set(one.quantities):
        line = expected(one, names[0]) if theory else NO_LINE
        return figures.figure_of(_profiles([one.profile(each) for each in names], line, ax))
    return figures.draw(name, _frames(passes, names, loss), ax=ax)


def overview(passes: Sequence[LayerPass], *, theory: bool = False, ax: Axes | None = None) -> Axes:
    """Draw gradients over the lag: total, direct and joint of one layer; the total of each of several layers."""
    total, line = f"dL/d{passes[0].cell.state_names[0]}", NO_LINE
    if len(passes) > 1:
        tables = [one.profile(total).assign(quantity=f"{one.name}, {_worded(one)}") for one in passes]
        title = f"total {total} of each layer"
    else:
        (one,) = passes
        words = {total: f"total {total}", "direct": f"direct {total}", "adjoint": "joint δ"}
        names = list(words)[: 2 if len(one.cell.state_names) == 1 else 3]  # with one state, δ is the total
        tables = [one.profile(name).assign(quantity=words[name]) for name in names]
        title = f"{_worded(one)}: {one.rate()}"
        line = expected(one, total) if theory else NO_LINE
    drawn = _profiles(tables, line, ax)
    drawn.set_title(title, fontsize=TITLE)
    return drawn


def _worded(one: LayerPass) -> str:
    """Return the word of a layer, with its basis if that is not the rate: ``VANISHING (measured)``."""
    evidence = one.decay.evidence()
    word = word_of(evidence)
    source = basis(word, evidence)
    return f"{word} ({source})" if source else word


def expected(one: LayerPass, quantity: str) -> Line:
    """Return the mean-field line, of slope ½ ln χ through the value at lag 1, or the reason why there is none."""
    import pandas as pd

    try:
        slope = _expected_rate(one, quantity)
    except InputError as reason:
        return None, str(reason)
    measured = one.profile(quantity)
    lags = np.arange(FIRST_LAG, int(measured["lag"].max()) + 1)
    start = measured.loc[measured["lag"] == FIRST_LAG, "mean_log"].mean()
    return pd.DataFrame({"lag": lags, "theory": start + slope * (lags - FIRST_LAG), "rate": slope}), ""


def _expected_rate(one: LayerPass, quantity: str) -> float:
    from gradlab.theory.driven import rate_of  # loads SciPy's optimisation, and pandas

    slope, states = rate_of(one.tape), one.cell.state_names
    if quantity not in ("adjoint", "last_adjoint", *(f"dL/d{name}" for name in states)):
        raise InputError(f"no line of theory: it is of a state's gradient, not of {quantity}")
    once = np.isfinite(one.direct[states[0]].log_norm()).sum(axis=0) <= 1
    if quantity != "last_adjoint" and not once.all():
        raise InputError('no line of theory: the loss is read at several steps; that of the last is "last_adjoint"')
    return slope


def _frames(passes: Sequence[LayerPass], names: Sequence[str], loss: float) -> dict[str, pd.DataFrame]:
    """Return the tables from which a figure, quantities or a column of these passes are drawn."""
    from gradlab.figures import FIGURES, hooks_of

    if "paths" in names and all(one.cell.additive_state is None for one in passes):
        cell = passes[0].cell
        kind = "a vanilla RNN" if cell.vanilla else f'the cell "{cell.name}"'
        others = ", ".join(name for name, one in CELLS.items() if one.additive_state is not None)
        raise InputError(f"{kind} has no additive path to draw; these cells have one: {others}")
    if passes[0].place is not None:
        raise InputError(f'"{", ".join(names)}" is measured by hooks over a whole pass; ask a layer of gl.trace')
    along = FIGURES[names[0]].along if names and names[0] in FIGURES else "lag"
    hooks = dict.fromkeys(hook for name in names for hook in hooks_of(name))
    return frames.frames([replace(one, along=along) for one in passes], hooks, loss)


def _profiles(tables: list[pd.DataFrame], theory: Line, ax: Axes | None) -> Axes:
    import pandas as pd

    from gradlab.figures import profile

    line, reason = theory
    return profile.draw(pd.concat(tables, ignore_index=True), ax=ax, theory=line, note=reason)
