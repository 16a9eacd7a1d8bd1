"""Load weights that another library trained from a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gradlab.arrays.checks import choice
from gradlab.cells import Cell
from gradlab.cells.activations import ACTIVATIONS
from gradlab.errors import InputError, printable, unknown
from gradlab.models.network import Network
from gradlab.weights.layouts import LAYOUTS, Missing
from gradlab.weights.tensors import Tensors


def load_weights(
    path: str | Path, *, layout: str, prefix: str | None = None, activation: str | None = None, reset: str | None = None
) -> Cell | Network:
    """Return a recurrent layer that another library trained, from a file of its weights.

    No code in the file is executed. Properties that the file does not contain are arguments and never guessed. Gates
    and candidates are assumed to use the library's defaults, logistic and tanh.

    Parameters
    ----------
    path : str or Path
        A ``.safetensors`` file (``pip install 'gradlab[weights]'``) or an ``.npz`` archive, of float64, float32,
        float16 or bfloat16; the half precisions become float32.
    layout : str
        The library that named and arranged the tensors.

        "pytorch"
            a ``state_dict`` of ``nn.RNN``, ``LSTM``, ``GRU`` (all layers and directions: a cell if there is one,
            otherwise a network) or of ``RNNCell``, ``LSTMCell``, ``GRUCell``.
        "keras"
            ``{v.path: v.numpy() for v in model.weights}`` of Keras 3: one cell of ``SimpleRNN``, ``LSTM`` or ``GRU``.
            Keras stacks the gates of its GRU as z, r, h; the shape of the bias determines ``reset_after``.
        "flax"
            ``flatten_dict(params, sep="/")`` of Linen's ``SimpleCell``, ``LSTMCell``, ``OptimizedLSTMCell`` or
            ``GRUCell``, or the same of NNX: one cell.
    prefix : str, optional
        The layer's place in the file, such as "encoder.lstm"; needed only if there are several layers. A file does not
        contain the order of Keras or Flax layers: load each, and stack them with ``gl.Network`` (the two directions of
        ``merge_mode="concat"`` form a ``gl.Bidirectional``).
    activation : str, optional
        The activation of an RNN, "tanh", "relu", "logistic" or "identity", which no file contains; refused for other
        cells.
    reset : str, optional
        For a Keras GRU without bias: "after" for ``reset_after=True``, otherwise "before".

    Returns
    -------
    Cell or Network
        A network if the file holds several layers or directions of one module.

    Raises
    ------
    InputError
        for a tensor that is missing, of another shape or dtype, or not finite; for a file of another format; for
        several layers without ``prefix``; and for an option that is missing or contradicts the file.

    Examples
    --------
    >>> cell = load_weights("lstm.safetensors", layout="pytorch")    # doctest: +SKIP

    References
    ----------
    The equations in the reference pages of ``torch.nn``, ``keras.layers`` and ``flax.linen``.
    """
    entry = LAYOUTS[choice("layout", layout, LAYOUTS)]
    if activation is not None:
        choice("activation", activation, ACTIVATIONS)
    if reset is not None:
        choice("reset", reset, ("before", "after"))
    if prefix is not None and not isinstance(prefix, str):
        raise InputError(f'prefix must be a name such as "encoder.lstm", got {prefix!r}')
    tensors = Tensors(path)
    found = entry.prefixes(tensors.names)
    if not found:
        raise InputError(_nothing(tensors, layout))
    where = _chosen(tensors, found, prefix)
    return entry.read(tensors, where, Missing(f'"{printable(where, 200)}" of {tensors.path.name}', activation, reset))


def _nothing(tensors: Tensors, layout: str) -> str:
    """Return the message for a file without a recurrent layer in this layout."""
    other = next((name for name, entry in LAYOUTS.items() if entry.prefixes(tensors.names)), None)
    hint = f'; its names are those of layout="{other}"' if other else ""
    some = ", ".join(f'"{printable(name, 60)}"' for name in tensors.names[:4]) or "no tensor"
    more = ", …" if len(tensors.names) > 4 else ""
    sign = LAYOUTS[layout].sign
    return f'{tensors.path.name} holds no recurrent layer of layout="{layout}" ({sign}), but {some}{more}{hint}'


def _chosen(tensors: Tensors, found: Sequence[str], prefix: str | None) -> str:
    """Return the selected prefix of ``found``: ``prefix`` itself, or the only one below it."""
    if prefix is None:
        below = list(found)
    else:
        wanted = prefix.rstrip("./")
        below = [name for name in found if name == wanted] or [
            name for name in found if name.startswith((f"{wanted}.", f"{wanted}/")) or not wanted
        ]
    if not below:
        raise InputError(unknown("prefix", prefix, [printable(name, 200) for name in found]))
    if len(below) > 1:
        names = ", ".join(f'"{printable(name, 200)}"' for name in below)
        raise InputError(f"{tensors.path.name} holds {len(below)} recurrent layers; give prefix= one of {names}")
    return below[0]
