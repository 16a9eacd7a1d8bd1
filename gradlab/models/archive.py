"""Arrays and a page of JSON as one npz file, from which nothing can run; and models in such a file."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradlab.cells import CELLS, Cell
from gradlab.errors import InputError, StoreError
from gradlab.files import write_whole
from gradlab.models.network import READOUT, Bidirectional, Network, Readout, cells_of, place_of
from gradlab.schema import DIRECTIONS

Array = NDArray[Any]
#: The array that holds the page of JSON, as bytes.
PAGE = "page"


def write(path: Path, format: str, page: Mapping[str, Any], arrays: Mapping[str, Array]) -> Path:
    """Write a page of JSON and arrays, whole or not at all; ``format`` says what it is, and in which layout.

    Raises
    ------
    StoreError
        where the file cannot be written.
    """
    text = json.dumps({"format": format, **page}, ensure_ascii=False, allow_nan=False)
    file = io.BytesIO()
    np.savez(file, **{PAGE: np.frombuffer(text.encode(), np.uint8), **arrays})  # type: ignore[arg-type]
    try:
        write_whole(path, file.getvalue())
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror})") from None
    return path


def read(path: Path, format: str) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return the page and the arrays of a file that :func:`write` wrote; raises whatever a file can be wrong by."""
    with path.open("rb") as file:
        archive = np.load(file, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile) or PAGE not in archive:
            raise ValueError("no page of ours in it")
        arrays = {name: archive[name] for name in archive.files}
    page = json.loads(arrays.pop(PAGE).tobytes().decode())
    if not isinstance(page, dict) or page.get("format") != format:
        raise ValueError(f'not of the format "{format}"')
    return page, arrays


def described(model: Cell | Network) -> dict[str, Any]:
    """Return what a model is beside its parameters, for JSON."""
    network = model if isinstance(model, Network) else Network([model])
    layers = [[_described(cell) for cell in cells_of(layer)] for layer in network.layers]
    readout = None if network.readout is None else network.readout.activation
    return {"layers": layers, "readout": readout, "bare": isinstance(model, Cell)}


def _described(cell: Cell) -> dict[str, Any]:
    if CELLS.get(getattr(cell, "name", "")) is not type(cell):
        raise InputError(f"a file cannot hold the equations of {cell!r}, only {', '.join(CELLS)}")
    options = {key: getattr(cell, key) for key in cell.OPTION_KEYS}
    plain = {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in options.items()}
    return {"cell": cell.name, "options": plain}


def rebuilt(told: Mapping[str, Any], parameters: Mapping[str, Array]) -> Cell | Network:
    """Return the model of :func:`described` with its parameters."""
    if told["bare"]:
        return _cell(told["layers"][0][0], parameters, "")
    layers: list[Any] = []
    for index, cells in enumerate(told["layers"]):
        where = [place_of(index, direction) for direction in DIRECTIONS]
        pair = [_cell(cell, parameters, place) for cell, place in zip(cells, where, strict=False)]
        layers.append(Bidirectional(*pair) if len(pair) > 1 else pair[0])
    if told["readout"] is None:
        return Network(layers)
    return Network(layers, readout=Readout(**_under(READOUT, parameters), activation=told["readout"]))


def _cell(told: Mapping[str, Any], parameters: Mapping[str, Array], place: str) -> Cell:
    return CELLS[told["cell"]](**_under(place, parameters), **told["options"])


def _under(place: str, parameters: Mapping[str, Array]) -> dict[str, Any]:
    """Return the parameters whose names are ``place`` and a name of one part."""
    return {name: array for name, array in under(place, parameters).items() if "." not in name}


def under(place: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Return the arrays whose names begin with ``place``, by what follows it."""
    return {name.removeprefix(place): array for name, array in arrays.items() if name.startswith(place)}
