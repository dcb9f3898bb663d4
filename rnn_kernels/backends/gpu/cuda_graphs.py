"""Work recorded into CUDA graphs, on whichever stream it runs."""

from __future__ import annotations

import atexit
from collections.abc import Callable
from typing import Protocol

import torch


class Graph(Protocol):
    """Work that was recorded, not run, when this was made; here is a test's way in."""

    def __init__(self, work: Callable[[], None], device: torch.device) -> None: ...

    def replay(self) -> None: ...

    @staticmethod
    def stream(device: torch.device) -> int | None:
        """Address of the stream that work goes to, or None if it is no place for a graph."""


class _Side:
    """Where graphs that run on one stream are captured, and the pool of what capturing allocates.

    That is cuBLAS's workspace, which torch keeps for each stream that it was called on, this one
    too. Graphs captured on the same side share it, and so must not run at the same time: hence one
    side for each stream, for good: torch does not give the workspace back. A pool that died may not
    be used again: hence a graph in it that is never run.
    """

    def __init__(self, device: torch.device, current: torch.cuda.Stream) -> None:
        # Torch deals out 32 streams in turn, ours too. Those of high priority hardly ever are a
        # user's as well, whose products would share the workspace.
        self.stream = torch.cuda.Stream(device, priority=-1)
        while any(self.stream == other.stream for other in list(_sides.values())):
            self.stream = torch.cuda.Stream(device, priority=-1)
        self.pool = torch.cuda.graph_pool_handle()
        self.broken = False
        self._kept = self.capture(lambda: _something(device), device, current)

    def capture(
        self, work: Callable[[], object], device: torch.device, current: torch.cuda.Stream
    ) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        # In older versions of torch a capture begins by writing the state of random numbers, which
        # other graphs may read.
        self.stream.wait_stream(current)
        # This thread's, which cannot be made during a capture. Not on the side's stream: its
        # workspace there would lie outside of the pool.
        torch.cuda.current_blas_handle()
        ended = False
        try:
            with torch.cuda.stream(self.stream):
                graph.capture_begin(self.pool, capture_error_mode="thread_local")
                try:
                    work()
                finally:
                    graph.capture_end()
                    ended = True
        finally:
            if not ended:  # torch's allocator still thinks that the capture is under way
                self.broken = True
                _end_allocation(device.index, self.pool)
        current.wait_stream(self.stream)
        return graph


# Of a device: there are 32 such streams, and a workspace to each.
MOST_SIDES = 16
_sides: dict[tuple[int, int], _Side] = {}
atexit.register(_sides.clear)  # while there still is a CUDA to free them with


def _something(device: torch.device) -> None:
    """Work for a graph; torch warns of empty ones."""
    torch.zeros((), device=device)


def _end_allocation(index: int, pool: tuple[int, int]) -> None:
    """What a capture that fails leaves undone: torch ends it only after CUDA's own end."""
    end = getattr(torch._C, "_cuda_endAllocateToPool", None)  # since torch 2.7
    if end is not None:
        end(index, pool)
        torch._C._cuda_releasePool(index, pool)


class CudaGraph:
    """A graph of CUDA, recorded for the current stream.

    Without torch.cuda.graph, which waits for the device and hands all unused memory back. Dropping
    one whose work is under way is safe: CUDA then frees the graph when it is done.
    """

    def __init__(self, work: Callable[[], None], device: torch.device) -> None:
        current = torch.cuda.current_stream(device)
        key = device.index, current.cuda_stream
        side = _sides.get(key) or _sides.setdefault(key, _Side(device, current))
        try:
            self._graph = side.capture(work, device, current)
        except BaseException:
            if side.broken:
                # Its first capture also tells torch's random numbers that there is none any more.
                _sides[key] = _Side(device, current)
            raise

    def replay(self) -> None:
        self._graph.replay()

    @staticmethod
    def stream(device: torch.device) -> int | None:
        if device.index != torch.cuda.current_device():
            return None
        if torch.cuda.is_current_stream_capturing():  # the steps belong into the user's graph
            return None
        if torch.cuda.get_allocator_backend() != "native":  # pools are its business
            return None
        stream = torch._C._cuda_getCurrentRawStream(device.index)
        sides = [key for key in list(_sides) if key[0] == device.index]
        return stream if (device.index, stream) in sides or len(sides) < MOST_SIDES else None
