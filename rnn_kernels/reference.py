"""The reference backend: the recurrence and its backward as loops of plain torch operations.

Slow, and right on any device and dtype: kernels are tested against it, rare combinations
(projections, second derivatives) run on it. Everything here can itself be differentiated.

Arguments are those of the operators in :mod:`rnn_kernels.ops`; outputs that do not apply are None.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .cells import CELLS, Cell
from .rows import Rows


def unavailable() -> str | None:
    """Why this backend cannot run on this machine: it always can."""
    return None


def refuses(cell: str, dtype: torch.dtype, device_type: str, projected: bool) -> str | None:
    """Why a call of this kind cannot run on this backend: every call can."""
    return None


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype that gates and cell states are computed in."""
    return torch.float64 if dtype == torch.float64 else torch.float32


saved_dtype = compute_dtype  # what the backward needs is kept in


def _direction(values: Tensor | None, d: int) -> Tensor | None:
    """Direction d of (D, …), in the dtype computed in."""
    return None if values is None else values[d].to(compute_dtype(values.dtype))


def _joined(per_direction: list[list[Tensor]]) -> Tensor:
    """(N, D, …) of one list per direction with one tensor per step."""
    return torch.stack([torch.cat(steps) for steps in per_direction], 1)


def forward(
    cell: str,
    gx: Tensor,
    w_hh: Tensor,
    b_hh: Tensor | None,
    w_hr: Tensor | None,
    h0: Tensor,
    c0: Tensor | None,
    batch_sizes: Tensor | None,
    resets: Tensor | None,
    save: bool,
    cells: bool,
    own_gx: bool = False,
) -> tuple[Tensor | None, ...]:
    """The recurrence; see :data:`rnn_kernels.ops.FORWARD`."""
    kind, D, leading = CELLS[cell], h0.shape[0], gx.shape[:-2]
    H = w_hh.shape[1] // kind.gates
    rows = Rows.of(h0, gx.shape[0], batch_sizes, resets)
    gates = gx.reshape(-1, D, kind.gates, H)
    done = [
        _forward_direction(
            kind, rows, d, gates[:, d], h0[d],
            *(_direction(t, d) for t in (w_hh, b_hh, w_hr, c0)),
        )
        for d in range(D)
    ]  # fmt: skip
    ys, cs, saveds, h_n, c_n = zip(*done, strict=True)
    keep_c = kind.has_c and (save or cells)
    return (
        _joined(ys).reshape(*leading, D * h0.shape[2]),
        torch.stack(h_n),
        torch.stack(c_n).to(gx.dtype) if kind.has_c else None,
        _joined(cs).reshape(*leading, D, H) if keep_c else None,
        _joined(saveds).reshape(*leading, D, kind.saved, H) if save else None,
    )


def _forward_direction(
    kind: Cell,
    rows: Rows,
    d: int,
    gx: Tensor,
    h: Tensor,
    w_hh: Tensor,
    b_hh: Tensor | None,
    w_hr: Tensor | None,
    c: Tensor | None,
) -> tuple[list[Tensor], list[Tensor], list[Tensor], Tensor, Tensor]:
    """y, c and saved values of every step, and the final h and c. gx (N, G, H)."""
    dtype, compute, H = gx.dtype, w_hh.dtype, gx.shape[2]
    steps, offsets = gx.split(rows.counts), rows.offsets()
    c = h.new_zeros(rows.B, 0, dtype=compute) if c is None else c
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


def backward(
    cell: str,
    dy: Tensor | None,
    dh_n: Tensor | None,
    dc_n: Tensor | None,
    dc: Tensor | None,
    dsaved: Tensor | None,
    w_hh: Tensor,
    w_hr: Tensor | None,
    h0: Tensor,
    c0: Tensor | None,
    y: Tensor,
    c: Tensor | None,
    saved: Tensor,
    batch_sizes: Tensor | None,
    resets: Tensor | None,
    weights: bool,
    bias: bool,
) -> tuple[Tensor | None, ...]:
    """The backward; see :data:`rnn_kernels.ops.BACKWARD`."""
    kind, (D, B, P), H = CELLS[cell], h0.shape, saved.shape[-1]
    compute, width = compute_dtype(y.dtype), H if kind.has_c else 0
    rows = Rows.of(h0, y.shape[0], batch_sizes, resets)

    def part(values: Tensor | None, d: int, *sizes: int) -> Tensor:
        """Direction d of values (N, D, …), or zeros."""
        if values is None:
            return y.new_zeros(sum(rows.counts), *sizes, dtype=compute)
        return values.reshape(-1, D, *sizes)[:, d].to(compute)

    def final(values: Tensor | None, d: int, size: int) -> Tensor:
        return y.new_zeros(B, size, dtype=compute) if values is None else values[d].to(compute)

    found = []
    for d in range(D):
        h_all, c_all = part(y, d, P), part(c, d, width)
        found.append(
            _backward_direction(
                kind, rows, d, _direction(w_hh, d), _direction(w_hr, d),
                rows.before(h_all, final(h0, d, P), d),
                rows.before(c_all, final(c0, d, width), d),
                c_all,
                part(saved, d, kind.saved, H),
                part(dy, d, P), part(dc, d, width), part(dsaved, d, kind.saved, H),
                final(dh_n, d, P), final(dc_n, d, width),
            )
        )  # fmt: skip
    dgx, dw, db, dw_hr, dh0, dc0 = zip(*found, strict=True)

    def stacked(values: tuple[Tensor, ...], wanted: bool = True, dim: int = 0) -> Tensor | None:
        return torch.stack(values, dim).to(y.dtype) if wanted else None

    return (
        stacked(dgx, dim=1).reshape(*y.shape[:-1], D, kind.gates * H),
        stacked(dw, weights),
        stacked(db, bias),
        stacked(dw_hr, w_hr is not None),
        stacked(dh0),
        stacked(dc0, kind.has_c),
    )


def _backward_direction(
    kind: Cell,
    rows: Rows,
    d: int,
    w_hh: Tensor,
    w_hr: Tensor | None,
    h_before: Tensor,
    c_before: Tensor,
    c_all: Tensor,
    saved: Tensor,
    dy: Tensor,
    dc_all: Tensor,
    dsaved: Tensor,
    dh: Tensor,
    dc: Tensor,
) -> tuple[Tensor, ...]:
    """dgx (N, G·H), dw_hh, db_hh, dw_hr, dh0 and dc0, from the last step to the first."""
    offsets = rows.offsets()
    dgx = [dy.new_empty(0)] * rows.T
    dw, db = torch.zeros_like(w_hh), w_hh.new_zeros(w_hh.shape[0])
    dw_hr = dw if w_hr is None else torch.zeros_like(w_hr)
    for t in reversed(rows.times(d)):
        n, kept = rows.counts[t], rows.kept(d, t, offsets)
        now = slice(offsets[t], offsets[t] + n)
        values, h_prev, c_now = saved[now].unbind(1), h_before[now], c_all[now]
        dh_now = dh[:n] + dy[now]
        if w_hr is not None:
            dw_hr = dw_hr + dh_now.T @ kind.unprojected(values, c_now)
            dh_now = dh_now @ w_hr
        dgx_now, dgh_now, dh_prev, dc_prev = kind.step_backward(
            values, h_prev, c_before[now], c_now, dh_now, dc[:n] + dc_all[now],
            dsaved[now].unbind(1),
        )  # fmt: skip
        dgx[t], dgh = torch.cat(dgx_now, 1), torch.cat(dgh_now, 1)
        dw, db = dw + dgh.T @ h_prev, db + dgh.sum(0)
        # A cell with a projection passes nothing of dh by its gates.
        dh_prev = dgh @ w_hh + (dh_prev if w_hr is None else 0)
        if kept is not None:
            dh_prev, dc_prev = torch.where(kept, dh_prev, 0), torch.where(kept, dc_prev, 0)
        dh, dc = torch.cat((dh_prev, dh[n:])), torch.cat((dc_prev, dc[n:]))
    return torch.cat(dgx), dw, db, dw_hr, dh, dc


def gates(
    cell: str, gx: Tensor, gh: Tensor, state: Tensor, save: bool
) -> tuple[Tensor | None, ...]:
    """The gates alone; see :data:`rnn_kernels.gate_ops.FORWARD`."""
    kind, compute = CELLS[cell], compute_dtype(gx.dtype)
    halves = (t.to(compute).unflatten(1, (kind.gates, -1)).unbind(1) for t in (gx, gh))
    before = state.to(compute)
    h, c, saved = kind.step(*halves, before, before)
    keep_c = kind.has_c and save and compute != gx.dtype
    return (
        h.to(gx.dtype),
        c.to(gx.dtype) if kind.has_c else None,
        c if keep_c else None,
        torch.stack(saved, 1) if save else None,
    )


def gates_backward(
    cell: str,
    dh: Tensor | None,
    dc: Tensor | None,
    dc_all: Tensor | None,
    dsaved: Tensor | None,
    state: Tensor,
    c_all: Tensor | None,
    saved: Tensor,
) -> tuple[Tensor | None, ...]:
    """Their backward; see :data:`rnn_kernels.gate_ops.BACKWARD`."""
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
