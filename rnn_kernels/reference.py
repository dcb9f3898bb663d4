"""The reference backend: the recurrence and its backward as loops of plain torch operations.

Slow, and right on any device and dtype: kernels are tested against it, rare combinations
(projections, second derivatives) run on it. Everything here can itself be differentiated.

Arguments are those of the operators in :mod:`rnn_kernels.ops`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .cells import CELLS
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
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The recurrence; see :data:`rnn_kernels.ops.FORWARD`."""
    kind, D, B = CELLS[cell], h0.shape[0], h0.shape[1]
    H = w_hh.shape[1] // kind.gates
    compute = compute_dtype(gx.dtype)
    rows = Rows.of(h0, gx.shape[0], batch_sizes, resets)
    steps = gx.reshape(-1, D, kind.gates, H).split(rows.counts)
    offsets = rows.offsets()
    outputs: list[list[list[Tensor]]] = [[], [], []]
    finals: list[list[Tensor]] = [[], []]
    for d in range(D):
        weight = w_hh[d].to(compute)
        h = h0[d]
        c = c0[d].to(compute) if c0 is not None else h.new_zeros(B, 0, dtype=compute)
        per_step: list[list[Tensor]] = [[gx.new_empty(0)] * rows.T for _ in outputs]
        for t in rows.times(d):
            n = rows.counts[t]
            h_prev, c_prev = h[:n], c[:n]
            kept = rows.kept(d, t, offsets)
            if kept is not None:
                h_prev = torch.where(kept, h_prev, 0)
                c_prev = torch.where(kept, c_prev, 0)
            gh = h_prev.to(compute) @ weight.T
            if b_hh is not None:
                gh = gh + b_hh[d].to(compute)
            new_h, new_c, saved = kind.step(
                steps[t][:, d].to(compute).unbind(1),
                gh.view(n, kind.gates, H).unbind(1),
                h_prev.to(compute),
                c_prev,
            )
            if w_hr is not None:
                new_h = new_h @ w_hr[d].to(compute).T
            new_h = new_h.to(gx.dtype)
            per_step[0][t], per_step[1][t] = new_h, new_c
            per_step[2][t] = torch.stack(saved, 1)
            h, c = torch.cat((new_h, h[n:])), torch.cat((new_c, c[n:]))
        for output, values in zip(outputs, per_step, strict=True):
            output.append(values)
        finals[0].append(h)
        finals[1].append(c)

    def joined(per_direction: list[list[Tensor]]) -> Tensor:
        return torch.stack([torch.cat(values) for values in per_direction], 1)

    leading = gx.shape[:-2]
    y = joined(outputs[0]).reshape(*leading, -1)
    none = gx.new_empty(0, dtype=compute)
    keep_c = kind.has_c and (save or cells)
    return (
        y,
        torch.stack(finals[0]),
        torch.stack(finals[1]).to(gx.dtype) if kind.has_c else gx.new_empty(0),
        joined(outputs[1]).reshape(*leading, D, H) if keep_c else none,
        joined(outputs[2]).reshape(*leading, D, kind.saved, H) if save else none.clone(),
    )


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
    c: Tensor,
    saved: Tensor,
    batch_sizes: Tensor | None,
    resets: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The backward; see :data:`rnn_kernels.ops.BACKWARD`. ``dsaved`` joins in second derivatives."""
    kind, D, B = CELLS[cell], h0.shape[0], h0.shape[1]
    G, H = kind.gates, saved.shape[-1]
    compute = compute_dtype(y.dtype)
    rows = Rows.of(h0, y.shape[0], batch_sizes, resets)
    offsets = rows.offsets()
    N, P = sum(rows.counts), h0.shape[2]
    found: list[list[Tensor]] = [[] for _ in range(6)]
    for d in range(D):

        def part(values: Tensor | None, *sizes: int, d: int = d) -> Tensor:
            """Direction d of values (N, D, …), or zeros."""
            if values is None:
                return y.new_zeros(N, *sizes, dtype=compute)
            return values.reshape(N, D, *sizes)[:, d].to(compute)

        weight, initial_h = w_hh[d].to(compute), h0[d].to(compute)
        hidden = part(y, P)
        h_before = rows.before(hidden, initial_h, d)
        if c0 is not None:
            c_all = part(c, H)
            c_before = rows.before(c_all, c0[d].to(compute), d)
        else:
            c_all = c_before = hidden.new_zeros(N, 0)
        gates = part(saved, kind.saved, H)
        dy_d, dc_d, dsaved_d = part(dy, P), part(dc, c_all.shape[1]), part(dsaved, kind.saved, H)
        dh = torch.zeros_like(initial_h) if dh_n is None else dh_n[d].to(compute)
        dcell = initial_h.new_zeros(B, c_all.shape[1]) if dc_n is None else dc_n[d].to(compute)
        dgx = [y.new_empty(0)] * rows.T
        dw, db, dwr = weight.new_zeros(weight.shape), weight.new_zeros(G * H), None
        for t in reversed(rows.times(d)):
            n = rows.counts[t]
            now = slice(offsets[t], offsets[t] + n)
            s = gates[now].unbind(1)
            dh_now = dh[:n] + dy_d[now]
            if w_hr is not None:
                share = dh_now.T @ kind.unprojected(s, c_all[now])
                dwr = share if dwr is None else dwr + share
                dh_now = dh_now @ w_hr[d].to(compute)
            dgx_t, dgh_t, direct, dc_prev = kind.step_backward(
                s,
                h_before[now],
                c_before[now],
                c_all[now],
                dh_now,
                dcell[:n] + dc_d[now],
                dsaved_d[now].unbind(1),
            )
            dgh = torch.cat(dgh_t, 1)
            dgx[t] = torch.cat(dgx_t, 1)
            dw, db = dw + dgh.T @ h_before[now], db + dgh.sum(0)
            dh_prev = dgh @ weight
            if w_hr is None:
                dh_prev = dh_prev + direct
            kept = rows.kept(d, t, offsets)
            if kept is not None:
                dh_prev = torch.where(kept, dh_prev, 0)
                dc_prev = torch.where(kept, dc_prev, 0)
            dh, dcell = torch.cat((dh_prev, dh[n:])), torch.cat((dc_prev, dcell[n:]))
        none = dw.new_empty(0)
        for values, value in zip(
            found, (torch.cat(dgx), dw, db, none if dwr is None else dwr, dh, dcell), strict=True
        ):
            values.append(value.to(y.dtype))
    dgx_all = torch.stack(found[0], 1).reshape(*y.shape[:-1], D, G * H)
    return (dgx_all, *(torch.stack(values) for values in found[1:]))
