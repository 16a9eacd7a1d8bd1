"""A hook that keeps what it is shown."""

from __future__ import annotations

from typing import Any

import gradlab as gl


class Keep(gl.Hook):
    """Keeps the layers of every pass."""

    def __init__(self) -> None:
        self.passes: list[list[Any]] = []

    def begin(self, info: Any) -> None:
        self.passes.append([])

    def forward(self, segment: Any) -> None:
        self.passes[-1].append(segment)
