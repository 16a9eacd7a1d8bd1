"""Hooks on a watched PyTorch model: they count the backward passes and find the calls that each of them reaches.

A backward pass is counted when it reaches a parameter of a recurrent module. The gradient of that parameter is complete
only after every gradient has arrived at the module's calls. The calls are therefore measured at this point, in the
middle of the backward pass, while the weights are still those of the forward pass.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from gradlab._watch.modules import (
    Call,
    always_unseen,
    first_with_gradient,
    norm,
    recurrent_modules,
    refuse_unseen,
    seen_call,
    unseen,
    untraced,
)
from gradlab.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

#: Open sequences kept per module: a call can continue only one of the newest OPEN sequences.
OPEN = 8
#: Backward passes after which the parameter hooks are registered again: PyTorch's multi-tensor hook stores about
#: 70 bytes per backward pass.
RENEW = 10_000


class Schedule:
    """Decides which backward passes are watched: every n-th, or as many as a share of the time allows.

    Parameters
    ----------
    every : int
        Distance between two watched passes, in backward passes. Unused if ``overhead`` is given.
    overhead : float, optional
        Largest time for watching, as a share of the time of all other passes.

    Attributes
    ----------
    count : int
        Number of backward passes so far.
    next : int
        Number of the next watched pass; -1 while it is not decided.
    spent : float
        Time for watching, in seconds.
    ordinary : float
        Time of the passes that were not watched, in seconds.
    """

    def __init__(self, every: int, overhead: float | None = None) -> None:
        self.every, self.overhead = every, overhead
        self.count, self.next = 0, 0
        self.spent, self.ordinary = 0.0, 0.0
        self._since = time.perf_counter()

    @property
    def watching(self) -> bool:
        """True if a forward pass that runs now is watched."""
        return self.count == self.next

    def passed(self) -> None:
        """Count one backward pass and decide which pass is watched next."""
        now = time.perf_counter()
        if not self.watching:
            self.ordinary += now - self._since
        self._since = now
        self.count += 1
        if self.overhead is not None:
            self.next = self.count if self.spent <= self.overhead * self.ordinary else -1
        elif self.count > self.next:
            self.next += self.every


class Layered:
    """One recurrent module of the model, with weak references to its calls.

    Parameters
    ----------
    name : str
        Name of the module in the model.
    module : nn.Module
        The module.

    Attributes
    ----------
    parameter : Tensor or None
        The module's first trainable parameter.
    called : bool
        True if the module ran forward since the last backward pass that reached it.
    looked_at : tuple of int
        Number of the newest backward pass that reached the module, and the number of sequences measured in it.
    awaiting : list
        The facts of each measured sequence and the gradient's norm, until an optimiser gets that gradient.
    """

    def __init__(self, name: str, module: nn.Module) -> None:
        self.name, self.module = name, module
        self.parameter = next((p for p in module.parameters() if p.requires_grad), None)
        self.called = False
        self.looked_at = (-1, 0)
        self.awaiting: list[tuple[dict[str, Any], Tensor]] = []
        self._calls: list[weakref.ref[Call]] = []
        self._newest: dict[int, weakref.ref[Call]] = {}
        self._sequences = 0

    @property
    def calls(self) -> list[Call]:
        """The calls whose graph is alive, in the order in which they ran."""
        if not self._calls:
            return []
        alive = [call for reference in self._calls if (call := reference()) is not None]
        self._calls = [weakref.ref(call) for call in alive]
        return alive

    def add(self, call: Call) -> bool:
        """Add a call to the open sequence that it continues, or to a new one; return True for a new one."""
        before = self._before(call) if call.one_step else None
        if before is None:
            self._sequences += 1
        call.sequence = self._sequences if before is None else before.sequence
        self._calls.append(weakref.ref(call))
        self._newest.pop(call.sequence, None)
        self._newest[call.sequence] = weakref.ref(call)
        if len(self._newest) > OPEN:
            del self._newest[next(iter(self._newest))]
        return before is None

    def _before(self, call: Call) -> Call | None:
        newest = (reference() for reference in reversed(self._newest.values()))
        return next((one for one in newest if one is not None and one.one_step and call.follows(one)), None)

    def clear(self) -> None:
        """Release every call and forget all facts."""
        for call in self.calls:
            call.release()
        self.awaiting, self._calls, self._newest = [], [], {}

    def release(self, before: int) -> None:
        """Release the calls that were last measured before backward pass ``before``.

        A training that keeps every loss tensor keeps the graphs alive, but not the data of their calls.
        """
        kept = []
        for call in self.calls:
            if call.looked_at is None or call.looked_at >= before:
                kept.append(weakref.ref(call))
            else:
                call.release()
        self._calls = kept

    def reached(self, only: int | None = None) -> list[list[Call]]:
        """Return the calls that the newest backward pass reached, one list per sequence.

        If ``only`` is given, the calls of other sequences are left out.
        """
        found: dict[int, list[Call]] = {}
        for call in self.calls:
            if call.reached and only in (None, call.sequence):
                found.setdefault(call.sequence, []).append(call)
        return list(found.values())


class TensorHook:
    """A hook on a module. A copy of the module, by ``deepcopy`` or ``pickle``, has a hook that does nothing."""

    def __init__(self, see: Callable[..., None] | None = None) -> None:
        self._see = see

    def __call__(self, *seen: Any) -> None:
        if self._see is not None:
            self._see(*seen)

    def __reduce__(self) -> tuple[type[TensorHook], tuple[()]]:
        return TensorHook, ()


class Attachment:
    """Hooks on every recurrent module of a model, from :meth:`attach` to :meth:`detach`.

    Parameters
    ----------
    model : nn.Module
        The model to watch.
    schedule : Schedule
        Decides which backward passes are watched.
    found : callable
        Called once per sequence that a backward pass reaches. Its arguments are the module, the number of the backward
        pass, the number of the sequence in that pass (from 0), and its calls: a single call, or one call per step.
        It returns the facts of the sequence as columns of ``runs``.
    refuse : callable
        Called with the name of a module and the reason why it cannot be watched.

    Raises
    ------
    InputError
        If the model has no recurrent module or no trainable parameter, or if hooks cannot see its calls.
    """

    def __init__(
        self,
        model: nn.Module,
        schedule: Schedule,
        found: Callable[[Layered, int, int, list[Call]], dict[str, Any]],
        refuse: Callable[[str, str], None],
    ) -> None:
        self._schedule, self._found, self._refuse = schedule, found, refuse
        refuse_unseen(model)
        modules = recurrent_modules(model)
        if not modules:
            raise InputError(f"found no torch.nn RNN, LSTM, GRU or cell in {type(model).__name__}")
        reasons = {name: always_unseen(model, module) for name, module in modules.items()}
        for name, reason in reasons.items():
            if reason:
                refuse(name, reason)
        self.layers = [Layered(name, module) for name, module in modules.items() if not reasons[name]]
        self._counted = _counted(model, self.layers)
        self._step, self._watched, self._renewed = -1, False, 0
        self._handles: list[Any] = []
        self._on_parameters: list[Any] = []
        self._forwards: list[Any] = []

    def attach(self) -> None:
        """Register the hooks on the modules, their parameters and the optimisers."""
        from torch.optim.optimizer import register_optimizer_step_pre_hook

        self._handles = [register_optimizer_step_pre_hook(self._compare)]
        self._hook_parameters()
        self._open_or_close()

    def _hook_parameters(self) -> None:
        """Register the hooks on the parameters, the counting hook first; PyTorch's record of passes is reset."""
        from torch.autograd.graph import register_multi_grad_hook

        for handle in self._on_parameters:
            handle.remove()
        counting = [register_multi_grad_hook(self._counted, self._count, mode="any")] if self._counted else []
        own = [(layer.parameter, partial(self._reached, layer)) for layer in self.layers if layer.parameter is not None]
        self._on_parameters = counting + [parameter.register_hook(hook) for parameter, hook in own]

    def _open_or_close(self) -> None:
        """Keep forward hooks only while forward passes are watched, so that all other passes cost nothing."""
        if self._schedule.watching and not self._forwards:
            hooks = [(layer.module, TensorHook(untraced(partial(self._forward, layer)))) for layer in self.layers]
            self._forwards = [module.register_forward_hook(hook, with_kwargs=True) for module, hook in hooks]
        elif not self._schedule.watching:
            for handle in self._forwards:
                handle.remove()
            self._forwards = []

    def detach(self) -> None:
        """Remove every hook, including those on tensors of graphs that are still alive."""
        for handle in (*self._handles, *self._on_parameters, *self._forwards):
            handle.remove()
        for layer in self.layers:
            layer.clear()
        self._handles, self._on_parameters, self._forwards = [], [], []

    def _forward(
        self, layer: Layered, module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any
    ) -> None:
        start = time.perf_counter()
        layer.called = True
        reason = unseen(module)
        if reason:
            self._refuse(layer.name, reason)
        else:
            self._take(layer, args, kwargs, result)
        self._schedule.spent += time.perf_counter() - start

    def _take(self, layer: Layered, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> None:
        with self._going_on(layer):
            call = seen_call(layer.module, args, kwargs, result, self._schedule.count)
            if call is not None and layer.add(call) and layer.parameter is None:
                # The weights are frozen. The gradient of the sequence's input is complete only after all of the
                # sequence's gradients have arrived, so a hook on that input starts the measurement.
                given = first_with_gradient(args, kwargs)
                call.trigger(given, partial(self._reached, layer, only=call.sequence))

    def _count(self, grad: Tensor) -> None:
        self._step, self._watched = self._schedule.count, self._schedule.watching
        self._schedule.passed()
        self._open_or_close()
        for layer in self.layers:
            layer.release(self._step - 1)

    def _reached(self, layer: Layered, grad: Tensor, *, only: int | None = None) -> None:
        if not layer.calls and not self._watched:
            return
        start = time.perf_counter()
        with self._going_on(layer):
            reached = layer.reached(only)
            for calls in reached:
                self._look_at(layer, calls, grad if only is None else None)
            if self._watched and not reached and not layer.called:
                reason = "a gradient reached its weights, but its call was not seen: did it run compiled or scripted?"
                self._refuse(layer.name, reason)
        layer.called = False
        self._schedule.spent += time.perf_counter() - start

    def _look_at(self, layer: Layered, calls: list[Call], grad: Tensor | None) -> None:
        # If the call ran after the newest counted pass, the present pass has not been counted yet.
        step = self._step if self._step >= calls[0].round else self._schedule.count
        number = layer.looked_at[1] if layer.looked_at[0] == step else 0
        if not number:
            layer.awaiting = []
        layer.looked_at = (step, number + 1)
        facts = self._found(layer, step, number, calls)
        if grad is not None:
            layer.awaiting.append((facts, norm(grad)))
        for call in calls:
            call.forget(step)

    def _compare(self, optimiser: Any, args: Any, kwargs: Any) -> None:
        """Record the share of a watched pass's gradient norm that the optimiser gets; clipping makes it less than 1."""
        for layer in self.layers:
            given = None if layer.parameter is None else layer.parameter.grad
            if not layer.awaiting or given is None or not _steps(optimiser, layer.parameter):
                continue
            with self._going_on(layer):
                for facts, whole in layer.awaiting:
                    facts["kept"] = float(norm(given) / whole) * facts["loss_scale"]
            layer.awaiting = []
        if self._schedule.count - self._renewed >= RENEW:
            self._renewed = self._schedule.count
            self._hook_parameters()

    @contextmanager
    def _going_on(self, layer: Layered) -> Iterator[None]:
        """Report any exception as the reason why the module is not watched; the training goes on."""
        try:
            yield
        except Exception as error:
            self._refuse(layer.name, f"{type(error).__name__}: {error}")


def _steps(optimiser: Any, parameter: Any) -> bool:
    """Return whether the optimiser updates the parameter."""
    return any(parameter is other for group in optimiser.param_groups for other in group["params"])


def _counted(model: nn.Module, layers: Sequence[Layered]) -> Sequence[Tensor]:
    """Return the parameters at which backward passes are counted.

    These are one parameter per recurrent module, or all parameters of the model if a module is frozen.
    """
    own = [layer.parameter for layer in layers if layer.parameter is not None]
    if len(own) == len(layers):
        return own
    every = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not every:
        raise InputError("no parameter of the model requires a gradient, so no backward pass can be counted")
    return every
