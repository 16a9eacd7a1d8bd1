"""What watching does to a training: nothing. And what it says of each pass."""

from __future__ import annotations

import gc
import warnings
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from watch.keep import Keep

import gradlab as gl

pytestmark = pytest.mark.torch_oracle

T, B, D, H = 5, 3, 2, 4


def model(kind: str = "LSTM", **options: Any) -> Any:
    """Return a recurrent layer, or a cell in a loop, under dropout and a readout."""
    import torch
    from torch import nn

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.before = nn.Linear(D, D)
            self.recurrent = getattr(nn, kind)(D, H, **options)
            self.dropout = nn.Dropout(0.5)
            self.head = nn.Linear(H, 1)

        def forward(self, x: Any) -> Any:
            return self.head(self.dropout(self.run(self.before(x))))

        def run(self, x: Any) -> Any:
            if not kind.endswith("Cell"):
                return self.recurrent(x)[0]
            state, outputs = None, []
            for step in x:
                state = self.recurrent(step, state)
                outputs.append(state[0] if isinstance(state, tuple) else state)
            return torch.stack(outputs)

    torch.manual_seed(4)
    return Model()


def data(steps: int) -> Iterator[Any]:
    import torch

    rng = np.random.default_rng(9)
    for _ in range(steps):
        yield torch.tensor(rng.standard_normal((T, B, D)), dtype=torch.float32)


def trained(made: Any, context: Any = None, steps: int = 6, clip: float | None = None) -> tuple[list[float], list[Any]]:
    """Return the losses and the weights after some steps of Adam."""
    from contextlib import nullcontext

    import torch

    optimiser, losses = torch.optim.Adam(made.parameters(), lr=0.05), []
    torch.manual_seed(8)
    with context or nullcontext():
        for x in data(steps):
            optimiser.zero_grad()
            loss = (made(x) - x.sum(dim=0, keepdim=True).mean()).square().mean()
            loss.backward()
            if clip:
                torch.nn.utils.clip_grad_norm_(made.parameters(), clip)
            optimiser.step()
            losses.append(loss.item())
    return losses, [parameter.detach().clone() for parameter in made.parameters()]


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell"])
def test_losses_and_weights_are_the_same_to_the_last_bit(kind: str) -> None:
    import torch

    alone, weights = trained(model(kind))
    made = model(kind)
    w = gl.watch(made, every=2, hooks=["gradients", "jacobians", "gates", "lyapunov:2", "paths"])
    watched, others = trained(made, w)
    assert watched == alone
    assert all(torch.equal(one, other) for one, other in zip(weights, others, strict=True))
    assert not w.refused
    assert sorted(set(w.frame("runs")["step"])) == [0, 2, 4]


def hooks_on(made: Any) -> int:
    """Return how many hooks there are on modules, parameters and optimisers."""
    from torch.optim import optimizer

    modules = sum(len(m._forward_hooks) + len(m._forward_hooks_with_kwargs) for m in made.modules())
    parameters = sum(len(p._backward_hooks or {}) for p in made.parameters())
    return modules + parameters + len(optimizer._global_optimizer_pre_hooks)


@pytest.mark.parametrize("end", [None, ValueError, KeyboardInterrupt])
def test_no_hook_is_left(end: type[BaseException] | None) -> None:
    made, keep = model(), Keep()
    before = hooks_on(made)

    def train() -> None:
        with gl.watch(made, every=1, hooks=[keep]):
            assert hooks_on(made) > before
            loss = made(next(data(1))).sum()
            loss.backward(retain_graph=True)
            pending.append(loss)
            if end is not None:
                raise end

    pending: list[Any] = []
    if end is None:
        train()
    else:
        with pytest.raises(end):
            train()
    assert hooks_on(made) == before
    pending[0].backward()
    assert len(keep.passes) == 1, "a graph that outlives the block is not looked at"


def test_ctrl_c_in_the_middle_of_a_measurement_leaves_no_hook() -> None:
    class Pressed(gl.Hook):
        def step(self, step: Any) -> None:
            raise KeyboardInterrupt

    made = model()
    with pytest.raises(KeyboardInterrupt), gl.watch(made, hooks=[Pressed()]):
        made(next(data(1))).sum().backward()
    assert hooks_on(made) == 0


def test_a_watch_that_cannot_begin_leaves_no_hook() -> None:
    import torch

    for bad in (torch.nn.Linear(2, 2), torch.nn.Sequential()):
        with pytest.raises(gl.InputError, match=r"found no torch\.nn RNN, LSTM, GRU or cell"):
            gl.watch(bad)
    frozen = model()
    for parameter in frozen.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(gl.InputError, match="no parameter of the model requires a gradient"):
        gl.watch(frozen)
    with pytest.raises(gl.InputError, match="give every or overhead, not both"):
        gl.watch(model(), every=3, overhead=0.1)
    with pytest.raises(gl.InputError, match="overhead must be a share above 0"):
        gl.watch(model(), overhead=0)
    with pytest.raises(gl.InputError, match=r"unknown hook .*did you mean .gates"):
        gl.watch(model(), hooks=["gate"])
    with pytest.raises(gl.InputError, match=r"must be a torch.nn.Module, got list"):
        gl.watch([model()])


# --- what a pass is ---------------------------------------------------------------------------------


def norms(keep: Keep) -> list[float]:
    return [float(np.linalg.norm(np.asarray(one[0].grad["h"]))) for one in keep.passes]


def layer() -> tuple[Any, Any]:
    import torch

    torch.manual_seed(1)
    return torch.nn.LSTM(D, H).double(), torch.tensor(np.random.default_rng(2).standard_normal((T, B, D)))


def alone(module: Any, x: Any, last: bool = False) -> float:
    trace = gl.trace(gl.from_torch(module), x.numpy(), gl.projection(np.ones((B, H) if last else (T, B, H))))
    return float(np.linalg.norm(np.asarray(trace.grad["h"])))


def test_two_calls_in_one_pass_are_two_records_of_one_step() -> None:
    module, x = layer()
    keep = Keep()
    with gl.watch(module, hooks=[keep, "gradients"]) as w:
        (module(x)[0].sum() + module(2 * x)[0].sum()).backward()
    np.testing.assert_allclose(norms(keep), [alone(module, x), alone(module, 2 * x)], rtol=1e-12)
    assert w.frame("runs")[["step", "call"]].to_numpy().tolist() == [[0, 0], [0, 1]]


def test_a_graph_walked_twice_is_recorded_twice() -> None:
    module, x = layer()
    keep = Keep()
    with gl.watch(module, every=1, hooks=[keep]) as w:
        output = module(x)[0]
        output[-1].sum().backward(retain_graph=True)
        output.sum().backward()
    np.testing.assert_allclose(norms(keep), [alone(module, x, last=True), alone(module, x)], rtol=1e-12)
    assert w.frame("runs")["step"].tolist() == [0, 1]
    assert not w.refused


def test_accumulated_gradients_are_passes_of_their_own() -> None:
    module, x = layer()
    keep = Keep()
    with gl.watch(module, every=2, hooks=[keep]) as w:
        for k in range(1, 5):
            module(k * x)[0].sum().backward()
    np.testing.assert_allclose(norms(keep), [alone(module, x), alone(module, 3 * x)], rtol=1e-12)
    assert w.schedule.count == 4


def test_what_ran_forward_while_watched_is_recorded_under_the_pass_that_reaches_it() -> None:
    module, x = layer()
    keep = Keep()
    with gl.watch(module, every=100, hooks=[keep]) as w:
        one, two = module(x)[0].sum(), module(2 * x)[0].sum()
        one.backward()
        two.backward()
    assert w.frame("runs")[["step", "call"]].to_numpy().tolist() == [[0, 0], [1, 0]]
    np.testing.assert_allclose(norms(keep), [alone(module, x), alone(module, 2 * x)], rtol=1e-12)


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing(reentrant: bool) -> None:
    from torch.utils.checkpoint import checkpoint

    module, x = layer()
    keep = Keep()
    with gl.watch(module, every=1, hooks=[keep]) as w:
        for _ in range(2):
            given = x.clone().requires_grad_()
            checkpoint(lambda z: module(z)[0], given, use_reentrant=reentrant).sum().backward()
    np.testing.assert_allclose(norms(keep), [alone(module, x)] * 2, rtol=1e-12)
    assert w.frame("runs")["step"].tolist() == [0, 1]
    assert not w.refused


def test_frozen_weights_are_watched_where_a_gradient_passes_through() -> None:
    import torch

    module, x = layer()
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    below = torch.nn.Linear(D, D).double()
    keep = Keep()
    with gl.watch(torch.nn.Sequential(below, module), every=1, hooks=[keep]) as w:
        for _ in range(2):
            module(below(x))[0].sum().backward()
    np.testing.assert_allclose(norms(keep), [alone(module, below(x).detach())] * 2, rtol=1e-12)
    assert w.frame("runs")["step"].tolist() == [0, 1]
    assert hooks_on(below) == 0


def test_an_input_that_is_given_again_and_again_to_frozen_weights_collects_no_hooks() -> None:
    import torch

    module, x = layer()
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    given, head = x.clone().requires_grad_(), torch.nn.Linear(H, 1).double()
    both = torch.nn.ModuleList([module, head])
    with gl.watch(both, every=1) as w:
        for _ in range(5):
            loss = head(module(given)[0]).sum()
            loss.backward()
            del loss
        for _ in range(5):
            head(module(given)[0]).sum()
        assert len(given._backward_hooks) == 0
        assert w.frame("runs")["step"].tolist() == [0, 1, 2, 3, 4]
        loss = head(module(given)[0]).sum()
    assert len(given._backward_hooks) == 0, f"{loss} is alive, and the watch is over"


def test_validation_is_not_recorded_and_leaves_nothing() -> None:
    import torch

    module, x = layer()
    keep = Keep()
    with gl.watch(module, hooks=[keep]) as w:
        with torch.no_grad():
            module(x)
        for _ in range(3):
            output = module(x)[0]  # a graph that nobody walks
        seen = weakref.ref(w.attachment.layers[0].calls[-1])
        del output
        assert seen() is None
        module(x)[0].sum().backward()
    np.testing.assert_allclose(norms(keep), [alone(module, x)], rtol=1e-12)


def test_memory_is_freed_after_each_watched_pass() -> None:
    """What was seen goes with the graph, and what was measured is tables: without Python's collector."""
    module, x = layer()
    gone: list[Any] = []

    class Look(gl.Hook):
        def segment(self, segment: Any) -> None:
            gone.extend([weakref.ref(segment), weakref.ref(segment.tape), weakref.ref(segment.gradients)])

    gc.disable()
    try:
        with gl.watch(module, every=1, hooks=[Look(), "gradients"]) as w:
            for _ in range(3):
                loss = module(x)[0].sum()
                gone.extend(weakref.ref(call) for call in w.attachment.layers[0].calls)
                loss.backward()
                del loss
        assert len(gone) == 12
        assert not [reference for reference in gone if reference() is not None]
    finally:
        gc.enable()


def test_whoever_keeps_every_loss_keeps_the_graphs_and_no_more() -> None:
    module, x = layer()
    keep, losses, gone = Keep(), [], []
    with gl.watch(module, every=1, hooks=[keep]) as w:
        for _ in range(6):
            losses.append(module(x)[0].sum())
            gone.append(weakref.ref(w.attachment.layers[0].calls[-1]))
            losses[-1].backward()
        assert [reference() is not None for reference in gone] == [False] * 4 + [True] * 2
    assert len(keep.passes) == 6
    assert all(reference() is None for reference in gone)


def test_states_given_by_name_and_a_second_watch() -> None:
    import torch

    module, x = layer()
    one, two = Keep(), Keep()
    state = tuple(torch.ones(1, B, H, dtype=torch.float64) for _ in range(2))
    with gl.watch(module, hooks=[one]), gl.watch(module, hooks=[two]):
        module(input=x, hx=state)[0].sum().backward()
    start = {name: np.ones((B, H)) for name in "hc"}
    trace = gl.trace(gl.from_torch(module), x.numpy(), gl.projection(np.ones((T, B, H))), state=start)
    expected = [float(np.linalg.norm(np.asarray(trace.grad["h"])))]
    np.testing.assert_allclose(norms(one), expected, rtol=1e-12)
    np.testing.assert_allclose(norms(two), expected, rtol=1e-12)


def test_a_copy_of_a_watched_model_is_not_watched() -> None:
    import copy
    import io

    import torch

    made, x = layer()
    keep = Keep()
    with gl.watch(made, hooks=[keep]):
        file = io.BytesIO()
        torch.save(made, file)
        file.seek(0)
        for other in (copy.deepcopy(made), torch.load(file, weights_only=False)):
            other(x)[0].sum().backward()
        assert not keep.passes
        made(x)[0].sum().backward()
    assert len(keep.passes) == 1


def test_hooks_are_made_anew_after_many_passes(monkeypatch: Any) -> None:
    monkeypatch.setattr("gradlab._watch.hooks.RENEW", 3)
    made = model()
    w = gl.watch(made, every=2)
    trained(made, w, steps=9)
    assert w.schedule.count == 9
    assert w.frame("runs")["step"].tolist() == [0, 2, 4, 6, 8]
    assert hooks_on(made) == 0


# --- what took part unseen --------------------------------------------------------------------------


def test_an_output_changed_in_place_is_the_output_as_it_was() -> None:
    module, x = layer()
    keep = Keep()
    with gl.watch(module, hooks=[keep]) as w:
        output, (h, c) = module(x)
        output.mul_(2.0)
        (0.5 * output.sum() + h.mul_(0.0).sum()).backward()
    assert not w.refused
    np.testing.assert_allclose(norms(keep), [alone(module, x)], rtol=1e-12)
    assert c is not None


def test_an_input_overwritten_between_forward_and_backward_is_noticed() -> None:
    module, x = layer()
    with gl.watch(module) as w:
        given = x.clone()
        loss = module(given)[0].sum()
        given.data.zero_()
        with pytest.warns(UserWarning, match="gradlab: LSTM is not watched: step 0: the output"):
            loss.backward()
    row = w.frame("runs").iloc[0]
    assert row["status"] == "failed"
    assert "something unseen took part" in row["error"]


def test_a_subclass_that_returns_something_else_is_refused() -> None:
    import torch

    class Last(torch.nn.GRU):
        def forward(self, x: Any, hx: Any = None) -> Any:
            return super().forward(x, hx)[0][-1]

    with gl.watch(Last(D, H)) as w, pytest.warns(UserWarning, match=r"must return \(output, last state\), got Tensor"):
        w.attachment.layers[0].module(next(data(1))).sum().backward()
    assert list(w.refused) == ["Last"]


def test_a_users_forward_hook_that_changes_the_output_is_noticed() -> None:
    module, x = layer()
    module.register_forward_hook(lambda m, args, result: (1.1 * result[0], result[1]))
    with gl.watch(module) as w, pytest.warns(UserWarning, match="does not follow from the weights and inputs"):
        module(x)[0].sum().backward()
    assert list(w.refused) == ["LSTM"]


def test_dropout_between_layers_and_projections_are_refused_and_the_rest_is_watched() -> None:
    import torch

    stack = torch.nn.ModuleDict(
        {
            "dropped": torch.nn.GRU(D, D, 2, dropout=0.5),
            "projected": torch.nn.LSTM(D, H, proj_size=D),
            "plain": torch.nn.RNN(D, H),
        }
    )

    def loss(x: Any) -> Any:
        return stack["plain"](stack["projected"](stack["dropped"](x)[0])[0])[0].sum()

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with gl.watch(stack, every=1) as w:
            for x in data(3):
                loss(x).backward()
    told = [str(one.message) for one in warned if "gradlab" in str(one.message)]
    assert [text.split()[1] for text in told] == ["projected", "dropped"], "each is said once"
    assert "one module per layer with nn.Dropout between" in w.refused["dropped"]
    assert "proj_size=2 is not supported" in w.refused["projected"]
    assert set(w.frame("runs")["module"]) == {"plain"}
    assert "dropped is not watched" in repr(w)
    assert "dropped is not watched" in str(w.verdict())
    stack.eval()
    with pytest.warns(UserWarning, match="projected"), gl.watch(stack) as w:
        loss(next(data(1))).backward()
    assert set(w.frame("runs")["module"]) == {"plain", "dropped"}


def test_a_hook_that_fails_breaks_neither_the_training_nor_the_others() -> None:
    class Broken(gl.Hook):
        def step(self, step: Any) -> None:
            raise ZeroDivisionError("by zero")

    alone, weights = trained(model())
    made = model()
    w = gl.watch(made, every=2, hooks=[Broken(), "gradients"])
    with pytest.warns(UserWarning, match="gradlab: Broken is not watched: recurrent, step 0: ZeroDivisionError"):
        watched, others = trained(made, w)
    assert watched == alone
    assert all((one == other).all() for one, other in zip(weights, others, strict=True))
    assert w.frame("runs")["rate"].notna().all()


def test_an_optimiser_that_steps_in_the_middle_of_backward_is_noticed() -> None:
    import torch

    stack = torch.nn.GRU(D, H, 2).double()
    x = layer()[1]

    def step(parameter: Any) -> None:
        with torch.no_grad():
            parameter.sub_(1e-6 * parameter.grad)

    for parameter in stack.parameters():
        parameter.register_post_accumulate_grad_hook(step)
    with gl.watch(stack) as w, pytest.warns(UserWarning, match="its weights were changed before all of its gradients"):
        stack(x)[0].sum().backward()
    assert w.frame("runs")["status"].tolist() == ["failed"]


# --- kinds of models --------------------------------------------------------------------------------


def test_data_parallel_over_several_devices_and_torchscript_are_named() -> None:
    import torch

    parallel = torch.nn.DataParallel(model())
    assert not gl.watch(parallel).refused
    parallel.device_ids = [0, 1]
    with pytest.raises(gl.InputError, match=r"nn\.DataParallel on 2 devices"):
        gl.watch(parallel)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer versions of PyTorch say that it is deprecated
        scripted = torch.jit.script(torch.nn.LSTM(D, H))
    with pytest.raises(gl.InputError, match="the model is TorchScript"):
        gl.watch(scripted)


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # dynamo's own
def test_a_compiled_model() -> None:
    import torch

    for kind in ("LSTM", "GRUCell"):
        made = model(kind)
        compiled = torch.compile(made, backend="eager")
        compiled(next(data(1))).sum().backward()
        if kind == "GRUCell":
            with pytest.warns(UserWarning, match="a cell inside torch.compile runs unseen"):
                gl.watch(compiled)
            with warnings.catch_warnings(record=True), gl.watch(made) as w:
                compiled(next(data(1))).sum().backward()
            told = w.refused.get("recurrent", "")  # newer versions of PyTorch do not look for hooks that come later
            assert "its call was not seen" in told or w.frame("runs")["step"].tolist() == [0]
            continue
        with gl.watch(compiled, every=1) as w:
            for x in data(2):
                compiled(x).sum().backward()
        assert not w.refused
        assert w.frame("runs")["step"].tolist() == [0, 1]
    torch.compiler.reset()


@pytest.mark.parametrize("half", ["bfloat16", "float16"])
def test_halves_are_computed_in_float32(half: str) -> None:
    """A half's rounding, 2⁻⁸ and 2⁻¹¹ a number, over 5 steps: the norms agree to some per cent."""
    import torch

    module, x = layer()
    keep = Keep()
    low = torch.nn.LSTM(D, H).to(getattr(torch, half))
    low.load_state_dict(module.state_dict())
    with gl.watch(low, hooks=[keep, "gradients"]) as w:
        low(x.to(low.weight_hh_l0.dtype))[0].sum().backward()
    assert not w.refused
    assert keep.passes[0][0].tape.states.dtype == np.float32
    assert w.frame("runs")["precision"].tolist() == [half]
    np.testing.assert_allclose(norms(keep), [alone(module, x)], rtol=0.05)


def test_autocast() -> None:
    import torch

    module, x = layer()
    single, keep = torch.nn.LSTM(D, H), Keep()
    single.load_state_dict(module.state_dict())
    with gl.watch(single, hooks=[keep]) as w, torch.autocast("cpu", dtype=torch.bfloat16):
        single(x.float())[0].float().sum().backward()
    assert not w.refused
    np.testing.assert_allclose(norms(keep), [alone(module, x)], rtol=0.05)
