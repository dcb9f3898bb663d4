"""What makes the modules drop-in: parameters, seeds, checks, messages and torch's machinery."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence
from versions import TORCH

import rnn_kernels as rk

LAYERS, CELLS = ["LSTM", "GRU"], ["LSTMCell", "GRUCell"]
# Older versions let some bad arguments pass and say others in other words; we speak as this one.
RECENT = TORCH >= (2, 13)
OPTIONS = [
    {},
    {"num_layers": 3, "bidirectional": True, "bias": False},
    {"batch_first": True, "dropout": 0.5, "num_layers": 2},
]


def state(cell: str, *sizes: int) -> Tensor | tuple[Tensor, Tensor]:
    h = torch.randn(*sizes)
    return (h, h.clone()) if cell.startswith("LSTM") else h


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("cell", LAYERS)
def test_same_parameters_from_the_same_seed(cell: str, options: dict) -> None:
    modules = []
    for library in (rk, nn):
        torch.manual_seed(3)
        modules.append(getattr(library, cell)(4, 6, **options))
    ours, theirs = modules
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a, b)
    assert repr(ours) == repr(theirs)
    assert len(ours.all_weights) == len(theirs.all_weights)


@pytest.mark.parametrize("cell", LAYERS)
def test_dropout_draws_the_masks_of_torch(cell: str) -> None:
    x, modules = torch.randn(7, 5, 4), []
    for library in (rk, nn):
        torch.manual_seed(3)
        modules.append(getattr(library, cell)(4, 6, num_layers=3, dropout=0.4))
    results = []
    for module in modules:
        torch.manual_seed(9)
        results.append(module(x)[0])
    torch.testing.assert_close(*results)
    assert not torch.equal(modules[0](x)[0], results[0])
    torch.testing.assert_close(modules[0].eval()(x)[0], modules[1].eval()(x)[0])


def test_dropout_statistics() -> None:
    """A second layer of identity-like gates would be needed to see masks; a GRU's input product
    shows them: a fraction p of its inputs is zero, the rest is scaled by 1 / (1 - p)."""
    seen: list[Tensor] = []
    layer = rk.GRU(4, 50, num_layers=2, dropout=0.3)
    real = torch.nn.functional.dropout

    def spy(x: Tensor, p: float) -> Tensor:
        seen.append(real(x, p))
        assert p == 0.3
        return seen[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.functional, "dropout", spy)
        layer(torch.randn(40, 20, 4))
    assert len(seen) == 1
    zeros = (seen[0] == 0).double().mean().item()
    assert abs(zeros - 0.3) < 5 * (0.3 * 0.7 / seen[0].numel()) ** 0.5


@pytest.mark.parametrize(
    ("cell", "args", "options"),
    [
        ("LSTM", (0, 3), {}),
        ("LSTM", (3, 0), {}),
        ("LSTM", (3.0, 3), {}),
        ("LSTM", (3, 3), {"num_layers": 0}),
        ("LSTM", (3, 3), {"dropout": 1.5}),
        ("LSTM", (3, 3), {"dropout": True}),
        ("LSTM", (3, 3), {"bias": 1}),
        ("LSTM", (3, 3), {"proj_size": -1}),
        ("LSTM", (3, 3), {"proj_size": 3}),
        ("GRU", (3, 3), {"proj_size": 0}),
        ("GRU", (3, "3"), {}),
        ("GRU", (3, 3), {"batch_first": None}),
    ],
)
def test_constructor_errors_are_torchs(cell: str, args: tuple, options: dict) -> None:
    """Whatever this version of torch objects to."""

    def objection(library: ModuleType) -> tuple[type, str] | None:
        try:
            getattr(library, cell)(*args, **options)
        except (ValueError, TypeError) as error:
            return type(error), str(error)
        return None

    assert objection(rk) == objection(nn)
    assert objection(nn) or not RECENT


def test_arguments_by_position_are_torchs() -> None:
    for args in [(4, 6, 1, True, False, 0.0, False, 0, "cpu", torch.float64), (4, 6, 2, False)]:
        for name in LAYERS:
            ours, theirs = (getattr(library, name)(*args) for library in (rk, nn))
            assert (
                repr(ours) == repr(theirs) and ours.weight_ih_l0.dtype == theirs.weight_ih_l0.dtype
            )


def test_dropout_with_one_layer_warns() -> None:
    with pytest.warns(UserWarning, match="dropout option adds dropout after all but last"):
        rk.LSTM(3, 3, dropout=0.5)


def packed(*lengths: int) -> PackedSequence:
    return pack_padded_sequence(torch.randn(max(lengths), len(lengths), 4), list(lengths))


CALLS = [
    ("a 4-D input", (torch.randn(2, 2, 2, 4),), True),
    ("a 1-D input", (torch.randn(4),), True),
    ("a wrong input size", (torch.randn(5, 2, 3),), True),
    ("a wrong dtype", (torch.randn(5, 2, 4).double(),), True),
    ("no steps", (torch.randn(0, 2, 4),), True),
    ("2-D states for a batch", (torch.randn(5, 2, 4), "1,6"), True),
    ("3-D states for no batch", (torch.randn(5, 4), "1,2,6"), True),
    ("a wrong batch", (torch.randn(5, 2, 4), "1,3,6"), True),
    ("a wrong hidden size", (torch.randn(5, 2, 4), "1,2,7"), True),
    ("a wrong number of layers", (torch.randn(5, 2, 4), "2,2,6"), True),
    ("packed, a state too large", (packed(5, 3), "1,3,6"), False),
    ("packed, a state too small", (packed(5, 3), "1,1,6"), False),
    ("packed, a wrong hidden size", (packed(5, 3), "1,2,7"), False),
]


@pytest.mark.parametrize(("args", "as_torch"), [c[1:] for c in CALLS], ids=[c[0] for c in CALLS])
@pytest.mark.parametrize("cell", LAYERS)
def test_call_errors(cell: str, args: tuple, as_torch: bool) -> None:
    """Torch's error and words; for packed input torch's LSTM checks nothing, we do."""
    if len(args) == 2:
        args = (args[0], state(cell, *map(int, args[1].split(","))))
    with pytest.raises((RuntimeError, ValueError)) as ours:
        getattr(rk, cell)(4, 6)(*args)
    if as_torch:
        if not RECENT:
            pytest.skip("the words of a recent torch")
        with pytest.raises((RuntimeError, ValueError)) as theirs:
            getattr(nn, cell)(4, 6)(*args)
        assert ours.type is theirs.type
        assert str(ours.value) == str(theirs.value)
    else:
        assert ours.type is RuntimeError and "Expected hidden" in str(ours.value)


@pytest.mark.parametrize("cell", LAYERS)
def test_states_of_another_dtype(cell: str) -> None:
    hx = state(cell, 1, 2, 6)
    hx = tuple(h.double() for h in hx) if cell == "LSTM" else hx.double()
    with pytest.raises(RuntimeError, match="Input and hidden tensors are not the same dtype"):
        getattr(rk, cell)(4, 6)(torch.randn(5, 2, 4), hx)


@pytest.mark.parametrize(
    ("args", "sizes"),
    [
        ((torch.randn(2, 2, 4),), None),
        ((torch.randn(2, 3),), None),
        ((torch.randn(2, 4),), (3, 6)),
        ((torch.randn(2, 4),), (2, 7)),
        ((torch.randn(2, 4),), (1, 2, 6)),
    ],
)
@pytest.mark.parametrize("cell", CELLS)
def test_cell_errors_are_torchs(cell: str, args: tuple, sizes: tuple | None) -> None:
    if sizes:
        args = (*args, state(cell, *sizes))
    with pytest.raises((RuntimeError, ValueError)) as theirs:
        getattr(nn, cell)(4, 6)(*args)
    with pytest.raises(theirs.type) as ours:
        getattr(rk, cell)(4, 6)(*args)
    assert str(ours.value).split(", expected")[0] == str(theirs.value).split(", expected")[0]


@pytest.mark.parametrize("cell", LAYERS)
def test_outputs_share_nothing_but_the_view(cell: str) -> None:
    layer = getattr(rk, cell)(4, 6, batch_first=True)
    y, hx = layer(torch.randn(3, 5, 4))
    assert y.shape == (3, 5, 6) and not y.is_contiguous() and y.transpose(0, 1).is_contiguous()
    for h in hx if cell == "LSTM" else [hx]:
        assert h.is_contiguous()
        assert h.untyped_storage().data_ptr() != y.untyped_storage().data_ptr()


@pytest.mark.parametrize("cell", LAYERS)
@pytest.mark.parametrize("parameter", ["weight_hh_l0", "weight_ih_l0"])
def test_a_weight_changed_before_backward_is_noticed(cell: str, parameter: str) -> None:
    layer = getattr(rk, cell)(4, 6)
    y, _ = layer(torch.randn(5, 2, 4, requires_grad=True))
    with torch.no_grad():
        getattr(layer, parameter).mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


@pytest.mark.parametrize("cell", LAYERS)
def test_weights_changed_between_calls_are_seen(cell: str) -> None:
    """However they are changed."""
    x = torch.randn(5, 2, 4)
    ours, theirs = getattr(rk, cell)(4, 6), getattr(nn, cell)(4, 6)

    def agree() -> None:
        torch.testing.assert_close(ours(x)[0], theirs(x)[0])

    ours.load_state_dict(theirs.state_dict())
    agree()
    for module in (ours, theirs):
        with torch.no_grad():
            module.weight_hh_l0.add_(0.5)
    agree()
    for module in (ours, theirs):
        module.weight_hh_l0.data = torch.ones_like(module.weight_hh_l0)
    agree()
    new = {k: torch.randn_like(v) for k, v in theirs.state_dict().items()}
    for module in (ours, theirs):
        module.load_state_dict({k: v.clone() for k, v in new.items()}, assign=True)
    agree()
    for module in (ours, theirs):
        module.weight_hh_l0 = nn.Parameter(torch.zeros(new["weight_hh_l0"].shape))
    agree()
    replaced = {k: 0.1 * v for k, v in new.items()}
    torch.testing.assert_close(
        torch.func.functional_call(ours, replaced, (x,))[0],
        torch.func.functional_call(theirs, replaced, (x,))[0],
    )
    agree()


@pytest.mark.parametrize("cell", LAYERS)
def test_frozen_weights_and_inputs(cell: str) -> None:
    layer = getattr(rk, cell)(4, 6)
    layer.weight_hh_l0.requires_grad_(False)
    layer(torch.randn(3, 2, 4))[0].sum().backward()
    assert layer.weight_hh_l0.grad is None and layer.weight_ih_l0.grad is not None
    frozen = getattr(rk, cell)(4, 6).requires_grad_(False)
    x = torch.randn(3, 2, 4, requires_grad=True)
    frozen(x)[0].sum().backward()
    assert x.grad is not None and all(p.grad is None for p in frozen.parameters())


@pytest.mark.parametrize("cell", LAYERS)
def test_functional_matches_the_module(cell: str) -> None:
    from rnn_kernels.functional import Weights

    layer, x = getattr(rk, cell)(4, 6), torch.randn(3, 2, 4)
    hx = state(cell, 1, 2, 6)
    weights = [[Weights(*layer.parameters())]]
    y, *finals = getattr(rk.functional, cell.lower())(x, hx, weights)
    expected, states = layer(x, hx)
    assert torch.equal(y, expected)
    assert all(map(torch.equal, finals, states if cell == "LSTM" else [states]))
