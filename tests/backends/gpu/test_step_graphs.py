"""Steps replayed from a graph are the steps: bit for bit, whatever came before and after.

Without a GPU a graph is played, see tests/helpers/played_graphs.py. What only CUDA can do wrong is
in test_step_graphs_gpu.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from backend_calls import backward, forward
from played_graphs import Played, forward_args, playing, recorded, same, step_by_step
from running import KERNELS, running
from torch import Tensor

import rnn_kernels as rk
from rnn_kernels.backends.dispatch import BACKENDS
from rnn_kernels.backends.gpu.step_graphs import allowing

T, B, H = 3, 3, 6


@pytest.fixture
def played() -> Iterator[list[Played]]:
    with playing() as made:
        yield made


@pytest.fixture(params=[name for name in KERNELS if name != "cpu"])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Each backend that goes per step, as it does."""
    with running(request.param, request.node.nodeid) as name:
        monkeypatch.setattr(BACKENDS[name], "plan", lambda *args: "this test wants steps")
        yield BACKENDS[name]


def copies(args: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(a.clone() if isinstance(a, Tensor) else a for a in args)


def spoil(tensors: list[Tensor]) -> None:
    for t in tensors:
        if t.is_floating_point():
            t.fill_(torch.nan)


def replayed(run: Callable[..., Any], calls: Iterator[tuple[Any, ...]]) -> None:
    """All calls give what they give step by step, and go on to do so when others follow."""
    results = []
    for args in calls:
        expected = step_by_step(run, *copies(args))
        results.append((allowing(run, *args), expected))
        taken = {t.data_ptr() for t in results[-1][0] if t is not None}  # gx, where it is saved
        spoil([a for a in args if isinstance(a, Tensor) and a.data_ptr() not in taken])
    assert all(same(got, expected) for got, expected in results)


CASES = [(cell, D, dtype) for cell, D, dtype in [
    ("lstm", 1, torch.float64), ("lstm", 2, torch.float32), ("lstm", 2, torch.bfloat16),
    ("gru", 2, torch.float64), ("gru", 1, torch.float32), ("gru", 1, torch.bfloat16),
]]  # fmt: skip


def few(cases: list[tuple], backend: Any) -> list[tuple]:
    """Interpreted the first alone: what is copied does not depend on who computes."""
    return cases[:1] if backend is BACKENDS["triton"] and not torch.cuda.is_available() else cases


@pytest.mark.parametrize("resets", [False, True])
@pytest.mark.parametrize(("cell", "D", "dtype"), CASES)
def test_forward(
    cell: str, D: int, dtype: torch.dtype, resets: bool, backend: Any, played: list
) -> None:
    for save, own in few([(True, False), (True, True), (False, False)], backend):
        rk.clear_graphs()

        def calls(save: bool = save, own: bool = own) -> Iterator[tuple[Any, ...]]:
            for rows in (B, B, 2 * B, B):
                yield forward_args(cell, D, dtype, (T, rows, H), resets, save, own)

        replayed(partial(forward, backend), calls())
        assert recorded() == 1


@pytest.mark.parametrize("resets", [False, True])
@pytest.mark.parametrize(("cell", "D", "dtype"), CASES)
def test_backward(
    cell: str, D: int, dtype: torch.dtype, resets: bool, backend: Any, played: list
) -> None:
    def calls(given: str, weights: bool) -> Iterator[tuple[Any, ...]]:
        for rows in (B, B, 2 * B, B):
            args = forward_args(cell, D, dtype, (T, rows, H), resets, True, False)
            y, h_n, c_n, c, saved = step_by_step(forward, backend, *copies(args))
            _, _, w, _, _, h0, c0, _, cuts, *_ = args
            grads = {"dy": y, "dh_n": h_n, "dc_n": c_n, "dc": c}
            grads = [
                torch.randn_like(t) if t is not None and name in given.split() else None
                for name, t in grads.items()
            ]
            yield cell, *grads, w, None, h0, c0, y, c, saved, None, cuts, weights, weights

    some = [("dy", True), ("dc_n", False)] if resets else [("dh_n", False)]
    for given, weights in few([("dy dh_n dc_n dc", True), *some], backend):
        rk.clear_graphs()
        replayed(partial(backward, backend), calls(given, weights))
        assert recorded() == 1


def test_the_same_tensor_twice_is_two_inputs(played: list[Played]) -> None:
    """That two arrays were one in the call that was recorded must not make them one for good."""

    def calls() -> Iterator[tuple[Any, ...]]:
        for twice in (True, True, False, False, True, False):
            args = list(forward_args("lstm", 1, torch.float64, (T, B, H), False, True, False))
            args[6] = args[5] if twice else args[6]
            yield tuple(args)

    with running("triton", "") as name:
        replayed(partial(forward, BACKENDS[name]), calls())
    assert len(played) == 2


def train(layer: torch.nn.Module, x: Tensor) -> tuple[Tensor, ...]:
    y, state = layer(x)
    h = state[0] if isinstance(state, tuple) else state
    return y, *torch.autograd.grad(y.square().sum() + h.sum(), list(layer.parameters()))


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_layers_in_any_order(cell: str, backend: Any, played: list) -> None:
    """Two layers that share graphs; both forwards, then both backwards; weights that change."""
    layers = [getattr(rk, cell)(4, H, bidirectional=True).double() for _ in range(2)]

    def run(xs: list[Tensor]) -> list[Tensor]:
        ys = [layer(x)[0] for layer, x in zip(layers, xs, strict=True)]
        parameters = [p for layer in layers for p in layer.parameters()]
        total = sum(y.square().sum() for y in ys)
        return [*ys, *torch.autograd.grad(total, parameters)]

    for _ in range(3):
        xs = [torch.randn(T, B, 4).double() for _ in layers]
        assert same(run(xs), step_by_step(run, xs))
        with torch.no_grad():
            for p in (p for layer in layers for p in layer.parameters()):
                p.mul_(0.9)
    assert recorded() == 2


def test_modes_of_autograd_share_a_graph(backend: Any, played: list[Played]) -> None:
    """Recorded in inference mode, replayed without; results can be used where they are made."""
    layer, x = rk.GRU(4, H).double(), torch.randn(T, B, 4).double()
    for mode in (torch.inference_mode, torch.inference_mode, torch.no_grad, torch.inference_mode):
        with mode():
            y = layer(x)[0]
            assert same((y,), step_by_step(layer, x)[:1])
            assert y.is_inference() == torch.is_inference_mode_enabled()
    assert recorded() == 1
    with rk.recompute():
        assert same(train(layer, x), step_by_step(train, layer, x))
