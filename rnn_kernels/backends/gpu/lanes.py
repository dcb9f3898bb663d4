"""Lanes: CUDA streams beside the caller's, for work that can run side by side."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache

import torch
from torch import Tensor

# The lane that the caller is on.
CALLER = -1

# How many lanes share a device, by (index of the device, address of the lane's stream). Backward
# nodes run on the stream of their forward, in whichever thread: so a stream is what tells them.
_beside: dict[tuple[int, int], int] = {}


def beside(index: int, stream: int) -> int:
    """How many lanes share the device with that stream, itself included; 1 if it is no lane."""
    return _beside.get((index, stream), 1)


# torch has so many streams and deals them out in turn: to us, and to anyone.
_POOL = 32


@cache
def _streams(index: int, caller: int, count: int) -> tuple[torch.cuda.Stream, ...]:
    """None of them where not so many are left that are neither lanes nor the caller's."""
    # Each caller has its own: a capture of one into a graph takes hold of its lanes as well.
    found: dict[int, torch.cuda.Stream] = {}
    for _ in range(_POOL):
        stream = torch.cuda.Stream(index)
        if stream.cuda_stream != caller and (index, stream.cuda_stream) not in _beside:
            found[stream.cuda_stream] = stream
        if len(found) == count:
            _beside.update({(index, address): count for address in found})
            return tuple(found.values())
    return ()


class Lanes:
    """Streams 0 … count - 1 of a device, and the caller's current one as :data:`CALLER`.

    What is issued on a lane runs in order; lanes wait for each other by events alone. A capture
    into a CUDA graph follows these events: lanes join it as they wait for the caller, and have to
    lead back to it.
    """

    @staticmethod
    def exist(device: torch.device, count: int) -> bool:
        """Whether the current stream has so many beside it."""
        caller = torch.cuda.current_stream(device).cuda_stream
        return bool(_streams(device.index, caller, count))

    def __init__(self, device: torch.device, count: int) -> None:
        caller = torch.cuda.current_stream(device)
        self._streams = (*_streams(device.index, caller.cuda_stream, count), caller)

    def on(self, lane: int) -> AbstractContextManager[None]:
        """What is issued inside runs on ``lane``, and so does its backward."""
        return torch.cuda.stream(self._streams[lane])

    def event(self, lane: int) -> torch.cuda.Event:
        """An event after all that has been issued on ``lane``."""
        return self._streams[lane].record_event()

    def wait(self, lane: int, event: torch.cuda.Event) -> None:
        """What is issued on ``lane`` from now on runs after ``event``."""
        self._streams[lane].wait_event(event)

    def uses(self, lane: int, *tensors: Tensor | None) -> None:
        """Keeps the memory of tensors made elsewhere until ``lane`` is done with it.

        That is, with all it has been given by the time the last reference is gone, so uses in the
        backward count. Memory let go of during a capture is not reused before its end.
        """
        for t in tensors:
            if t is not None:
                t.record_stream(self._streams[lane])
