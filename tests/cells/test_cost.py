"""What a step costs: it multiplies by each recurrent weight once, forward, along a tangent and back (TRUTHS §6)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracles.family import FAMILY, columns, make

D, H, N = 3, 6, 4


class Counted(np.ndarray):
    """Weights that count the numbers of theirs that enter products."""

    entered = 0

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        if ufunc is np.matmul:
            Counted.entered += sum(one.size for one in inputs if isinstance(one, Counted))
        plain = [np.asarray(one) if isinstance(one, Counted) else one for one in inputs]
        return getattr(ufunc, method)(*plain, **options)


@pytest.mark.parametrize("name", FAMILY)
def test_a_step_multiplies_by_each_weight_once(name: str) -> None:
    cell = make(name, D, H)
    x, before = np.random.default_rng(1).standard_normal((D, N)), cell.split(columns(cell, N))
    drive = cell.input_drive(x[None])[0]
    object.__setattr__(cell, "W_hh", cell.W_hh.view(Counted))
    after, record = cell.step(drive, before)
    local = cell.linearise(record, before, after)
    for act in (lambda: cell.step(drive, before), lambda: cell.jvp(local, before), lambda: cell.vjp(local, before)):
        Counted.entered = 0
        act()
        assert Counted.entered == cell.W_hh.size
