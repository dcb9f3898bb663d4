"""Less memory in training: a layer keeps its states, and its backward computes the gates again.

The gates of all rows follow from the input and from the hidden states before each row, which are
all known by then: two products and one pass, no sequential work.

Sizes: T time, B batch, I input, H hidden, D directions, G gates, K saved values per unit, N rows.
Leading dimensions (T, B) become (N,) for packed rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

from . import backends, products, steps
from .cells import CELLS
from .reference import compute_dtype
from .registration import AUTOCAST_FROM
from .rows import Rows
from .tracing import transformed

# Elements of gx in a piece; 8 MiB of float32, which the allocator hands out again and again.
PIECE = 1 << 21

_requested: ContextVar[bool] = ContextVar("rnn_kernels.recompute", default=False)


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
    token = _requested.set(True)
    try:
        yield
    finally:
        _requested.reset(token)


def applies(w_hr: Tensor | None, *tensors: Tensor | None) -> bool:
    """Whether a layer on these tensors, with projection ``w_hr``, computes its gates again."""
    if torch.compiler.is_compiling() or not _requested.get() or w_hr is not None:
        return False
    if not torch.is_grad_enabled() or torch.jit.is_tracing() or transformed():
        return False
    return any(t is not None and t.requires_grad for t in tensors)


def _cast(dtype: torch.dtype, tensors: tuple[Tensor | None, ...]) -> list[Tensor | None]:
    return [t if t is None else t.to(dtype) for t in tensors]


class RecomputedLayer(torch.autograd.Function):
    """A layer that keeps no gates; x (…, I), w_ih (D·G·H, I), the rest as in ops.FORWARD.

    Its backward consists of operations that have derivatives, and y and c are outputs: so autograd
    differentiates it again by itself.
    """

    @staticmethod
    def forward(
        ctx: Any,
        layer: Callable[..., tuple[Tensor | None, ...]],
        cell: str,
        batch_sizes: Tensor | None,
        resets: Tensor | None,
        *tensors: Tensor | None,
    ) -> tuple[Tensor | None, ...]:
        x, device_type = tensors[0], tensors[0].device.type
        taken = tensors
        if torch.is_autocast_enabled(device_type) and x.dtype in AUTOCAST_FROM:
            # Not by autocast itself: it would remember weights that it cast without gradients.
            taken = _cast(torch.get_autocast_dtype(device_type), tensors)
        with torch.autocast(device_type, enabled=False):
            *inputs, h0, c0 = taken
            results = layer(cell, *inputs, None, h0, c0, batch_sizes, resets, CELLS[cell].has_c)
        y, _, _, c = results
        c = c if CELLS[cell].has_c else None
        ctx.save_for_backward(*tensors, y, c, batch_sizes, resets)
        ctx.set_materialize_grads(False)
        ctx.call = cell, backends.choose(cell, y.dtype, device_type, False)
        return results

    @staticmethod
    def backward(
        ctx: Any,
        dy: Tensor | None,
        dh_n: Tensor | None,
        dc_n: Tensor | None,
        dc: Tensor | None,
    ) -> tuple[Tensor | None, ...]:
        *tensors, y, c, batch_sizes, resets = ctx.saved_tensors
        cell, backend = ctx.call
        needs_x, needs_w, needs_b, needs_w_hh, needs_b_hh, *_ = needed = ctx.needs_input_grad[4:]
        if not CELLS[cell].has_c:  # c_n and c are empty, and so are their gradients
            dc_n = dc = None
        with torch.autocast(y.device.type, enabled=False):
            x, w_ih, b_ih, w_hh, b_hh, h0, c0 = _cast(y.dtype, tensors)
            x = x.flatten(0, -2)
            rows = Rows.of(h0, y.shape[0], batch_sizes, resets)
            saved = _gates(cell, rows, x, w_ih, b_ih, w_hh, b_hh, h0, y, c, backend)
            dgx, dw_hh, db_hh, _, dh0, dc0 = torch.ops.rnn_kernels.recurrence_backward(
                cell, dy, dh_n, dc_n, dc, None, w_hh, None, h0, c0, y, c, saved,
                batch_sizes, resets, needs_w_hh, needs_b_hh, backend,
            )  # fmt: skip
            dgx = dgx.reshape(-1, w_ih.shape[0])
            dx = products.linear(dgx, w_ih.T, None) if needs_x else None
            found = (
                dx if dx is None else dx.view(tensors[0].shape),
                products.outer(dgx, x) if needs_w else None,
                dgx.sum(0) if needs_b else None,
                dw_hh, db_hh, dh0, dc0,
            )  # fmt: skip
        return (None,) * 4 + tuple(g if n else None for g, n in zip(found, needed, strict=True))


def _gates(
    cell: str,
    rows: Rows,
    x: Tensor,
    w_ih: Tensor,
    b_ih: Tensor | None,
    w_hh: Tensor,
    b_hh: Tensor | None,
    h0: Tensor,
    y: Tensor,
    c: Tensor | None,
    backend: str,
) -> Tensor:
    """What the forward would have saved, (…, D, K, H); x (N, I)."""
    kind, (D, _, H), N = CELLS[cell], h0.shape, x.shape[0]
    compute, hs = compute_dtype(y.dtype), y.reshape(N, D, H)
    before = [rows.before(hs[:, d], h0[d], d) for d in range(D)]
    # The new c is not asked for, and the gates do not depend on the old one: any c will do.
    states = before if c is None else c.reshape(N, D, H).unbind(1)
    saved = y.new_empty(N, D, kind.saved, H, dtype=backends.saved_dtype(backend, y.dtype))
    # Pieces keep what is in between in the cache, and small. A derivative would go through each.
    wanted = 1 if torch.is_grad_enabled() else N * w_ih.shape[0] // PIECE
    size = -(-N // max(1, wanted)) or 1
    for start in range(0, N, size):
        piece = slice(start, start + size)
        gx = products.linear(x[piece], w_ih, b_ih).to(compute).unflatten(1, (D, -1))
        for d in range(D):
            gh = _recurrent(before[d][piece], w_hh[d], None if b_hh is None else b_hh[d], compute)
            *_, saved[piece, d] = torch.ops.rnn_kernels.gates(
                cell, gx[:, d], gh, states[d][piece].to(compute), True, backend
            )
    return saved.view(*y.shape[:-1], D, kind.saved, H)


def _recurrent(h: Tensor, w: Tensor, b: Tensor | None, compute: torch.dtype) -> Tensor:
    """W_hh·h + b_hh of h (N, H), (N, G·H), with the sums that the forward has, in ``compute``."""
    if not h.is_cuda or h.dtype == compute or torch.is_grad_enabled():
        return products.linear(*_cast(compute, (h, w, b)))
    gh = h.new_empty(h.shape[0], w.shape[0], dtype=compute)
    steps.product(h[None], w.T[None], gh[None])(h.shape[0])
    return gh if b is None else gh.add_(b)


def run(
    layer: Callable[..., tuple[Tensor | None, ...]],
    cell: str,
    input: Tensor,
    w_ih: Tensor,
    b_ih: Tensor | None,
    w_hh: Tensor,
    b_hh: Tensor | None,
    h0: Tensor,
    c0: Tensor | None,
    batch_sizes: Tensor | None,
    resets: Tensor | None,
) -> tuple[Tensor | None, ...]:
    """y, h_n, c_n and all c of ``layer``, which runs the forward and keeps nothing."""
    tensors = (input, w_ih, b_ih, w_hh, b_hh, h0, c0)
    return RecomputedLayer.apply(layer, cell, batch_sizes, resets, *tensors)
