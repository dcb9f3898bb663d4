"""convert() and to_torch(): in place, the same parameters, and back."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import rnn_kernels as rk

NAMES = ["LSTM", "GRU", "LSTMCell", "GRUCell"]


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(3, 4)
        self.blocks = nn.ModuleList([nn.LSTM(4, 5, 2), nn.Sequential(nn.GRU(5, 4))])
        self.cell = nn.GRUCell(4, 4)
        self.shared = self.blocks[0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x, _ = self.blocks[0](self.embed(x))
        x, _ = self.blocks[1](x)
        return self.cell(x[-1])


def test_there_and_back() -> None:
    model, x = Model(), torch.randn(6, 2, 3)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    before, parameters = model(x), list(model.parameters())
    assert rk.convert(model) is model
    assert type(model.blocks[0]) is rk.LSTM and type(model.blocks[1][0]) is rk.GRU
    assert type(model.cell) is rk.GRUCell and model.shared is model.blocks[0]
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    torch.testing.assert_close(model(x), before)
    model(x).sum().backward()
    optimizer.step()
    assert not torch.allclose(model(x), before)
    after = model(x)
    assert type(rk.to_torch(model).blocks[0]) is nn.LSTM and type(model.cell) is nn.GRUCell
    torch.testing.assert_close(model(x), after)


@pytest.mark.parametrize("name", NAMES)
def test_a_layer_itself(name: str) -> None:
    layer = getattr(nn, name)(3, 4).eval()
    ours = rk.convert(layer)
    assert type(ours) is getattr(rk, name) and not ours.training
    assert type(layer) is getattr(nn, name)
    assert type(rk.to_torch(ours)) is getattr(nn, name)


def test_a_layer_under_two_names_of_one_parent() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = self.b = nn.LSTM(3, 4)

    model = rk.convert(Twice())
    assert type(model.a) is rk.LSTM and model.b is model.a


def test_old_and_new_layer_are_apart() -> None:
    """They share parameters, but not the places where parameters and hooks are kept."""
    old = nn.GRU(3, 4)
    old.compile()
    new, x = rk.convert(old), torch.randn(5, 2, 3)
    assert new._compiled_call_impl is None and new.weight_hh_l0 is old.weight_hh_l0
    new.double().register_buffer("mine", torch.ones(1))
    new.weight_hh_l0 = nn.Parameter(torch.zeros(12, 4, dtype=torch.float64))
    assert not hasattr(old, "mine") and old.weight_hh_l0.abs().sum() > 0
    assert new(x.double())[0].dtype == torch.float64


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_hooks_and_weight_norm_come_along() -> None:
    normed = nn.utils.weight_norm(nn.LSTM(3, 4), "weight_hh_l0")
    ours, x = rk.convert(nn.Sequential(normed)), torch.randn(5, 2, 3)
    assert type(ours[0]) is rk.LSTM
    with torch.no_grad():
        normed.weight_hh_l0_g.mul_(2)
    torch.testing.assert_close(ours(x)[0], normed(x)[0])

    model, calls = nn.Sequential(nn.LSTM(3, 4)), []
    model[0].register_forward_hook(lambda *args: calls.append(1))
    x, expected = torch.randn(5, 2, 3), model(torch.ones(5, 2, 3))[0]
    torch.testing.assert_close(rk.convert(model)(torch.ones(5, 2, 3))[0], expected)
    model(x)
    assert len(calls) == 3


def test_subclasses_are_left_alone() -> None:
    class Mine(nn.LSTM):
        pass

    model = nn.ModuleList([Mine(3, 4), nn.RNN(3, 4), nn.GRU(3, 4)])
    nn.utils.parametrize.register_parametrization(model[2], "weight_hh_l0", nn.Identity())
    kinds = [type(layer) for layer in model]
    rk.convert(model)
    assert [type(layer) for layer in model] == kinds


def test_checkpoints_interchange() -> None:
    ours, theirs = rk.convert(Model()), Model()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(6, 2, 3)
    torch.testing.assert_close(ours(x), theirs(x))
