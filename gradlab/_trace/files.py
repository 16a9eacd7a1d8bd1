"""A trace as one file: the model, what it was given, what every layer put out, and the loss. Nothing in it can run.

What a layer put out is kept, not computed again: each step is taken from the h that it had, so that on another machine,
whose rounding may differ, the pass is the one that was saved, chaotic or not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from gradlab.bptt import Run, run_forward
from gradlab.cells import Cell
from gradlab.errors import StoreError
from gradlab.models import archive
from gradlab.models.losses import Loss, LossFunction, retold, told
from gradlab.models.network import Network

Array = NDArray[Any]
#: What a file of ours says first; the number is the version of its layout.
FORMAT = "gradlab trace 1"


@dataclass(frozen=True, eq=False)
class Recalled:
    """What a loss that no file can hold, a function, said of the outputs that were saved: ``(B,)``, ``(T, B, O)``."""

    value: Array
    grad: Array

    def __call__(self, y: Array) -> tuple[Array, Array]:
        """Return it; of other outputs it knows nothing."""
        return self.value, self.grad


def save(path: Path, model: Cell | Network, run: Run, loss: Loss | LossFunction | None, said: Recalled | None) -> Path:
    """Write a pass; ``said`` is what the loss said of it, if that is a function.

    Raises
    ------
    InputError
        for a custom cell, whose equations no file can hold.
    StoreError
        where the file cannot be written.
    """
    arrays = {f"parameters/{name}": array for name, array in model.parameters.items()}
    arrays["x"] = run.tapes[0][0].x
    if run.lengths is not None:
        arrays["lengths"] = run.lengths
    for index, pair in enumerate(run.tapes):
        for place, tape in enumerate(pair):
            arrays |= {f"initial/{index}.{place}": tape.states[0], f"h/{index}.{place}": tape.output}
    page = {"model": archive.described(model), "loss": None}
    if loss is not None:
        page["loss"], own = told(loss) if isinstance(loss, Loss) else ({"kind": "own"}, vars(said))
        arrays |= {f"loss/{name}": array for name, array in own.items()}
    return archive.write(path, FORMAT, page, arrays)


def load(path: Path) -> tuple[Cell | Network, Run, Loss | LossFunction | None]:
    """Return the model, the pass and the loss of :func:`save`.

    Raises
    ------
    StoreError
        for a file that cannot be read, or is none of ours.
    """
    try:
        page, arrays = archive.read(path, FORMAT)
        model = archive.rebuilt(page["model"], archive.under("parameters/", arrays))
        return model, _run(model, arrays), _loss(page["loss"], archive.under("loss/", arrays))
    except Exception as error:
        raise StoreError(f"{path}: holds no trace that can be read ({error})") from None


def _run(model: Cell | Network, arrays: Mapping[str, Array]) -> Run:
    network = model if isinstance(model, Network) else Network([model])
    initial, outputs = (_by_layer(network, archive.under(what, arrays)) for what in ("initial/", "h/"))
    return run_forward(network, arrays["x"], initial, arrays.get("lengths"), outputs)


def _by_layer(network: Network, arrays: Mapping[str, Array]) -> list[list[Array]]:
    layers = range(len(network.layers))
    return [[arrays[f"{index}.{place}"] for place in (0, 1) if f"{index}.{place}" in arrays] for index in layers]


def _loss(page: Mapping[str, Any] | None, arrays: Mapping[str, Array]) -> Loss | LossFunction | None:
    if page is None:
        return None
    return Recalled(**arrays) if page["kind"] == "own" else retold(page, arrays)
