"""What a step costs: it multiplies by each recurrent weight once, forward, along a tangent and back (TRUTHS §6)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def counting(cell: Any, key: str) -> Iterator[None]:
    """Count the products of one parameter."""
    plain = getattr(cell, key)
    object.__setattr__(cell, key, plain.view(Counted))
    try:
        yield
    finally:
        object.__setattr__(cell, key, plain)


@pytest.mark.parametrize("name", FAMILY)
def test_a_step_multiplies_by_each_weight_once(name: str) -> None:
    cell = make(name, D, H)
    x, before = np.random.default_rng(1).standard_normal((D, N)), cell.split(columns(cell, N))
    drive = cell.input_drive(x[None])[0]
    after, record = cell.step(drive, before)
    local = cell.linearise(record, before, after)
    acts = (lambda: cell.step(drive, before), lambda: cell.jvp(local, before), lambda: cell.vjp(local, before))
    for key, array in cell.parameters.items():
        for act in acts if array.ndim == 2 else ():
            with counting(cell, key):
                Counted.entered = 0
                act()
            once = {array.size} if key == "W_hh" else {0, array.size}
            assert Counted.entered in once, key
