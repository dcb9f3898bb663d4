"""torch.compile: one graph, forward and backward, for every length and batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from layers import ALL, LAYERS, H, I, flat, gradients, layer, quick, sample
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence
from versions import RECENT_COMPILER, needs_recent_compiler

import rnn_kernels as rk


@pytest.fixture(autouse=True)
def fresh() -> None:
    torch._dynamo.reset()


def assert_same(compiled: Any, module: torch.nn.Module, *args: Any, **options: Any) -> None:
    """Outputs and gradients of a module and of what the compiler made of it."""
    torch.testing.assert_close(
        flat(compiled(*args, **options)), flat(module(*args, **options)), rtol=1e-4, atol=1e-5
    )
    expected = gradients(module, *args, **options)
    found = torch.autograd.grad(
        sum(t.square().sum() for t in flat(compiled(*args, **options))), list(module.parameters())
    )
    torch.testing.assert_close(list(found), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.support("torch.compile(fullgraph=True), any T and B in one graph")
@pytest.mark.parametrize("kind", quick("LSTM", "GRUCell", of=ALL))
def test_one_graph_for_all_sizes(kind: str) -> None:
    options = {"num_layers": 2, "bidirectional": True} if kind in LAYERS else {}
    module = layer(kind, **options)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager", dynamic=True)
    assert_same(compiled, module, sample(kind))
    with torch._dynamo.config.patch(error_on_recompile=True):
        for T, B in ((9, 3), (2, 5)):
            assert_same(compiled, module, sample(kind, T, B))


@pytest.mark.slow
@pytest.mark.support("torch.compile by inductor")
@pytest.mark.parametrize("kind", ALL)
def test_inductor(kind: str) -> None:
    module = layer(kind)
    compiled = torch.compile(module, fullgraph=True, dynamic=True)
    assert_same(compiled, module, sample(kind))
    if kind in LAYERS and RECENT_COMPILER:
        assert_same(compiled, module, packed([2, 5, 1], False))


def packed(lengths: list[int], ordered: bool) -> PackedSequence:
    x = torch.randn(max(lengths), len(lengths), I)
    return pack_padded_sequence(x, lengths, enforce_sorted=ordered)


@pytest.mark.slow
@needs_recent_compiler
@pytest.mark.support("torch.compile(fullgraph=True) of a PackedSequence")
@pytest.mark.parametrize("hx", [False, True])
@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("kind", LAYERS)
def test_packed_rows_in_one_graph(kind: str, ordered: bool, hx: bool) -> None:
    module = layer(kind, bidirectional=True)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager", dynamic=True)
    h = torch.randn(2, 3, H)
    args = () if not hx else ((h, h),) if kind == "LSTM" else (h,)
    assert_same(compiled, module, packed([5, 4, 2] if ordered else [2, 5, 1], ordered), *args)
    with torch._dynamo.config.patch(error_on_recompile=True):
        assert_same(compiled, module, packed([8, 3, 3] if ordered else [3, 8, 2], ordered), *args)


@pytest.mark.slow
@needs_recent_compiler
@pytest.mark.parametrize("kind", LAYERS)
def test_packed_rows_and_a_state_of_another_batch(kind: str) -> None:
    """Too few rows are an error in every graph; too many in one for this very batch alone, where
    others let sequences of no steps be, whose state stays as it is."""
    module, x = layer(kind), packed([5, 4, 2], True)

    def call(rows: int, dynamic: bool) -> Any:
        torch._dynamo.reset()
        compiled = torch.compile(module, fullgraph=True, backend="aot_eager", dynamic=dynamic)
        h = torch.ones(1, rows, H)
        return compiled(x, (h, h) if kind == "LSTM" else h)

    for dynamic in (False, True):
        with pytest.raises(RuntimeError, match="should decrease from at most 2|u0 <= 2"):
            call(2, dynamic)
    with pytest.raises(RuntimeError, match="u0 >= 5"):
        call(5, False)
    state = flat(call(5, True)[1])
    assert all(torch.equal(s[:, 3:], torch.ones(1, 2, H)) for s in state)
    torch.testing.assert_close([s[:, :3] for s in state], flat(call(3, False)[1]))


@pytest.mark.slow
@pytest.mark.support("torch.compile(fullgraph=True) with lengths=")
@pytest.mark.parametrize("kind", LAYERS)
def test_lengths_in_one_graph(kind: str) -> None:
    module = layer(kind, bidirectional=True, batch_first=True)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager", dynamic=True)
    for B, lengths in ((4, [2, 0, 5, 3]), (3, [5, 5, 1])):
        x = torch.randn(B, 5, I)
        assert_same(compiled, module, x, lengths=torch.tensor(lengths))


@pytest.mark.support("torch.compile(fullgraph=True) with resets=")
@pytest.mark.parametrize("kind", LAYERS)
def test_resets(kind: str) -> None:
    module, x, done = layer(kind), sample(kind), torch.rand(5, 3) < 0.5
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    assert_same(compiled, module, x, resets=done)


@pytest.mark.slow
@pytest.mark.support("torch.compile of vmap, grad, jvp")
@pytest.mark.parametrize("kind", LAYERS)
def test_transforms(kind: str) -> None:
    module, x = layer(kind), sample(kind)
    parameters = dict(module.named_parameters())

    def value(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        return torch.func.functional_call(module, parameters, (x,))[0].square().sum()

    each = torch.vmap(torch.func.grad(value), (None, 1))
    args = parameters, x.unsqueeze(2)
    compiled = torch.compile(each, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*args), each(*args))

    def along(x: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
        return torch.func.jvp(lambda x: module(x)[0], (x,), (direction,))

    compiled = torch.compile(along, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, x), along(x, x))


@pytest.mark.support("torch.compile under autocast")
@pytest.mark.parametrize("kind", ALL)
def test_autocast(kind: str) -> None:
    module, x = layer(kind), sample(kind)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, expected = flat(compiled(x)), flat(module(x))
    assert all(t.dtype == torch.bfloat16 for t in found)
    torch.testing.assert_close(found, expected, rtol=2**-6, atol=2**-6)


@pytest.mark.slow
@needs_recent_compiler
@pytest.mark.support("compiled autograd")
@pytest.mark.parametrize("kind", LAYERS)
def test_compiled_autograd(kind: str) -> None:
    module, x = layer(kind), sample(kind)
    expected = gradients(module, x)

    def train(x: Tensor) -> None:
        sum(t.square().sum() for t in flat(module(x))).backward()

    with torch._dynamo.config.patch(compiled_autograd=True):
        torch.compile(train, backend="aot_eager")(x)
    torch.testing.assert_close([p.grad for p in module.parameters()], expected)


@pytest.mark.gpu
@pytest.mark.support("torch.compile(mode='reduce-overhead') on a GPU")
@pytest.mark.parametrize("kind", LAYERS)
def test_graphs_of_the_compiler(kind: str) -> None:
    module = layer(kind).cuda()
    compiled = torch.compile(module, mode="reduce-overhead")
    for _ in range(3):
        x = sample(kind).cuda()
        with torch.no_grad():
            torch.testing.assert_close(compiled(x)[0], module(x)[0])


@pytest.mark.parametrize("wanted", ["cpu", "reference"])
def test_a_graph_keeps_its_backend(wanted: str) -> None:
    module, x = layer("GRU"), sample("GRU")
    seen: list[str] = []

    def look(graph: torch.fx.GraphModule, _: Any) -> Any:
        seen.extend(n.args[-1] for n in graph.graph.nodes if "recurrence" in str(n.target))
        return graph

    with rk.backend(wanted):
        torch.compile(module, fullgraph=True, backend=look)(x)
    assert seen == [wanted]
