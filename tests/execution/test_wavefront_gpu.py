"""Layers side by side on streams of a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence
from torch.utils.checkpoint import checkpoint

import rnn_kernels as rk
from rnn_kernels.backends import BACKENDS
from rnn_kernels.backends.gpu import lanes
from rnn_kernels.execution import wavefront

pytestmark = pytest.mark.gpu
T, B, I, H, L = 90, 8, 24, 128, 3
LENGTHS = (31, 30, 29)
CELLS = ["LSTM", "GRU"]


@pytest.fixture(autouse=True)
def on_cuda() -> Iterator[None]:
    with rk.backend("cuda"), torch.device("cuda"):
        yield


@pytest.fixture
def sided(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    return lambda: monkeypatch.setattr(wavefront, "lengths", lambda *call: LENGTHS)


def forms(layer: nn.Module) -> Iterator[tuple[Tensor | PackedSequence, dict]]:
    x = torch.randn(T, B, I).to(layer.weight_ih_l0).requires_grad_()
    yield x, {}
    yield x, {"resets": torch.rand(T, B) < 0.05}
    yield pack_padded_sequence(x, [90, 80, 61, 60, 31, 31, 5, 1]), {}


def train(layer: nn.Module, x: Tensor | PackedSequence, options: dict) -> list[Tensor]:
    y, states = layer(x, **options)
    y = y.data if isinstance(y, PackedSequence) else y
    loss = y.float().square().sum() + sum(s.float().sum() for s in states)
    wanted = [*layer.parameters(), x.data if isinstance(x, PackedSequence) else x]
    wanted = [t for t in wanted if t.is_leaf]
    return [y.detach(), *torch.autograd.grad(loss, wanted)]


def close(ours: list[Tensor], expected: list[Tensor]) -> None:
    for a, b in zip(ours, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0.02 * b.abs().max().item())


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("cell", CELLS)
def test_the_same_numbers_every_time(
    cell: str, dtype: torch.dtype, recompute: bool, sided: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = getattr(rk, cell)(I, H, L).to(dtype)
    for x, options in forms(layer):
        with monkeypatch.context() as patch:
            patch.setattr(wavefront, "lengths", lambda *call: None)
            expected = train(layer, x, options)
        sided()
        mode = rk.recompute if recompute else torch.enable_grad
        for _ in range(20):
            torch.cuda._sleep(3_000_000)  # what does not wait comes too early
            with mode():
                ours = train(layer, x, options)
            junk = [torch.full_like(t, float("nan")) for t in ours]  # takes memory that is free
            close(ours, expected)
            del junk


def test_a_lane_is_planned_with_its_share(sided: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in the backward, which runs in another thread."""
    seen: list[tuple[bool, int]] = []
    cuda = BACKENDS["cuda"]
    plan = cuda.plan

    def spy(cell: str, like: Tensor, sizes: tuple, backward: bool, *rest: object) -> object:
        seen.append((backward, lanes.beside(*cuda.stream_of(like.device))))
        return plan(cell, like, sizes, backward, *rest)

    monkeypatch.setattr(cuda, "plan", spy)
    layer, x = rk.LSTM(I, H, L).half(), torch.randn(T, B, I).half()
    sided()
    train(layer, x.requires_grad_(), {})
    assert sorted(seen) == [(False, L)] * 9 + [(True, L)] * 9
    assert lanes.beside(*cuda.stream_of(x.device)) == 1


def test_nothing_waits_for_the_device(sided: Callable) -> None:
    sided()
    layer = rk.LSTM(I, H, L).half()
    for x, options in forms(layer):
        train(layer, x, options)
        torch.cuda.set_sync_debug_mode("error")
        try:
            train(layer, x, options)
        finally:
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("cell", CELLS)
def test_replays_from_a_graph(cell: str, sided: Callable) -> None:
    sided()
    layer = getattr(rk, cell)(I, H, L).half()
    x = torch.randn(T, B, I).half().requires_grad_()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            train(layer, x, {})
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = train(layer, x, {})
    for _ in range(3):
        with torch.no_grad():
            x.copy_(torch.randn_like(x))
        graph.replay()
        expected = train(layer, x, {})
        assert all(map(torch.equal, captured, expected))


def test_dropout_in_a_graph_draws_anew(sided: Callable) -> None:
    sided()
    layer, x = rk.GRU(I, H, L, dropout=0.5).half(), torch.randn(T, B, I).half()
    with torch.no_grad():
        layer(x)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            y, _ = layer(x)
        draws = []
        for _ in range(2):
            graph.replay()
            draws.append(y.clone())
    assert not torch.equal(*draws)


@pytest.mark.parametrize("cell", CELLS)
def test_a_long_stack_goes_side_by_side_by_itself(cell: str) -> None:
    layer = getattr(rk, cell)(I, 64, 2).half()
    x = torch.randn(4000, B, I).half()
    with torch.no_grad():
        weights = layer._weights()
        h = torch.zeros(2, B, 64).half()
        lengths = wavefront.lengths(cell.lower(), x, weights, h, None, None, 0)
        if torch.cuda.get_device_capability() >= (9, 0):
            assert lengths and sum(lengths) == 4000
        assert layer(x)[0].isfinite().all()
        with torch.autocast("cuda", torch.bfloat16):
            assert layer.float()(x.float())[0].dtype == torch.bfloat16
    for part, state in ((x[:8], h), (x[:, :0], h[:, :0])):
        assert wavefront.lengths(cell.lower(), part, weights, state, None, None, 0) is None


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_inside_a_checkpoint(cell: str, reentrant: bool) -> None:
    """Two of them, whose second runs may overlap; the reentrant one draws the same masks again."""
    layer = getattr(rk, cell)(64, 64, 2, dropout=0.3 if reentrant else 0).half()

    def loss(run: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        torch.manual_seed(0)
        return run(x).float().square().sum() + run(x).float().sum()

    x = torch.randn(4000, B, 64).half().requires_grad_()
    (expected,) = torch.autograd.grad(loss(lambda x: layer(x)[0], x), x)
    for _ in range(20):
        torch.cuda._sleep(3_000_000)
        x.grad = None
        loss(lambda x: checkpoint(lambda x: layer(x)[0], x, use_reentrant=reentrant), x).backward()
        close([x.grad], [expected])


def test_lanes_belong_to_one_caller() -> None:
    """However many callers there are, of the few streams that torch has."""
    layer, x = rk.LSTM(I, 64, 2).half(), torch.randn(4000, B, I).half()
    expected, taken = layer(x)[0].detach(), []
    for _ in range(40):
        caller = torch.cuda.Stream()
        caller.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(caller), torch.no_grad():
            y = layer(x)[0]
            own = lanes._streams(0, caller.cuda_stream, 2)
        torch.cuda.synchronize()
        close([y], [expected])
        addresses = [stream.cuda_stream for stream in own]
        assert caller.cuda_stream not in addresses
        taken.append(tuple(addresses))
    families = {family for family in taken if family}  # a caller that comes again has the same
    every = [address for family in families for address in family]
    assert families and len(every) == len(set(every))
