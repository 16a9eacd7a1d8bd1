"""Hooks on a PyTorch model while it is watched: which backward pass runs, and which calls it reaches.

A backward pass is counted where it reaches a parameter of a recurrent module, whose gradient is complete only when all
that arrives at the module's calls has arrived: so the calls are looked at there, in the middle of the backward pass,
while the weights are still those of the forward.
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

#: Of a module's sequences that are still open, this many of the newest may be gone on with by another call.
OPEN = 8
#: A hook on several tensors remembers every backward pass, in some 70 bytes; after so many it is made anew.
RENEW = 10_000


class Schedule:
    """Which backward passes are watched: every so manieth, or as many as a share of the time allows.

    Attributes
    ----------
    count : backward passes so far.
    next : the one to be watched next; -1 while that is not decided.
    spent, ordinary : seconds that watching took, and that all between the other backward passes took.
    """

    def __init__(self, every: int, overhead: float | None = None) -> None:
        self.every, self.overhead = every, overhead
        self.count, self.next = 0, 0
        self.spent, self.ordinary = 0.0, 0.0
        self._since = time.perf_counter()

    @property
    def watching(self) -> bool:
        """Whether what runs forward now is watched."""
        return self.count == self.next

    def passed(self) -> None:
        """Count a backward pass."""
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
    """One recurrent module of the model with its calls, which it does not keep alive.

    Attributes
    ----------
    parameter : its first one with a gradient; None if it has none.
    called : whether it ran forward since it was last looked at.
    looked_at : the newest backward pass that reached it, and how many of its sequences were looked at in that.
    awaiting : what is known of passes whose gradient no optimiser has been given yet, and that gradient's norm.
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
        """The calls whose graph is alive, in their order."""
        if not self._calls:
            return []
        alive = [call for reference in self._calls if (call := reference()) is not None]
        self._calls = [weakref.ref(call) for call in alive]
        return alive

    def add(self, call: Call) -> bool:
        """Take a call in, as the next of an open sequence or the first of a new one; return whether it is the first."""
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
        """Let go of everything."""
        for call in self.calls:
            call.release()
        self.awaiting, self._calls, self._newest = [], [], {}

    def release(self, before: int) -> None:
        """Let go of calls that were last looked at before that backward pass: who keeps every loss keeps no more."""
        kept = []
        for call in self.calls:
            if call.looked_at is None or call.looked_at >= before:
                kept.append(weakref.ref(call))
            else:
                call.release()
        self._calls = kept

    def reached(self, only: int | None = None) -> list[list[Call]]:
        """Return the calls that the newest backward pass has reached, by sequence; ``only`` those of one sequence."""
        found: dict[int, list[Call]] = {}
        for call in self.calls:
            if call.reached and only in (None, call.sequence):
                found.setdefault(call.sequence, []).append(call)
        return list(found.values())


class TensorHook:
    """A hook on a module. A copy of the module, by ``deepcopy`` or ``pickle``, gets one that does nothing."""

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
    schedule : which backward passes are watched.
    found : called with a module, the number of the backward pass, the how-manieth sequence of the module it is in that
        pass, and the calls that were reached: one, or one of each step.
    refuse : called with a module's name and the reason for which it cannot be watched.

    Raises
    ------
    InputError
        for a model without recurrent modules, without a trainable parameter, or of a kind whose calls cannot be seen.
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
        """Hook the modules and their parameters."""
        from torch.optim.optimizer import register_optimizer_step_pre_hook

        self._handles = [register_optimizer_step_pre_hook(self._compare)]
        self._hook_parameters()
        self._open_or_close()

    def _hook_parameters(self) -> None:
        """Hook the parameters, the counting one first; PyTorch's own memory of passes begins anew."""
        from torch.autograd.graph import register_multi_grad_hook

        for handle in self._on_parameters:
            handle.remove()
        counting = [register_multi_grad_hook(self._counted, self._count, mode="any")] if self._counted else []
        own = [(layer.parameter, partial(self._reached, layer)) for layer in self.layers if layer.parameter is not None]
        self._on_parameters = counting + [parameter.register_hook(hook) for parameter, hook in own]

    def _open_or_close(self) -> None:
        """Have hooks on the modules while what runs forward is watched, and none between: they cost nothing there."""
        if self._schedule.watching and not self._forwards:
            hooks = [(layer.module, TensorHook(untraced(partial(self._forward, layer)))) for layer in self.layers]
            self._forwards = [module.register_forward_hook(hook, with_kwargs=True) for module, hook in hooks]
        elif not self._schedule.watching:
            for handle in self._forwards:
                handle.remove()
            self._forwards = []

    def detach(self) -> None:
        """Remove every hook, those on tensors of graphs that are still alive too."""
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
                # The gradient of what it was given is complete when all that arrives at the sequence has arrived.
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
        # A pass over a call that ran after the newest counted pass has not been counted yet.
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
        """Note how much of a watched pass's gradient an optimiser is given: less than all where it was clipped."""
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
        """Let whatever goes wrong be a reason for which the module is not watched: training goes on."""
        try:
            yield
        except Exception as error:
            self._refuse(layer.name, f"{type(error).__name__}: {error}")


def _steps(optimiser: Any, parameter: Any) -> bool:
    """Return whether the optimiser steps the parameter."""
    return any(parameter is other for group in optimiser.param_groups for other in group["params"])


def _counted(model: nn.Module, layers: Sequence[Layered]) -> Sequence[Tensor]:
    """Return the parameters at which backward passes are counted: one a module; of frozen modules all the model's."""
    own = [layer.parameter for layer in layers if layer.parameter is not None]
    if len(own) == len(layers):
        return own
    every = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not every:
        raise InputError("no parameter of the model requires a gradient, so no backward pass could be counted")
    return every
