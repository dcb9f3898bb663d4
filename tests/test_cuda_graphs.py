"""Recording into a CUDA graph: in which order, on which streams, from which pools."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch

from rnn_kernels import cuda_graphs
from rnn_kernels.cuda_graphs import CudaGraph

DEVICE = SimpleNamespace(index=0)


class Stream:
    """One of three that are dealt out in turn."""

    dealt = 0

    def __init__(self, device: object = None, priority: int = 0) -> None:
        self.cuda_stream = 100 + Stream.dealt % 3 if priority else priority
        Stream.dealt += 1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and self.cuda_stream == other.cuda_stream

    def wait_stream(self, other: Stream) -> None:
        LOG.append(f"{self.cuda_stream} waits for {other.cuda_stream}")


LOG: list[str] = []


class Graph:
    def capture_begin(self, pool: str, capture_error_mode: str) -> None:
        LOG.append(f"begin {pool} {capture_error_mode}")

    def capture_end(self) -> None:
        LOG.append("end")


@pytest.fixture
def current(monkeypatch: pytest.MonkeyPatch) -> Stream:
    """The current stream, of a torch.cuda that only tells what it is asked."""
    stream, pools = Stream(), iter(range(100))

    @contextmanager
    def on(side: Stream):
        LOG.append(f"on {side.cuda_stream}")
        yield

    for name, value in {
        "Stream": Stream,
        "CUDAGraph": Graph,
        "stream": on,
        "current_stream": lambda device: stream,
        "graph_pool_handle": lambda: f"pool {next(pools)}",
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(Stream, "dealt", 0)
    cuda_graphs._sides.clear()
    LOG.clear()
    return stream


def test_the_order_of_things(current: Stream) -> None:
    CudaGraph(lambda: LOG.append("work"), DEVICE)
    assert LOG == [
        "100 waits for 0", "on 100", "begin pool 0 thread_local", "work", "end", "0 waits for 100",
    ]  # fmt: skip


def test_one_side_for_each_stream_while_it_has_graphs(current: Stream) -> None:
    def side() -> tuple[CudaGraph, list[str]]:
        LOG.clear()
        return CudaGraph(lambda: None, DEVICE), LOG[1:3]

    first, again = side(), side()
    assert first[1] == again[1] == ["on 100", "begin pool 0 thread_local"]
    current.cuda_stream = 1
    other = side()
    assert other[1] == ["on 101", "begin pool 1 thread_local"]
    current.cuda_stream = 2
    Stream.dealt = 3  # the next two would be streams that are in use
    assert side()[1] == ["on 102", "begin pool 2 thread_local"]
    current.cuda_stream = 0
    del first
    assert side()[1] == again[1]
    del again
    gc.collect()
    assert side()[1][1] == "begin pool 3 thread_local"


def test_a_capture_that_does_not_end_is_ended_for_torch(
    current: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(graph: Graph) -> None:
        raise RuntimeError("capture was invalidated")

    monkeypatch.setattr(Graph, "capture_end", failing)
    for name in ("_cuda_endAllocateToPool", "_cuda_releasePool"):
        told = lambda index, pool, name=name: LOG.append(f"{name} {index} {pool}")  # noqa: E731
        monkeypatch.setattr(torch._C, name, told, raising=False)
    with pytest.raises(RuntimeError, match="invalidated"):
        CudaGraph(lambda: None, DEVICE)
    assert LOG[-2:] == ["_cuda_endAllocateToPool 0 pool 0", "_cuda_releasePool 0 pool 0"]


def test_after_a_failure_another_side(current: Stream) -> None:
    kept = CudaGraph(lambda: None, DEVICE)
    LOG.clear()
    with pytest.raises(ZeroDivisionError):
        CudaGraph(lambda: 1 / 0, DEVICE)
    assert LOG == ["100 waits for 0", "on 100", "begin pool 0 thread_local", "end"]
    CudaGraph(lambda: None, DEVICE)
    assert LOG[-3:-1] == ["begin pool 1 thread_local", "end"]
    assert kept._side.pool == "pool 0"
