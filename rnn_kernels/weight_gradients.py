"""Gradients of the recurrent weights and biases: one large product over all steps."""

from __future__ import annotations

import torch
from torch import Tensor

from .rows import Rows


def weight_gradients(
    dgx: Tensor,
    dgh: Tensor | None,
    y: Tensor,
    h0: Tensor,
    batch_sizes: Tensor | None,
    resets: Tensor | None,
    weights: bool,
    bias: bool,
) -> tuple[Tensor, Tensor]:
    """dw_hh = Σ over all rows of dgates ⊗ the state before, and db_hh = Σ of dgates.

    Args:
        dgx: (T, B, D, G·H), or (N, D, G·H) for packed rows.
        dgh: (T, B, D, H) or (N, D, H): gradient of the last gate's recurrent half where that is
            not dgx's, or None.
        y: (T, B, D·H) or (N, D·H), all hidden states.
        h0: (D, B, H).
        batch_sizes, resets: as in the operator.
        weights, bias: which of the two results are wanted.

    Returns:
        dw_hh (D, G·H, H) and db_hh (D, G·H); empty where not wanted.
    """
    D, B, H = h0.shape
    G_H = dgx.shape[-1]
    states, gates = y.reshape(-1, D, H), dgx.reshape(-1, D, G_H)
    last = None if dgh is None else dgh.reshape(-1, D, H)
    dw = y.new_empty(D, G_H, H) if weights else y.new_empty(0)
    db = y.new_empty(D, G_H) if bias else y.new_empty(0)
    plain = batch_sizes is None and resets is None
    rows = None if plain or not weights else Rows.of(h0, y.shape[0], batch_sizes, resets)
    for d in range(D):
        shares = [(slice(0, G_H), gates[:, d])]
        if last is not None:
            shares = [(slice(0, G_H - H), gates[:, d, : G_H - H]), (slice(G_H - H, G_H), last[:, d])]
        before = rows.before(states[:, d], h0[d], d) if rows else None
        for gate, dg in shares:
            if bias:
                torch.sum(dg, 0, out=db[d, gate])
            if not weights:
                continue
            out = dw[d, gate]
            if before is not None:
                torch.mm(dg.T, before, out=out)
            else:  # views, no copy of the states: the first step's come from h0, the rest from y
                first, rest = (dg[:B], dg[B:]) if d == 0 else (dg[len(dg) - B :], dg[: len(dg) - B])
                came_from = states[: len(dg) - B, d] if d == 0 else states[B:, d]
                torch.mm(rest.T, came_from, out=out)
                out.addmm_(first.T, h0[d])
    return dw, db
