"""Layers side by side: the same numbers, and nothing that could overtake."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from lanes_on_cpu import InOrder, Unsafe, Watched
from running import running
from tolerance import Tensors, compare, run, tensors
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.checkpoint import checkpoint

import rnn_kernels as rk
from rnn_kernels import functional
from rnn_kernels.core.calls import Layer, LayerResults, Stack
from rnn_kernels.execution import wavefront

CELLS = ["LSTM", "GRU"]
T, B, I, H = 11, 4, 5, 7


@pytest.fixture
def sided(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Tensors]]:
    """Runs a module's layers one by one, and side by side in chunks of the lengths given."""
    used = []

    def stack(*args: object) -> tuple:
        used.append(args[1])
        return wavefront_run(*args)

    wavefront_run = wavefront.run

    def both(module: nn.Module, args: tuple, lengths: tuple[int, ...], **options: object) -> list:
        results = [run(module, args, **options)]
        with monkeypatch.context() as patch:
            patch.setattr(wavefront, "lengths", lambda *call: lengths)
            patch.setattr(wavefront, "run", stack)
            patch.setattr(wavefront, "Lanes", lambda device, count: InOrder())
            results.append(run(module, args, **options))
        assert used.pop() == lengths
        return results

    return both


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """All stacks run side by side."""
    monkeypatch.setattr(wavefront, "lengths", lambda *call: (4, 4, 3))
    monkeypatch.setattr(wavefront, "Lanes", lambda device, count: InOrder())


def call(cell: str, L: int, form: str, module: nn.Module) -> tuple[tuple, dict]:
    """Arguments and options of a call; ``form`` names what is special."""
    size, like = (B, T) if module.batch_first else (T, B), module.weight_hh_l0
    x, done = torch.randn(*size, I).to(like), torch.rand(size) < 0.2
    states = [torch.randn(L, B, H).to(like).requires_grad_() for _ in range(2)]
    if "packed" in form:  # rows that end in the first, a middle and the last chunk
        lengths = [2, 11, 6, 9]
        first = module.batch_first
        x, done = (pack_padded_sequence(t, lengths, first, False) for t in (x, done))
    (x.data if "packed" in form else x).requires_grad_()
    options: dict = {"resets": done} if "reset" in form else {}
    if cell == "LSTM" and "cells" in form:
        options["return_cells"] = True
    return (x, tuple(states) if cell == "LSTM" else states[0]), options


@pytest.mark.parametrize("form", ["", "reset cells", "packed", "packed reset cells"])
@pytest.mark.parametrize("lengths", [(4, 4, 3), (6, 5), (1,) * 11, (10, 1)], ids=str)
@pytest.mark.parametrize("L", [2, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_the_same_numbers(
    cell: str, L: int, lengths: tuple[int, ...], form: str, sided: Callable
) -> None:
    for batch_first, recompute in ((False, False), (True, False), (False, True)):
        layer = getattr(rk, cell)(I, H, L, batch_first=batch_first, bias=L == 2)
        args, options = call(cell, L, form, layer)
        if recompute:
            with rk.recompute():
                ordinary, ours = sided(layer, args, lengths, **options)
        else:
            ordinary, ours = sided(layer, args, lengths, **options)
        torch.testing.assert_close(ours, ordinary)


@pytest.mark.parametrize("kind", ["cpu", "emulated"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("cell", CELLS)
def test_the_rule(cell: str, dtype: torch.dtype, kind: str, always: None) -> None:
    """At a chunk's end a state is rounded to the storage type, as the results of a call are."""
    ours, theirs = (getattr(of, cell)(I, 24, 2, batch_first=True) for of in (rk, nn))
    x = torch.randn(3, T, I, dtype=torch.float64)
    with running(kind, f"{cell} {dtype}"):
        compare(ours, theirs, (x,), dtype)
        packed = pack_padded_sequence(x, [11, 5, 2], batch_first=True)
        compare(ours.float(), theirs.float(), (packed,), dtype)


def test_the_same_without_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = rk.LSTM(I, H, 3), torch.randn(T, B, I)
    with torch.no_grad():
        expected = layer(x)
        monkeypatch.setattr(wavefront, "lengths", lambda *call: (4, 4, 3))
        monkeypatch.setattr(wavefront, "Lanes", lambda device, count: InOrder())
        torch.testing.assert_close(layer(x), expected)


@pytest.mark.slow
def test_second_derivatives(always: None) -> None:
    for cell, form in (("LSTM", "packed reset cells"), ("GRU", "reset")):
        layer = getattr(rk, cell)(I, 2, 2).double()
        x = torch.randn(T, 2, I, dtype=torch.float64, requires_grad=True)
        done = torch.rand(T, 2) < 0.2
        lengths = [7, 11] if "packed" in form else [11, 11]

        def function(
            x: Tensor, *weights: Tensor, layer=layer, done=done, lengths=lengths
        ) -> Tensor:
            names = dict(zip(dict(layer.named_parameters()), weights, strict=True))
            values, resets = (
                pack_padded_sequence(t, lengths, enforce_sorted=False) for t in (x, done)
            )
            results = torch.func.functional_call(layer, names, (values,), {"resets": resets})
            return tuple(tensors(results).values())

        inputs = x, *layer.parameters()
        assert torch.autograd.gradgradcheck(function, inputs, fast_mode=True)


@pytest.mark.parametrize("reentrant", [False, True])
def test_inside_a_checkpoint(reentrant: bool, always: None) -> None:
    layer, x = rk.LSTM(I, H, 2), torch.randn(T, B, I, requires_grad=True)
    (expected,) = torch.autograd.grad(layer(x)[0].sum(), x)
    checkpoint(lambda x: layer(x)[0], x, use_reentrant=reentrant).sum().backward()
    torch.testing.assert_close(x.grad, expected)


def test_rows_that_do_not_fit_are_an_error(always: None) -> None:
    """Even where every chunk is in order."""
    layer, x = rk.GRU(I, H, 2), torch.randn(17, I)
    sizes = torch.tensor([2, 2, 1, 1, 2, 2, 2, 2, 1, 1, 1])
    call = [x, torch.zeros(2, 2, H), layer._weights()]
    with pytest.raises(RuntimeError, match="batch_sizes should decrease from at most 2"):
        functional.gru(*call, batch_sizes=sizes)
    y, h_n = functional.gru(*call, batch_sizes=torch.tensor([2] * 8 + [1, 0, 0]))
    assert y.shape == (17, H) and torch.equal(y[-1], h_n[1, 0])


def test_autocast(sided: Callable) -> None:
    for cell in CELLS:
        layer = getattr(rk, cell)(I, H, 2)
        args, options = call(cell, 2, "reset", layer)
        with torch.autocast("cpu", torch.bfloat16):
            ordinary, ours = sided(layer, args, (4, 4, 3), **options)
        assert ours["output[0]"].dtype == torch.bfloat16
        for name, value in ordinary.items():
            assert ours[name].dtype == value.dtype, name
            torch.testing.assert_close(ours[name], value, rtol=0, atol=0.02 * value.abs().max())


def test_dropout_between_layers(sided: Callable) -> None:
    layer = rk.GRU(64, 64, 2, dropout=0.3).double()
    x = torch.randn(T, 64, 64, dtype=torch.float64)
    nn.init.eye_(layer.weight_ih_l1[:64].detach())

    def ours() -> Tensors:
        torch.manual_seed(1)
        return sided(layer, (x,), (4, 4, 3))[1]

    first, again = ours(), ours()
    assert all(torch.equal(first[name], value) for name, value in again.items())
    ordinary, same = sided(layer.eval(), (x,), (4, 4, 3))
    torch.testing.assert_close(same, ordinary)
    assert not torch.equal(same["output[0]"], first["output[0]"])


def test_dropout_drops_as_much_as_it_should(monkeypatch: pytest.MonkeyPatch) -> None:
    """In each chunk anew, and what is left is scaled."""
    seen: list[Tensor] = []

    def layer(call: Layer) -> LayerResults:
        seen.append(call.x)
        return LayerResults(torch.ones_like(call.x), call.h0, call.c0, None)

    weights = [[functional.Weights(torch.zeros(1), torch.zeros(1))]] * 2
    x, h0 = torch.zeros(40, 50, 10), torch.zeros(2, 50, 10)
    monkeypatch.setattr(wavefront.layer, "run", layer)
    monkeypatch.setattr(wavefront, "Lanes", lambda device, count: InOrder())
    wavefront.run(Stack("gru", x, weights, h0, None, dropout=0.3), (20, 20))
    dropped = [s for s in seen if s.any()]
    assert len(dropped) == 2 and not torch.equal(*dropped)
    for values in dropped:
        torch.testing.assert_close(values.max().item(), 1 / 0.7)
        assert abs((values == 0).float().mean() - 0.3) < 0.02


def watched(cell: str, form: str, without: tuple[str, int] | None = None) -> Watched:
    """A call of three layers in three chunks, looked at."""
    layer = getattr(rk, cell)(I, H, 3, dropout=0.5)
    args, options = call(cell, 3, form, layer)
    mode = Watched(3, (args[0].batch_sizes,) if "packed" in form else (), without)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wavefront, "lengths", lambda *call: (4, 4, 3))
        patch.setattr(wavefront, "Lanes", lambda device, count: mode)
        with mode:
            layer(*args, **options)
    mode.check_memory()
    return mode


@pytest.mark.parametrize("form", ["", "reset cells", "packed reset cells"])
@pytest.mark.parametrize("cell", CELLS)
def test_nothing_can_overtake(cell: str, form: str) -> None:
    mode = watched(cell, form)
    assert mode.issued == [0, 0, 1, 0, 1, 2, 1, 2, 2]  # diagonal by diagonal
    assert len(mode.touched) > 30 and {lane for _, lane in mode.touched} == {-1, 0, 1, 2}
    with torch.no_grad():
        watched(cell, form)
    with rk.recompute():
        watched(cell, form)


@pytest.mark.parametrize("cell", CELLS)
def test_every_wait_and_declaration_is_needed(cell: str) -> None:
    calls = watched(cell, "reset cells").calls
    assert calls["wait"] == 1 + 2 * 3 + 1
    for what, count in calls.items():
        for number in range(count):
            with pytest.raises(Unsafe):
                watched(cell, "reset cells", (what, number))
