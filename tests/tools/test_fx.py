"""torch.fx: layers are leaves of its graphs, as torch.nn's are."""

from __future__ import annotations

import pytest
import torch
from layers import ALL, CELLS, LAYERS, First, H, I, Resets, flat, layer, sample
from torch import Tensor, nn

import rnn_kernels as rk


@pytest.mark.support("torch.fx.symbolic_trace, as a leaf")
@pytest.mark.parametrize("kind", ALL)
def test_fx(kind: str) -> None:
    model, x = First(layer(kind)), sample(kind)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model.inner

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x) if kind == "GRUCell" else self.inner(x)[0]

    graph = torch.fx.symbolic_trace(Model())
    assert [n.target for n in graph.graph.nodes if n.op == "call_module"] == ["inner"]
    torch.testing.assert_close(graph(x), model(x))
    with pytest.raises(torch.fx.proxy.TraceError, match=f"{kind} is a leaf of torch.fx's graphs"):
        torch.fx.symbolic_trace(model.inner)


@pytest.mark.parametrize("kind", ALL)
def test_fx_runs_hooks_once_or_says_that_it_cannot(kind: str) -> None:
    class Doubling(getattr(rk, kind)):
        def forward(self, x: Tensor) -> object:
            return super().forward(2 * x)

    hooked = layer(kind)
    hooked.register_forward_pre_hook(lambda module, args: (2 * args[0],))
    for inner in (hooked, Doubling(I, H)):
        model = nn.Sequential(inner)
        with pytest.raises(torch.fx.proxy.TraceError, match=r"\(0\) has hooks or a forward of its"):
            torch.fx.symbolic_trace(model)

        class Tracer(torch.fx.Tracer):
            def is_leaf_module(self, module: nn.Module, name: str) -> bool:
                return True

        graph = torch.fx.GraphModule(model, Tracer().trace(model))
        x = sample(kind)
        torch.testing.assert_close(flat(graph(x)), flat(model(x)))


@pytest.mark.parametrize("kind", ALL)
def test_fx_of_a_state_alone(kind: str) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = layer(kind)
            self.register_buffer("x", sample(kind))

        def forward(self, h: Tensor) -> object:
            return self.inner(self.x, (h, h) if "LSTM" in kind else h)

    model, h = Model(), torch.randn(3, H) if kind in CELLS else torch.randn(1, 3, H)
    torch.testing.assert_close(flat(torch.fx.symbolic_trace(model)(h)), flat(model(h)))


@pytest.mark.parametrize("kind", LAYERS)
def test_fx_keeps_what_torch_does_not_know(kind: str) -> None:
    model = Resets(layer(kind))
    args = sample(kind), torch.rand(5, 3) < 0.4
    torch.testing.assert_close(torch.fx.symbolic_trace(model)(*args), model(*args))
