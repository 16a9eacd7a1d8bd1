"""The figures of a study: drawn, with finding and caption, or the reason why one is missing."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, NamedTuple

from gradlab import figures
from gradlab.errors import InputError
from gradlab.tables import tables


class DrawnFigure(NamedTuple):
    """A figure on the page; ``missing`` is the reason for its absence, ``unrecorded`` means no hook recorded it."""

    name: str
    finding: str = ""
    caption: str = ""
    svg: bytes = b""
    png: bytes = b""
    missing: str = ""
    unrecorded: bool = False

    @property
    def alt(self) -> str:
        """The figure in words, for readers who do not see it."""
        return f"{self.caption}. {self.finding}"

    @property
    def source(self) -> str:
        """The picture as a data address, so that the page needs no other file."""
        return "data:image/svg+xml;base64," + base64.b64encode(self.svg).decode()


def pictures(frames: tables.Frames, study: Mapping[str, Any]) -> list[DrawnFigure]:
    """Draw the figures named in the study's ``[report]``, by default all that its hooks recorded."""
    asked = study.get("report", {}).get("figures")
    if asked:
        return [picture(name, frames) for name in asked]
    return [found for name in figures.FIGURES if not (found := picture(name, frames)).unrecorded]


def paired_pictures(
    one: list[DrawnFigure], other: list[DrawnFigure], frames: tuple[tables.Frames, tables.Frames]
) -> list[list[DrawnFigure]]:
    """Return the figures of two studies in pairs by name; a figure that only one study shows is drawn for both."""
    sides = [{shown.name: shown for shown in side} for side in (one, other)]
    return [
        [side.get(name) or picture(name, of) for side, of in zip(sides, frames, strict=True)]
        for name in dict.fromkeys([*sides[0], *sides[1]])
    ]


def picture(name: str, frames: tables.Frames) -> DrawnFigure:
    """Draw a figure, or return the reason why it is missing."""
    figure = figures.FIGURES[name]
    try:
        table, layout = figure.table(frames)
    except InputError as error:
        return DrawnFigure(name, missing=str(error), unrecorded=isinstance(error, tables.NotRecorded))
    drawn = figures.facets(figure, table, layout)
    return DrawnFigure(name, figure.finding(table, layout), figure.caption, figures.svg(drawn), figures.png(drawn))
