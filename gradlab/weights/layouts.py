"""The names and arrangement of recurrent weights in PyTorch, Keras and Flax, and their conversion to cells."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from gradlab.arrays.scaled import Array
from gradlab.cells import CELLS, Cell
from gradlab.cells.activations import ACTIVATIONS
from gradlab.errors import InputError
from gradlab.models.network import Bidirectional, Layer, Network, cells_of
from gradlab.weights.tensors import Tensors
from gradlab.weights.weights import TORCH_NAMES, gru_biases, in_layers, torch_cell

#: The cell by its number of blocks of H rows in the recurrent weights.
KINDS = {1: "rnn", 3: "gru", 4: "lstm"}
BLOCKS = {kind: blocks for blocks, kind in KINDS.items()}


@dataclass(frozen=True)
class Missing:
    """Properties that a file does not contain, as the caller gave them, for the layer ``label``."""

    label: str
    activation: str | None
    reset: str | None

    def options(self, kind: str, reset: str | None = "after") -> dict[str, str]:
        """Return the cell's options; ``reset`` is that of a GRU in the file, None if the file does not contain it."""
        if kind != "rnn" and self.activation is not None:
            raise InputError(f"activation belongs to an RNN, and {self.label} is {_a(kind)}; leave it out")
        if kind != "gru" and self.reset is not None:
            raise InputError(f"reset belongs to a GRU, and {self.label} is {_a(kind)}; leave it out")
        if kind == "rnn":
            if self.activation is None:
                raise InputError(
                    f"{self.label} is an RNN, whose activation is not in the file; give activation= one of "
                    + ", ".join(f'"{name}"' for name in ACTIVATIONS)
                )
            return {"activation": self.activation}
        return {"reset": self._reset(reset), "update": "keep"} if kind == "gru" else {}

    def _reset(self, known: str | None) -> str:
        if known is None and self.reset is None:
            raise InputError(
                f"{self.label} is a GRU without bias, so the place of its reset is not in the file; "
                'give reset="after" (Keras\' reset_after=True) or reset="before"'
            )
        if known and self.reset and known != self.reset:
            raise InputError(f'{self.label} is a GRU with reset="{known}", got reset="{self.reset}"; leave it out')
        return str(known or self.reset)


def _a(kind: str) -> str:
    return f"{'an' if kind in ('rnn', 'lstm') else 'a'} {kind.upper()}"


def _kind(name: str, rows: int, columns: int, shape: tuple[int, ...]) -> str:
    """Return the kind of cell from recurrent weights of shape ``(rows, columns)`` = (kH, H)."""
    kind = KINDS.get(rows // columns) if rows % columns == 0 else None
    if kind is None:
        raise InputError(f'tensor "{name}" must have H times 1 (RNN), 3 (GRU) or 4 (LSTM) of H, got shape {shape}')
    return kind


def _prefixes(pattern: re.Pattern[str], names: Iterable[str]) -> list[str]:
    """Return the first groups, sorted, of all names that match as a whole."""
    return sorted({match[1] or "" for match in map(pattern.fullmatch, names) if match})


def _joined(prefix: str, *names: str) -> list[str]:
    return [f"{prefix}.{name}" if prefix else name for name in names]


# --- PyTorch ---------------------------------------------------------------------------------------------------------

TORCH_NAME = re.compile(
    r"(?:(?P<prefix>.*)\.)?(?P<stem>weight_ih|weight_hh|weight_hr|bias_ih|bias_hh)"
    r"(?P<tail>(?:_l(?P<layer>\d{1,6})(?P<reverse>_reverse)?)?)"
)


def _read_torch(tensors: Tensors, prefix: str, missing: Missing) -> Cell | Network:
    found = [
        match for name in tensors.names if (match := TORCH_NAME.fullmatch(name)) and (match["prefix"] or "") == prefix
    ]
    if any(match["stem"] == "weight_hr" for match in found):
        raise InputError(
            f"{missing.label} has a projection (proj_size, tensors weight_hr…), which a gradlab LSTM does not have"
        )
    stems = TORCH_NAMES if any(match["stem"].startswith("bias") for match in found) else TORCH_NAMES[:2]
    if {match["layer"] for match in found} == {None}:
        return _torch_cell(tensors, prefix, stems, "", "D", missing)
    tails = ("", "_reverse") if any(match["reverse"] for match in found) else ("",)
    layers: list[Layer] = []
    for index in range(len({match["layer"] for match in found} - {None})):
        inputs = sum(cell.hidden_size for cell in cells_of(layers[-1])) if layers else "D"
        cells = [_torch_cell(tensors, prefix, stems, f"_l{index}{tail}", inputs, missing) for tail in tails]
        layers.append(Bidirectional(*cells) if len(cells) > 1 else cells[0])
    return in_layers(layers)


def _torch_cell(
    tensors: Tensors, prefix: str, stems: Sequence[str], tail: str, inputs: int | str, missing: Missing
) -> Cell:
    names = dict(zip(stems, _joined(prefix, *(stem + tail for stem in stems)), strict=True))
    recurrent = tensors.take(names["weight_hh"], ("kH", "H"))
    rows, H = recurrent.shape
    kind = _kind(names["weight_hh"], rows, H, recurrent.shape)
    shapes = {"weight_ih": (rows, inputs), "weight_hh": (rows, H), "bias_ih": (rows,), "bias_hh": (rows,)}
    arrays = {stem: tensors.take(name, shapes[stem]) for stem, name in names.items()}
    options = missing.options(kind)
    return torch_cell(kind, arrays, **(options if kind == "rnn" else {}))


# --- Keras -----------------------------------------------------------------------------------------------------------

KERAS_NAME = re.compile(r"(?:(.*)[./])?recurrent_kernel")


def _read_keras(tensors: Tensors, prefix: str, missing: Missing) -> Cell:
    """Return the cell of ``kernel (D, kH)``, ``recurrent_kernel (H, kH)`` and an optional ``bias``.

    The blocks of a GRU are stacked z, r, h. The bias has two rows if the reset comes after the product.
    """
    inputs, recurrent, biases = (_full(tensors, prefix, tail) for tail in ("kernel", "recurrent_kernel", "bias"))
    H, rows = tensors.take(recurrent, ("H", "kH")).shape
    kind = _kind(recurrent, rows, H, (H, rows))
    weights: dict[str, Any] = {
        "W_xh": tensors.take(inputs, ("D", rows)).T,
        "W_hh": tensors.take(recurrent, (H, rows)).T,
    }
    after = False
    if biases in tensors.names:
        after = kind == "gru" and tensors.axes(biases) == 2
        weights["b_h"] = tensors.take(biases, (2, rows) if after else (rows,)).T
    known = "after" if after else "before" if "b_h" in weights else None
    if kind == "gru":
        weights = {name: _as_rzn(array) for name, array in weights.items()}
    if after:
        weights |= gru_biases(*weights["b_h"].T)
    return CELLS[kind](**weights | missing.options(kind, known))


def _as_rzn(stacked: Array) -> Array:
    """Reorder blocks of rows from z, r, n to r, z, n."""
    z, r, n = np.split(stacked, 3)
    return np.concatenate([r, z, n])


# --- Flax ------------------------------------------------------------------------------------------------------------

FLAX_NAME = re.compile(r"(?:(.*)[./])?(dense_[ih]|i[ifgo]|h[ifgo]|if_|[ih][rzn]|[ih])[./](kernel|bias)")
#: Flax' Dense layers per cell in gradlab's order of gates: of the input, of the state, and those with a bias.
FLAX_DENSE = {
    "lstm": (("ii", "if", "ig", "io"), ("hi", "hf", "hg", "ho"), ("hi", "hf", "hg", "ho")),
    "gru": (("ir", "iz", "in"), ("hr", "hz", "hn"), ("ir", "iz", "in")),
    "rnn": (("i",), ("h",), ("i",)),
}
#: The same if one Dense layer holds all gates, as in NNX.
NNX_DENSE = {
    "lstm": (("dense_i",), ("dense_h",), ("dense_h",)),
    "gru": (("dense_i",), ("dense_h",), ("dense_i",)),
    "rnn": (("dense_i",), ("dense_h",), ("dense_i",)),
}


def _flax_found(names: Iterable[str]) -> dict[str, set[str]]:
    """Return the tails ``<dense>/kernel`` and ``<dense>/bias`` by prefix, for prefixes with layers of both i and h."""
    found: dict[str, set[str]] = {}
    for match in filter(None, map(FLAX_NAME.fullmatch, names)):
        found.setdefault(match[1] or "", set()).add(f"{match[2]}/{match[3]}")
    return {prefix: tails for prefix, tails in found.items() if len({t.removeprefix("dense_")[0] for t in tails}) == 2}


def _read_flax(tensors: Tensors, prefix: str, missing: Missing) -> Cell:
    """Return the cell; kernels are ``(in, out)``, and n of a GRU has a second bias inside the reset gate."""

    def take(tail: str, *shape: int | str) -> Array:
        return tensors.take(_full(tensors, prefix, tail), shape)

    there = _flax_found(tensors.names)[prefix]
    kind, (inputs, states, biased) = _flax_kind(tensors, prefix, there, missing)
    inner = kind == "gru" and len(states) > 1
    expected = {f"{name}/kernel" for name in inputs + states} | {f"{name}/bias" for name in biased}
    _check_tails(expected | ({"hn/bias"} if inner else set()), there, kind, missing)
    H = take(f"{states[0]}/kernel", "H", "kH").shape[0]
    wide = BLOCKS[kind] // len(states) * H
    D = take(f"{inputs[0]}/kernel", "D", wide).shape[0]
    weights: dict[str, Any] = {
        "W_xh": np.concatenate([take(f"{name}/kernel", D, wide).T for name in inputs]),
        "W_hh": np.concatenate([take(f"{name}/kernel", H, wide).T for name in states]),
        "b_h": np.concatenate([take(f"{name}/bias", wide) for name in biased]),
    }
    if inner:
        weights["b_hn"] = take("hn/bias", H)
    return CELLS[kind](**weights | missing.options(kind))


def _flax_kind(
    tensors: Tensors, prefix: str, there: set[str], missing: Missing
) -> tuple[str, tuple[tuple[str, ...], ...]]:
    """Return the kind of cell and the names of its Dense layers: of the input, of the state, with a bias."""
    if any(tail.startswith("dense_") for tail in there):
        name = _full(tensors, prefix, "dense_h/kernel")
        H, rows = tensors.take(name, ("H", "kH")).shape
        kind = _kind(name, rows, H, (H, rows))
        return kind, NNX_DENSE[kind]
    dense = {tail.partition("/")[0].rstrip("_") for tail in there}
    if {"if", "in"} <= dense:
        raise InputError(f"{missing.label} is an MGUCell, which gradlab does not have; write it as a gl.custom_cell")
    kind = max(FLAX_DENSE, key=lambda one: len(dense.intersection(FLAX_DENSE[one][0] + FLAX_DENSE[one][1])))
    inputs, states, biased = FLAX_DENSE[kind]
    if "if_/kernel" in there:  # NNX, because "if" is a Python keyword
        inputs = tuple(name.replace("if", "if_") for name in inputs)
    return kind, (inputs, states, biased)


def _check_tails(expected: set[str], there: set[str], kind: str, missing: Missing) -> None:
    """Raise for a tensor that Flax' cell of this kind does not have: it would be another recurrence."""
    if surplus := sorted(there - expected):
        parts = ", ".join(sorted(expected))
        raise InputError(
            f'{missing.label} has "{surplus[0]}", which Flax\' {kind.upper()} does not have; it has {parts}'
        )


def _full(tensors: Tensors, prefix: str, tail: str) -> str:
    """Return the name of ``tail`` below ``prefix`` with the file's separator, "/" or "."."""
    parts = [*([prefix] if prefix else []), *tail.split("/")]
    slashed, dotted = "/".join(parts), ".".join(parts)
    return dotted if dotted in tensors.names or not any("/" in name for name in tensors.names) else slashed


class Layout(NamedTuple):
    """One library's layout: find the prefixes of recurrent layers, read one; ``sign`` names its typical tensors."""

    prefixes: Callable[[Iterable[str]], list[str]]
    read: Callable[[Tensors, str, Missing], Cell | Network]
    sign: str


LAYOUTS = {
    "pytorch": Layout(partial(_prefixes, TORCH_NAME), _read_torch, "weight_hh_l0 or weight_hh"),
    "keras": Layout(partial(_prefixes, KERAS_NAME), _read_keras, "recurrent_kernel"),
    "flax": Layout(
        lambda names: sorted(_flax_found(names)),
        _read_flax,
        "hi/kernel, hr/kernel, h/kernel or dense_h/kernel beside those of i",
    ),
}
