"""Whole sequences in one launch on a GPU: long ones, large ones, several at once."""

from __future__ import annotations

import fcntl
import gc
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import rnn_kernels as rk
from rnn_kernels.functional import Weights, layer

pytestmark = pytest.mark.gpu
HALF = torch.float16


def weights(cell: str, H: int) -> Weights:
    made = (rk.LSTM if cell == "lstm" else rk.GRU)(1, H).to("cuda", HALF)
    return Weights(made.weight_ih_l0, made.weight_hh_l0, made.bias_ih_l0, made.bias_hh_l0)


@pytest.fixture
def memory() -> Iterator[Callable[[int], None]]:
    """Asks for so many bytes of the GPU's, one test after the other in all processes."""

    def ask(needed: int) -> None:
        if torch.cuda.mem_get_info()[0] < needed:
            pytest.skip(f"needs {needed >> 30} GB of GPU memory")

    with open(Path(tempfile.gettempdir()) / f"rnn_kernels-memory-{os.getuid()}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield ask
        gc.collect()
        torch.cuda.empty_cache()


@pytest.mark.support("T beyond 65,535 on a GPU")
@pytest.mark.parametrize(("T", "H"), [(70_000, 40), (1_000_001, 40), (70_000, 300), (70_000, 1024)])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
@torch.no_grad()
def test_a_long_sequence_is_its_two_halves(cell: str, T: int, H: int) -> None:
    """Of a million steps: the second half from where the first one left."""
    x, w = torch.randn(T, 1, 1, device="cuda", dtype=HALF), weights(cell, H)
    h0 = torch.zeros(1, 1, H, device="cuda", dtype=HALF)
    c0 = h0 if cell == "lstm" else None
    y, h_n, c_n, _ = layer(cell, x, [w], h0, c0)
    middle = T // 2
    y1, h, c, _ = layer(cell, x[:middle], [w], h0, c0)
    y2, h, c, _ = layer(cell, x[middle:], [w], h, c if cell == "lstm" else None)
    # In halves c is rounded where the sequence is cut, and gates forget the difference.
    assert torch.equal(y[:middle], y1)
    assert torch.equal(y[-1000:], y2[-1000:]) and torch.equal(h_n, h)


@torch.no_grad()
def test_more_elements_than_32_bits_count(memory: Callable[[int], None]) -> None:
    """y of 2^31 elements and more: the last rows come out as they do by themselves."""
    T, B, H = 16_400, 512, 256
    memory(40 << 30)
    w = weights("lstm", H)
    x = torch.randn(T, B, 1, device="cuda", dtype=HALF)
    h0 = torch.zeros(1, B, H, device="cuda", dtype=HALF)
    y, *_ = layer("lstm", x, [w], h0, h0)
    assert T * B * H > 1 << 31
    some = slice(B - 8, B)
    few, *_ = layer("lstm", x[:, some], [w], h0[:, some], h0[:, some])
    # Eight rows are cut otherwise, and sum in another order.
    torch.testing.assert_close(y[-100:, some], few[-100:])


def test_gradients_of_more_elements_than_32_bits_count(memory: Callable[[int], None]) -> None:
    """dx is that of rows by themselves, the weights' gradients are the sum of two halves'."""
    T, B, H = 16_400, 512, 256
    memory(70 << 30)
    w = weights("lstm", H)
    parameters = [t for t in w if t is not None]
    x = torch.randn(T, B, 1, device="cuda", dtype=HALF)
    h0 = torch.zeros(1, B, H, device="cuda", dtype=HALF)

    def gradients(rows: slice) -> list[torch.Tensor]:
        part = x[:, rows].detach().requires_grad_()
        y, *_ = layer("lstm", part, [w], h0[:, rows], h0[:, rows])
        return list(torch.autograd.grad(y, [part, *parameters], torch.full_like(y, 1e-3)))

    dx, *whole = gradients(slice(None))
    dx_last = dx[:100, -8:].clone()
    del dx
    few, *_ = gradients(slice(B - 8, B))
    halves = [gradients(slice(k, k + B // 2))[1:] for k in (0, B // 2)]
    sums = [sum(part.double() for part in parts) for parts in zip(*halves, strict=True)]
    for got, expected in zip([dx_last, *whole], [few[:100].double(), *sums], strict=True):
        bound = 8 * torch.finfo(HALF).eps * expected.abs().max()
        assert (got.double() - expected).abs().max() <= bound


@torch.no_grad()
def test_several_at_once() -> None:
    """On streams of their own, clusters and grids that want the same multiprocessors.

    Beside them the products of somebody else.
    """
    x = torch.randn(200, 16, 1, device="cuda", dtype=HALF)
    models = [rk.LSTM(1, H).to("cuda", HALF) for H in (40, 1024, 300, 2048, 512, 1024)]
    expected = [model(x)[0] for model in models]
    streams, other = [torch.cuda.Stream() for _ in models], torch.cuda.Stream()
    a = torch.randn(4096, 4096, device="cuda", dtype=HALF)
    torch.cuda.synchronize()
    for _ in range(5):
        got = []
        with torch.cuda.stream(other):
            for _ in range(10):
                torch.mm(a, a)
        for model, stream in zip(models, streams, strict=True):
            with torch.cuda.stream(stream):
                got.append(model(x)[0])
        torch.cuda.synchronize()
        assert all(map(torch.equal, got, expected))


def test_tf32_is_as_accurate_as_torch() -> None:
    """Both with TF32, against float64."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=True):
            for ours, theirs in ((rk.LSTM, torch.nn.LSTM), (rk.GRU, torch.nn.GRU)):
                model, mine = theirs(20, 100).cuda(), ours(20, 100).cuda()
                exact = theirs(20, 100).double().cuda()
                for other in (mine, exact):
                    other.load_state_dict(model.state_dict())
                x = torch.randn(50, 9, 20, device="cuda")
                truth = exact(x.double())[0]
                error, allowed = ((m(x)[0] - truth).abs().max().item() for m in (mine, model))
                assert error <= 2 * allowed + 8 * torch.finfo(torch.float32).eps
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
