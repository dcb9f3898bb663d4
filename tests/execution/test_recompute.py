"""Training with less memory: the same numbers from a backward that computes the gates again."""

from __future__ import annotations

import contextlib
import threading

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
from differentiable import problem
from tolerance import compare, run
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.checkpoint import checkpoint
from versions import TORCH

import rnn_kernels as rk
from rnn_kernels.execution import products, recompute

CELLS = ["LSTM", "GRU"]
T, B, I, H = 5, 3, 4, 7


def both_ways(layer: nn.Module, args: tuple, **kwargs: object) -> tuple[dict, dict]:
    """Outputs and gradients by name, without and with the mode."""
    ordinary = run(layer, args, **kwargs)
    with rk.recompute():
        return ordinary, run(layer, args, **kwargs)


def assert_same_outputs_close_gradients(ordinary: dict, ours: dict) -> None:
    for name, value in ordinary.items():
        if name.startswith("output"):
            assert torch.equal(ours[name], value), name
    torch.testing.assert_close(ours, ordinary)


def node(y: Tensor) -> str:
    return type(y.grad_fn).__name__


@pytest.mark.support("rk.recompute: less memory in training")
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_the_same_as_the_ordinary_mode(cell: str, packed: bool, backend: str) -> None:
    """Two directions, resets, states, all cell states."""
    layer = getattr(rk, cell)(I, H, bidirectional=True).double()
    x, done = torch.randn(T, B, I, dtype=torch.float64), torch.rand(T, B) < 0.3
    states = [torch.randn(2, B, H, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    if packed:
        x, done = (pack_padded_sequence(t, [5, 4, 1]) for t in (x, done))
    (x.data if packed else x).requires_grad_()
    options = {"resets": done} | ({"return_cells": True} if cell == "LSTM" else {})
    args = (x, tuple(states) if cell == "LSTM" else states[0])
    assert_same_outputs_close_gradients(*both_ways(layer, args, **options))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("cell", CELLS)
def test_the_rule(cell: str, dtype: torch.dtype, backend: str) -> None:
    x, h, c = (torch.randn(*s, dtype=torch.float64) for s in ((6, 5, 11), (2, 5, 33), (2, 5, 33)))
    modules = (getattr(of, cell)(11, 33, bidirectional=True) for of in (rk, nn))
    with rk.recompute():
        compare(*modules, (x, (h, c) if cell == "LSTM" else h), dtype)


@pytest.mark.parametrize("cell", CELLS)
def test_without_biases(cell: str) -> None:
    modules = (getattr(of, cell)(I, H, 2, bias=False) for of in (rk, nn))
    with rk.recompute():
        compare(*modules, (torch.randn(T, B, I, dtype=torch.float64),), torch.float32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("cell", CELLS)
def test_in_pieces(cell: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, linear = [], products.linear
    monkeypatch.setattr(recompute, "PIECE", 3000)
    monkeypatch.setattr(products, "linear", lambda x, *w: rows.append(len(x)) or linear(x, *w))
    layers = (getattr(of, cell)(I, 13, batch_first=True, bidirectional=True) for of in (rk, nn))
    with rk.recompute():
        compare(*layers, (torch.randn(35, 9, I, dtype=torch.float64),), dtype)
    assert len(rows) > 12 and max(rows) == 35 * 9  # that one is for dx


@pytest.mark.slow
@pytest.mark.parametrize(
    "form", [("one", "padded", "carried"), ("both", "packed", "reset")], ids="-".join
)
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_derivatives(cell: str, form: tuple[str, str, str]) -> None:
    ordinary, inputs = problem(cell, *form)

    def function(*values: Tensor) -> tuple[Tensor, ...]:
        with rk.recompute():
            results = ordinary(*values)
        assert node(results[0]) == "RecomputedLayerBackward"
        return results

    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


def kept(layer: nn.Module, x: Tensor) -> list[int]:
    """Bytes of each block of memory that autograd keeps, besides parameters."""
    sizes: dict[int, int] = {}
    own = {p.untyped_storage().data_ptr() for p in layer.parameters()}

    def pack(t: Tensor) -> Tensor:
        sizes[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        y = layer(x)[0]
    found = [n for address, n in sizes.items() if address not in own]
    y.float().sum().backward()
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("D", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_memory(cell: str, D: int, dtype: torch.dtype) -> None:
    T, B, H = 100, 16, 20
    layer = getattr(rk, cell)(I, H, bidirectional=D == 2).to(dtype)
    x, gates = torch.randn(T, B, I).to(dtype), T * B * D * {"LSTM": 4, "GRU": 3}[cell] * H
    state = T * B * D * H  # c is kept in float32
    expected = x.nbytes + state * (dtype.itemsize + (4 if cell == "LSTM" else 0))
    assert max(kept(layer, x)) >= gates * dtype.itemsize
    with rk.recompute():
        found = kept(layer, x)
    assert max(found) < gates * dtype.itemsize
    small = layer.weight_hh_l0.nbytes * 2 * D + 8 * D * B * H * dtype.itemsize
    assert expected <= sum(found) <= expected + small


@pytest.mark.parametrize("cell", CELLS)
def test_empty_batch(cell: str, backend: str) -> None:
    layer, x = getattr(rk, cell)(I, H, 2, bidirectional=True), torch.randn(T, 0, I)
    with rk.recompute():
        y, _ = layer(x.requires_grad_())
    y.sum().backward()
    assert x.grad.shape == x.shape and all((p.grad == 0).all() for p in layer.parameters())


@pytest.mark.parametrize("cell", CELLS)
def test_autocast(cell: str) -> None:
    layer, x = getattr(rk, cell)(I, H, 2), torch.randn(T, B, I, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ordinary, ours = both_ways(layer, (x,))  # the backward within the block as well
        with rk.recompute():
            y = layer(x)[0]
        # The weights that autocast remembers still lead to gradients.
        assert all(g.any() for g in torch.autograd.grad(layer(x)[0].sum(), layer.parameters()))
    assert y.dtype == torch.bfloat16
    assert all(ours[name].dtype == value.dtype for name, value in ordinary.items())
    for name, value in ordinary.items():
        torch.testing.assert_close(ours[name], value, rtol=0, atol=0.02 * value.abs().max().item())
    (dx,) = torch.autograd.grad(y.float().square().sum(), x, create_graph=True)
    dx.sum().backward()
    assert all(p.grad.dtype == torch.float32 for p in layer.parameters())


def test_some_gradients_only() -> None:
    layer, x = rk.LSTM(I, H), torch.randn(T, B, I)
    layer.requires_grad_(False)
    with rk.recompute():
        assert not layer(x)[0].requires_grad
        x.requires_grad_()
        (dx,) = torch.autograd.grad(layer(x)[0].sum(), x)
        with torch.no_grad():
            assert not layer(x)[0].requires_grad
    torch.testing.assert_close(dx, torch.autograd.grad(layer(x)[0].sum(), x)[0])


def test_a_projection_and_a_single_step_are_as_ever() -> None:
    for layer, steps in ((rk.LSTM(I, H, proj_size=2), T), (rk.LSTM(I, H), 1)):
        ordinary, ours = both_ways(layer, (torch.randn(steps, B, I),))
        assert all(torch.equal(ours[name], value) for name, value in ordinary.items())


@pytest.mark.parametrize("cell", CELLS)
def test_weights_changed_before_the_backward_are_an_error(cell: str) -> None:
    layer = getattr(rk, cell)(I, H)
    with rk.recompute():
        y, _ = layer(torch.randn(T, B, I))
    with torch.no_grad():
        layer.weight_ih_l0.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_the_mode_ends_with_its_block_and_thread() -> None:
    layer, x = rk.GRU(I, H), torch.randn(T, B, I)

    def on() -> bool:
        return node(layer(x)[0]) == "RecomputedLayerBackward"

    assert not on()
    seen = []
    with rk.recompute():
        with rk.recompute():
            assert on()
        assert on()
        thread = threading.Thread(target=lambda: seen.append(on()))
        thread.start()
        thread.join()
    assert seen == [False] and not on()
    with pytest.raises(KeyError), rk.recompute():
        raise KeyError
    assert not on()


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
def test_compile(cell: str) -> None:
    """Without the mode, and without breaking: around the graph, and inside it."""
    layer, x = getattr(rk, cell)(I, H), torch.randn(T, B, I, requires_grad=True)

    def function(x: Tensor) -> Tensor:
        with rk.recompute():
            return layer(x)[0]

    (expected,) = torch.autograd.grad(layer(x)[0].sum(), x)
    torch._dynamo.reset()
    forms = [(function, contextlib.nullcontext), (lambda x: layer(x)[0], rk.recompute)]
    if TORCH < (2, 7):
        del forms[0]  # whose compiler enters no context managers
    for of, block in forms:
        with block():
            y = torch.compile(of, fullgraph=True, backend="aot_eager")(x)
        torch.testing.assert_close(torch.autograd.grad(y.sum(), x)[0], expected)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("cell", CELLS)
def test_transforms(cell: str) -> None:
    layer, x = getattr(rk, cell)(I, H), torch.randn(T, B, I)

    def each(x: Tensor) -> tuple[Tensor, ...]:
        with forward_ad.dual_level():
            dual = forward_ad.unpack_dual(layer(forward_ad.make_dual(x, x))[0])
        return (
            dual.tangent,
            torch.func.jvp(lambda x: layer(x)[0], (x,), (x,))[1],
            torch.func.grad(lambda x: layer(x)[0].sum())(x),
            torch.vmap(lambda x: layer(x)[0])(x[None]),
        )

    expected = each(x)
    with rk.recompute():
        torch.testing.assert_close(each(x), expected)
        traced = torch.jit.trace(layer, x, check_trace=False)
    assert "PythonOp" not in str(traced.graph)


@pytest.mark.parametrize("size", [(2, 2, 3), (20, 16, 64)])
@pytest.mark.parametrize("cell", CELLS)
def test_batched_gradients(cell: str, size: tuple[int, ...]) -> None:
    layer, x = getattr(rk, cell)(size[-1], H), torch.randn(size, requires_grad=True)
    with rk.recompute():
        y = layer(x)[0]
    rows = torch.randn(3, *y.shape)
    (got,) = torch.autograd.grad(y, x, rows, is_grads_batched=True, retain_graph=True)
    expected = [torch.autograd.grad(y, x, row, retain_graph=True)[0] for row in rows]
    torch.testing.assert_close(got, torch.stack(expected))


@pytest.mark.parametrize("reentrant", [False, True])
def test_inside_a_checkpoint(reentrant: bool) -> None:
    layer, x = rk.LSTM(I, H, 2), torch.randn(T, B, I, requires_grad=True)

    def function(x: Tensor) -> Tensor:
        with rk.recompute():
            return layer(x)[0]

    (expected,) = torch.autograd.grad(layer(x)[0].sum(), x)
    checkpoint(function, x, use_reentrant=reentrant).sum().backward()
    torch.testing.assert_close(x.grad, expected)
