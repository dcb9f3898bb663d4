"""Layers whose backend multiplies the input itself, step by step: gx is never there as a whole.

Sizes: T time, B batch, I input, H hidden, D directions, G gates, N rows of a packed sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..backends.base import Backend
from ..core.calls import Gradients, Kept, Layer, RecurrenceBackward, Results
from ..core.cells import CELLS, Cell
from ..operators import checks
from ..operators.recurrence import differentiate
from . import products


def run(call: Layer, backend: Backend) -> Results:
    """Results as the operator gives them; what the backward needs is not for the caller.

    Only where nobody watches: compilers, tracers, autocast and function transforms know the
    operator, and want to see the product.
    """
    checks.layer(call)
    tensors = call.x, call.h0, call.c0, *(t for w in call.weights for t in w[:4])
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors):
        return Results(*RecurrentLayer.apply(backend, call, *tensors))
    return backend.layer(call, False)


class RecurrentLayer(torch.autograd.Function):
    """The input product and the recurrence as one; tensors are x, h0, c0 and each direction's
    w_ih, w_hh, b_ih, b_hh, which are those of the call.

    The backward is the recurrence's and two products, all of which have derivatives. What the
    forward saves is an output, as it is of the operator, so that second derivatives flow through.
    """

    @staticmethod
    def forward(ctx: Any, backend: Backend, call: Layer, *tensors: Tensor | None) -> Results:
        results = backend.layer(call, True)
        y, _, _, c, saved = results
        ctx.save_for_backward(*tensors, call.batch_sizes, call.resets, y, c, saved)
        ctx.set_materialize_grads(False)
        ctx.call = backend, call.cell
        return results

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        backend, cell = ctx.call
        x, h0, c0, *flat, batch_sizes, resets, y, c, saved = ctx.saved_tensors
        needed = ctx.needs_input_grad[2:]
        D, kind = h0.shape[0], CELLS[cell]
        needs = [any(needed[3 + k :: 4]) for k in range(4)]  # w_ih, w_hh, b_ih, b_hh
        w_ih, w_hh = (_joined(flat[k::4]) for k in (0, 1))
        dy, dh_n, dc_n, dc, dsaved = grads
        found = Gradients(dy, dh_n, *((dc_n, dc) if kind.has_c else (None, None)), dsaved)
        kept = Kept(w_hh, None, h0, c0, y, c, saved, batch_sizes, resets)
        bias = needs[3] or needs[2] and not kind.splits
        call = RecurrenceBackward(cell, found, kept, needs[1], bias)
        dgx, dw_hh, db_hh, _, dh0, dc0 = differentiate(call, backend)
        # Operators give empties.
        dw_hh, db_hh = dw_hh if needs[1] else None, db_hh if bias else None
        rows, x_rows = dgx.reshape(-1, D * dgx.shape[-1]), x.flatten(0, -2)
        dx = products.linear(rows, w_ih.flatten(0, 1).T, None) if needed[0] else None
        dw_ih = products.outer(rows, x_rows).view_as(w_ih) if needs[0] else None
        db_ih = _bias(kind, rows.view(-1, *dgx.shape[-2:]), db_hh) if needs[2] else None
        results = [dx if dx is None else dx.view(x.shape), dh0, dc0]
        for d in range(D):
            results += [g if g is None else g[d] for g in (dw_ih, dw_hh, db_ih, db_hh)]
        wanted = tuple(g if n else None for g, n in zip(results, needed, strict=True))
        return None, None, *wanted


def _joined(each: Sequence[Tensor]) -> Tensor:
    """(D, …) of each direction's."""
    return each[0].unsqueeze(0) if len(each) == 1 else torch.stack(tuple(each))


def _bias(kind: Cell, dgx: Tensor, db_hh: Tensor | None) -> Tensor:
    """The gradient (D, G·H) of the input half's bias; dgx (N, D, G·H).

    It is that of the recurrent half's, but for a last gate that has its halves apart. Never in the
    same memory: whoever scales one gradient in place would scale both.
    """
    if db_hh is None or not kind.splits:
        return dgx.sum(0) if db_hh is None else db_hh.clone()
    shared = db_hh.shape[1] // kind.gates * (kind.gates - 1)
    return torch.cat((db_hh[:, :shared], dgx[..., shared:].sum(0)), 1)
