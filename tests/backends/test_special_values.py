"""Saturated gates, infinities and NaN behave as in torch; gate functions over their whole range."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import rnn_kernels as rk

DTYPES = [torch.float32, torch.float64]


def pair(cell: str, dtype: torch.dtype) -> tuple[nn.Module, nn.Module]:
    theirs = getattr(nn, cell)(3, 21, bidirectional=True).to(dtype)
    ours = getattr(rk, cell)(3, 21, bidirectional=True).to(dtype)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


@pytest.mark.parametrize("value", [200.0, -200.0, torch.inf, -torch.inf, torch.nan, 1e30, -1e30])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_as_torch(cell: str, dtype: torch.dtype, value: float, backend: str) -> None:
    """In the biases of every other unit, and in one element of the input."""
    for place in ("bias", "input"):
        ours, theirs = pair(cell, dtype)
        x = torch.randn(4, 5, 3, dtype=dtype)
        if place == "input":
            x[1, 2, 0] = value
        else:
            with torch.no_grad():
                for module in (ours, theirs):
                    module.bias_ih_l0[::2] = value
        for a, b in zip(ours(x), theirs(x), strict=True):
            for got, expected in zip(a, b, strict=True):
                torch.testing.assert_close(got, expected, equal_nan=True)


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_saturated_gates_pass_no_gradient(cell: str, backend: str) -> None:
    ours, theirs = pair(cell, torch.float64)
    with torch.no_grad():
        for module in (ours, theirs):
            module.bias_ih_l0[::3] = 200.0
            module.bias_ih_l0[1::3] = -200.0
    x = torch.randn(4, 5, 3, dtype=torch.float64)
    grads = [torch.autograd.grad(m(x)[0].sum(), list(m.parameters())) for m in (ours, theirs)]
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize("dtype", DTYPES)
def test_gate_functions(dtype: torch.dtype, kernels: str) -> None:
    """sigmoid and tanh, read off a GRU without inputs: every magnitude, both signs, within 4 ulp.

    (Triton's exp is exact to ulps of one only.)

    With z = σ(-1000) = 0 the output is tanh(n); with n = tanh(1000) = 1 and h = 0 it is 1 - z.
    """
    interpreted = kernels == "triton" and not torch.cuda.is_available()  # a second for 400 rows
    span = torch.logspace(-30, 2, 301 if interpreted else 4001, dtype=torch.float64)
    x = torch.cat((-span, torch.zeros(1), span)).to(dtype)
    n = len(x)
    recurrence = torch.ops.rnn_kernels.recurrence
    gates = torch.zeros(1, n, 1, 3, dtype=dtype)
    gates[0, :, 0, 1], gates[0, :, 0, 2] = -1000, x
    w_hh, h0 = torch.zeros(1, 3, 1, dtype=dtype), torch.zeros(1, n, 1, dtype=dtype)
    arguments = (w_hh, None, None, h0, None, None, None, True, False, kernels)
    got = recurrence("gru", gates, *arguments)[0].flatten()
    exact = torch.tanh(x.double())
    eps = torch.finfo(dtype).eps
    floor = eps if kernels == "triton" else 0.0
    assert ((got.double() - exact).abs() <= 4 * eps * exact.abs() + floor).all()

    gates[0, :, 0, 1], gates[0, :, 0, 2] = x, 1000
    z = recurrence("gru", gates, *arguments)[4].view(n, 4)[:, 1]
    exact = torch.sigmoid(x.double())
    floor += torch.finfo(dtype).tiny
    assert ((z.double() - exact).abs() <= 4 * eps * exact + floor).all()
