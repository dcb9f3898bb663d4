"""Layers whose backend multiplies the input itself, step by step: gx is never there as a whole.

Sizes: T time, B batch, I input, H hidden, D directions, G gates, N rows of a packed sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from . import backends, checks, ops, products
from .cells import CELLS
from .tracing import plain, stored
from .weights import Weights


def applies(backend: str, *tensors: Tensor | None) -> bool:
    """Whether a layer on these tensors may skip the operator on that backend.

    Compilers, tracers, autocast and function transforms know the operator, and see the product.
    """
    return backends.layer(backend) is not None and plain(*tensors)


def run(
    backend: str,
    cell: str,
    x: Tensor,
    weights: Sequence[Weights],
    h0: Tensor,
    c0: Tensor | None,
    batch_sizes: Tensor | None,
    resets: Tensor | None,
    cells: bool,
) -> tuple[Tensor | None, ...]:
    """y, h_n, c_n and c of a layer, as the operator gives them; x (T, B, I) or (N, I)."""
    checks.layer(cell, x, weights, h0, c0, batch_sizes, resets)
    flat = [t for w in weights for t in w[:4]]
    if torch.is_grad_enabled() and any(
        t is not None and t.requires_grad for t in (x, h0, c0, *flat)
    ):
        return RecurrentLayer.apply(backend, cell, batch_sizes, resets, x, h0, c0, *flat)[:4]
    found = backends.layer(backend)(cell, x, weights, h0, c0, batch_sizes, resets, False, cells)
    return found[:4]


class RecurrentLayer(torch.autograd.Function):
    """The input product and the recurrence as one; tensors are x, h0, c0 and each direction's
    w_ih, w_hh, b_ih, b_hh.

    The backward is the recurrence's and two products, all of which have derivatives. What the
    forward saves is an output, as it is of the operator, so that second derivatives flow through.
    """

    @staticmethod
    def forward(
        ctx: Any,
        backend: str,
        cell: str,
        batch_sizes: Tensor | None,
        resets: Tensor | None,
        x: Tensor,
        h0: Tensor,
        c0: Tensor | None,
        *flat: Tensor | None,
    ) -> tuple[Tensor | None, ...]:
        weights = [Weights(*flat[k : k + 4]) for k in range(0, len(flat), 4)]
        results = backends.layer(backend)(cell, x, weights, h0, c0, batch_sizes, resets, True, True)
        y, _, _, c, saved = results
        ctx.save_for_backward(x, h0, c0, batch_sizes, resets, y, c, saved, *flat)
        ctx.set_materialize_grads(False)
        ctx.call = backend, cell
        return results

    @staticmethod
    def backward(
        ctx: Any,
        dy: Tensor | None,
        dh_n: Tensor | None,
        dc_n: Tensor | None,
        dc: Tensor | None,
        dsaved: Tensor | None,
    ) -> tuple[Tensor | None, ...]:
        backend, cell = ctx.call
        x, h0, c0, batch_sizes, resets, y, c, saved, *flat = ctx.saved_tensors
        needed = ctx.needs_input_grad[4:]
        D, kind = h0.shape[0], CELLS[cell]
        needs = [any(needed[3 + k :: 4]) for k in range(4)]  # w_ih, w_hh, b_ih, b_hh
        w_ih, w_hh = (_joined(flat[k::4]) for k in (0, 1))
        grads = (dy, dh_n, dc_n, dc, dsaved) if kind.has_c else (dy, dh_n, None, None, dsaved)
        kept = (w_hh, None, h0, c0, y, c, saved, batch_sizes, resets)
        direct = not torch.is_grad_enabled() and plain(*kept, *grads) and stored(*grads)
        run = ops.run_backward if direct else torch.ops.rnn_kernels.recurrence_backward
        bias = needs[3] or needs[2] and not kind.splits
        dgx, dw_hh, db_hh, _, dh0, dc0 = run(cell, *grads, *kept, needs[1], bias, backend)
        dw_hh, db_hh = (
            dw_hh if needs[1] else None,
            db_hh if bias else None,
        )  # operators give empties
        rows, x_rows = dgx.reshape(-1, D * dgx.shape[-1]), x.flatten(0, -2)
        dx = products.linear(rows, w_ih.flatten(0, 1).T, None) if needed[0] else None
        dw_ih = products.outer(rows, x_rows).view_as(w_ih) if needs[0] else None
        db_ih = _bias(kind.splits, rows.view(-1, *dgx.shape[-2:]), db_hh) if needs[2] else None
        found = [dx if dx is None else dx.view(x.shape), dh0, dc0]
        for d in range(D):
            found += [g if g is None else g[d] for g in (dw_ih, dw_hh, db_ih, db_hh)]
        return (None,) * 4 + tuple(g if n else None for g, n in zip(found, needed, strict=True))


def _joined(each: Sequence[Tensor]) -> Tensor:
    """(D, …) of each direction's."""
    return each[0].unsqueeze(0) if len(each) == 1 else torch.stack(tuple(each))


def _bias(splits: bool, dgx: Tensor, db_hh: Tensor | None) -> Tensor:
    """The gradient (D, G·H) of the input half's bias; dgx (N, D, G·H).

    It is that of the recurrent half's, but for a last gate that has its halves apart. Never in the
    same memory: whoever scales one gradient in place would scale both.
    """
    if db_hh is None or not splits:
        return dgx.sum(0) if db_hh is None else db_hh.clone()
    shared = db_hh.shape[1] * 2 // 3
    return torch.cat((db_hh[:, :shared], dgx[..., shared:].sum(0)), 1)
