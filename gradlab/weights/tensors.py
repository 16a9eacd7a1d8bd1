"""Read files of named tensors, safetensors and npz, without executing code in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import BadZipFile
from zlib import error as BadDeflate

import numpy as np

from gradlab.arrays.checks import float_array
from gradlab.arrays.scaled import Array
from gradlab.errors import InputError, printable

#: The NumPy types of the floats in safetensors; bfloat16 is the upper half of a float32.
SAFE_FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
#: The errors that NumPy raises for a truncated, altered or encrypted npz, for Python objects and for absurd sizes.
UNREADABLE = (OSError, ValueError, EOFError, MemoryError, RuntimeError, BadZipFile, BadDeflate)
INSTEAD = {
    ".pt": "safetensors.torch.save_file(module.state_dict(), path)",
    ".h5": "np.savez(path, **{v.path: v.numpy() for v in model.weights})",
}
INSTEAD |= {".pth": INSTEAD[".pt"], ".bin": INSTEAD[".pt"], ".keras": INSTEAD[".h5"]}


class Tensors:
    """The tensors of a file by name; each is checked when it is read.

    Raises
    ------
    InputError
        for a path without a file, a suffix other than ``.safetensors`` and ``.npz``, and a file of another format than
        its suffix.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        readers = {".safetensors": _safetensors, ".npz": _npz}
        if self.path.suffix not in readers:
            instead = INSTEAD.get(self.path.suffix)
            raise InputError(
                f"weights are read from .safetensors and .npz, got {self.path.name}"
                + (f"; write one with {instead}" if instead else "")
            )
        if not self.path.is_file():
            raise InputError(f"there is no file {self.path}")
        self._arrays = readers[self.path.suffix](self.path)

    @property
    def names(self) -> list[str]:
        """The names of all tensors in file order."""
        return list(self._arrays)

    def take(self, name: str, shape: Sequence[int | str]) -> Array:
        """Return a tensor as float64 or float32; half precisions become float32.

        Parameters
        ----------
        name : str
            The tensor's name.
        shape : sequence of int or str
            One entry per axis: the required size, or a letter for any size of at least 1.

        Raises
        ------
        InputError
            for a tensor that is missing, of another shape or dtype, or not finite.
        """
        if name not in self._arrays:
            letters = f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
            raise InputError(f'tensor "{printable(name, 200)}" of shape {letters} is missing in {self.path.name}')
        return float_array(self._label(name), self._widened(name), shape)

    def axes(self, name: str) -> int:
        """Return the number of axes of a tensor in the file."""
        return self._widened(name).ndim

    def _label(self, name: str) -> str:
        return f'tensor "{printable(name, 200)}" of {self.path.name}'

    def _widened(self, name: str) -> Array:
        try:
            array = self._arrays[name]()
        except UNREADABLE as broken:
            raise InputError(f"{self._label(name)} cannot be read: {_line(broken)}") from broken
        if array.dtype.kind != "f" or array.dtype.itemsize not in (2, 4, 8):
            raise InputError(f"{self._label(name)} must be float64, float32, float16 or bfloat16, got {array.dtype}")
        return np.array(array, dtype=np.float64 if array.dtype.itemsize == 8 else np.float32, order="C")


def _npz(path: Path) -> dict[str, Callable[[], Array]]:
    try:
        with path.open("rb") as file, _archive(file) as archive:
            names = list(archive.files)
    except UNREADABLE as broken:
        raise InputError(f"{path.name} is not a NumPy .npz archive: {_line(broken)}") from broken

    def read(name: str) -> Array:
        with path.open("rb") as file, _archive(file) as archive:
            return np.asarray(archive[name])

    return {name: partial(read, name) for name in names}


def _archive(file: BinaryIO) -> np.lib.npyio.NpzFile:
    archive = np.load(file, allow_pickle=False)
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise ValueError("it holds a single array; write it with np.savez")
    return archive


def _safetensors(path: Path) -> dict[str, Callable[[], Array]]:
    try:
        from safetensors import SafetensorError, deserialize
    except ImportError as missing:
        raise InputError(f"reading {path.name} needs safetensors: pip install 'gradlab[weights]'") from missing
    try:
        found: list[tuple[str, dict[str, Any]]] = deserialize(path.read_bytes())  # type: ignore[no-untyped-call,unused-ignore]
    except (SafetensorError, OSError) as broken:
        raise InputError(f"{path.name} is not a safetensors file: {_line(broken)}") from broken
    return {name: partial(_stored, stored) for name, stored in found}


def _stored(stored: dict[str, Any]) -> Array:
    kind = SAFE_FLOATS.get(stored["dtype"])
    if kind is None:
        raise ValueError(f"a dtype of {', '.join(SAFE_FLOATS)} was expected, got {stored['dtype']}")
    array = np.frombuffer(stored["data"], kind).reshape(stored["shape"])
    if stored["dtype"] == "BF16":
        return (array.astype("<u4") << 16).view("<f4")
    return array


def _line(broken: BaseException) -> str:
    return printable(str(broken) or type(broken).__name__, 200)
