"""Gradients of the recurrent weights and biases: large products over all rows, after the loop."""

from __future__ import annotations

import torch
from torch import Tensor

from ...core.calls import RecurrenceBackward
from ...core.cells import CELLS, Cell


def weight_gradients(
    call: RecurrenceBackward, dgx: Tensor, dgh_last: Tensor | None, h_before: Tensor | None
) -> tuple[Tensor | None, Tensor | None]:
    """dw_hh (D, G·H, H) and db_hh (D, G·H), each if the call wants it.

    Args:
        dgx: (…, D, G·H) gradients of the gates.
        dgh_last: (…, D, H) that of the last gate's recurrent half, for cells that split.
        h_before: (…, D, H) hidden states before each step, or None: rows of y, one step off.
    """
    kind, y, h0 = CELLS[call.cell], call.kept.y, call.kept.h0
    D, _, H = h0.shape
    blocks = _blocks(kind, H, dgx, dgh_last)
    dw = db = None
    if call.weights:
        dw = y.new_empty(D, kind.gates * H, H)
        for d in range(D):
            for columns, g in blocks:
                if h_before is None:
                    _product_of_y(dw[d, columns], g[..., d, :], y, h0, d)
                    continue
                states = h_before[..., d, :].flatten(0, -2)
                torch.mm(g[..., d, :].flatten(0, -2).T, states, out=dw[d, columns])
    if call.bias:
        db = torch.cat([g.flatten(0, -3).sum(0) for _, g in blocks], 1)
    return dw, db


def _blocks(kind: Cell, H: int, dgx: Tensor, dgh_last: Tensor | None) -> list[tuple[slice, Tensor]]:
    """The gradient of W_hh·h, as columns of the gates and their part of it (…, D, columns)."""
    if dgh_last is None:
        return [(slice(None), dgx)]
    shared = (kind.gates - 1) * H
    return [(slice(0, shared), dgx[..., :shared]), (slice(shared, None), dgh_last)]


def _product_of_y(dw: Tensor, g: Tensor, y: Tensor, h0: Tensor, d: int) -> None:
    """dw (M, H) = gᵀ · h, over all rows: g (…, M) and the hidden states before direction d's steps.

    Without packed rows and resets those are rows of y, one step off, and h0.
    """
    ys = y.unflatten(-1, (h0.shape[0], dw.shape[1]))[:, :, d]
    start, rest, others = (g[0], g[1:], ys[:-1]) if d == 0 else (g[-1], g[:-1], ys[1:])
    torch.mm(rest.flatten(0, -2).T, others.flatten(0, -2), out=dw)
    dw.addmm_(start.T, h0[d])
