"""The per-step path again, from a CUDA graph: its steps recorded once, then replayed whole.

A step costs the host a product and a kernel in Python; a replay costs it a few
launches for all of them. A graph reads and writes arrays of its own, so a call's inputs are copied
to these and its outputs back, into the tensors that the call made for them anyway: nothing that a
caller gets or gave is known to a graph.

A call is known by its *key*, everything that the recorded work depends on. The first with a key
runs step by step, which also compiles and warms up what must not do so under capture. The second
is recorded, and replayed like all that follow. What cannot be recorded runs step by step, with the
same results.
"""

from __future__ import annotations

import atexit
import warnings
from collections import OrderedDict
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from threading import RLock
from typing import Any

import torch
from torch import Tensor

from ...core.cells import CELLS
from ...core.observers import plain
from .cuda_graphs import CudaGraph, Graph
from .gate_kernels import Backward, Forward, Kernels
from .precision import product_settings
from .speeds import SPEEDS, product_kind, products_ns

Call = Forward | Backward
Loop = Callable[[Kernels, Tensor, Call], None]  # all steps, on a backend, with w_hh

# Key, copies and launch of a replay cost the host as much as some 5 steps.
MIN_STEPS = 8
# Recording takes as long as two calls, and a node of a graph about a kilobyte, here and there.
MAX_STEPS = 4096
# All graphs together: a few layers' forward and backward; their arrays, less than a tenth of a
# small GPU.
MAX_GRAPHS, MAX_BYTES = 16, 512 << 20
# Keys that are remembered; and calls after which a key takes another's place. If sequences of ever
# other lengths threw each other's graphs out unused, recording would add at most a quarter.
MAX_KEYS, PERSISTENT_CALLS = 256, 8

# By type of device. Without an entry all runs step by step.
GRAPHS: dict[str, type[Graph]] = {"cuda": CudaGraph}


class _Recorded:
    """All steps of one kind of call, in a graph, with arrays of their own.

    These were made on the stream that the graph runs on, so torch gives their memory to nobody who
    would use it before the last replay is through.
    """

    def __init__(
        self, graph: type[Graph], loop: Loop, kernels: Kernels, w: Tensor, call: Call
    ) -> None:
        # Tensors made in inference mode could not be written outside of it.
        with torch.inference_mode(False), torch.no_grad():
            w, *arrays = _twins((w, *call[3:]))
            call = call._replace(**dict(zip(call._fields[3:], arrays, strict=True)))
            self._graph = graph(lambda: loop(kernels, w, call), w.device)
        self._w, self._call, self.nbytes = w, call, _nbytes((w, *arrays))

    def run(self, w: Tensor, call: Call, reads: tuple[str, ...], writes: tuple[str, ...]) -> None:
        torch._foreach_copy_([self._w, *_named(self._call, reads)], [w, *_named(call, reads)])
        self._graph.replay()
        torch._foreach_copy_(_named(call, writes), _named(self._call, writes))


def _named(call: Call, names: tuple[str, ...]) -> list[Tensor]:
    return [t for name in names if (t := getattr(call, name)) is not None]


def _identity(t: Tensor) -> tuple[object, ...]:
    return t.data_ptr(), t.numel(), t.dtype


def _nbytes(arrays: tuple[Tensor | None, ...]) -> int:
    return sum({_identity(t): t.nbytes for t in arrays if t is not None}.values())


def _twins(arrays: tuple[Tensor | None, ...]) -> list[Tensor | None]:
    """New arrays like these, of which those share memory that do so here."""
    distinct = {_identity(t): t for t in arrays if t is not None}
    made = {identity: torch.empty_like(t) for identity, t in distinct.items()}
    return [t if t is None else made[_identity(t)].view(t.shape) for t in arrays]


def _layout(arrays: tuple[Tensor | None, ...]) -> tuple[object, ...] | None:
    """Shapes and types, and which share memory.

    None where a twin would not do, or not the same: kernels look at the alignment of addresses.
    """
    layout, first = [], {}
    for k, t in enumerate(arrays):
        if t is not None:
            at, *_ = identity = _identity(t)
            if not at or at % 16 or not t.is_contiguous():
                return None
            t = t.shape, t.dtype, first.setdefault(identity, k)
        layout.append(t)
    return tuple(layout)


@dataclass(eq=False)
class _Entry:
    """What is known of a key."""

    calls: int = 0
    recorded: _Recorded | None = None
    busy: bool = False  # a thread runs it, on arrays that there are once


# The least recently called first. Graphs come and go under the lock alone: torch wants no two
# captures at once, and the last graph of a pool must not go while the next is captured into it.
_entries: OrderedDict[tuple[object, ...], _Entry] = OrderedDict()
_lock = RLock()


def clear_graphs() -> None:
    """Frees the memory of all recorded steps, except where another thread is running them.

    What is called again is recorded again. The workspace stays that cuBLAS has for each stream on
    which steps were recorded.
    """
    with _lock:
        _forget(len(_entries))


def _forget(n: int) -> None:
    """Drops the first n entries of those that no thread is running."""
    for key in [key for key, entry in _entries.items() if not entry.busy][:n]:
        _entries.pop(key).recorded = None  # now, though a thread may still hold the entry


def _make_room(nbytes: int, calls: int) -> bool:
    """Whether a key with so many calls gets a graph of so many bytes; it may cost others theirs."""
    graphs = [entry for entry in _entries.values() if entry.recorded is not None]
    total = sum(entry.recorded.nbytes for entry in graphs)
    idle = (entry for entry in tuple(graphs) if not entry.busy)
    if calls < 2 or nbytes > MAX_BYTES:
        return False
    while len(graphs) >= MAX_GRAPHS or total + nbytes > MAX_BYTES:
        victim = next(idle, None)
        if victim is None or calls < PERSISTENT_CALLS:
            return False
        graphs.remove(victim)
        total -= victim.recorded.nbytes
        victim.recorded, victim.calls = None, 0
    return True


def record_steps(on: bool) -> None:
    """Whether steps are recorded and replayed at all, in this process; they are by default.

    Turn it off before the first call if other threads use the same GPU in ways that a capture of
    ours, a few milliseconds for each kind of call, would disturb: while one is under way, torch
    refuses ``torch.cuda.empty_cache()``, does not retry what finds no memory, and in some versions
    refuses random numbers, each with an error in the thread that asks.
    """
    global _recording
    _recording = on


_recording = True
atexit.register(clear_graphs)  # while there still is a CUDA to free them with

_allowed: ContextVar[bool] = ContextVar("rnn_kernels.step_graphs", default=False)


def allowing(run: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Calls ``run``, in which steps may be recorded and replayed.

    Not so by default: where a compiler called an operator, the memory that is allocated and the
    stream may belong to a graph of its own, which knows nothing of ours.
    """
    token = _allowed.set(True)
    try:
        return run(*args, **options)
    finally:
        _allowed.reset(token)


def worthwhile(cell: str, dtype: torch.dtype, T: int, sizes: tuple[int, int, int]) -> bool:
    """Whether a replay is faster: the GPU, with the copies, needs less than the host per step.

    Args:
        sizes: B, H, D.
    """
    (B, H, D), G, size = sizes, CELLS[cell].gates, dtype.itemsize
    step = B * D * H * (2 * G + 3) * size  # gates in and out, h, c, and a gradient
    weights = D * G * H * H * size
    if not MIN_STEPS <= T <= MAX_STEPS or T * step + weights > MAX_BYTES:
        return False
    moved = 3 * step + weights  # a copy reads and writes, and the kernel goes through it once
    products = D * products_ns(G, (B, H), product_kind(dtype, exact=True))
    return SPEEDS.graph_step_ns + moved / SPEEDS.memory + products < SPEEDS.host_step_ns


def expected(
    cell: str, dtype: torch.dtype, device: torch.device, T: int, sizes: tuple[int, int, int]
) -> bool:
    """Whether a call of this kind, here and now, would be replayed once it has been recorded."""
    return _recording and device.type in GRAPHS and worthwhile(cell, dtype, T, sizes) and plain()


def run(
    loop: Loop,
    kernels: Kernels,
    w: Tensor,
    call: Call,
    reads: tuple[str, ...],
    writes: tuple[str, ...],
) -> None:
    """``loop(kernels, w, call)``, from a graph where there is one.

    Args:
        loop: reads ``w`` and these arrays and nothing else that changes between calls whose key is
            the same; it waits for nothing, and does no work of its own on the CPU.
        reads, writes: of ``call``, the arrays that have to be copied before and after. The others
            are scratch.
    """
    entry = _ready(loop, kernels, w, call) if _allowed.get() else None
    if entry is None:
        return loop(kernels, w, call)
    try:
        entry.recorded.run(w, call, reads, writes)
    finally:
        entry.busy = False


def _ready(loop: Loop, kernels: Kernels, w: Tensor, call: Call) -> _Entry | None:
    """The entry of a call, recorded and taken, or None if it has to run step by step."""
    T, (device, dtype) = call.table.shape[0], (w.device, w.dtype)
    graph = GRAPHS.get(device.type) if _recording else None
    if graph is None or not worthwhile(call.cell, dtype, T, call.sizes):
        return None
    arrays = w, *call[3:]
    stream, layout = graph.stream(device), _layout(arrays)
    if stream is None or layout is None:
        return None
    key = (loop, kernels, call.cell, T, call.sizes, layout, device, stream, product_settings())
    with _lock:
        entry = _entries.setdefault(key, _Entry())
        _entries.move_to_end(key)
        entry.calls += 1
        if entry.busy:
            return None
        entry.busy = True  # so that nothing below drops it
        try:
            if len(_entries) > MAX_KEYS:
                _forget(1)
            if entry.recorded is None and _make_room(_nbytes(arrays), entry.calls):
                entry.recorded = _Recorded(graph, loop, kernels, w, call)
        except RuntimeError as error:  # CUDA's, the allocator's or Triton's; the steps still run
            GRAPHS.pop(device.type)  # and no others: torch is not what it was after such a failure
            warnings.warn(
                f"steps are no longer recorded in CUDA graphs, because of: {error}", stacklevel=2
            )
        finally:
            entry.busy = entry.recorded is not None
        return entry if entry.busy else None
