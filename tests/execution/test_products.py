"""The large products by either library, whichever this processor's maker would have chosen."""

from __future__ import annotations

import pytest
import torch

from rnn_kernels.execution import products

N, K, M = 600, 40, 96  # worth oneDNN's set-up


@pytest.fixture(params=["Intel", "others"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """The calls of oneDNN."""
    if products._pointwise is None:
        pytest.skip("this torch was built without oneDNN")
    calls, onednn = [], products._onednn
    monkeypatch.setattr(products, "_INTEL", request.param == "Intel")
    monkeypatch.setattr(products, "_onednn", lambda *call: calls.append(call) or onednn(*call))
    yield calls
    assert bool(calls) == (request.param == "others")


@pytest.mark.parametrize("bias", [True, False])
def test_linear_and_its_derivatives(bias: bool, library: list[tuple]) -> None:
    x, w = torch.randn(2, N // 2, K, requires_grad=True), torch.randn(M, K, requires_grad=True)
    b = torch.randn(M, requires_grad=True) if bias else None
    inputs = [t for t in (x, w, b) if t is not None]
    found = []
    for dtype, linear in (
        (torch.float32, products.linear),
        (torch.float64, torch.nn.functional.linear),
    ):
        y = linear(*(t if t is None else t.to(dtype) for t in (x, w, b)))
        grads = torch.autograd.grad(y.square().mean(), inputs, create_graph=True)
        again = torch.autograd.grad(sum(g.square().sum() for g in grads), inputs)
        found.append([y.float(), *grads, *again])
    for got, exact in zip(*found, strict=True):
        torch.testing.assert_close(got, exact, rtol=1e-4, atol=1e-5 * exact.abs().max().item())


@pytest.mark.parametrize("rows", [N, 5000])
def test_outer(rows: int, library: list[tuple]) -> None:
    g, x = torch.randn(rows, M), torch.randn(rows, K)
    got = products.outer(g, x)
    assert got.is_contiguous()
    torch.testing.assert_close(got.double(), g.double().T @ x.double(), rtol=1e-5, atol=1e-3)
