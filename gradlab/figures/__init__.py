"""Tables drawn at print size. A new picture is one file beside these, and one line in :data:`FIGURES`.

Each file holds one picture. ``tabulate`` makes its table from a study's frames, with a `Layout` that names the columns
to draw. ``draw`` draws one panel of that table into ``ax`` and computes nothing. ``finding`` describes the result.
Colour always goes with a line style and a marker, so that grey prints and colour-blind readers lose nothing.
"""

from __future__ import annotations

from matplotlib.figure import Figure

from gradlab.errors import InputError, unknown
from gradlab.figures import (
    agreement,
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
    rates,
    sensitivity,
    spectrum,
    temporal,
    training,
)
from gradlab.figures.facets import Picture, facets, single
from gradlab.figures.style import DOUBLE, SINGLE, STYLE, png, svg
from gradlab.tables import tables

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
#: Those that show a single pass: ``trace.plot("gates")``.
OF_A_PASS = tuple(name for name, picture in FIGURES.items() if picture.hooks)


def draw(name: str, frames: tables.Frames) -> Figure:
    """Return the figure ``name`` of a study, all of its panels, from its tables by name.

    Raises
    ------
    InputError
        If there is no such figure, or the study has not got what it shows.
    """
    if name not in FIGURES:
        raise InputError(unknown("figure", name, FIGURES))
    picture = FIGURES[name]
    return facets(picture, *picture.table(frames))


__all__ = [
    "DOUBLE",
    "FIGURES",
    "OF_A_PASS",
    "SINGLE",
    "STYLE",
    "Picture",
    "draw",
    "facets",
    "png",
    "profile",
    "single",
    "svg",
]
