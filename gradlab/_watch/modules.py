"""What can be seen of a PyTorch model's recurrent layers from outside, by public hooks alone.

A forward hook sees what a layer was given and what it gave; a tensor's hook sees the gradient that arrives there. No
more is needed (:mod:`gradlab._watch.replay`). Nothing here owns a graph: a call is kept alive by the tensors that it
is hooked to, and goes with them.
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
#: How far what is computed again may lie from what a module put out, relative to its norm, by the precision of its
#: output: far enough for rounding over many steps, near enough for whatever took part unseen.
TOLERANCES = {"float64": 1e-8, "float32": 1e-2, "float16": 0.05, "bfloat16": 0.2}


def recurrent_modules(model: nn.Module) -> dict[str, nn.Module]:
    """Return every RNN, LSTM, GRU, RNNCell, LSTMCell and GRUCell in ``model`` by name, at any depth."""
    from torch import nn

    kinds = (nn.RNNBase, nn.RNNCellBase)
    return {name or type(m).__name__: m for name, m in model.named_modules() if isinstance(m, kinds)}


def refuse_unseen(model: nn.Module) -> None:
    """Refuse a model of a kind that no hook sees into, and say what to do."""
    import torch

    if not isinstance(model, torch.nn.Module):
        raise InputError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise InputError(
                f"{name or 'the model'} is TorchScript, which runs unseen; watch the module it was made of"
            )
        if isinstance(module, torch.nn.DataParallel) and len(module.device_ids) > 1:
            raise InputError(
                f"{name or 'the model'} is nn.DataParallel on {len(module.device_ids)} devices, whose copies cannot be "
                "watched; use DistributedDataParallel, which can"
            )


def always_unseen(model: nn.Module, module: nn.Module) -> str:
    """Return why a module of the model can never be seen from outside, and what to do; "" if it can."""
    from torch import nn

    if isinstance(module, nn.RNNBase) and module.proj_size:
        return f"proj_size={module.proj_size} is not supported: use an nn.LSTM without it and an nn.Linear"
    if isinstance(module, nn.RNNCellBase) and any(map(_compiled, model.modules())):
        return (
            "a cell inside torch.compile runs unseen: watch the model uncompiled, or use a whole layer such as nn.LSTM"
        )
    return ""


def _compiled(module: nn.Module) -> bool:
    return type(module).__name__ == "OptimizedModule" or getattr(module, "_compiled_call_impl", None) is not None


def untraced(hook: Callable[..., Any]) -> Callable[..., Any]:
    """Return the hook as one that torch.compile, where it is in use, does not try to compile."""
    import torch

    return torch.compiler.disable(hook) if "torch._dynamo" in sys.modules else hook


def unseen(module: Any) -> str:
    """Return why a module cannot be seen from outside as it runs now, and what to do; "" if it can."""
    if getattr(module, "dropout", 0) and module.training and module.num_layers > 1:
        return (
            f"dropout={module.dropout:g} between its layers cannot be seen from outside: "
            "use one module a layer with nn.Dropout between them, or watch in eval() mode"
        )
    return ""


def seen_call(
    module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any, round: int
) -> Call | None:
    """Return what a forward hook saw as a call, its outputs hooked; None where no gradient will come."""
    import torch

    outputs = _results(module, result)
    if not torch.is_grad_enabled() or not any(tensor.requires_grad for tensor in outputs):
        return None
    return Call(module, _given(args, kwargs), outputs, round)


def first_with_gradient(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
    """Return the first of a call's input and states that has a gradient, of a module whose weights have none."""
    given = _given(args, kwargs)
    tensors = [_data(given["input"]), *_states(given.get("hx"))]
    return next(tensor for tensor in tensors if tensor.requires_grad)


def _given(args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    return dict(zip(("input", "hx"), args, strict=False)) | dict(kwargs)


class Call:
    """One forward call of a recurrent module: what it was given and gave, detached, and the gradients that arrive.

    Attributes
    ----------
    live : whether the state that it was given has a gradient.
    grads : what arrived at the output (of a cell at h) and at the last states, in the newest backward pass.
    sequence : which of the module's sequences it belongs to.
    round : how many backward passes there had been when it ran.
    looked_at : the newest backward pass in which it was looked at.
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
        """Hook every output with a gradient; the first that arrives in a backward pass clears those of the one before.

        Only the newest backward pass is held: what nobody asked for in time is forgotten.
        """
        from torch.autograd.graph import register_multi_grad_hook

        live = [(place, tensor) for place, tensor in enumerate(outputs) if tensor.requires_grad]
        newest = register_multi_grad_hook([tensor for _, tensor in live], self._begin, mode="any")
        return [newest, *(tensor.register_hook(partial(self._arrive, place)) for place, tensor in live)]

    def trigger(self, given: Tensor, hook: Callable[[Tensor], None]) -> None:
        """Hook a tensor that the call was given for as long as the call lives."""
        handle = given.register_hook(hook)
        self._handles.append(handle)
        weakref.finalize(self, handle.remove).atexit = False

    def _begin(self, grad: Tensor) -> None:
        self.grads = [None] * len(self.out)

    def _arrive(self, place: int, grad: Tensor | None) -> None:
        self.grads[place] = None if grad is None else grad.detach()

    def forget(self, step: int) -> None:
        """Drop the gradients that arrived: they have been looked at, in backward pass ``step``."""
        self.grads, self.looked_at = [None] * len(self.out), step

    def release(self) -> None:
        """Take the hooks off the tensors, on which alone it lives, and let go of what it was given and gave."""
        for handle in self._handles:
            handle.remove()
        self.given, self.out, self.grads = [], [], []
        del self.x

    @property
    def reached(self) -> bool:
        """Whether a backward pass has reached it."""
        return any(grad is not None for grad in self.grads)

    def unchanged(self, tensors: Iterable[Tensor]) -> bool:
        """Whether none of these, of what it was given or gave, has been changed in place since."""
        return all(tensor._version == self._versions[id(tensor)] for tensor in tensors)

    @property
    def last(self) -> list[Tensor]:
        """The states that it gave."""
        return self.out if self.is_cell else self.out[1:]

    @property
    def one_step(self) -> bool:
        """Whether it ran one step in one direction, and may be one of a sequence of calls."""
        if self.is_cell:
            return True
        sequence = self.module.batch_first and self.x.dim() == 3
        return self.packing is None and not self.module.bidirectional and self.x.shape[int(sequence)] == 1

    def follows(self, before: Call) -> bool:
        """Whether it was given the very state that ``before`` gave, gradient included."""
        import torch

        pairs = list(zip(self.given, before.last, strict=False))
        if not self.live or len(self.given) != len(before.last) or not before.unchanged(before.last):
            return False
        if any(one.shape != other.shape for one, other in pairs):
            return False
        return all(one.data_ptr() == other.data_ptr() or torch.equal(one, other) for one, other in pairs)

    def seen(self, layers: Sequence[Layer], loss_scale: float = 1.0) -> Seen:
        """Return all of it in gradlab's terms, what has not arrived as zeros.

        Powers of two of ``loss_scale`` are left to ``shift``, so that nothing underflows that is divided by it.

        Raises
        ------
        InputError
            where its weights, or something that it was given, have been changed in place since.
        """
        if not self.unchanged([self.x, *self.given]):
            raise InputError("what it was given was changed in place between forward and backward")
        if not self.unchanged(self._weights):
            raise InputError(
                "its weights were changed before all of its gradients had come, as by an optimiser in backward"
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
        """Return what the layers below the top one put out, which no hook sees: each run once more by PyTorch.

        What runs is what ran, to the last bit, so that a chaotic stack is followed in its lower layers too. None where
        that cannot be: under autocast, and for single steps, over which nothing grows.
        """
        import torch

        lower = 0 if self.is_cell else self.module.num_layers - 1
        if self.one_step or self.x.dtype != self.out[0].dtype:
            return [None] * lower
        found: list[Tensor | None] = []
        sequence = self.x
        with torch.enable_grad():  # without it another kernel runs, whose rounding is another
            for layer in range(lower):
                sequence = self._layer_again(sequence, layer)
                found.append(sequence)
        return found

    def _layer_again(self, sequence: Tensor, layer: int) -> Tensor:
        """Return what one layer puts out of ``sequence``, of the form in which the module was given its input."""
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
        """Return the first states of a layer's directions, ``(directions, B, H)`` each, in the order of the packing."""
        B, H = self._sequence(self.x).shape[1], self.module.hidden_size
        states = self.given or [self.x.new_zeros(self.module.num_layers * 2, B, H)] * len(self.last)
        found = [state[rows].reshape(-1, B, H) for state in states]
        order = None if self.packing is None else self.packing.sorted_indices
        return found if order is None else [state.index_select(1, order) for state in found]

    @property
    def precision(self) -> str:
        """The floating-point type that the module put out."""
        return str(self.out[0].dtype).removeprefix("torch.")

    def _sequence(self, tensor: Tensor) -> Tensor:
        """Return an input, an output or its gradient as ``(T, B, F)``, in the order in which it was given."""
        if self.packing is not None:
            from torch.nn.utils.rnn import pad_packed_sequence

            return pad_packed_sequence(self.packing._replace(data=tensor))[0]
        if self.is_cell:
            return tensor.reshape(1, -1, tensor.shape[-1])
        if tensor.dim() == 2:
            return tensor.unsqueeze(1)
        return tensor.transpose(0, 1) if self.module.batch_first else tensor

    def _by_layer(self, states: Sequence[Tensor | None], layers: Sequence[Layer]) -> ByLayer:
        """Return states ``(layers · directions, B, H)``, of a cell ``(B, H)``, as joint columns; None is zeros."""
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
    """Return what a module's forward gave: output and last states, of a cell its states."""
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
    """Return how a packed sequence is packed, without its data; None for a tensor."""
    from torch.nn.utils.rnn import PackedSequence

    found: Any = given
    return found._replace(data=None) if isinstance(given, PackedSequence) else None


def _data(given: Any) -> Tensor:
    from torch.nn.utils.rnn import PackedSequence

    tensor: Tensor = given.data if isinstance(given, PackedSequence) else given
    return tensor


def _lengths(packing: Any) -> NDArray[np.int64]:
    """Return the length of each sequence, in the order in which they were given."""
    sizes, order = packing.batch_sizes.numpy(), packing.unsorted_indices
    lengths = np.asarray((sizes[:, None] > np.arange(sizes[0])).sum(axis=0))
    return lengths if order is None else np.asarray(lengths[order.cpu().numpy()])


def norm(gradient: Tensor) -> Tensor:
    """Return the norm of a gradient, where it lies; of the half precisions in float32."""
    plain = gradient.detach()
    found: Tensor = (plain if plain.dtype.itemsize > 2 else plain.float()).norm()
    return found


def _divided(grad: Tensor, by: float) -> Tensor:
    return grad if by == 1.0 else grad.double() / by


def _columns(sequence: Tensor, layers: Sequence[Layer]) -> Array:
    """Return ``(T, B, F)`` as columns ``(T, F, B)`` in the cells' precision."""
    dtype = cells_of(layers[0])[0].dtype
    return np.ascontiguousarray(_numpy(sequence).swapaxes(1, 2), dtype=dtype)


def _numpy(tensor: Tensor) -> Array:
    """Return a detached tensor's numbers as float64 or float32, into which the half precisions are widened."""
    plain = tensor.cpu()
    found: Array = (plain if plain.dtype.itemsize == 8 else plain.float()).numpy()
    return found
