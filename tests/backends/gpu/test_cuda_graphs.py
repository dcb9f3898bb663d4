"""Recording into a CUDA graph: in which order, on which streams, from which pools."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch

from rnn_kernels.backends.gpu import cuda_graphs
from rnn_kernels.backends.gpu.cuda_graphs import CudaGraph

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
        "current_blas_handle": lambda: LOG.append("handle"),
        "graph_pool_handle": lambda: f"pool {next(pools)}",
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(cuda_graphs, "_something", lambda device: LOG.append("something"))
    monkeypatch.setattr(Stream, "dealt", 0)
    cuda_graphs._sides.clear()
    LOG.clear()
    return stream


BEGUN = ["100 waits for 0", "handle", "on 100", "begin pool 0 thread_local"]


def test_the_order_of_things(current: Stream) -> None:
    """A new side first captures what keeps its pool alive."""
    for _ in range(2):
        CudaGraph(lambda: LOG.append("work"), DEVICE)
    whole = [*BEGUN, "work", "end", "0 waits for 100"]
    keeps = [*BEGUN, "something", "end", "0 waits for 100"]
    assert [*keeps, *whole, *whole] == LOG


def test_one_side_for_each_stream_for_good(current: Stream) -> None:
    def side() -> list[str]:
        LOG.clear()
        CudaGraph(lambda: None, DEVICE)
        gc.collect()
        return [line for line in LOG if line.startswith(("on ", "begin"))][-2:]

    first = side()
    assert first == side() == ["on 100", "begin pool 0 thread_local"]
    current.cuda_stream = 1
    assert side() == ["on 101", "begin pool 1 thread_local"]
    current.cuda_stream = 2
    Stream.dealt = 3  # the next two would be streams that are in use
    assert side() == ["on 102", "begin pool 2 thread_local"]
    current.cuda_stream = 0
    assert side() == first


def test_a_capture_that_does_not_end_is_ended_for_torch(
    current: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(graph: Graph) -> None:
        ends = sum(line == "end" for line in LOG)
        LOG.append("end")
        if ends == 1:
            raise RuntimeError("capture was invalidated")

    monkeypatch.setattr(Graph, "capture_end", failing)
    for name in ("_cuda_endAllocateToPool", "_cuda_releasePool"):
        told = lambda index, pool, name=name: LOG.append(f"{name} {index} {pool}")  # noqa: E731
        monkeypatch.setattr(torch._C, name, told, raising=False)
    with pytest.raises(RuntimeError, match="invalidated"):
        CudaGraph(lambda: None, DEVICE)
    # And a capture that succeeds.
    assert LOG[-10:] == [
        "end", "_cuda_endAllocateToPool 0 pool 0", "_cuda_releasePool 0 pool 0",
        "101 waits for 0", "handle", "on 101", "begin pool 1 thread_local", "something", "end",
        "0 waits for 101",
    ]  # fmt: skip
    CudaGraph(lambda: None, DEVICE)
    assert "begin pool 1 thread_local" in LOG[-4:]


def test_work_that_fails_breaks_nothing(current: Stream) -> None:
    CudaGraph(lambda: None, DEVICE)
    LOG.clear()
    with pytest.raises(ZeroDivisionError):
        CudaGraph(lambda: 1 / 0, DEVICE)
    assert [*BEGUN, "end"] == LOG
    CudaGraph(lambda: None, DEVICE)
    assert LOG[5:] == [*BEGUN, "end", "0 waits for 100"]


def test_more_streams_than_there_are_sides_for_get_none(
    current: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda_graphs, "MOST_SIDES", 2)
    for name, value in {"current_device": 0, "is_current_stream_capturing": False}.items():
        monkeypatch.setattr(torch.cuda, name, lambda value=value: value)
    monkeypatch.setattr(torch.cuda, "get_allocator_backend", lambda: "native")
    raw = lambda index: current.cuda_stream  # noqa: E731
    monkeypatch.setattr(torch._C, "_cuda_getCurrentRawStream", raw, raising=False)
    for stream in (0, 1):
        current.cuda_stream = stream
        assert CudaGraph.stream(DEVICE) == stream
        CudaGraph(lambda: None, DEVICE)
    current.cuda_stream = 2
    assert CudaGraph.stream(DEVICE) is None
    current.cuda_stream = 1
    assert CudaGraph.stream(DEVICE) == 1
