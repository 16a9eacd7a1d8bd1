"""Files of arrays and one page of JSON, npz without pickles, so that reading one never runs code; models in them."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gradlab.arrays.scaled import Array
from gradlab.cells import CELLS, Cell
from gradlab.errors import InputError, StoreError
from gradlab.files import write_whole
from gradlab.models.network import READOUT, Bidirectional, Network, Readout, cells_of, place_of
from gradlab.schema import DIRECTIONS

#: Name of the array that holds the page of JSON, as bytes.
PAGE = "page"


def write(path: Path, format: str, page: Mapping[str, Any], arrays: Mapping[str, Array]) -> Path:
    """Write a page of JSON and arrays atomically; ``format`` names the kind of file and its layout.

    Raises
    ------
    StoreError
        if the file cannot be written.
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
    """Return the page and the arrays of a file that :func:`write` wrote; a damaged file raises various errors."""
    with path.open("rb") as file:
        archive = np.load(file, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile) or PAGE not in archive:
            raise ValueError("it has no page of gradlab's")
        arrays = {name: archive[name] for name in archive.files}
    page = json.loads(arrays.pop(PAGE).tobytes().decode())
    if not isinstance(page, dict) or page.get("format") != format:
        raise ValueError(f'not of the format "{format}"')
    return page, arrays


def described(model: Cell | Network) -> dict[str, Any]:
    """Return a model without its parameters, for JSON: cells, options and the readout's activation."""
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


def rebuilt(page: Mapping[str, Any], parameters: Mapping[str, Array]) -> Cell | Network:
    """Return the model from the result of :func:`described` and its parameters."""
    if page["bare"]:
        return _cell(page["layers"][0][0], parameters, "")
    layers: list[Any] = []
    for index, cells in enumerate(page["layers"]):
        where = [place_of(index, direction) for direction in DIRECTIONS]
        pair = [_cell(cell, parameters, place) for cell, place in zip(cells, where, strict=False)]
        layers.append(Bidirectional(*pair) if len(pair) > 1 else pair[0])
    if page["readout"] is None:
        return Network(layers)
    return Network(layers, readout=Readout(**_under(READOUT, parameters), activation=page["readout"]))


def _cell(page: Mapping[str, Any], parameters: Mapping[str, Array], place: str) -> Cell:
    return CELLS[page["cell"]](**_under(place, parameters), **page["options"])


def _under(place: str, parameters: Mapping[str, Array]) -> dict[str, Any]:
    """Return the parameters directly under ``place``, by the rest of their names."""
    return {name: array for name, array in under(place, parameters).items() if "." not in name}


def under(place: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Return the arrays whose names begin with ``place``, by the rest of their names."""
    return {name.removeprefix(place): array for name, array in arrays.items() if name.startswith(place)}
