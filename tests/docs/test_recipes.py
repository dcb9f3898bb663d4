"""The cells of docs/recipes.md do what their papers say."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from paths import DOCS
from torch import nn

import rnn_kernels as rk
from rnn_kernels.functional import gru_gates, lstm_gates

PAGE = DOCS / "recipes.md"


@pytest.fixture(scope="module")
def recipes() -> dict[str, Any]:
    """What the page defines."""
    text = PAGE.read_text()
    found: dict[str, Any] = {"torch": torch, "nn": nn, "rk": rk, "lstm_gates": lstm_gates}
    for name in ("Dropped", "NormalisedLSTM"):
        block = next(
            b for b in re.findall(r"```python\n(.*?)```", text, re.S) if f"class {name}" in b
        )
        exec(re.search(rf"class {name}.*?\n(?=\n\n)", block, re.S)[0], found)
    return found


@pytest.mark.support("LayerNorm, by lstm_gates and gru_gates", "LSTM")
def test_layer_norm_lstm(recipes: dict[str, Any]) -> None:
    cell = recipes["NormalisedLSTM"](6, 7).double().eval()
    x, (h, c) = torch.randn(5, 3, 6).double(), torch.randn(2, 3, 7).double()
    y, _ = cell(x, h, c)
    for t, step in enumerate(x):
        gates = cell.norm_x(cell.x(step)) + cell.norm_h(cell.h(h))
        i, f, g, o = gates.chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        torch.testing.assert_close(y[t], h)
    expected = torch.autograd.grad(h.square().sum(), list(cell.parameters()))
    found = torch.autograd.grad(y[-1].square().sum(), list(cell.parameters()))
    torch.testing.assert_close(found, expected)


@pytest.mark.support("LayerNorm, by lstm_gates and gru_gates", "GRU")
def test_layer_norm_gru() -> None:
    norm, x, w = nn.LayerNorm(21).double(), torch.randn(3, 21).double(), torch.randn(21, 7).double()
    h = torch.randn(3, 7).double()
    gx, gh = norm(x), norm(h @ w.T)
    r, z = (gx[:, :14] + gh[:, :14]).sigmoid().chunk(2, 1)
    n = (gx[:, 14:] + r * gh[:, 14:]).tanh()
    torch.testing.assert_close(gru_gates(gx, gh, h), (1 - z) * n + z * h)


@pytest.mark.support("recurrent dropout and zoneout, by lstm_gates", "LSTM")
def test_dropout_and_zoneout(recipes: dict[str, Any]) -> None:
    x, (h, c) = torch.randn(9, 40, 6), torch.randn(2, 40, 7)
    cell = recipes["NormalisedLSTM"](6, 7, zoneout=0.3)
    y, _ = cell(x, h, c)
    kept = (y[1:] == y[:-1]).float().mean().item()
    assert abs(kept - 0.3) < 0.05
    still = recipes["NormalisedLSTM"](6, 7, zoneout=1.0).eval()
    torch.testing.assert_close(still(x, h, c)[0], h.expand(9, 40, 7))
    dropped = recipes["NormalisedLSTM"](6, 7, dropout=1.0)
    torch.testing.assert_close(dropped(x[:1], h, c)[0], dropped(x[:1], 0 * h, c)[0])
    dropped.eval()
    assert not torch.allclose(dropped(x[:1], h, c)[0], dropped(x[:1], 0 * h, c)[0])


@pytest.mark.support("weight drop, by a parametrization")
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_weight_drop(recipes: dict[str, Any], kind: str) -> None:
    module, x = getattr(rk, kind)(6, 7), torch.randn(5, 3, 6)
    plain, weight = module(x)[0], module.weight_hh_l0.detach().clone()
    nn.utils.parametrize.register_parametrization(module, "weight_hh_l0", recipes["Dropped"](0.5))
    torch.testing.assert_close(module.eval()(x)[0], plain)
    module.train()
    torch.manual_seed(3)
    y = module(x)[0]
    torch.manual_seed(3)
    mask = nn.functional.dropout(torch.ones_like(weight), 0.5)
    expected = torch.func.functional_call(
        getattr(nn, kind)(6, 7),
        {n.replace("parametrizations.", "").replace(".original", ""): p for n, p in
         module.named_parameters()} | {"weight_hh_l0": weight * mask},
        (x,),
    )[0]  # fmt: skip
    torch.testing.assert_close(y, expected)
    y.sum().backward()
    grad = module.parametrizations.weight_hh_l0.original.grad
    assert torch.equal(grad == 0, mask == 0)
