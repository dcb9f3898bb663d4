"""The per-step path: one product and one gate kernel for every step of a sequence.

Any H, any B, every dtype. The products belong to torch, the gate kernels to a backend; the products
for dW are large ones over all rows, after the loop. Nothing here waits for the device.

Per row and unit the backward needs, in the storage dtype: the activated gates (LSTM 4, GRU 3 and
W_hn·h + b_hn), and for the LSTM the cell state in the dtype computed in (float32, or float64 for
float64); besides y, which the caller has anyway.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Parameter

from ...core import allocation
from ...core.calls import (
    Gates,
    GatesBackward,
    GatesResults,
    InputGradients,
    Recurrence,
    RecurrenceBackward,
    Results,
)
from ...core.cells import CELLS
from ...core.compiled import core
from ...core.dtypes import DTYPES, compute_dtype
from ...core.memory import contiguous
from ..base import Backend
from . import step_graphs
from .gate_kernels import Backward, Forward, Kernels, Step
from .step_table import steps
from .weight_gradients import weight_gradients

# Products of halves that leave their sums in float32 came with torch 2.8, on GPUs.
_MIXED = "dtype_out" in torch.ops.aten.mm.overloads()


def product(a: Tensor, b: Tensor, out: Tensor) -> Callable[[int], None]:
    """Makes a call that computes, for the first n rows, out (D, B, M) = a (D, B, K) · b (D, K, M).

    ``out`` may have the dtype that sums of halves are kept in.
    """
    if a.shape[0] == 1:
        multiply, rows = torch.mm, lambda t, n: t[:n]
        a, b, out = a[0], b[0], out[0]
    else:
        multiply, rows = torch.bmm, lambda t, n: t[:, :n]
    B, same, mixed = a.shape[-2], a.dtype == out.dtype, _MIXED and a.is_cuda
    if not same and not a.is_cuda:
        b = b.to(out.dtype)

    def run(n: int) -> None:
        x, to = (a, out) if n == B else (rows(a, n), rows(out, n))
        if same:
            multiply(x, b, out=to)
        elif mixed:
            multiply(x, b, out_dtype=out.dtype, out=to)
        elif x.is_cuda:
            to.copy_(multiply(x, b))
        else:
            multiply(x.to(out.dtype), b, out=to)

    return run


class PerStep(Backend):
    """A backend with gate kernels."""

    stream_rows = sys.maxsize

    def saved_dtype(self, dtype: torch.dtype) -> torch.dtype:
        return dtype

    def gates_forward(self, call: Forward) -> Step:
        """A call of one argument k that launches step k's kernel for both directions."""
        raise NotImplementedError

    def gates_backward(self, call: Backward) -> Step:
        """The same for the backward."""
        raise NotImplementedError

    @torch.no_grad()
    def forward(self, call: Recurrence, own_gx: bool = False) -> Results:
        kind, batch_sizes, (D, B, H) = CELLS[call.cell], call.batch_sizes, call.h0.shape
        resets, gx, b_hh, h0, c0 = contiguous(call.resets, call.gx, call.b_hh, call.h0, call.c0)
        call = call._replace(gx=gx)
        y, c_all, saved = allocation.recurrence(call, own_gx, self.saved_dtype(gx.dtype))
        h, h_n, c, c_n = _states(h0, c0, batch_sizes, resets)
        gh = gx.new_empty(D, B, kind.gates * H, dtype=compute_dtype(gx.dtype))
        step = Forward(
            call.cell, (B, H, D), steps(call.T, B, D, batch_sizes), resets, gx, gh, b_hh, h,
            c0 if h is h0 else None, c, h_n, c_n if c_n is not c else None, y, c_all, saved,
        )  # fmt: skip
        if batch_sizes is None:
            reads = ("resets", "gx", "b_hh", "h", "c" if step.c0 is None else "c0")
            writes = ("y", "h_n", "c" if step.c_n is None else "c_n", "c_all", "saved")
            step_graphs.run(_forward_steps, self, call.w_hh, step, reads, writes)
        else:
            _forward_steps(self, call.w_hh, step)
        return Results(y, h_n, c_n, c_all, saved)

    @torch.no_grad()
    def backward(self, call: RecurrenceBackward) -> InputGradients:
        kind, kept, (D, B, H) = CELLS[call.cell], call.kept, call.kept.h0.shape
        batch_sizes, leading = kept.batch_sizes, kept.y.shape[:-1]
        whole = batch_sizes is None and kept.resets is None
        resets, h0, c0, y, c, saved = contiguous(
            kept.resets, kept.h0, kept.c0, kept.y, kept.c, kept.saved
        )
        dy, dh_n, dc_n, dc = contiguous(*call.grads[:4])
        dgx = y.new_empty(*leading, D, kind.gates * H)
        dgh = y.new_empty(D, B, kind.gates * H)
        dgh_last = y.new_empty(*leading, D, H) if kind.splits else None
        h_before = y.new_empty(*leading, D, H) if call.weights and not whole else None
        dh = y.new_empty(D, B, H, dtype=compute_dtype(y.dtype))
        direct = torch.empty_like(dh) if kind.mixes else None
        dc_state = torch.empty_like(dh) if kind.has_c else None
        hidden = (h0, y) if kind.mixes or h_before is not None else (None, None)
        step = Backward(
            call.cell, (B, H, D), steps(kept.T, B, D, batch_sizes), resets, saved, c, hidden[0], c0,
            hidden[1], dy, dc, dh_n, dc_n, dh, direct, dc_state, dgx, dgh, dgh_last, h_before,
            None, None,
        )  # fmt: skip
        if batch_sizes is None:
            reads = ("resets", "saved", "c_all", "h0", "c0", "y", "dy", "dc_all", "dh_n", "dc_n")
            writes = ("dh", "direct", "dc", "dgx", "dgh_last", "h_before")
            step_graphs.run(_backward_steps, self, kept.w_hh, step, reads, writes)
        else:
            _backward_steps(self, kept.w_hh, step)

        def initial(d_state: Tensor | None, d_final: Tensor | None) -> Tensor | None:
            """Of an initial state, from that of the state before each row's first step."""
            if d_state is None:
                return None
            n = B if batch_sizes is None else int(batch_sizes[0])
            if resets is not None:
                d_state[0, :n].masked_fill_(_cut_at_start(resets, B, batch_sizes), 0)
            if n < B:  # rows of no steps end as they began
                d_state[:, n:] = 0 if d_final is None else d_final[:, n:]
            return d_state.to(y.dtype)

        if direct is not None:
            dh += direct
        dw_hh, db_hh = weight_gradients(call, dgx, dgh_last, h_before)
        return InputGradients(dgx, dw_hh, db_hh, None, initial(dh, dh_n), initial(dc_state, dc_n))

    def stream(self, cell: str, tensors: tuple[Any, ...], shapes: tuple[Any, ...],
               results: tuple[Tensor | None, ...]) -> bool:  # fmt: skip
        """Two products, and one kernel that writes the results where they belong."""
        w_ih, w_hh, b_ih, b_hh, h, c, x = tensors
        if not _as_they_should_be(tensors, shapes):
            return False
        h_new, c_new, y, c_all, saved = results
        gx, gh = F.linear(x, w_ih, b_ih), F.linear(h, w_hh, b_hh)
        *_, B, H = h.shape
        hidden = h if CELLS[cell].mixes else None
        out = (None, c_new, h_new) if y is None else (h_new, c_new, y)
        step = Forward(
            cell, (B, H, 1), None, None, gx, gh, None, hidden, c, None, *out, c_all, saved
        )
        self.gates_forward(step)(0)
        return True

    @torch.no_grad()
    def gates(self, call: Gates) -> GatesResults:
        gx, gh, state = contiguous(call.gx, call.gh, call.state)
        results = allocation.gates(call.cell, state, call.save, self.saved_dtype(gx.dtype))
        h, c, c_all, saved = results
        h0, c0 = (None, state) if CELLS[call.cell].has_c else (state, None)
        step = Forward(
            call.cell, (*state.shape, 1), None, None, gx, gh, None, h0, c0, None, None, c, h,
            c_all, saved,
        )  # fmt: skip
        self.gates_forward(step)(0)
        return results

    @torch.no_grad()
    def gates_grad(self, call: GatesBackward) -> tuple[Tensor, Tensor | None, Tensor]:
        dh, dc, state, c_all, saved = contiguous(*call.grads[:2], *call.kept)
        dgx, dgh, dstate = allocation.gates_backward(call.cell, state)
        has_c = CELLS[call.cell].has_c
        h0, c0, dh0, dc0 = (None, state, None, dstate) if has_c else (state, None, dstate, None)
        step = Backward(
            call.cell, (*state.shape, 1), None, None, saved, c_all, h0, c0, None, None, None, dh,
            dc, None, None, None, dgx, dgh, None, None, dh0, dc0,
        )  # fmt: skip
        self.gates_backward(step)(0)
        return dgx, dgh, dstate


def _as_they_should_be(tensors: tuple[Any, ...], shapes: tuple[Any, ...]) -> bool:
    """Whether each tensor, or None, has its shape, and the last one's dtype and device."""
    if core is None:
        return False
    x = tensors[-1]
    types, device = (Tensor, Parameter, x.dtype), None if x.is_cpu else x.device
    expected = tuple(("", t, shape) for t, shape in zip(tensors, shapes, strict=True))
    return core.in_memory(types, DTYPES[x.dtype], device, expected)


def _forward_steps(kernels: Kernels, w_hh: Tensor, call: Forward) -> None:
    """All steps, on arrays that are all there."""
    gates = kernels.gates_forward(call)
    first, later = (product(h, w_hh.transpose(1, 2), call.gh) for h in (call.h, call.h_n))
    for k, n in enumerate(_widths(call.table)):
        (later if k else first)(n)
        gates(k)


def _states(
    h0: Tensor, c0: Tensor | None, batch_sizes: Tensor | None, resets: Tensor | None
) -> tuple[Tensor | None, ...]:
    """What step 0 reads as h, and h_n, c and c_n as it finds them."""
    compute = compute_dtype(h0.dtype)
    if batch_sizes is None and resets is None:  # step 0 reads h0 and c0, and writes every row
        h, h_n = h0, torch.empty_like(h0)
        c = c_n = None
        if c0 is not None:
            c = torch.empty_like(c0, dtype=compute)
            c_n = c if c0.dtype == compute else torch.empty_like(c0)
        return h, h_n, c, c_n
    h = h_n = h0.clone()
    c = c_n = None
    if c0 is not None:
        c = c0.to(compute, copy=True)
        c_n = c if c0.dtype == compute else c0.clone()
    if resets is not None:
        cut = _cut_at_start(resets, h0.shape[1], batch_sizes)
        for state in (h, c):
            if state is not None:
                state[0, : len(cut)].masked_fill_(cut, 0)
    return h, h_n, c, c_n


def _cut_at_start(resets: Tensor, B: int, batch_sizes: Tensor | None) -> Tensor:
    """(n, 1) bool: which of the first step's n rows do not even see the initial state."""
    n = B if batch_sizes is None else int(batch_sizes[0])
    return resets.reshape(-1)[:n, None]


def _widths(table: Tensor) -> list[int]:
    """Rows of each step, of the direction that has more."""
    return table[:, :, 1].amax(1).tolist()


def _backward_steps(kernels: Kernels, w_hh: Tensor, call: Backward) -> None:
    """All steps, the last first, on arrays that are all there."""
    gates, through = kernels.gates_backward(call), product(call.dgh, w_hh, call.dh)
    for k, n in reversed(list(enumerate(_widths(call.table)))):
        gates(k)
        through(n)  # rows that were done at a later step come out as they were
