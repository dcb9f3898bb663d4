"""The CUDA graph: a candidate's call captured once, then replayed without the host's work."""

from contextlib import nullcontext
from functools import cache

import torch

from .candidate import Candidate, Result

WARM_UPS = 3  # compile, choose algorithms, allocate the workspaces that stay

# Torch's allocator keeps a pointer to a graph whose capture failed, so such a graph has to live on.
_failed: list[torch.cuda.CUDAGraph] = []


@cache
def side_stream() -> torch.cuda.Stream:
    """One for all captures: each stream that multiplies matrices keeps a workspace of its own."""
    return torch.cuda.Stream()


def captured(candidate: Candidate) -> Candidate:
    """Replays of the candidate's call; what it returns is overwritten by the next replay.

    Raises whatever the call raises where it cannot be captured.
    """
    stream = side_stream()
    stream.wait_stream(torch.cuda.current_stream())
    with candidate.context(), torch.cuda.stream(stream):
        for _ in range(WARM_UPS):
            candidate.call()
        _refuse_if_it_waits(candidate)
        graph, results = _capture(candidate, stream)
    torch.cuda.current_stream().wait_stream(stream)

    def replay() -> Result:
        graph.replay()
        return results

    return Candidate(replay, nullcontext)


def _refuse_if_it_waits(candidate: Candidate) -> None:
    """Raises if the host waits for the device: found here, that breaks no capture."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        candidate.call()
    finally:
        torch.cuda.set_sync_debug_mode(before)


def _capture(
    candidate: Candidate, stream: torch.cuda.Stream
) -> tuple[torch.cuda.CUDAGraph, Result]:
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph, stream=stream):
            results = candidate.call()
    except Exception as error:
        _failed.append(graph)
        raise error.__context__ or error from None  # the call's own, not that of ending the capture
    return graph, results
