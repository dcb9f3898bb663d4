"""Work recorded into CUDA graphs, on whichever stream it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol
from weakref import WeakValueDictionary

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

    That is cuBLAS's workspace, which torch keeps for each stream that it was called on. Graphs
    captured on the same side share it, and so must not run at the same time: hence one side for
    each stream. And torch may let go of it when any of these graphs goes: hence one pool, which
    lives, with all its memory, as long as one of them does. (A pool that died may not be used
    again: hence a side that does not outlive its graphs.)
    """

    def __init__(self, device: torch.device) -> None:
        # Torch deals out 32 streams in turn, ours too. Those of high priority hardly ever are a
        # user's as well, whose products would share the workspace.
        self.stream = torch.cuda.Stream(device, priority=-1)
        while any(self.stream == other.stream for other in list(_sides.values())):
            self.stream = torch.cuda.Stream(device, priority=-1)
        self.pool = torch.cuda.graph_pool_handle()


_sides: WeakValueDictionary[tuple[int, int], _Side] = WeakValueDictionary()


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
        self._side = _sides.get(key) or _sides.setdefault(key, _Side(device))
        self._graph = torch.cuda.CUDAGraph()
        # In older versions of torch a capture begins by writing the state of random numbers, which
        # other graphs may read.
        self._side.stream.wait_stream(current)
        ended = False
        try:
            with torch.cuda.stream(self._side.stream):
                self._graph.capture_begin(self._side.pool, capture_error_mode="thread_local")
                try:
                    work()
                finally:
                    self._graph.capture_end()
                    ended = True
        except BaseException:
            _sides.pop(key, None)
            if not ended:  # torch's allocator still thinks that the capture is under way
                _end_allocation(device.index, self._side.pool)
            raise
        current.wait_stream(self._side.stream)

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
        return torch._C._cuda_getCurrentRawStream(device.index)
