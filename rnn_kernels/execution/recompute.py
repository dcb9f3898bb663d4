"""Less memory in training: a layer keeps its states, and its backward computes the gates again.

The gates of all rows follow from the input and from the hidden states before each row, which are
all known by then: two products and one pass, no sequential work.

Sizes: T time, B batch, I input, H hidden, D directions, G gates, K saved values per unit, N rows.
Leading dimensions (T, B) become (N,) for packed rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..backends.base import Backend
from ..backends.gpu.per_step import product
from ..core.calls import Gradients, Kept, Layer, RecurrenceBackward, Results
from ..core.cells import CELLS
from ..core.dtypes import AUTOCAST_FROM, compute_dtype
from ..core.observers import plain, transformed
from ..core.rows import Rows
from ..core.weights import Joined, joined, separate
from . import fused, operator_layer, products
from .operator_layer import Watch

# Elements of gx in a piece; 8 MiB of float32, which the allocator hands out again and again.
PIECE = 1 << 21

requested: ContextVar[bool] = ContextVar("rnn_kernels.recompute", default=False)


@contextmanager
def recompute() -> Iterator[None]:
    """Layers called inside keep less for their backward, which computes the gates again.

    An LSTM keeps two values per row and unit, h and c, where it keeps six; a GRU one, h, where it
    keeps five; either also keeps its input, as ever. Outputs stay what they are, gradients agree up
    to rounding, and higher derivatives work.

    Applies to the current thread or task, and to layers of more than one step without projection.
    Compilers and tracers, the transforms of ``torch.func`` and forward mode do without it. The
    forward has to lie in the block, the backward need not. ``torch.utils.checkpoint`` runs the
    forward again, so there the block belongs inside the function that is checkpointed.
    """
    if torch.compiler.is_compiling():  # a compiler cannot read a context variable, nor set it
        yield
        return
    token = requested.set(True)
    try:
        yield
    finally:
        requested.reset(token)


def applies(call: Layer) -> bool:
    """Whether a layer for which it was requested computes its gates again."""
    if torch.compiler.is_compiling() or call.weights[0].w_hr is not None:
        return False
    if not torch.is_grad_enabled() or torch.jit.is_tracing() or transformed():
        return False
    tensors = call.x, call.h0, call.c0, *(t for w in call.weights for t in w)
    return any(t is not None and t.requires_grad for t in tensors)


def run(call: Layer, backend: Backend) -> Results:
    """y, h_n, c_n and all c of the layer, which keeps no gates."""
    *both, _ = joined(call.cell, call.weights)
    tensors = (call.x, *both, call.h0, call.c0)
    kept = RecomputedLayer.apply(backend, call.cell, call.batch_sizes, call.resets, *tensors)
    return Results(*kept, None)


def _cast(dtype: torch.dtype, tensors: tuple[Tensor | None, ...]) -> list[Tensor | None]:
    return [t if t is None else t.to(dtype) for t in tensors]


class Taken(NamedTuple):
    """The tensors that a recomputed layer takes, in the dtype that it is computed in."""

    x: Tensor  # (…, I)
    w_ih: Tensor  # (D·G·H, I)
    b_ih: Tensor | None  # (D·G·H)
    w_hh: Tensor  # (D, G·H, H)
    b_hh: Tensor | None  # (D, G·H)
    h0: Tensor  # (D, B, H)
    c0: Tensor | None


class RecomputedLayer(torch.autograd.Function):
    """A layer that keeps no gates; its tensors are those of :class:`Taken`.

    Its backward consists of operations that have derivatives, and y and c are outputs: so autograd
    differentiates it again by itself.
    """

    @staticmethod
    def forward(
        ctx: Any,
        backend: Backend,
        cell: str,
        batch_sizes: Tensor | None,
        resets: Tensor | None,
        *tensors: Tensor | None,
    ) -> tuple[Tensor | None, ...]:
        x, device_type, has_c = tensors[0], tensors[0].device.type, CELLS[cell].has_c
        taken = Taken(*tensors)
        if torch.is_autocast_enabled(device_type) and x.dtype in AUTOCAST_FROM:
            # Not by autocast itself: it would remember weights that it cast without gradients.
            taken = Taken(*_cast(torch.get_autocast_dtype(device_type), tensors))
        both = Joined(*taken[1:5], None)
        rest = (taken.h0, taken.c0, batch_sizes, resets, has_c)
        with torch.autocast(device_type, enabled=False):
            call = Layer(cell, taken.x, separate(both), *rest)
            unseen = plain(*taken)
            if backend.has_layers and unseen:
                results = fused.run(call, backend)
            else:
                results = operator_layer.run(call, both, backend, Watch(unseen))
        y, _, _, c, _ = results
        ctx.save_for_backward(*tensors, y, c if has_c else None, batch_sizes, resets)
        ctx.set_materialize_grads(False)
        ctx.call = backend, cell
        return results[:4]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        *tensors, y, c, batch_sizes, resets = ctx.saved_tensors
        backend, cell = ctx.call
        needs_x, needs_w, needs_b, needs_w_hh, needs_b_hh, *_ = needed = ctx.needs_input_grad[4:]
        found = Gradients(*grads)
        if not CELLS[cell].has_c:  # c_n and c are empty, and so are their gradients
            found = found._replace(dc_n=None, dc=None)
        with torch.autocast(y.device.type, enabled=False):
            taken = Taken(*_cast(y.dtype, tensors))
            taken = taken._replace(x=taken.x.flatten(0, -2))
            kept = Kept(taken.w_hh, None, taken.h0, taken.c0, y, c, y, batch_sizes, resets)
            kept = kept._replace(saved=_gates(cell, taken, kept, backend))
            call = RecurrenceBackward(cell, found, kept, needs_w_hh, needs_b_hh)
            dgx, dw_hh, db_hh, _, dh0, dc0 = torch.ops.rnn_kernels.recurrence_backward(
                *call.flat(), backend.name
            )
            dgx = dgx.reshape(-1, taken.w_ih.shape[0])
            dx = products.linear(dgx, taken.w_ih.T, None) if needs_x else None
            results = (
                dx if dx is None else dx.view(tensors[0].shape),
                products.outer(dgx, taken.x) if needs_w else None,
                dgx.sum(0) if needs_b else None,
                dw_hh, db_hh, dh0, dc0,
            )  # fmt: skip
        return (None,) * 4 + tuple(g if n else None for g, n in zip(results, needed, strict=True))


def _gates(cell: str, taken: Taken, kept: Kept, backend: Backend) -> Tensor:
    """What the forward would have saved, (…, D, K, H); x (N, I)."""
    x, w_ih, b_ih, w_hh, b_hh, h0, _ = taken
    y, c = kept.y, kept.c
    kind, (D, _, H), N = CELLS[cell], h0.shape, x.shape[0]
    rows = Rows.of(h0, y.shape[0], kept.batch_sizes, kept.resets)
    compute, hs = compute_dtype(y.dtype), y.reshape(N, D, H)
    before = [rows.before(hs[:, d], h0[d], d) for d in range(D)]
    # The new c is not asked for, and the gates do not depend on the old one: any c will do.
    states = before if c is None else c.reshape(N, D, H).unbind(1)
    saved = y.new_empty(N, D, kind.saved, H, dtype=backend.saved_dtype(y.dtype))
    # Pieces keep what is in between in the cache, and small. A derivative would go through each.
    wanted = 1 if torch.is_grad_enabled() else N * w_ih.shape[0] // PIECE
    size = -(-N // max(1, wanted)) or 1
    for start in range(0, N, size):
        piece = slice(start, start + size)
        gx = products.linear(x[piece], w_ih, b_ih).to(compute).unflatten(1, (D, -1))
        for d in range(D):
            gh = _recurrent(before[d][piece], w_hh[d], None if b_hh is None else b_hh[d], compute)
            *_, saved[piece, d] = torch.ops.rnn_kernels.gates(
                cell, gx[:, d], gh, states[d][piece].to(compute), True, backend.name
            )
    return saved.view(*y.shape[:-1], D, kind.saved, H)


def _recurrent(h: Tensor, w: Tensor, b: Tensor | None, compute: torch.dtype) -> Tensor:
    """W_hh·h + b_hh of h (N, H), (N, G·H), with the sums that the forward has, in ``compute``."""
    if not h.is_cuda or h.dtype == compute or torch.is_grad_enabled():
        return products.linear(*_cast(compute, (h, w, b)))
    gh = h.new_empty(h.shape[0], w.shape[0], dtype=compute)
    product(h[None], w.T[None], gh[None])(h.shape[0])
    return gh if b is None else gh.add_(b)
