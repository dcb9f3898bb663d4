"""Gradients of the recurrent weights and biases: large products over all rows, after the loop."""

from __future__ import annotations

import torch
from torch import Tensor

from .cells import Cell


def weight_gradients(
    kind: Cell,
    dgx: Tensor,
    dgh_last: Tensor | None,
    y: Tensor,
    h0: Tensor,
    h_before: Tensor | None,
    weights: bool,
    bias: bool,
) -> tuple[Tensor | None, Tensor | None]:
    """dw_hh (D, G·H, H) and db_hh (D, G·H), each if wanted.

    Args:
        dgx: (…, D, G·H) gradients of the gates.
        dgh_last: (…, D, H) that of the last gate's recurrent half, for cells that split.
        y: (…, D·H) hidden states.  h0: (D, B, H).
        h_before: (…, D, H) hidden states before each step, or None: rows of y, one step off.
    """
    D, _, H = h0.shape
    blocks = _blocks(kind, H, dgx, dgh_last)
    dw = db = None
    if weights:
        dw = y.new_empty(D, kind.gates * H, H)
        for d in range(D):
            for columns, g in blocks:
                _product(dw[d, columns], g[..., d, :], y, h0, h_before, d)
    if bias:
        db = torch.cat([g.flatten(0, -3).sum(0) for _, g in blocks], 1)
    return dw, db


def _blocks(kind: Cell, H: int, dgx: Tensor, dgh_last: Tensor | None) -> list[tuple[slice, Tensor]]:
    """The gradient of W_hh·h, as columns of the gates and their part of it (…, D, columns)."""
    if dgh_last is None:
        return [(slice(None), dgx)]
    shared = (kind.gates - 1) * H
    return [(slice(0, shared), dgx[..., :shared]), (slice(shared, None), dgh_last)]


def _product(dw: Tensor, g: Tensor, y: Tensor, h0: Tensor, h_before: Tensor | None, d: int) -> None:
    """dw (M, H) = gᵀ · h, over all rows: g (…, M) and the hidden states before direction d's steps.

    Without packed rows and resets those are rows of y, one step off, and h0.
    """
    H = dw.shape[1]
    if h_before is not None:
        torch.mm(g.flatten(0, -2).T, h_before[..., d, :].flatten(0, -2), out=dw)
        return
    ys = y.unflatten(-1, (h0.shape[0], H))[:, :, d]
    start, rest, others = (g[0], g[1:], ys[:-1]) if d == 0 else (g[-1], g[:-1], ys[1:])
    torch.mm(rest.flatten(0, -2).T, others.flatten(0, -2), out=dw)
    dw.addmm_(start.T, h0[d])
