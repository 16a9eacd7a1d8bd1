"""A trace as one file: the model, its inputs, the output of every layer, and the loss. The file holds no code.

The outputs are stored, not recomputed: each step starts from the stored h. So the pass is the one that was saved, even
if it is chaotic and the machine that loads it rounds differently.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradlab.arrays.scaled import Array
from gradlab.bptt import Run, run_forward
from gradlab.cells import Cell
from gradlab.errors import StoreError
from gradlab.models import archive, losses
from gradlab.models.losses import Loss, LossFunction
from gradlab.models.network import Network

#: The first entry of a file; the number is the version of its layout.
FORMAT = "gradlab trace 1"


@dataclass(frozen=True, eq=False)
class Recalled:
    """Value ``(B,)`` and gradient ``(T, B, O)`` of a loss function, which no file can hold, at the saved outputs."""

    value: Array
    grad: Array

    def __call__(self, y: Array) -> tuple[Array, Array]:
        """Return the stored value and gradient, which hold for the saved outputs alone."""
        return self.value, self.grad


def save(
    path: Path, model: Cell | Network, run: Run, loss: Loss | LossFunction | None, recalled: Recalled | None
) -> Path:
    """Write a pass; ``recalled`` holds the value and the gradient of a loss that is a function.

    Raises
    ------
    InputError
        for a custom cell, whose equations no file can hold.
    StoreError
        if the file cannot be written.
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
        page["loss"], own = losses.described(loss) if isinstance(loss, Loss) else ({"kind": "own"}, vars(recalled))
        arrays |= {f"loss/{name}": array for name, array in own.items()}
    return archive.write(path, FORMAT, page, arrays)


def load(path: Path) -> tuple[Cell | Network, Run, Loss | LossFunction | None]:
    """Return the model, the pass and the loss of :func:`save`.

    Raises
    ------
    StoreError
        for a file that cannot be read, or that holds no trace.
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
    return Recalled(**arrays) if page["kind"] == "own" else losses.rebuilt(page, arrays)
