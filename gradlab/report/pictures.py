"""The figures of a study, drawn, with what they say, what they show, and why one is missing."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, NamedTuple

from gradlab import figures
from gradlab.errors import InputError
from gradlab.tables import tables


class Shown(NamedTuple):
    """A figure on the page; ``missing`` says why it is not there, ``unrecorded`` that no hook recorded it."""

    name: str
    finding: str = ""
    caption: str = ""
    svg: bytes = b""
    png: bytes = b""
    missing: str = ""
    unrecorded: bool = False

    @property
    def alt(self) -> str:
        """The figure in words, for who does not see it."""
        return f"{self.caption}. {self.finding}"

    @property
    def source(self) -> str:
        """The picture as a data address, so that the page needs no other file."""
        return "data:image/svg+xml;base64," + base64.b64encode(self.svg).decode()


def pictures(frames: tables.Frames, study: Mapping[str, Any]) -> list[Shown]:
    """Return the figures that the study's ``[report]`` asks for, by default all that its hooks recorded."""
    asked = study.get("report", {}).get("figures")
    if asked:
        return [picture(name, frames) for name in asked]
    return [found for name in figures.FIGURES if not (found := picture(name, frames)).unrecorded]


def beside(one: list[Shown], other: list[Shown], frames: tuple[tables.Frames, tables.Frames]) -> list[list[Shown]]:
    """Return the figures of two studies in pairs of one name; what only one shows is drawn of the other too."""
    sides = [{shown.name: shown for shown in side} for side in (one, other)]
    return [
        [side.get(name) or picture(name, of) for side, of in zip(sides, frames, strict=True)]
        for name in dict.fromkeys([*sides[0], *sides[1]])
    ]


def picture(name: str, frames: tables.Frames) -> Shown:
    """Return the figure, or why it is missing."""
    picture = figures.FIGURES[name]
    try:
        table, layout = picture.table(frames)
    except InputError as error:
        return Shown(name, missing=str(error), unrecorded=isinstance(error, tables.NotRecorded))
    drawn = figures.facets(picture, table, layout)
    return Shown(name, picture.finding(table, layout), picture.caption, figures.svg(drawn), figures.png(drawn))
