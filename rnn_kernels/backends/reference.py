"""The reference backend: the recurrence and its backward as loops of plain torch operations.

Slow, and right on any device and dtype: kernels are tested against it, rare combinations
(projections, second derivatives, cells that no kernel knows) run on it. Everything here can itself
be differentiated. Results that do not apply are None.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..core.calls import (
    Gates,
    GatesBackward,
    GatesResults,
    InputGradients,
    Kind,
    Recurrence,
    RecurrenceBackward,
    Results,
)
from ..core.cells import CELLS, Cell
from ..core.dtypes import compute_dtype
from ..core.rows import Rows
from .base import Backend


class Direction(NamedTuple):
    """What one direction of a recurrence starts from; parameters in the dtype computed in."""

    gx: Tensor  # (N, G, H)
    h: Tensor  # (B, P)
    c: Tensor  # (B, H), (B, 0) for cells without
    w_hh: Tensor
    b_hh: Tensor | None
    w_hr: Tensor | None


class DirectionBackward(NamedTuple):
    """What one direction's backward reads, in the dtype computed in."""

    w_hh: Tensor
    w_hr: Tensor | None
    h_before: Tensor  # (N, P) states before each row, as c_before (N, H)
    c_before: Tensor
    c: Tensor  # (N, H)
    saved: Tensor  # (N, K, H)
    dy: Tensor  # (N, P)
    dc: Tensor  # (N, H)
    dsaved: Tensor  # (N, K, H)
    dh_n: Tensor  # (B, P)
    dc_n: Tensor  # (B, H)


def _direction(values: Tensor | None, d: int) -> Tensor | None:
    """Direction d of (D, …), in the dtype computed in."""
    return None if values is None else values[d].to(compute_dtype(values.dtype))


def _joined(per_direction: list[list[Tensor]]) -> Tensor:
    """(N, D, …) of one list per direction with one tensor per step."""
    return torch.stack([torch.cat(steps) for steps in per_direction], 1)


def forward(call: Recurrence) -> Results:
    """The recurrence."""
    kind, gx, (D, B, P) = CELLS[call.cell], call.gx, call.h0.shape
    leading, H = gx.shape[:-2], call.w_hh.shape[1] // kind.gates
    rows = Rows.of(call.h0, gx.shape[0], call.batch_sizes, call.resets)
    gates = gx.reshape(-1, D, kind.gates, H)
    none = call.h0.new_zeros(B, 0, dtype=compute_dtype(gx.dtype))
    done = []
    for d in range(D):
        c, w_hh, b_hh, w_hr = (_direction(t, d) for t in (call.c0, call.w_hh, call.b_hh, call.w_hr))
        start = Direction(gates[:, d], call.h0[d], none if c is None else c, w_hh, b_hh, w_hr)
        done.append(_forward_direction(kind, rows, d, start))
    ys, cs, saveds, h_n, c_n = zip(*done, strict=True)
    keep_c = kind.has_c and (call.save or call.cells)
    return Results(
        _joined(ys).reshape(*leading, D * P),
        torch.stack(h_n),
        torch.stack(c_n).to(gx.dtype) if kind.has_c else None,
        _joined(cs).reshape(*leading, D, H) if keep_c else None,
        _joined(saveds).reshape(*leading, D, kind.saved, H) if call.save else None,
    )


def _forward_direction(
    kind: Cell, rows: Rows, d: int, start: Direction
) -> tuple[list[Tensor], list[Tensor], list[Tensor], Tensor, Tensor]:
    """y, c and saved values of every step, and the final h and c."""
    gx, h, c, w_hh, b_hh, w_hr = start
    dtype, compute, H = gx.dtype, w_hh.dtype, gx.shape[2]
    steps, offsets = gx.split(rows.counts), rows.offsets()
    ys, cs, saveds = ([gx.new_empty(0)] * rows.T for _ in range(3))
    for t in rows.times(d):
        n, kept = rows.counts[t], rows.kept(d, t, offsets)
        h_prev, c_prev = h[:n].to(compute), c[:n]
        if kept is not None:
            h_prev, c_prev = torch.where(kept, h_prev, 0), torch.where(kept, c_prev, 0)
        gh = h_prev @ w_hh.T
        if b_hh is not None:
            gh = gh + b_hh
        halves = steps[t].to(compute).unbind(1), gh.view(n, kind.gates, H).unbind(1)
        new_h, new_c, saved = kind.step(*halves, h_prev, c_prev)
        if w_hr is not None:
            new_h = new_h @ w_hr.T
        ys[t], cs[t], saveds[t] = new_h.to(dtype), new_c, torch.stack(saved, 1)
        h, c = torch.cat((ys[t], h[n:])), torch.cat((new_c, c[n:]))
    return ys, cs, saveds, h, c


def backward(call: RecurrenceBackward) -> InputGradients:
    """Its backward."""
    kind, grads, kept, y = CELLS[call.cell], call.grads, call.kept, call.kept.y
    (D, B, P), H = kept.h0.shape, kept.saved.shape[-1]
    compute, width = compute_dtype(y.dtype), H if kind.has_c else 0
    rows = Rows.of(kept.h0, y.shape[0], kept.batch_sizes, kept.resets)

    def part(values: Tensor | None, d: int, *sizes: int) -> Tensor:
        """Direction d of values (N, D, …), or zeros."""
        if values is None:
            return y.new_zeros(sum(rows.counts), *sizes, dtype=compute)
        return values.reshape(-1, D, *sizes)[:, d].to(compute)

    def final(values: Tensor | None, d: int, size: int) -> Tensor:
        return y.new_zeros(B, size, dtype=compute) if values is None else values[d].to(compute)

    found = []
    for d in range(D):
        c = part(kept.c, d, width)
        one = DirectionBackward(
            _direction(kept.w_hh, d),
            _direction(kept.w_hr, d),
            rows.before(part(y, d, P), final(kept.h0, d, P), d),
            rows.before(c, final(kept.c0, d, width), d),
            c,
            part(kept.saved, d, kind.saved, H),
            part(grads.dy, d, P),
            part(grads.dc, d, width),
            part(grads.dsaved, d, kind.saved, H),
            final(grads.dh_n, d, P),
            final(grads.dc_n, d, width),
        )
        found.append(_backward_direction(kind, rows, d, one))
    dgx, dw, db, dw_hr, dh0, dc0 = zip(*found, strict=True)

    def stacked(values: tuple[Tensor, ...], wanted: bool = True, dim: int = 0) -> Tensor | None:
        return torch.stack(values, dim).to(y.dtype) if wanted else None

    return InputGradients(
        stacked(dgx, dim=1).reshape(*y.shape[:-1], D, kind.gates * H),
        stacked(dw, call.weights),
        stacked(db, call.bias),
        stacked(dw_hr, kept.w_hr is not None),
        stacked(dh0),
        stacked(dc0, kind.has_c),
    )


def _backward_direction(
    kind: Cell, rows: Rows, d: int, one: DirectionBackward
) -> tuple[Tensor, ...]:
    """dgx (N, G·H), dw_hh, db_hh, dw_hr, dh0 and dc0, from the last step to the first."""
    w_hh, w_hr, dh, dc = one.w_hh, one.w_hr, one.dh_n, one.dc_n
    offsets = rows.offsets()
    dgx = [one.dy.new_empty(0)] * rows.T
    dw, db = torch.zeros_like(w_hh), w_hh.new_zeros(w_hh.shape[0])
    dw_hr = dw if w_hr is None else torch.zeros_like(w_hr)
    for t in reversed(rows.times(d)):
        n, kept = rows.counts[t], rows.kept(d, t, offsets)
        now = slice(offsets[t], offsets[t] + n)
        values, h_prev, c_now = one.saved[now].unbind(1), one.h_before[now], one.c[now]
        dh_now = dh[:n] + one.dy[now]
        if w_hr is not None:
            dw_hr = dw_hr + dh_now.T @ kind.unprojected(values, c_now)
            dh_now = dh_now @ w_hr
        dgx_now, dgh_now, dh_prev, dc_prev = kind.step_backward(
            values, h_prev, one.c_before[now], c_now, dh_now, dc[:n] + one.dc[now],
            one.dsaved[now].unbind(1),
        )  # fmt: skip
        dgx[t], dgh = torch.cat(dgx_now, 1), torch.cat(dgh_now, 1)
        dw, db = dw + dgh.T @ h_prev, db + dgh.sum(0)
        # A cell with a projection passes nothing of dh by its gates.
        dh_prev = dgh @ w_hh + (dh_prev if w_hr is None else 0)
        if kept is not None:
            dh_prev, dc_prev = torch.where(kept, dh_prev, 0), torch.where(kept, dc_prev, 0)
        dh, dc = torch.cat((dh_prev, dh[n:])), torch.cat((dc_prev, dc[n:]))
    return torch.cat(dgx), dw, db, dw_hr, dh, dc


def gates(call: Gates) -> GatesResults:
    """The gates alone."""
    cell, gx, gh, state, save = call
    kind, compute = CELLS[cell], compute_dtype(gx.dtype)
    halves = (t.to(compute).unflatten(1, (kind.gates, -1)).unbind(1) for t in (gx, gh))
    before = state.to(compute)
    h, c, saved = kind.step(*halves, before, before)
    keep_c = kind.has_c and save and compute != gx.dtype
    return GatesResults(
        h.to(gx.dtype),
        c.to(gx.dtype) if kind.has_c else None,
        c if keep_c else None,
        torch.stack(saved, 1) if save else None,
    )


def gates_backward(call: GatesBackward) -> tuple[Tensor, Tensor | None, Tensor]:
    """Their backward: dgx, dgh where it is not dgx, and the gradient of the state."""
    cell, (dh, dc, dc_all, dsaved), (state, c_all, saved) = call
    kind, compute = CELLS[cell], compute_dtype(state.dtype)
    before = state.to(compute)

    def known(*values: Tensor | None) -> Tensor:
        return sum((v.to(compute) for v in values if v is not None), torch.zeros_like(before))

    dgx, dgh, dh, dc = kind.step_backward(
        saved.unbind(1), before, before, before if c_all is None else c_all,
        known(dh), known(dc, dc_all),
        (torch.zeros_like(saved) if dsaved is None else dsaved).unbind(1),
    )  # fmt: skip
    return (
        torch.cat(dgx, 1).to(state.dtype),
        torch.cat(dgh, 1).to(state.dtype) if kind.splits else None,
        (dc if kind.has_c else dh).to(state.dtype),
    )


class Reference(Backend):
    """These functions as a backend, which runs every call."""

    name = "reference"
    loop = "loop of torch operations"

    def unavailable(self) -> str | None:
        return None

    def cells(self) -> tuple[str, ...]:
        return tuple(CELLS)

    def refusals(self, kind: Kind) -> list[str]:
        return []

    def saved_dtype(self, dtype: torch.dtype) -> torch.dtype:
        return compute_dtype(dtype)

    def forward(self, call: Recurrence, own_gx: bool = False) -> Results:
        return forward(call)

    def backward(self, call: RecurrenceBackward) -> InputGradients:
        return backward(call)

    def gates(self, call: Gates) -> GatesResults:
        return gates(call)

    def gates_grad(self, call: GatesBackward) -> tuple[Tensor, Tensor | None, Tensor]:
        return gates_backward(call)


REFERENCE = Reference()
