"""Every cell in every variant: the laws of all test files run over ``gradlab.cells.CELLS`` and the options' choices."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradlab.cells import CELLS

Array = NDArray[Any]

#: Cells whose equations are also written in PyTorch (:mod:`oracles.torch_loop`). A cell may have no such twin.
TWINS = ("rnn", "lstm", "gru")


class Member(NamedTuple):
    """One law's subject: a cell class and the options that distinguish it from its siblings."""

    kind: Any
    options: dict[str, str]


def members() -> dict[str, Member]:
    """Return every class of ``CELLS`` under every combination of its options' choices, by ``name-choice-choice``.

    An option without choices keeps its default.
    """
    found = {}
    for name, kind in CELLS.items():
        chosen = {key: option.choices for key, option in kind.OPTION_KEYS.items() if option.choices}
        for values in product(*chosen.values()):
            found["-".join((name, *values))] = Member(kind, dict(zip(chosen, values, strict=True)))
    return found


FAMILY = members()
#: Members one of whose states is updated additively.
ADDITIVE = [name for name, (kind, _) in FAMILY.items() if kind.additive_state is not None]
#: Members that have equations in PyTorch to compare with.
TWINNED = [name for name, (kind, _) in FAMILY.items() if kind.name in TWINS]
#: Members whose loops are promised to run in compiled code.
NOTED = [name for name, (kind, _) in FAMILY.items() if vars(kind).get("of_ufuncs")]
#: Members that PyTorch provides as cells of its own.
NATIVE = ("rnn-tanh", "rnn-relu", "lstm", "gru-after-keep")


def make(
    name: str, inputs: int = 3, hidden: int = 5, *, scale: float = 1.0, rng: int = 0, dtype: str = "float64"
) -> Any:
    """Return the cell with random weights and biases, none of them zero."""
    kind, options = FAMILY[name]
    cell = kind.init(inputs, hidden, scale=scale, rng=rng, dtype=dtype, **options)
    draw = np.random.default_rng([rng, 1])
    biases = [key for key in cell.parameters if key.startswith("b_")]
    return replace(cell, **{key: 0.5 * draw.standard_normal(getattr(cell, key).shape).astype(dtype) for key in biases})


def recurrent_names(name: str) -> set[str]:
    """Return the parameters that ``init`` draws in proportion to ``scale``: the recurrent weights."""
    return _moved(name, {"scale": 2.0})


def input_names(name: str) -> set[str]:
    """Return the parameters that ``init`` draws in proportion to ``input_scale``: the input weights."""
    return _moved(name, {"input_scale": 2.0})


def bias_names(name: str) -> set[str]:
    """Return the parameters that ``init`` draws by the law ``bias``."""
    return _moved(name, {"bias": "uniform"})


def _moved(name: str, change: dict[str, Any]) -> set[str]:
    kind, options = FAMILY[name]
    one, two = (kind.init(3, 5, rng=5, **options, **changed).parameters for changed in ({}, change))
    return {key for key in one if not np.array_equal(one[key], two[key])}


def states(cell: Any, batch: int, *, rng: int = 0) -> dict[str, Array]:
    """Return a random initial state ``(B, H)`` by name."""
    draw = np.random.default_rng([rng, 2])
    shape = (batch, cell.hidden_size)
    return {name: draw.uniform(-1, 1, shape).astype(cell.dtype) for name in cell.state_names}


def columns(cell: Any, batch: int, *, rng: int = 0) -> Array:
    """Return a random joint state as columns ``(S, N)``."""
    return np.concatenate([array.T for array in states(cell, batch, rng=rng).values()])
