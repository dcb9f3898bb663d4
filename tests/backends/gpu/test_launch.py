"""Launching on a GPU: streams, graphs, errors, and that nothing waits."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator

import emulated
import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

import rnn_kernels as rk
from rnn_kernels.backends import BACKENDS

T, B, I, H = 7, 5, 6, 40
on_gpu = pytest.mark.gpu


@pytest.mark.emulated
@pytest.mark.parametrize(
    ("device", "why"), [(0, "invalid configuration argument"), (7, "invalid device ordinal")]
)
def test_a_refused_launch_names_the_kernel_and_its_sizes(device: int, why: str) -> None:
    wide = 65535 * 128 + 1  # one block too many along the units
    kernels = emulated.backend().kernels
    forward = kernels.GatesForward("lstm", "bfloat16", "float32", device, 0, (1, wide, 1), {})
    match = rf"lstm gates_forward \(D 1, B 1, H {wide}, bfloat16, .*device {device}\): {why}"
    with pytest.raises(RuntimeError, match=match):
        forward(0)
    backward = kernels.GatesBackward("gru", "float64", device, 0, (1, wide, 1), {})
    with pytest.raises(RuntimeError, match=rf"gru gates_backward \(.*float64.*: {why}"):
        backward(0)


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_the_default_device_is_none_of_our_business(cell: str, kernels: str) -> None:
    """Tensors say where things are; what we make beside them follows them."""
    layer = getattr(rk, cell)(I, H, bidirectional=True)
    x, resets = torch.randn(T, B, I), torch.rand(T, B) < 0.3
    packed = pack_padded_sequence(x, [7, 5, 5, 2, 1])
    with torch.device("meta"):
        for input, options in ((x, {"resets": resets}), (packed, {}), (x[:1], {})):
            y, _ = layer(input, **options)
            y = y.data if isinstance(y, PackedSequence) else y
            y.sum().backward()
            assert y.isfinite().all()


@pytest.fixture(params=["cuda", "triton"])
def gpu_backend(request: pytest.FixtureRequest) -> Iterator[str]:
    with rk.backend(request.param), torch.device("cuda"):
        yield request.param


def layers() -> list[torch.nn.Module]:
    return [
        getattr(rk, cell)(I, H, bidirectional=both).to(dtype)
        for cell in ("LSTM", "GRU")
        for both in (False, True)
        # Per step, on one block, exactly, on clusters of several, and on the grid.
        for dtype, H in (
            (torch.float64, 40),
            (torch.bfloat16, 40),
            (torch.float32, 40),
            (torch.bfloat16, 300),
            (torch.bfloat16, 1001),
        )
    ]


def inputs(layer: torch.nn.Module) -> Iterator[tuple[Tensor | PackedSequence, dict]]:
    """Padded, with resets, and packed."""
    x = torch.randn(T, B, I).to(layer.weight_ih_l0).requires_grad_()
    yield x, {}
    yield x, {"resets": torch.rand(T, B) < 0.3}
    yield pack_padded_sequence(x, [7, 5, 5, 2, 1]), {}
    yield x[:1], {}


def train(layer: torch.nn.Module, x: Tensor | PackedSequence, options: dict) -> list[Tensor]:
    y = layer(x, **options)[0]
    y = y.data if isinstance(y, PackedSequence) else y
    return [y.detach(), *torch.autograd.grad(y.float().square().sum(), list(layer.parameters()))]


def each(check: Callable[[Callable[[], list[Tensor]]], None]) -> None:
    for layer in layers():
        for x, options in inputs(layer):
            check(lambda layer=layer, x=x, options=options: train(layer, x, options))


@on_gpu
def test_bitwise_the_same_every_time(gpu_backend: str) -> None:
    def check(call: Callable[[], list[Tensor]]) -> None:
        first = call()
        for _ in range(100):
            assert all(map(torch.equal, call(), first))

    each(check)


@on_gpu
def test_nothing_waits_for_the_device(gpu_backend: str) -> None:
    def check(call: Callable[[], list[Tensor]]) -> None:
        call()  # compiles, and fills the allocator
        torch.cuda.set_sync_debug_mode("error")
        try:
            call()
        finally:
            torch.cuda.set_sync_debug_mode("default")

    each(check)


@on_gpu
def test_lengths_and_recomputing_wait_for_nothing(gpu_backend: str) -> None:
    layer = rk.LSTM(I, H, bidirectional=True)
    x = torch.randn(T, B, I).requires_grad_()
    packed = pack_padded_sequence(x.detach(), [7, 5, 5, 2, 1])

    def call() -> None:
        train(layer, x, {"lengths": [7, 2, 0, 5, 1]})
        with rk.recompute():
            train(layer, packed, {})

    call()
    torch.cuda.set_sync_debug_mode("error")
    try:
        call()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@on_gpu
def test_lengths_of_the_cpu_are_in_no_graph() -> None:
    """In a process of its own, whose capture fails."""
    script = """
import torch, rnn_kernels as rk
layer, x = rk.GRU(3, 40).cuda(), torch.randn(5, 2, 3, device="cuda")
with torch.no_grad():
    layer(x, lengths=[5, 2])
    with torch.cuda.graph(torch.cuda.CUDAGraph()):
        layer(x, lengths=[5, 2])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode and "captur" in done.stderr, done.stderr


@on_gpu
def test_runs_on_the_current_stream(gpu_backend: str) -> None:
    def check(call: Callable[[], list[Tensor]]) -> None:
        expected, stream = call(), torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            torch.cuda._sleep(10_000_000)  # what runs elsewhere would come too early
            got = call()
        torch.cuda.current_stream().wait_stream(stream)
        assert all(map(torch.equal, got, expected))

    each(check)


@on_gpu
def test_forward_and_backward_replay_from_a_graph(gpu_backend: str) -> None:
    for layer in layers():
        x = torch.randn(T, B, I).to(layer.weight_ih_l0).requires_grad_()
        resets = torch.rand(T, B) < 0.3
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                train(layer, x, {"resets": resets})
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = train(layer, x, {"resets": resets})
        with torch.no_grad():
            x.copy_(torch.randn_like(x))
            resets.copy_(torch.rand(T, B) < 0.3)
        graph.replay()
        expected = train(layer, x, {"resets": resets})
        assert all(map(torch.equal, captured, expected))


@on_gpu
def test_a_graph_of_several_sizes(gpu_backend: str) -> None:
    """Of one kernel, whose limit of shared memory later and smaller calls may not lower."""
    layers = [rk.LSTM(I, H).to(torch.bfloat16) for H in (320, 200, 260)]
    x = torch.randn(T, B, I).to(torch.bfloat16)
    with torch.no_grad():
        expected = [layer(x)[0] for layer in layers]
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = [layer(x)[0] for layer in layers]
        for layer in reversed(layers):
            layer(x)
        for y in captured:
            y.zero_()
        graph.replay()
    assert all(map(torch.equal, captured, expected))


@on_gpu
@pytest.mark.skipif(
    not torch.cuda.is_available() or torch.cuda.get_device_capability() != (9, 0),
    reason="needs an H100 or its like",
)
def test_clusters_of_every_size_run_on_a_hopper() -> None:
    """They are left aside, without a word, where CUDA says that none would run."""
    capability, shared, clusters, grid = BACKENDS["cuda"].facts(torch.cuda.current_device())
    assert capability == 90 and shared == 227 << 10 and all(clusters)
    assert grid == torch.cuda.get_device_properties().multi_processor_count


@on_gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_runs_on_the_device_of_its_tensors(gpu_backend: str) -> None:
    layer, x = rk.GRU(I, H), torch.randn(T, B, I)
    expected = layer(x)[0]
    assert torch.equal(layer.to("cuda:1")(x.to("cuda:1"))[0].to("cuda:0"), expected)
