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

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from . import backends, checks
from .cells import CELLS
from .lanes import CALLER, Lanes
from .registration import AUTOCAST_FROM
from .tracing import hooked, unwatched
from .weights import Weights, biases

# None of these is measured on a GPU. A chunk is a launch of the product and one of the recurrence,
# 3 µs each until the first block runs, and some 9 for the weights to be on the chip again.
CHUNK_NS = 15e3
# What the host needs to issue one chunk of one layer, forward and backward. Without launches and
# events it takes 40 and 100 µs (on a CPU); these are 4 forward and 10 backward, of 5 µs.
HOST_NS = 60e3, 150e3
# The products of a step, as the planner takes them; a lane has its share of the device for them.
FLOP_PER_NS = 300e3
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
                (K + L - 1) * (-(-T // K) * step[shared] + CHUNK_NS),
                K * L * HOST_NS[k] if host else 0,
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


def planned(
    kernels: Any,
    cell: str,
    like: Tensor,
    sizes: tuple[int, int],
    T: int,
    L: int,
    packed: bool,
    backward: bool,
) -> Cut | None:
    """How ``kernels``, a backend, should run a stack; None: one layer after the other.

    Args:
        like: of the dtype and on the device of the call.  sizes: B, H.
        backward: whether one follows.
    """
    if not hasattr(kernels, "plan"):
        return None
    (B, H), steps = sizes, []
    product_ns = 2 * B * CELLS[cell].gates * H * H / FLOP_PER_NS  # I is H, but for the first layer
    for back in (False, True) if backward else (False,):
        times = []
        for n in (1, L):
            plan = kernels.plan(cell, like, (B, H, 1), back, packed, beside=n)
            if isinstance(plan, str):
                return None  # per step, where the host is what limits
            # Backward there are three: for dx, dw_ih and dw_hh.
            times.append(plan.step_ns + n * (3 if back else 1) * product_ns)
        steps.append(tuple(times))
    captured = like.is_cuda and torch.cuda.is_current_stream_capturing()
    return cut(T, L, tuple(steps), captured)


def lengths(
    cell: str,
    input: Tensor,
    weights: Sequence[Sequence[Weights]],
    h0: Tensor,
    c0: Tensor | None,
    batch_sizes: Tensor | None,
    dropout: float,
) -> tuple[int, ...] | None:
    """Steps of each chunk, or None where the layers run one after the other.

    Args:
        input: (T, B, I) or (N, I).  h0, c0: (L, B, H).
        dropout: between layers, 0 for none.
    """
    if len(weights) == 1 or torch.compiler.is_compiling() or not input.is_cuda:
        return None
    if len(weights[0]) == 2 or weights[0][0].w_hr is not None or h0.dim() != 3:
        return None
    steps = len(input if batch_sizes is None else batch_sizes)
    tensors = [input, h0, c0, *(t for (w,) in weights for t in w)]
    if steps < 2 * SHORTEST or not unwatched(*tensors):
        return None
    if hooked():  # a checkpoint may leave a call in the middle of its second run, lanes and all
        return None
    like = input.new_empty(0, dtype=_dtype(input))
    kernels = backends.BACKENDS[backends.choose(cell, like.dtype, "cuda", False)]
    # With dropout alike whether gradients are on or not: the two runs of a checkpoint, the first of
    # which has them off, have to draw the same masks.
    backward = torch.is_grad_enabled() or dropout > 0
    backward = backward and any(t is not None and t.requires_grad for t in tensors)
    sizes, packed = (h0.shape[1], weights[0][0].w_hh.shape[1]), batch_sizes is not None
    found = planned(kernels, cell, like, sizes, steps, len(weights), packed, backward)
    if found is None or not Lanes.exist(input.device, len(weights)):
        return None
    return found.lengths


def _dtype(t: Tensor) -> torch.dtype:
    """The dtype that a product with ``t`` is computed in."""
    if t.dtype in AUTOCAST_FROM and torch.is_autocast_enabled(t.device.type):
        return torch.get_autocast_dtype(t.device.type)
    return t.dtype


def _for_chunks(cell: str, weights: Weights, K: int) -> list[Weights]:
    """The weights for each of K chunks, made on the caller's stream, where gradients accumulate.

    What is done to them once is done here: biases added, autocast. K uses of one tensor would have
    their gradients added up in turn, each sum rounded to a parameter's 16 bits; the gradient of
    ``expand`` is one sum over all K.
    """

    def views(t: Tensor | None) -> tuple[Tensor | None, ...]:
        if t is None:
            return (None,) * K
        t = t.to(_dtype(t))
        wanted = torch.is_grad_enabled() and t.requires_grad
        return t.expand(K, *t.shape).unbind() if wanted else (t,) * K

    each = weights.w_ih, weights.w_hh, *biases(cell, weights)
    return [Weights(*of) for of in zip(*map(views, each), strict=True)]


def run(
    layer: Callable[..., tuple[Tensor, Tensor, Tensor | None, Tensor | None]],
    lanes: Lanes,
    lengths: Sequence[int],
    cell: str,
    input: Tensor,
    weights: Sequence[Sequence[Weights]],
    h0: Tensor,
    c0: Tensor | None,
    dropout: float,
    batch_sizes: Tensor | None,
    resets: Tensor | None,
    cells: bool,
) -> tuple[Tensor, list[Tensor], list[Tensor | None], list[Tensor | None]]:
    """A stack in chunks of ``lengths`` steps; ``layer`` is :func:`rnn_kernels.functional.layer`.

    Args:
        input: (T, B, I) or (N, I).  h0, c0: (L, B, H).
        dropout: between layers, 0 for none.
        batch_sizes, resets: as for a layer.

    Returns:
        y (T, B, H) or (N, H), and of each layer h_n (1, B, H), c_n (1, B, H) or None, and all cell
        states as y, or None if not wanted.
    """
    checks.rows(batch_sizes, resets, input.shape[:-1], h0.shape[1], input.device)
    L, K, lengths = len(weights), len(lengths), list(lengths)
    rows, counts = lengths, [None] * K
    if batch_sizes is not None:
        counts = batch_sizes.split(lengths)
        rows = [int(count.sum()) for count in counts]
    # One split has one gradient; a slice for each chunk would have K of the size of the whole.
    xs = list(input.split(rows))
    cuts = [None] * K if resets is None else resets.split(rows)
    own = [_for_chunks(cell, w, K) for (w,) in weights]
    h = [h0[l : l + 1] for l in range(L)]
    c = [None if c0 is None else c0[l : l + 1] for l in range(L)]
    states: list[list[Tensor]] = [[] for _ in range(L)]
    done: list[Any] = [None] * K  # when what the next layer reads of a chunk is there

    lanes.wait(0, lanes.event(CALLER))  # the other lanes' first tasks wait for lane 0
    lanes.uses(0, input)
    for l in range(L):
        lanes.uses(l, h[l], c[l], resets, *own[l][0])
    try:
        for stage in range(K + L - 1):  # what can run at once is issued in a row
            for l in range(max(0, stage - K + 1), min(L, stage + 1)):
                k = stage - l
                with lanes.on(l):
                    x = xs[k]
                    if l:
                        lanes.wait(l, done[k])
                        lanes.uses(l, x)
                        x = F.dropout(x, dropout) if dropout else x
                    xs[k], h[l], c_n, state = layer(
                        cell, x, own[l][k : k + 1], h[l], c[l],
                        batch_sizes=counts[k], resets=cuts[k], cells=cells,
                    )  # fmt: skip
                    if c0 is not None:  # c_n may also be empty otherwise
                        c[l] = c_n
                    if cells:
                        states[l].append(state)
                done[k] = lanes.event(l)
    except (
        BaseException
    ):  # what the lanes have is used by nobody, but nobody may overtake it either
        for l in range(L):
            lanes.wait(CALLER, lanes.event(l))
        raise
    lanes.wait(CALLER, done[-1])  # the last task of all: whatever was issued leads to it
    lanes.uses(CALLER, *xs, *h, *c, *(state for of in states for state in of))
    return torch.cat(xs), h, c, [torch.cat(of) if cells else None for of in states]
