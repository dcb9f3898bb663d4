"""Function transforms, and checkpointing: whatever else may run the layers."""

from __future__ import annotations

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
from layers import flat, gradients, layer, sample
from torch import Tensor
from torch.utils.checkpoint import checkpoint

import rnn_kernels as rk
from rnn_kernels.execution import products

CELLS = ["LSTM", "GRU"]
SMALL, LARGE = (5, 3, 6), (20, 16, 64)  # LARGE reaches oneDNN for the input product


def loss(module: torch.nn.Module, parameters: dict[str, Tensor], x: Tensor) -> Tensor:
    return torch.func.functional_call(module, parameters, (x,))[0].square().sum()


@pytest.mark.support("torch.func.grad")
@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("cell", CELLS)
def test_grad(cell: str, size: tuple[int, ...]) -> None:
    module, x = getattr(rk, cell)(size[-1], 7), torch.randn(size)
    parameters = dict(module.named_parameters())
    got = torch.func.grad(lambda p: loss(module, p, x))(parameters)
    expected = torch.autograd.grad(module(x)[0].square().sum(), list(parameters.values()))
    torch.testing.assert_close(list(got.values()), list(expected), rtol=1e-4, atol=1e-4)


@pytest.mark.support("per-sample gradients: vmap(grad)")
@pytest.mark.parametrize("cell", CELLS)
def test_per_sample_gradients(cell: str) -> None:
    module, x = getattr(rk, cell)(6, 7, bidirectional=True), torch.randn(SMALL)
    parameters = dict(module.named_parameters())
    each = torch.vmap(torch.func.grad(lambda p, x: loss(module, p, x)), (None, 1))
    got = each(parameters, x.unsqueeze(2))
    for b in range(x.shape[1]):
        expected = torch.autograd.grad(module(x[:, b : b + 1])[0].square().sum(), list(
            parameters.values()))  # fmt: skip
        torch.testing.assert_close([g[b] for g in got.values()], list(expected))


@pytest.mark.support("vmap over samples, over parameters (ensembles)")
@pytest.mark.parametrize("cell", CELLS)
def test_vmap(cell: str) -> None:
    module, x = getattr(rk, cell)(6, 7), torch.randn(2, *SMALL)
    done = torch.rand(2, 5, 3) < 0.3
    y = torch.vmap(lambda x, done: module(x, resets=done)[0])(x, done)
    expected = torch.stack([module(*a, resets=d)[0] for *a, d in zip(x, done, strict=True)])
    torch.testing.assert_close(y, expected)


@pytest.mark.support("vmap over samples, over parameters (ensembles)", "GRU")
def test_an_ensemble() -> None:
    modules, x = [rk.GRU(6, 7) for _ in range(3)], torch.randn(SMALL)
    parameters, _ = torch.func.stack_module_state(modules)
    y = torch.vmap(lambda p: torch.func.functional_call(modules[0], p, (x,))[0])(parameters)
    torch.testing.assert_close(y, torch.stack([m(x)[0] for m in modules]))


@pytest.mark.support("forward-mode derivatives, torch.func.jvp")
@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("cell", CELLS)
def test_forward_mode(cell: str, size: tuple[int, ...]) -> None:
    module = getattr(rk, cell)(size[-1], 7).double()
    x, dx = torch.randn(2, *size, dtype=torch.float64)
    _, tangent = torch.func.jvp(lambda x: module(x)[0], (x,), (dx,))
    with forward_ad.dual_level():
        dual = forward_ad.unpack_dual(module(forward_ad.make_dual(x, dx))[0])
    torch.testing.assert_close(dual.tangent, tangent)
    step = 1e-6
    with torch.no_grad():
        numerical = (module(x + step * dx)[0] - module(x - step * dx)[0]) / (2 * step)
    torch.testing.assert_close(tangent, numerical, rtol=1e-7, atol=1e-7)


def test_forward_mode_in_float32_at_a_size_that_reaches_onednn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(products, "_INTEL", False)
    module, x = rk.GRU(64, 64), torch.randn(LARGE)
    with forward_ad.dual_level():
        y = forward_ad.unpack_dual(module(forward_ad.make_dual(x, x))[0])
    assert y.tangent is not None and y.tangent.abs().sum() > 0


@pytest.mark.support("is_grads_batched")
@pytest.mark.parametrize("cell", CELLS)
def test_batched_gradients(cell: str) -> None:
    module, x = getattr(rk, cell)(3, 4), torch.randn(2, 2, 3, requires_grad=True)
    y = module(x)[0]
    basis = torch.eye(y.numel()).view(-1, *y.shape)
    (got,) = torch.autograd.grad(y, x, basis, is_grads_batched=True, retain_graph=True)
    expected = [torch.autograd.grad(y, x, row, retain_graph=True)[0] for row in basis]
    torch.testing.assert_close(got, torch.stack(expected))


@pytest.mark.support("torch.utils.checkpoint, save_on_cpu")
@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_checkpoint(cell: str, reentrant: bool) -> None:
    module, x = getattr(rk, cell)(64, 7, 2), torch.randn(LARGE, requires_grad=True)
    (expected,) = torch.autograd.grad(module(x)[0].sum(), x)
    checkpoint(lambda x: module(x)[0], x, use_reentrant=reentrant).sum().backward()
    torch.testing.assert_close(x.grad, expected)
    with torch.autograd.graph.save_on_cpu():
        y = module(x)[0].sum()
    torch.testing.assert_close(torch.autograd.grad(y, x)[0], expected)


def test_a_bias_with_strides() -> None:
    """At a size that reaches oneDNN, which reads a bias as if it had none."""
    layer, x = rk.GRU(64, 64), torch.randn(LARGE)
    for bias in (torch.randn(384)[::2], torch.randn(1).expand(192)):
        y = torch.func.functional_call(layer, {"bias_ih_l0": bias}, (x,))[0]
        expected = torch.func.functional_call(layer, {"bias_ih_l0": bias.clone()}, (x,))[0]
        torch.testing.assert_close(y, expected)


def test_a_negative_view() -> None:
    layer, x, h = rk.GRU(6, 7), torch.randn(SMALL), torch.randn(1, 3, 7)
    torch.testing.assert_close(layer(x, torch._neg_view(h))[0], layer(x, -h)[0])


class Wrapper(torch.Tensor):
    """A tensor with no memory of its own that forwards every operator to the one inside."""

    @staticmethod
    def __new__(cls, inside: Tensor) -> Wrapper:
        return torch.Tensor._make_wrapper_subclass(cls, inside.shape, dtype=inside.dtype)

    def __init__(self, inside: Tensor) -> None:
        self.inside = inside

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        unwrap = torch.utils._pytree.tree_map_only
        return function(
            *unwrap(Wrapper, lambda w: w.inside, args),
            **unwrap(Wrapper, lambda w: w.inside, kwargs or {}),
        )


def test_a_state_without_memory() -> None:
    layer, x, h = rk.GRU(6, 7), torch.randn(SMALL), torch.randn(1, 3, 7)
    with torch.no_grad():
        torch.testing.assert_close(layer(x, Wrapper(h))[0], layer(x, h)[0])


@pytest.mark.parametrize("kind", ["LSTMCell", "GRUCell"])
class TestCells:
    """Cells are steps of their own, and not layers."""

    @pytest.mark.support("per-sample gradients: vmap(grad)")
    def test_per_sample_gradients(self, kind: str) -> None:
        module, x = layer(kind), sample(kind)
        parameters = dict(module.named_parameters())

        def value(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
            outputs = flat(torch.func.functional_call(module, parameters, (x,)))
            return sum(t.square().sum() for t in outputs)

        each = torch.vmap(torch.func.grad(value), (None, 0))(parameters, x.unsqueeze(1))
        for b in range(len(x)):
            expected = gradients(module, x[b : b + 1])
            torch.testing.assert_close([g[b] for g in each.values()], expected)

    @pytest.mark.support("vmap over samples, over parameters (ensembles)")
    def test_vmap(self, kind: str) -> None:
        modules, x = [layer(kind) for _ in range(3)], sample(kind)
        stacked, _ = torch.func.stack_module_state(modules)

        def call(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
            return flat(torch.func.functional_call(modules[0], parameters, (x,)))[0]

        found = torch.vmap(call, (0, None))(stacked, x)
        torch.testing.assert_close(found, torch.stack([flat(m(x))[0] for m in modules]))

    @pytest.mark.support("forward-mode derivatives, torch.func.jvp")
    @pytest.mark.support("gradcheck, gradgradcheck")
    def test_derivatives(self, kind: str) -> None:
        module = layer(kind, dtype=torch.float64)
        x = sample(kind, 1, 2).double().requires_grad_()
        assert torch.autograd.gradcheck(module, x, check_forward_ad=True)
        assert torch.autograd.gradgradcheck(module, x)

    @pytest.mark.support("is_grads_batched")
    def test_batched_gradients(self, kind: str) -> None:
        x = sample(kind, 1, 2).requires_grad_()
        y = flat(layer(kind)(x))[0]
        basis = torch.eye(y.numel()).view(-1, *y.shape)
        (got,) = torch.autograd.grad(y, x, basis, is_grads_batched=True, retain_graph=True)
        each = [torch.autograd.grad(y, x, row, retain_graph=True)[0] for row in basis]
        torch.testing.assert_close(got, torch.stack(each))
