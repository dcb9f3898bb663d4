"""Autocast, scaled gradients, modules in 16 bits, torch's own settings of precision."""

from __future__ import annotations

import pytest
import torch
from layers import ALL, LAYERS, H, I, flat, gradients, layer, sample
from torch import nn

HALVES = [torch.bfloat16, torch.float16]


@pytest.mark.support("autocast, in its dtype")
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("kind", ALL)
def test_autocast(kind: str, dtype: torch.dtype) -> None:
    assert_autocast("cpu", kind, dtype)


@pytest.mark.gpu
@pytest.mark.support("autocast on a GPU, in its dtype")
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("kind", ALL)
def test_autocast_on_a_gpu(kind: str, dtype: torch.dtype) -> None:
    assert_autocast("cuda", kind, dtype)


def assert_autocast(device: str, kind: str, dtype: torch.dtype) -> None:
    module, x = layer(kind).to(device), sample(kind).to(device)
    with torch.autocast(device, dtype=dtype):
        found = flat(module(x))
    assert all(t.dtype == dtype for t in found)
    sum(t.float().sum() for t in found).backward()
    assert all(p.grad.dtype == torch.float32 for p in module.parameters())
    torch.testing.assert_close([t.float() for t in found], flat(module(x)), rtol=2**-6, atol=2**-6)


@pytest.mark.parametrize("kind", ALL)
def test_float64_stays_float64_under_autocast(kind: str) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = flat(layer(kind, dtype=torch.float64)(sample(kind).double()))
    assert all(t.dtype == torch.float64 for t in found)


@pytest.mark.support("GradScaler")
@pytest.mark.parametrize("kind", ALL)
def test_scaled_gradients(kind: str) -> None:
    """One step with float16 and a scale is the step without, but for rounding; an infinity skips
    it."""
    module, twin, x = layer(kind), layer(kind), sample(kind)
    twin.load_state_dict(module.state_dict())
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    steps = {m: torch.optim.SGD(m.parameters(), 0.1) for m in (module, twin)}
    with torch.autocast("cpu", dtype=torch.float16):
        loss = sum(t.float().square().sum() for t in flat(module(x)))
    scaler.scale(loss).backward()
    scaler.step(steps[module])
    scaler.update()
    sum(t.square().sum() for t in flat(twin(x))).backward()
    steps[twin].step()
    before = [p.clone() for p in module.parameters()]
    torch.testing.assert_close(before, list(twin.parameters()), rtol=1e-2, atol=2e-3)
    steps[module].zero_grad()
    (scaler.scale(flat(module(x))[0].sum()) * torch.inf).backward()
    scaler.step(steps[module])
    scaler.update()
    assert scaler.get_scale() == 2.0**9
    torch.testing.assert_close(list(module.parameters()), before)


@pytest.mark.support("bfloat16 and float16 modules")
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("kind", ALL)
def test_halves(kind: str, dtype: torch.dtype) -> None:
    module, x = layer(kind).to(dtype), sample(kind).to(dtype)
    assert all(t.dtype == dtype for t in flat(module(x)) + gradients(module, x))
    exact = layer(kind, dtype=torch.float64)
    exact.load_state_dict(module.state_dict())
    torch.testing.assert_close(
        [t.double() for t in flat(module(x))], flat(exact(x.double())), rtol=2**-6, atol=2**-6
    )


@pytest.mark.support("deterministic algorithms, dropout included")
@pytest.mark.parametrize("kind", LAYERS)
def test_deterministic(kind: str) -> None:
    assert_deterministic(kind, "cpu")


@pytest.mark.gpu
@pytest.mark.support("deterministic algorithms on a GPU, dropout included")
@pytest.mark.parametrize("kind", LAYERS)
def test_deterministic_on_a_gpu(kind: str) -> None:
    assert_deterministic(kind, "cuda")


def assert_deterministic(kind: str, device: str) -> None:
    """The same bits, run after run, with dropout from the same seed."""
    module = layer(kind, num_layers=3, dropout=0.4, bidirectional=True).to(device)
    x, runs = sample(kind, 30, 5).to(device), []
    for _ in range(3):
        torch.manual_seed(5)
        runs.append(flat(module(x)) + gradients(module, x))
    for run in runs[1:]:
        assert all(map(torch.equal, run, runs[0]))
    torch.manual_seed(6)  # dropout there is
    assert not torch.equal(module(x)[0], runs[0][0])


@pytest.mark.gpu
@pytest.mark.support("TF32, where torch allows its own layers it")
@pytest.mark.parametrize("kind", LAYERS)
def test_tf32(kind: str) -> None:
    module, x = layer(kind, dtype=torch.float64).cuda(), sample(kind, 50, 16).double().cuda()
    with torch.no_grad():
        for p in module.parameters():
            p.mul_(3)
    exact, module = module(x)[0], module.float()
    errors = []
    for allowed in (False, True):
        with torch.backends.cudnn.flags(allow_tf32=allowed):
            errors.append((module(x.float())[0].double() - exact).abs().max().item())
    assert errors[0] < 1e-5 < errors[1] < 2e-2


@pytest.mark.parametrize("kind", LAYERS)
def test_a_single_step_gives_no_views(kind: str) -> None:
    """Wrappers with hooks of their own lose gradients of views that are changed in place."""
    for both in (False, True):
        module = layer(kind, bidirectional=both)
        results = flat(module(torch.randn(1, 3, I)))
        assert not any(t._is_view() for t in results)
        assert len({t.untyped_storage().data_ptr() for t in results}) == len(results)
        results[0].add_(1)
        results[0].sum().backward()
        assert all(p.grad is not None for p in module.parameters())


@pytest.mark.support("gradients in eval mode")
@pytest.mark.parametrize("kind", ALL)
def test_gradients_in_eval_mode(kind: str) -> None:
    module, x = layer(kind), sample(kind)
    expected = gradients(module, x)
    torch.testing.assert_close(gradients(module.eval(), x), expected)


@pytest.mark.gpu
@pytest.mark.support("gradients in eval mode, twice, on a GPU")
@pytest.mark.parametrize("kind", LAYERS)
def test_what_cudnn_refuses(kind: str) -> None:
    module, x = layer(kind).cuda().eval(), sample(kind).cuda().requires_grad_()
    state = torch.randn(H, 3, 1, device="cuda").permute(2, 1, 0)  # no cuDNN takes it
    hx = (state, state) if kind == "LSTM" else state
    (first,) = torch.autograd.grad(module(x, hx)[0].square().sum(), x, create_graph=True)
    first.square().sum().backward()
    assert all(p.grad is not None for p in module.parameters())


@pytest.mark.support("initial states of any layout")
@pytest.mark.parametrize("kind", LAYERS)
def test_states_of_any_layout(kind: str) -> None:
    module, x = layer(kind), sample(kind)
    h = torch.randn(H, 3, 1).permute(2, 1, 0)
    assert not h.is_contiguous()
    states = [(h, h), (h.contiguous(), h.contiguous())] if kind == "LSTM" else [h, h.contiguous()]
    torch.testing.assert_close(*(flat(module(x, s)) for s in states))


def test_frozen_half_of_a_model() -> None:
    """Autocast with parameters that want no gradients, as adapters are trained."""
    model = nn.ModuleList([layer("LSTM"), nn.Linear(H, 2)])
    model[0].requires_grad_(False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model[1](model[0](sample("LSTM"))[0]).sum().backward()
    assert model[1].weight.grad is not None
