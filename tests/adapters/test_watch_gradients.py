"""A watched PyTorch module's gradients against the same network as a loop over cells with ``retain_grad``.

Tolerance: normwise relative 1e-10 a vector in float64, which T ≤ 7 products keep with room.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest

import gradlab as gl

pytestmark = pytest.mark.torch_oracle


class Keep(gl.Hook):
    """Keeps the layers of the newest pass."""

    def begin(self, info: Any) -> None:
        self.passes: list[Any] = []

    def forward(self, segment: Any) -> None:
        self.passes.append(segment)


def assert_right(seed: int) -> None:
    architectures = import_module("adapters.architectures")
    drawn, keep = architectures.draw(seed), Keep()
    wanted = architectures.answer(drawn)
    with gl.watch(drawn.module, hooks=[keep]) as w:
        value = architectures.run(drawn)
        if value.requires_grad:
            value.backward()
    assert not w.refused, f"{drawn}: {w.refused}"
    if value.requires_grad:
        architectures.assert_same(keep.passes, wanted)


@pytest.mark.parametrize("seed", range(30))
def test_thirty_random_architectures(seed: int) -> None:
    assert_right(seed)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(30, 230))
def test_two_hundred_random_architectures(seed: int) -> None:
    assert_right(seed)
