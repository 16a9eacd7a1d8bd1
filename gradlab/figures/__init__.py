"""Tables drawn at print size. A new picture is one new file in this package, and one line in :data:`FIGURES`.

Each file holds one picture, as four names:

* ``tabulate(frames)`` returns the picture's table, made from the tables of a study, a watch or a trace, and a `Layout`
  that names the columns to draw. It raises `NotRecorded`, with the missing hook, if the quantities were not recorded.
* ``draw(table, layout, ax=None, whole=None)`` draws one panel of the table into ``ax`` (default: a new figure) and
  returns the axes. It computes nothing. ``whole`` is the table of all panels, which share
  colours and scales.
* ``finding(table, layout)`` returns the result as one or two sentences for a caption.
* ``PICTURE`` holds the three functions with the caption.

Each colour goes with a line style and a marker, so that the figures also work in grey and for colour-blind readers.
"""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradlab.errors import InputError, unknown
from gradlab.figures import (
    agreement,
    columns,
    comparison,
    contributions,
    criterion,
    decay,
    gates,
    gradients,
    horizon,
    jacobians,
    lyapunov,
    paths,
    phase,
    prediction,
    profile,
    quantities,
    rates,
    sensitivity,
    spectrum,
    temporal,
    training,
)
from gradlab.figures.facets import Picture, count_panels, facets, figure_of, single
from gradlab.figures.style import DOUBLE, SINGLE, STYLE, png, svg
from gradlab.tables import tables
from gradlab.tables.factors import SEED
from gradlab.tables.recorded import hook_of, is_quantity

FIGURES: dict[str, Picture] = {
    "decay": decay.PICTURE,
    "phase": phase.PICTURE,
    "rates": rates.PICTURE,
    "horizon": horizon.PICTURE,
    "comparison": comparison.PICTURE,
    "lyapunov": lyapunov.PICTURE,
    "spectrum": spectrum.PICTURE,
    "paths": paths.PICTURE,
    "gates": gates.PICTURE,
    "gradients": gradients.PICTURE,
    "jacobians": jacobians.PICTURE,
    "contributions": contributions.PICTURE,
    "training": training.PICTURE,
    "criterion": criterion.PICTURE,
    "prediction": prediction.PICTURE,
    "temporal": temporal.PICTURE,
    "sensitivity": sensitivity.PICTURE,
    "agreement": agreement.PICTURE,
}
#: Figures that can show a single pass, as in ``trace.plot("gates")``.
OF_A_PASS = tuple(name for name, picture in FIGURES.items() if picture.hooks)


def draw(
    name: str | Sequence[str],
    frames: tables.Frames,
    *,
    ax: Axes | None = None,
    x: str | None = None,
    hue: str | None = None,
) -> Figure:
    """Return the figure ``name`` of a study, a watch or a trace.

    Parameters
    ----------
    name : str or sequence of str
        One of :data:`FIGURES`; a quantity of ``steps``, or a list of them; or a column of ``runs``.
    frames : mapping of DataFrame
        The tables ``runs``, ``steps`` and ``spectra``, and optionally the tables of theory.
    ax : Axes, optional
        Axes to draw into. The figure must then have one panel only.
    x : str, optional
        For a column of ``runs``: the column on the x axis.
    hue : str, optional
        For a column of ``runs``: the column with one line per value.

    Returns
    -------
    Figure
        The figure with all panels, or the figure of ``ax``. A single pass fills one journal column.

    Raises
    ------
    InputError
        If there is no such figure, quantity or column, if it was not recorded, or if ``ax`` is given for several
        panels.
    """
    picture = _picture(name, frames, x, hue)
    table, layout = picture.table(frames)
    runs = frames["runs"]
    if ax is None and (SEED in runs or len(runs) > 1):
        return facets(picture, table, layout)
    if (panels := len(table) and count_panels(table, layout)) > 1:
        raise InputError(f"ax: {name!r} has {panels} panels here, which do not fit into one ax; leave ax out")
    return figure_of(single(picture, table, layout, ax=ax))


def hooks_of(name: str) -> tuple[str, ...]:
    """Return the hooks that record the data of a figure, a quantity or a column for one pass.

    Parameters
    ----------
    name : str
        One of :data:`FIGURES`, a quantity of ``steps`` or a column of ``runs``.

    Returns
    -------
    tuple of str
        Names of built-in hooks; empty if no hook is known to record ``name``.
    """
    if name in FIGURES:
        return FIGURES[name].hooks or ("gradients", "lyapunov:1")
    hook = hook_of(name)
    return () if hook is None else (hook,)


def names_of(name: str | Sequence[str]) -> tuple[str, ...]:
    """Return the names of a plot as a tuple.

    Raises
    ------
    InputError
        If it is neither a name nor a list of at least one name.
    """
    names = (name,) if isinstance(name, str) else tuple(name) if isinstance(name, list | tuple) else ()
    if not names or not all(isinstance(one, str) and one for one in names):
        raise InputError(f"name: expected a figure, a quantity, a column or a list of quantities, got {name!r}")
    return names


def _picture(name: str | Sequence[str], frames: tables.Frames, x: str | None, hue: str | None) -> Picture:
    if isinstance(name, str) and name in FIGURES:
        return FIGURES[name]
    names = names_of(name)
    recorded, runs = list(frames["steps"]["quantity"].unique()), frames["runs"]
    hooks = {hook_of(one) for one in recorded}
    if names and all(one in recorded or (is_quantity(one) and hook_of(one) not in hooks) for one in names):
        return quantities.picture(names)
    if len(names) == 1 and (
        names[0] in runs or (hook_of(names[0]) not in {None, *hooks} and not is_quantity(names[0]))
    ):
        return columns.picture(names[0], x, hue)
    if len(names) > 1 and (column := next((one for one in names if one in runs), None)):
        raise InputError(f'"{column}" is a column of runs, and a list names quantities of steps; plot it alone')
    known = dict.fromkeys([*FIGURES, *recorded, *map(str, runs.select_dtypes("number").columns)])
    raise InputError(unknown("figure, quantity or column", next((n for n in names if n not in recorded), ""), known))


__all__ = [
    "DOUBLE",
    "FIGURES",
    "OF_A_PASS",
    "SINGLE",
    "STYLE",
    "Picture",
    "draw",
    "facets",
    "figure_of",
    "hooks_of",
    "names_of",
    "png",
    "profile",
    "single",
    "svg",
]
