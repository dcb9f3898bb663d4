"""Layers of a stack side by side: layer l on one chunk of time beside layer l - 1 on the next.

      lane 0   0 1 2 3            each number is a chunk; what is above each other
      lane 1     0 1 2 3          runs at once
      lane 2       0 1 2 3

A (layer, chunk) is an ordinary call of the layer, on a lane of its layer, from the states that the
chunk before left. The backward needs nothing of its own. Autograd runs a node on the stream of its
forward, makes a stream wait for gradients from another one, and records their memory there (CUDA
semantics, "Stream semantics of backward passes"; InputBuffer::add): so the wavefront returns.

Sizes: T time, B batch, I input, H hidden, L layers, K chunks, N rows of a packed sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..backends.base import Backend
from ..backends.dispatch import BACKENDS, choose
from ..backends.gpu.lanes import CALLER, Lanes
from ..backends.gpu.speeds import SPEEDS, product_kind, products_ns
from ..core.calls import Layer, LayerResults, Stack
from ..core.cells import CELLS
from ..core.dtypes import product_dtype
from ..core.observers import hooked, unwatched
from ..core.weights import Weights, biases
from ..operators import checks
from . import layer

SHORTEST = 32  # steps of a chunk
# How many there may be: the gradients of a weight from all of them are there at once.
NUMBERS = (2, 3, 4, 6, 8, 12, 16, 24, 32)
WORTH_IT = 1.1


class Cut(NamedTuple):
    """How a stack is cut into chunks, and what is predicted for it."""

    lengths: tuple[int, ...]  # steps of each chunk
    ns: float
    sequential_ns: float  # one layer after the other
    backward: bool  # whether the times include it

    def __str__(self) -> str:
        times = f"{self.ns / 1e6:.2f} ms predicted, {self.sequential_ns / 1e6:.2f} one by one"
        passes = "forward and backward" if self.backward else "forward"
        return f"in chunks of {self.lengths[0]} steps, layers side by side: {times}, {passes}"


@lru_cache(4096)
def cut(T: int, L: int, step_ns: tuple[tuple[float, float], ...], captured: bool) -> Cut | None:
    """The cut that is predicted to be the fastest, None if that is hardly faster than no cut.

    Args:
        step_ns: of the forward, and of the backward if there is one: time of a step of a layer
            that has the device for itself, and of one that shares it with L - 1 others; products
            included.
        captured: into a graph, whose replay takes nothing of the host.
    """

    def time(K: int, shared: bool, host: bool) -> float:
        """Of K chunks: L - 1 of them pass before the last layer begins."""
        return sum(
            max(
                (K + L - 1) * (-(-T // K) * step[shared] + SPEEDS.chunk_ns),
                K * L * SPEEDS.host_chunk_ns[k] if host else 0,
            )
            for k, step in enumerate(step_ns)
        )

    counts = [K for K in NUMBERS if T >= K * SHORTEST]
    if not counts:
        return None
    sequential = time(1, False, False)
    ns, K = min((time(K, True, not captured), K) for K in counts)
    if ns * WORTH_IT > sequential:
        return None
    lengths = tuple(T // K + (k < T % K) for k in range(K))
    return Cut(lengths, ns, sequential, len(step_ns) > 1)


class Shape(NamedTuple):
    """What a cut depends on."""

    cell: str
    like: Tensor  # of the dtype and on the device of the call
    T: int
    B: int
    H: int
    L: int
    packed: bool


def planned(backend: Backend, shape: Shape, backward: bool) -> Cut | None:
    """How a backend should run a stack; None: one layer after the other.

    Args:
        backward: whether one follows.
    """
    cell, like, T, B, H, L, packed = shape
    # The products as the planner takes them: a lane has its share of the device for them. I is H,
    # but for the first layer.
    product_ns = products_ns(CELLS[cell].gates, (B, H), product_kind(like.dtype, exact=False))
    steps = []
    for back in (False, True) if backward else (False,):
        times = []
        for n in (1, L):
            plan = backend.plan(cell, like, (B, H, 1), back, packed, beside=n)
            if plan is None or isinstance(plan, str):
                return None  # per step, where the host is what limits
            # Backward there are three: for dx, dw_ih and dw_hh.
            times.append(plan.step_ns + n * (3 if back else 1) * product_ns)
        steps.append(tuple(times))
    captured = like.is_cuda and torch.cuda.is_current_stream_capturing()
    return cut(T, L, tuple(steps), captured)


def lengths(call: Stack) -> tuple[int, ...] | None:
    """Steps of each chunk of a stack, or None where its layers run one after the other.

    x is (T, B, I) or (N, I).
    """
    x, weights, h0 = call.x, call.weights, call.h0
    if torch.compiler.is_compiling() or not x.is_cuda or call.lengths is not None:
        return None
    if len(weights[0]) == 2 or weights[0][0].w_hr is not None or h0.dim() != 3:
        return None
    steps = len(x if call.batch_sizes is None else call.batch_sizes)
    tensors = [x, h0, call.c0, *(t for (w,) in weights for t in w)]
    if steps < 2 * SHORTEST or not unwatched(*tensors):
        return None
    if hooked():  # a checkpoint may leave a call in the middle of its second run, lanes and all
        return None
    like = x.new_empty(0, dtype=product_dtype(x))
    backend = BACKENDS[choose(call.cell, like.dtype, "cuda", False)]
    # With dropout alike whether gradients are on or not: the two runs of a checkpoint, the first of
    # which has them off, have to draw the same masks.
    backward = torch.is_grad_enabled() or call.dropout > 0
    backward = backward and any(t is not None and t.requires_grad for t in tensors)
    B, H, packed = h0.shape[1], weights[0][0].w_hh.shape[1], call.batch_sizes is not None
    shape = Shape(call.cell, like, steps, B, H, len(weights), packed)
    found = planned(backend, shape, backward)
    if found is None or not Lanes.exist(x.device, len(weights)):
        return None
    return found.lengths


def _for_chunks(cell: str, weights: Weights, K: int) -> list[Weights]:
    """The weights for each of K chunks, made on the caller's stream, where gradients accumulate.

    What is done to them once is done here: biases added, autocast. K uses of one tensor would have
    their gradients added up in turn, each sum rounded to a parameter's 16 bits; the gradient of
    ``expand`` is one sum over all K.
    """

    def views(t: Tensor | None) -> tuple[Tensor | None, ...]:
        if t is None:
            return (None,) * K
        t = t.to(product_dtype(t))
        wanted = torch.is_grad_enabled() and t.requires_grad
        return t.expand(K, *t.shape).unbind() if wanted else (t,) * K

    each = weights.w_ih, weights.w_hh, *biases(cell, weights)
    return [Weights(*of) for of in zip(*map(views, each), strict=True)]


def run(call: Stack, lengths: Sequence[int]) -> list[LayerResults]:
    """The results of each layer of a stack, in chunks of ``lengths`` steps; x (T, B, I) or (N, I).

    y is there of the last layer alone.
    """
    cell, x, weights, h0, c0, batch_sizes, resets, cells, *_ = call
    checks.rows(batch_sizes, resets, x.shape[:-1], h0.shape[1], x.device)
    L, K, lengths = len(weights), len(lengths), list(lengths)
    lanes = Lanes(x.device, L)
    rows, counts = lengths, [None] * K
    if batch_sizes is not None:
        counts = batch_sizes.split(lengths)
        rows = [int(count.sum()) for count in counts]
    # One split has one gradient; a slice for each chunk would have K of the size of the whole.
    xs = list(x.split(rows))
    cuts = [None] * K if resets is None else resets.split(rows)
    own = [_for_chunks(cell, w, K) for (w,) in weights]
    h = [h0[l : l + 1] for l in range(L)]
    c = [None if c0 is None else c0[l : l + 1] for l in range(L)]
    states: list[list[Tensor]] = [[] for _ in range(L)]
    done: list[Any] = [None] * K  # when what the next layer reads of a chunk is there

    lanes.wait(0, lanes.event(CALLER))  # the other lanes' first tasks wait for lane 0
    lanes.uses(0, x)
    for l in range(L):
        lanes.uses(l, h[l], c[l], resets, *own[l][0])
    try:
        for stage in range(K + L - 1):  # what can run at once is issued in a row
            for l in range(max(0, stage - K + 1), min(L, stage + 1)):
                k = stage - l
                with lanes.on(l):
                    part = xs[k]
                    if l:
                        lanes.wait(l, done[k])
                        lanes.uses(l, part)
                        part = F.dropout(part, call.dropout) if call.dropout else part
                    one = Layer(
                        cell, part, own[l][k : k + 1], h[l], c[l], counts[k], cuts[k], cells
                    )
                    xs[k], h[l], c_n, state = layer.run(one)
                    if c0 is not None:  # c_n may also be empty otherwise
                        c[l] = c_n
                    if cells:
                        states[l].append(state)
                done[k] = lanes.event(l)
    except BaseException:
        # What the lanes have is used by nobody, but nobody may overtake it either.
        for l in range(L):
            lanes.wait(CALLER, lanes.event(l))
        raise
    lanes.wait(CALLER, done[-1])  # the last task of all: whatever was issued leads to it
    lanes.uses(CALLER, *xs, *h, *c, *(state for of in states for state in of))
    y = torch.cat(xs)
    all_cells = [torch.cat(of) if cells else None for of in states]
    return [LayerResults(y, *of) for of in zip(h, c, all_cells, strict=True)]
