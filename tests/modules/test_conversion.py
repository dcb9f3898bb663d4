"""convert(), to_torch() and posing_as_torch(): in place, the same objects, and back."""

from __future__ import annotations

import copy
import pickle
import warnings
from abc import ABC
from collections.abc import Callable
from typing import Generic, TypeVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

import rnn_kernels as rk

T = TypeVar("T")
NAMES = ["LSTM", "GRU", "LSTMCell", "GRUCell"]


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(3, 4)
        self.blocks = nn.ModuleList([nn.LSTM(4, 5, 2), nn.Sequential(nn.GRU(5, 4))])
        self.cell = nn.GRUCell(4, 4)
        self.shared = self.blocks[0]

    def forward(self, x: Tensor) -> Tensor:
        x, _ = self.blocks[0](self.embed(x))
        x, _ = self.blocks[1](x)
        return self.cell(x[-1])


class Doubling(nn.LSTM):
    """A subclass that wraps forward, and has a method of its own."""

    def forward(self, x: Tensor, hx: tuple | None = None) -> tuple:
        y, state = super().forward(x, hx)
        return 2 * y, state

    def width(self) -> int:
        return self.hidden_size


class Named(nn.GRU):
    """A subclass that only adds a method."""

    def width(self) -> int:
        return self.hidden_size


class Mixed(ABC, Generic[T], nn.LSTM):
    """A subclass with bases of another layout."""

    def width(self) -> int:
        return self.hidden_size


class Sealed(nn.LSTM):
    """A subclass that will not have any of its own."""

    def __init_subclass__(cls) -> None:
        raise TypeError("sealed")


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
    assert rk.convert(layer) is layer
    assert type(layer) is getattr(rk, name) and not layer.training
    assert rk.to_torch(layer) is layer and type(layer) is getattr(nn, name)


@pytest.mark.parametrize("name", NAMES)
def test_whoever_knows_the_layer_still_does(name: str) -> None:
    """Lists that modules keep, hooks, and what torch.compile made of it."""
    layer, calls = getattr(nn, name)(3, 4), []
    layer.register_forward_hook(lambda module, args, output: calls.append(module))
    layer.compile(backend="eager")
    x = torch.randn(2, 3) if name in NAMES[2:] else torch.randn(5, 2, 3)
    expected = layer(x)
    elsewhere = [layer]
    rk.convert(nn.Sequential(layer))
    assert type(elsewhere[0]) is getattr(rk, name)
    torch.testing.assert_close(elsewhere[0](x), expected)
    assert calls == [layer, layer]


@pytest.mark.parametrize("kind", [Doubling, Named, Mixed])
def test_a_subclass_becomes_both(kind: type[nn.Module], monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = nn.ModuleList([kind(3, 4, 2)]), torch.randn(5, 2, 3)
    expected = model[0](x)
    rk.convert(model)
    ours = rk.GRU if kind is Named else rk.LSTM
    assert isinstance(model[0], kind) and isinstance(model[0], ours) and model[0].width() == 4
    torch.testing.assert_close(model[0](x), expected)
    ran: list[object] = []
    real = ours._run
    monkeypatch.setattr(ours, "_run", lambda self, *args: ran.append(self) or real(self, *args))
    model[0](x)
    assert ran == [model[0]]  # our kernels, not torch's
    for twin in (copy.deepcopy(model[0]), pickle.loads(pickle.dumps(model[0]))):
        assert type(twin) is type(model[0])
        torch.testing.assert_close(twin(x), expected)
    assert type(rk.to_torch(model)[0]) is kind
    torch.testing.assert_close(model[0](x), expected)


@pytest.mark.parametrize("name", NAMES)
def test_a_parametrized_layer(name: str) -> None:
    layer = getattr(nn, name)(3, 4)
    weight = "weight_hh" if name.endswith("Cell") else "weight_hh_l0"
    parametrize.register_parametrization(layer, weight, nn.Tanh())
    x = torch.randn(2, 3) if name.endswith("Cell") else torch.randn(5, 2, 3)
    expected = layer(x)
    rk.convert(layer)
    assert isinstance(layer, getattr(rk, name)) and not isinstance(layer, getattr(nn, name))
    torch.testing.assert_close(layer(x), expected)
    with rk.posing_as_torch(layer):
        assert isinstance(layer, getattr(nn, name))
        torch.testing.assert_close(layer(x), expected)
    rk.to_torch(layer)
    assert isinstance(layer, getattr(nn, name)) and not isinstance(layer, getattr(rk, name))
    torch.testing.assert_close(layer(x), expected)
    rk.convert(layer)
    parametrize.remove_parametrizations(layer, weight)
    assert type(layer) is getattr(rk, name)
    torch.testing.assert_close(layer(x), expected)


class Remade(nn.GRU):
    """A subclass with a way of its own to be pickled."""

    def __reduce__(self) -> tuple:
        return type(self), (self.input_size, self.hidden_size), {}

    def __setstate__(self, state: dict) -> None:
        pass


@pytest.mark.parametrize("kind", [Doubling, Named, Remade])
def test_a_converted_subclass_makes_more_of_its_kind(kind: type[nn.Module]) -> None:
    layer = rk.convert(kind(3, 4))
    more = type(layer)(3, 4, 2) if kind is not Remade else pickle.loads(pickle.dumps(layer))
    assert type(more) is type(layer) and more.hidden_size == 4
    more(torch.randn(5, 2, 3))


@pytest.mark.parametrize("name", NAMES)
def test_a_posing_layer_makes_more_of_its_kind(name: str) -> None:
    layer = getattr(rk, name)(3, 4)
    with rk.posing_as_torch(layer):
        assert isinstance(type(layer)(3, 5), getattr(nn, name))


class Lenient(nn.LSTM):
    """A subclass that forward of torch.nn's heeds, and ours would not."""

    def check_forward_args(self, *args: object) -> None:
        pass


def replaced(layer: nn.Module) -> nn.Module:
    layer.forward = layer.forward
    return layer


def scripted(layer: nn.Module) -> nn.Module:
    return torch.jit.script(layer)


def quantized(layer: nn.Module) -> nn.Module:
    model = torch.ao.quantization.quantize_dynamic(nn.Sequential(layer), {nn.LSTM})
    return model[0]


LEFT = [
    (lambda layer: nn.RNN(3, 4), "RNN is left: there are kernels for the LSTM and the GRU alone"),
    (lambda layer: nn.RNNCell(3, 4), "RNNCell is left: there are kernels for the LSTM and"),
    (replaced, "LSTM is left: its forward was replaced on the instance"),
    (scripted, "is left: TorchScript has compiled it"),
    (quantized, "is left: it is quantized"),
    (lambda layer: Lenient(3, 4), "is left: Lenient overrides what torch.nn's forward calls"),
    (lambda layer: Sealed(3, 4), "Sealed is left: its class cannot be changed: sealed"),
]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("made", "why"), LEFT)
def test_what_is_left_is_said(made: Callable[[nn.Module], nn.Module], why: str) -> None:
    model = nn.ModuleList([nn.Linear(1, 1), made(nn.LSTM(3, 4)), nn.GRU(3, 4)])
    kind, lines = type(model[1]), []
    with pytest.warns(UserWarning, match=f"convert: 1: .*{why}"):
        rk.convert(model)
    assert type(model[1]) is kind and type(model[2]) is rk.GRU
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rk.convert(model, report=lines.append)
    assert len(lines) == 1 and lines[0].startswith("1: ") and why in lines[0]


def test_a_report_of_what_became_of_each() -> None:
    model, lines = nn.ModuleDict({"a": Model(), "b": Doubling(3, 4)}), []
    rk.convert(model, report=lines.append)
    assert lines == [
        "a.blocks.0: torch.nn.modules.rnn.LSTM now runs on rnn_kernels.LSTM",
        "a.blocks.1.0: torch.nn.modules.rnn.GRU now runs on rnn_kernels.GRU",
        "a.cell: torch.nn.modules.rnn.GRUCell now runs on rnn_kernels.GRUCell",
        f"b: {__name__}.Doubling now runs on rnn_kernels.LSTM",
    ]
    lines.clear()
    rk.convert(model, report=lines.append)  # again, with nothing to do
    assert lines == []
    layer = nn.GRU(3, 4)
    rk.convert(layer, report=lines.append)
    assert lines == ["(the model itself): torch.nn.modules.rnn.GRU now runs on rnn_kernels.GRU"]


def test_subclasses_of_ours_have_no_way_back() -> None:
    class Mine(rk.GRU):
        pass

    model = nn.Sequential(Mine(3, 4))
    with pytest.warns(UserWarning, match="0: .*Mine is left: it is a subclass of a layer of ours"):
        rk.to_torch(model)
    assert type(model[0]) is Mine


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_weight_norm_comes_along() -> None:
    normed = nn.utils.weight_norm(nn.LSTM(3, 4), "weight_hh_l0")
    x = torch.randn(5, 2, 3)
    with torch.no_grad():
        normed.weight_hh_l0_g.mul_(2)
    expected = normed(x)[0]
    ours = rk.convert(nn.Sequential(normed))
    assert type(ours[0]) is rk.LSTM
    torch.testing.assert_close(ours(x)[0], expected)
    with torch.no_grad():
        normed.weight_hh_l0_g.mul_(2)
    assert not torch.allclose(ours(x)[0], expected)


@pytest.mark.support("isinstance(m, torch.nn.…), in rk.posing_as_torch", "all")
@pytest.mark.parametrize("name", NAMES)
def test_posing(name: str) -> None:
    layer, kind = getattr(rk, name)(3, 4), getattr(nn, name)
    x = torch.randn(2, 3) if name.endswith("Cell") else torch.randn(5, 2, 3)
    expected, model = layer(x), nn.Sequential(layer)
    assert not isinstance(layer, kind)
    with pytest.raises(KeyError), rk.posing_as_torch(model) as same:
        assert same is model and isinstance(model[0], kind) and isinstance(model[0], type(layer))
        torch.testing.assert_close(layer(x), expected)
        twin = pickle.loads(pickle.dumps(layer))
        torch.testing.assert_close(twin(x), expected)
        raise KeyError
    assert type(layer) is getattr(rk, name)


def test_checkpoints_interchange() -> None:
    ours, theirs = rk.convert(Model()), Model()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(6, 2, 3)
    torch.testing.assert_close(ours(x), theirs(x))
