"""Tools that rewrite, copy, count, watch or move modules."""

from __future__ import annotations

import copy
import io
import multiprocessing
import pickle
from collections.abc import Callable

import pytest
import torch
from layers import ALL, CELLS, LAYERS, First, H, I, flat, gradients, layer, sample
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.utils import parametrizations, parametrize, prune
from torch.profiler import profile
from torch.utils.flop_counter import FlopCounterMode

import rnn_kernels as rk

RECURRENT = {kind: "weight_hh" if kind in CELLS else "weight_hh_l0" for kind in ALL}


def assert_as_torch(change: Callable[[nn.Module, str], object], kind: str) -> nn.Module:
    """Both libraries' modules, changed in the same way, agree in outputs and gradients."""
    ours, theirs = layer(kind), getattr(nn, kind)(I, H)
    theirs.load_state_dict(ours.state_dict())
    for module in (ours, theirs):
        torch.manual_seed(1)
        change(module, RECURRENT[kind])
    x = sample(kind)
    torch.testing.assert_close(flat(ours.eval()(x)), flat(theirs.eval()(x)))
    torch.testing.assert_close(gradients(ours, x), gradients(theirs, x))
    return ours


@pytest.mark.support("torch.nn.utils.prune")
@pytest.mark.parametrize("kind", ALL)
def test_prune(kind: str) -> None:
    ours = assert_as_torch(lambda m, name: prune.random_unstructured(m, name, amount=0.5), kind)
    name = RECURRENT[kind]
    assert (getattr(ours, name) == 0).float().mean().item() == pytest.approx(0.5, abs=0.02)
    x = sample(kind)
    pruned = flat(ours(x))
    prune.remove(ours, name)
    torch.testing.assert_close(flat(ours(x)), pruned)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.support("weight_norm, spectral_norm, orthogonal; parametrize")
@pytest.mark.parametrize(
    "norm",
    [
        nn.utils.weight_norm,
        nn.utils.spectral_norm,
        parametrizations.weight_norm,
        parametrizations.spectral_norm,
        parametrizations.orthogonal,
        lambda m, name: parametrize.register_parametrization(m, name, nn.Tanh()),
    ],
)
@pytest.mark.parametrize("kind", ALL)
def test_norms(kind: str, norm: Callable) -> None:
    assert_as_torch(norm, kind)


@pytest.mark.support("deepcopy, pickle, torch.save")
@pytest.mark.parametrize("kind", ALL)
def test_copies(kind: str) -> None:
    module, x, buffer = layer(kind), sample(kind), io.BytesIO()
    torch.save(module, buffer)
    buffer.seek(0)
    expected = flat(module(x))
    for twin in (
        copy.deepcopy(module),
        pickle.loads(pickle.dumps(module)),
        torch.load(buffer, weights_only=False),
    ):
        torch.testing.assert_close(flat(twin(x)), expected)
        twin.load_state_dict(module.state_dict())


def _train_elsewhere(module: nn.Module, x: Tensor) -> None:
    torch.set_num_threads(1)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(flat(module(x))[0].mean())


@pytest.mark.slow
@pytest.mark.support("pickled into other processes, share_memory")
@pytest.mark.parametrize("kind", ALL)
def test_another_process_changes_shared_weights(kind: str) -> None:
    module, x = layer(kind).share_memory(), sample(kind)
    twin = copy.deepcopy(module)
    _train_elsewhere(twin, x)
    process = multiprocessing.get_context("spawn").Process(
        target=_train_elsewhere, args=(module, x)
    )
    process.start()
    process.join(120)
    assert process.exitcode == 0
    torch.testing.assert_close(list(module.parameters()), list(twin.parameters()))
    torch.testing.assert_close(flat(module(x)), flat(twin(x)))


@pytest.mark.support("meta device, to_empty, load_state_dict(assign=True)")
@pytest.mark.parametrize("kind", ALL)
def test_meta(kind: str) -> None:
    source, x = layer(kind), sample(kind)
    meta = layer(kind, device="meta")
    assert all(t.is_meta and t.shape == s.shape for t, s in zip(
        flat(meta(x.to("meta"))), flat(source(x)), strict=True))  # fmt: skip
    assigned = layer(kind, device="meta")
    assigned.load_state_dict(source.state_dict(), assign=True)
    emptied = layer(kind, device="meta").to_empty(device="cpu")
    emptied.load_state_dict(source.state_dict())
    for module in (assigned, emptied):
        torch.testing.assert_close(flat(module(x)), flat(source(x)))
    with torch.device("meta"):
        assert next(layer(kind).parameters()).is_meta


@pytest.mark.support("FakeTensorMode")
@pytest.mark.parametrize("kind", ALL)
def test_fake_tensors(kind: str) -> None:
    with FakeTensorMode():
        module, x = layer(kind), sample(kind)
        assert [g.shape for g in gradients(module, x)] == [p.shape for p in module.parameters()]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.support("quantize_dynamic, after rk.to_torch; else it says so")
@pytest.mark.parametrize("kind", ALL)
def test_quantize_dynamic(kind: str) -> None:
    quantize = torch.ao.quantization.quantize_dynamic
    model, x = nn.Sequential(layer(kind), nn.Identity()), sample(kind)
    expected = flat(model(x))
    with pytest.warns(UserWarning, match=f"leaves rnn_kernels.{kind} as it is; to have it"):
        untouched = quantize(model)
    assert type(untouched[0]) is type(model[0])
    torch.testing.assert_close(flat(untouched(x)), expected)
    with pytest.warns(UserWarning, match=r"quantize rnn_kernels.to_torch\(model\) instead"):
        assert type(quantize(model, {getattr(rk, kind)})[0]) is type(model[0])
    quantized = quantize(rk.to_torch(model))
    assert type(quantized[0]).__module__.startswith("torch.ao.nn.quantized.dynamic")
    torch.testing.assert_close(flat(quantized(x)), expected, rtol=0.1, atol=0.1)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:quantization goes by")
@pytest.mark.parametrize("kind", ALL)
def test_static_quantization_of_the_rest_of_a_model(kind: str) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.rest = First(layer(kind)), nn.Linear(H, H)
            self.inner.inner.qconfig = None

        def forward(self, x: Tensor) -> Tensor:
            return self.rest(self.inner(x))

    model = Model().eval()
    model.qconfig = torch.ao.quantization.get_default_qconfig("fbgemm")
    prepared, x = torch.ao.quantization.prepare(model), sample(kind)
    torch.testing.assert_close(prepared(x), model(x))
    assert type(prepared.inner.inner) is getattr(rk, kind)
    del prepared.inner.inner.qconfig


@pytest.mark.support("FlopCounterMode")
@pytest.mark.parametrize("kind", ALL)
def test_flops(kind: str) -> None:
    module, x = layer(kind), sample(kind)
    rows, gates = x.numel() // I, 4 if "LSTM" in kind else 3
    with FlopCounterMode(display=False) as counter:
        module(x)
    assert counter.get_total_flops() == 2 * rows * gates * H * (I + H)
    x.requires_grad_()
    with FlopCounterMode(display=False) as counter:
        sum(t.sum() for t in flat(module(x))).backward()
    # The backward multiplies for what it gives on, and for the weights.
    first = 2 * 3 * gates * H * H if kind in CELLS else 0  # a cell's zero state wants no gradient
    assert counter.get_total_flops() == 3 * 2 * rows * gates * H * (I + H) - first


@pytest.mark.support("torch.profiler: rnn_kernels::…, Recurrent…Backward")
@pytest.mark.parametrize("kind", ALL)
def test_profiler(kind: str) -> None:
    module, x, cell = layer(kind), sample(kind), kind[:4].lower().rstrip("c")
    with profile() as recorded:
        sum(t.sum() for t in flat(module(x))).backward()
        with torch.no_grad():
            module(x)
    names = {event.key: event.count for event in recorded.key_averages()}
    what = "step" if kind in CELLS else "layer"
    assert names[f"rnn_kernels::{cell} {what}"] == 2
    assert names[f"Recurrent{what.capitalize()}Backward"] == 1


@pytest.mark.parametrize("kind", ALL)
def test_profiler_of_a_step_in_one_call(kind: str) -> None:
    module, x = layer(kind), sample(kind, 1)
    state = module(x)[1] if kind in LAYERS else module(x)
    with torch.no_grad(), profile() as recorded:
        module(x, state)
    assert [e.key for e in recorded.key_averages() if "rnn" in e.key] == [
        f"rnn_kernels::{kind[:4].lower().rstrip('c')} step"
    ]


@pytest.mark.support("functional_call")
@pytest.mark.parametrize("kind", ALL)
def test_functional_call(kind: str) -> None:
    module, other, x = layer(kind), layer(kind), sample(kind)
    found = torch.func.functional_call(module, dict(other.named_parameters()), (x,))
    torch.testing.assert_close(flat(found), flat(other(x)))


@pytest.mark.support("hooks: forward, backward, of parameters; checkpointing")
@pytest.mark.parametrize("kind", ALL)
def test_hooks(kind: str) -> None:
    module, x, calls = layer(kind), sample(kind).requires_grad_(), []
    module.register_forward_pre_hook(lambda *args: calls.append("before"))
    module.register_forward_hook(lambda *args: calls.append("after"))
    module.register_full_backward_hook(lambda *args: calls.append("backward"))
    getattr(module, RECURRENT[kind]).register_hook(lambda grad: calls.append("weight"))
    sum(t.sum() for t in flat(module(x))).backward()
    assert calls[:2] == ["before", "after"] and sorted(calls[2:]) == ["backward", "weight"]
    expected, x.grad = x.grad, None
    again = torch.utils.checkpoint.checkpoint(module, x, use_reentrant=False)
    sum(t.sum() for t in flat(again)).backward()
    torch.testing.assert_close(x.grad, expected)
