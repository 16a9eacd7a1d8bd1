"""Recording of the calls of a PyTorch model's recurrent layers, with public hooks only.

A forward hook records the inputs and outputs of a layer. A tensor hook records the gradient that arrives at an output.
The replay needs no more (:mod:`gradlab._watch.replay`). Nothing here owns a graph: only the tensors that a call is
hooked to keep it alive, and it is freed with them.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradlab._watch.replay import ByLayer, Seen
from gradlab.errors import InputError
from gradlab.models.network import Layer, cells_of

if TYPE_CHECKING:
    from torch import Tensor, nn

Array = NDArray[Any]
#: Largest accepted relative distance of a replayed output from the recorded one, per precision of the output. It is
#: large enough for rounding over many steps, and small enough to detect an operation that no hook saw.
TOLERANCES = {"float64": 1e-8, "float32": 1e-2, "float16": 0.05, "bfloat16": 0.2}


def recurrent_modules(model: nn.Module) -> dict[str, nn.Module]:
    """Return every RNN, LSTM, GRU, RNNCell, LSTMCell and GRUCell of ``model`` by name, at any depth."""
    from torch import nn

    kinds = (nn.RNNBase, nn.RNNCellBase)
    return {name or type(m).__name__: m for name, m in model.named_modules() if isinstance(m, kinds)}


def refuse_unseen(model: nn.Module) -> None:
    """Raise an InputError if hooks cannot see into a model of this kind; the message names an alternative."""
    import torch

    if not isinstance(model, torch.nn.Module):
        raise InputError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise InputError(
                f"{name or 'the model'} is TorchScript, which runs no hooks; watch the module that it was made from"
            )
        if isinstance(module, torch.nn.DataParallel) and len(module.device_ids) > 1:
            raise InputError(
                f"{name or 'the model'} is nn.DataParallel on {len(module.device_ids)} devices, whose copies cannot be "
                "watched; use DistributedDataParallel, which can"
            )


def always_unseen(model: nn.Module, module: nn.Module) -> str:
    """Return why a module of the model can never be watched, and what to do instead; "" if it can."""
    from torch import nn

    if isinstance(module, nn.RNNBase) and module.proj_size:
        return f"proj_size={module.proj_size} is not supported: use an nn.LSTM without it, followed by an nn.Linear"
    if isinstance(module, nn.RNNCellBase) and any(map(_compiled, model.modules())):
        return (
            "a cell inside torch.compile runs unseen: watch the model uncompiled, or use a whole layer such as nn.LSTM"
        )
    return ""


def _compiled(module: nn.Module) -> bool:
    return type(module).__name__ == "OptimizedModule" or getattr(module, "_compiled_call_impl", None) is not None


def untraced(hook: Callable[..., Any]) -> Callable[..., Any]:
    """Return the hook so that torch.compile, if it is in use, does not compile it."""
    import torch

    return torch.compiler.disable(hook) if "torch._dynamo" in sys.modules else hook


def unseen(module: Any) -> str:
    """Return why a module cannot be watched in its present mode, and what to do instead; "" if it can."""
    if getattr(module, "dropout", 0) and module.training and module.num_layers > 1:
        return (
            f"dropout={module.dropout:g} between its layers cannot be seen from outside: "
            "use one module per layer with nn.Dropout between them, or watch in eval() mode"
        )
    return ""


def seen_call(
    module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any, round: int
) -> Call | None:
    """Return a call from a forward hook's arguments and hook its outputs; None if no gradient can arrive.

    Parameters
    ----------
    module : nn.Module
        The module that ran.
    args, kwargs
        Its arguments.
    result
        Its return value.
    round : int
        Number of backward passes before the call.
    """
    import torch

    outputs = _results(module, result)
    if not torch.is_grad_enabled() or not any(tensor.requires_grad for tensor in outputs):
        return None
    return Call(module, _given(args, kwargs), outputs, round)


def first_with_gradient(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
    """Return the first tensor with a gradient among the input and initial states of a frozen module's call."""
    given = _given(args, kwargs)
    tensors = [_data(given["input"]), *_states(given.get("hx"))]
    return next(tensor for tensor in tensors if tensor.requires_grad)


def _given(args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    return dict(zip(("input", "hx"), args, strict=False)) | dict(kwargs)


class Call:
    """One forward call of a recurrent module: its inputs and outputs, detached, and the gradients that arrive.

    Parameters
    ----------
    module : nn.Module
        The recurrent module.
    given : mapping
        The call's arguments by name: "input", and "hx" if the initial state was given.
    outputs : sequence of Tensor
        The output and the last states; for a cell, its states.
    round : int
        Number of backward passes before the call.

    Attributes
    ----------
    live : bool
        True if the given initial state has a gradient.
    grads : list of Tensor or None
        The gradients that arrived at the outputs in the newest backward pass.
    sequence : int
        Number of the module's sequence that the call belongs to.
    looked_at : int or None
        Number of the newest backward pass in which the call was measured.
    """

    def __init__(self, module: Any, given: Mapping[str, Any], outputs: Sequence[Tensor], round: int) -> None:
        from torch import nn

        states = _states(given.get("hx"))
        self.round = round
        self.module, self.packing = module, _packing(given["input"])
        self.is_cell = isinstance(module, nn.RNNCellBase)
        self.x = _data(given["input"]).detach()
        self.live = any(state.requires_grad for state in states)
        self.given = [state.detach() for state in states]
        self.out = [tensor.detach() for tensor in outputs]
        self.total_c = isinstance(module, nn.LSTMCell) and outputs[0].grad_fn is not outputs[1].grad_fn
        self.sequence = 0
        self.looked_at: int | None = None
        self._weights = list(module.parameters())
        tensors = (self.x, *self.given, *self.out, *self._weights)
        self._versions = {id(tensor): tensor._version for tensor in tensors}
        self.grads: list[Tensor | None] = [None] * len(outputs)
        self._handles = self._hooked(outputs)

    def _hooked(self, outputs: Sequence[Tensor]) -> list[Any]:
        """Register hooks on every output that requires a gradient.

        Only the gradients of the newest backward pass are kept. The first one that arrives clears the previous pass.
        """
        from torch.autograd.graph import register_multi_grad_hook

        live = [(place, tensor) for place, tensor in enumerate(outputs) if tensor.requires_grad]
        newest = register_multi_grad_hook([tensor for _, tensor in live], self._begin, mode="any")
        return [newest, *(tensor.register_hook(partial(self._arrive, place)) for place, tensor in live)]

    def trigger(self, given: Tensor, hook: Callable[[Tensor], None]) -> None:
        """Register ``hook`` on an input tensor of the call, for the lifetime of the call."""
        handle = given.register_hook(hook)
        self._handles.append(handle)
        weakref.finalize(self, handle.remove).atexit = False

    def _begin(self, grad: Tensor) -> None:
        self.grads = [None] * len(self.out)

    def _arrive(self, place: int, grad: Tensor | None) -> None:
        self.grads[place] = None if grad is None else grad.detach()

    def forget(self, step: int) -> None:
        """Drop the arrived gradients, which were measured in backward pass ``step``."""
        self.grads, self.looked_at = [None] * len(self.out), step

    def release(self) -> None:
        """Remove the tensor hooks, which alone keep the call alive, and drop its inputs and outputs."""
        for handle in self._handles:
            handle.remove()
        self.given, self.out, self.grads = [], [], []
        del self.x

    @property
    def reached(self) -> bool:
        """True if a backward pass has reached the call."""
        return any(grad is not None for grad in self.grads)

    def unchanged(self, tensors: Iterable[Tensor]) -> bool:
        """Return whether none of ``tensors``, inputs, outputs or weights of the call, was changed in place since."""
        return all(tensor._version == self._versions[id(tensor)] for tensor in tensors)

    @property
    def last(self) -> list[Tensor]:
        """The last states."""
        return self.out if self.is_cell else self.out[1:]

    @property
    def one_step(self) -> bool:
        """True if the call ran one step in one direction, so that it may be part of a sequence of calls."""
        if self.is_cell:
            return True
        sequence = self.module.batch_first and self.x.dim() == 3
        return self.packing is None and not self.module.bidirectional and self.x.shape[int(sequence)] == 1

    def follows(self, before: Call) -> bool:
        """Return whether the initial state is the last state of the call ``before``, with its gradient."""
        import torch

        pairs = list(zip(self.given, before.last, strict=False))
        if not self.live or len(self.given) != len(before.last) or not before.unchanged(before.last):
            return False
        if any(one.shape != other.shape for one, other in pairs):
            return False
        return all(one.data_ptr() == other.data_ptr() or torch.equal(one, other) for one, other in pairs)

    def seen(self, layers: Sequence[Layer], loss_scale: float = 1.0) -> Seen:
        """Return the call as arrays for the replay; a gradient that did not arrive is zero.

        The power of two of ``loss_scale`` goes to ``shift``, so that a division by it cannot underflow.

        Parameters
        ----------
        layers : sequence of Layer
            The module's layers as gradlab cells.
        loss_scale : float
            Scale of the loss, which is divided out.

        Returns
        -------
        Seen
            The recorded arrays, gradients and lengths.

        Raises
        ------
        InputError
            If the weights, the input or the initial states were changed in place since the call.
        """
        if not self.unchanged([self.x, *self.given]):
            raise InputError("its input or initial state was changed in place between forward and backward")
        if not self.unchanged(self._weights):
            raise InputError(
                "its weights were changed before all of its gradients had arrived, as by an optimiser in backward"
            )
        fraction, shift = np.frexp(loss_scale)
        grads = [None if grad is None else _divided(grad, float(2 * fraction)) for grad in self.grads]
        output, states = self._sequence(self.out[0]), self.last
        output_grad = output.new_zeros(output.shape) if grads[0] is None else self._sequence(grads[0])
        return Seen(
            layers=layers,
            x=_columns(self._sequence(self.x), layers),
            initial=self._by_layer(self.given or [None] * len(states), layers),
            outputs=[
                *(one if one is None else _columns(self._sequence(one), layers) for one in self._lower_outputs()),
                _columns(output, layers) if self.unchanged(self.out[:1]) else None,
            ],
            last=self._by_layer(states, layers) if self.unchanged(states) else None,
            output_grad=_columns(output_grad, layers),
            last_grad=self._by_layer([None, *grads[1:]] if self.is_cell else grads[1:], layers),
            lengths=None if self.packing is None else _lengths(self.packing),
            tolerance=TOLERANCES[self.precision],
            shift=int(shift) - 1,
            total_c=self.total_c,
        )

    def _lower_outputs(self) -> list[Tensor | None]:
        """Return the outputs of the layers below the top one, which no hook sees; PyTorch runs each layer again.

        The results equal the original ones to the last bit, so that a chaotic stack is followed in its lower layers
        too. An output is None under autocast, where this is impossible, and for single steps, where no error can grow.
        """
        import torch

        lower = 0 if self.is_cell else self.module.num_layers - 1
        if self.one_step or self.x.dtype != self.out[0].dtype:
            return [None] * lower
        found: list[Tensor | None] = []
        sequence = self.x
        with torch.enable_grad():  # without it PyTorch uses another kernel, which rounds differently
            for layer in range(lower):
                sequence = self._layer_again(sequence, layer)
                found.append(sequence)
        return found

    def _layer_again(self, sequence: Tensor, layer: int) -> Tensor:
        """Return the output of one layer for the input ``sequence``, which has the form of the module's own input."""
        import torch

        module, width = self.module, 1 + self.module.bidirectional
        run, rows = getattr(torch, module.mode.lower()), slice(layer * width, (layer + 1) * width)
        weights = [weight for one in module.all_weights[rows] for weight in one]
        options = (weights, module.bias, 1, 0.0, module.training, module.bidirectional)
        x, states = sequence.clone().requires_grad_(), self._first_states(rows)
        first = states[0] if len(states) == 1 else tuple(states)
        if self.packing is not None:
            output: Tensor = run(x, self.packing.batch_sizes, first, *options)[0]
        elif x.dim() == 2:
            output = run(x.unsqueeze(1), first, *options, False)[0].squeeze(1)
        else:
            output = run(x, first, *options, module.batch_first)[0]
        return output.detach()

    def _first_states(self, rows: slice) -> list[Tensor]:
        """Return the initial states of a layer, each ``(directions, B, H)``, with the sequences in the packed order."""
        B, H = self._sequence(self.x).shape[1], self.module.hidden_size
        states = self.given or [self.x.new_zeros(self.module.num_layers * 2, B, H)] * len(self.last)
        found = [state[rows].reshape(-1, B, H) for state in states]
        order = None if self.packing is None else self.packing.sorted_indices
        return found if order is None else [state.index_select(1, order) for state in found]

    @property
    def precision(self) -> str:
        """The floating-point type of the output."""
        return str(self.out[0].dtype).removeprefix("torch.")

    def _sequence(self, tensor: Tensor) -> Tensor:
        """Return an input, an output or its gradient as ``(T, B, F)``, with the sequences in the user's order."""
        if self.packing is not None:
            from torch.nn.utils.rnn import pad_packed_sequence

            return pad_packed_sequence(self.packing._replace(data=tensor))[0]
        if self.is_cell:
            return tensor.reshape(1, -1, tensor.shape[-1])
        if tensor.dim() == 2:
            return tensor.unsqueeze(1)
        return tensor.transpose(0, 1) if self.module.batch_first else tensor

    def _by_layer(self, states: Sequence[Tensor | None], layers: Sequence[Layer]) -> ByLayer:
        """Return states ``(layers · directions, B, H)``, or ``(B, H)`` for a cell, as joint states ``(S, B)``.

        None stands for zeros.
        """
        B = self._sequence(self.x).shape[1]
        found, place = [], 0
        for layer in layers:
            pair = []
            for cell in cells_of(layer):
                joint = np.zeros((cell.state_size, B), cell.dtype)
                for part, state in zip(cell.split(joint), states, strict=True):
                    if state is not None:
                        rows = state if self.is_cell else state[place]
                        part[...] = _numpy(rows.reshape(B, -1)).T
                pair.append(joint)
                place += 1
            found.append(pair)
        return found


def _results(module: nn.Module, result: Any) -> list[Tensor]:
    """Return the tensors of a module's result: the output and the last states; for a cell, its states."""
    from torch import nn

    if isinstance(module, nn.RNNCellBase):
        return _states(result)
    if not isinstance(result, tuple) or len(result) != 2:
        raise InputError(f"its forward must return (output, last state), got {type(result).__name__}")
    return [_data(result[0]), *_states(result[1])]


def _states(given: Any) -> list[Tensor]:
    if given is None:
        return []
    return list(given) if isinstance(given, tuple | list) else [given]


def _packing(given: Any) -> Any:
    """Return the packing of a packed sequence, without its data; None for a tensor."""
    from torch.nn.utils.rnn import PackedSequence

    found: Any = given
    return found._replace(data=None) if isinstance(given, PackedSequence) else None


def _data(given: Any) -> Tensor:
    from torch.nn.utils.rnn import PackedSequence

    tensor: Tensor = given.data if isinstance(given, PackedSequence) else given
    return tensor


def _lengths(packing: Any) -> NDArray[np.int64]:
    """Return the length of each sequence ``(B,)``, in the user's order."""
    sizes, order = packing.batch_sizes.numpy(), packing.unsorted_indices
    lengths = np.asarray((sizes[:, None] > np.arange(sizes[0])).sum(axis=0))
    return lengths if order is None else np.asarray(lengths[order.cpu().numpy()])


def norm(gradient: Tensor) -> Tensor:
    """Return the norm of a gradient on its own device; float32 for the half precisions."""
    plain = gradient.detach()
    found: Tensor = (plain if plain.dtype.itemsize > 2 else plain.float()).norm()
    return found


def _divided(grad: Tensor, by: float) -> Tensor:
    return grad if by == 1.0 else grad.double() / by


def _columns(sequence: Tensor, layers: Sequence[Layer]) -> Array:
    """Convert ``(T, B, F)`` to ``(T, F, B)`` in the cells' precision."""
    dtype = cells_of(layers[0])[0].dtype
    return np.ascontiguousarray(_numpy(sequence).swapaxes(1, 2), dtype=dtype)


def _numpy(tensor: Tensor) -> Array:
    """Return a detached tensor as a float64 or float32 array; half precisions become float32."""
    plain = tensor.cpu()
    found: Array = (plain if plain.dtype.itemsize == 8 else plain.float()).numpy()
    return found
