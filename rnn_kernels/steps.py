"""The per-step path: one product and one gate kernel for every step of a sequence.

Any H, any B, every dtype. The products belong to torch, the gate kernels to a backend; the products
for dW are large ones over all rows, after the loop. Nothing here waits for the device.

Per row and unit the backward needs, in the storage dtype: the activated gates (LSTM 4, GRU 3 and
W_hn·h + b_hn), and for the LSTM the cell state in the dtype computed in (float32, or float64 for
float64); besides y, which the caller has anyway.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from . import outputs, step_graphs
from .addresses import contiguous
from .cells import CELLS, Cell
from .gates import GatesBackward, GatesForward, Kernels
from .reference import compute_dtype
from .rows import steps
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


@torch.no_grad()
def forward(
    kernels: Kernels,
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
    """The recurrence on the gate kernels of a backend; see :data:`rnn_kernels.ops.FORWARD`."""
    kind, compute = CELLS[cell], compute_dtype(gx.dtype)
    D, B, H = h0.shape
    T = gx.shape[0] if batch_sizes is None else batch_sizes.shape[0]
    resets, gx, b_hh, h0, c0 = contiguous(resets, gx, b_hh, h0, c0)
    y, c_all, saved = outputs.recurrence(
        kind, gx, H, save, cells, own_gx, kernels.saved_dtype(gx.dtype)
    )
    h, h_n, c, c_n = _states(kind, h0, c0, compute, batch_sizes, resets)
    gh = gx.new_empty(D, B, kind.gates * H, dtype=compute)
    table = steps(T, B, D, batch_sizes)
    call = GatesForward(
        cell, (B, H, D), table, resets, gx, gh, b_hh, h,
        c0 if h is h0 else None, c, h_n, c_n if c_n is not c else None, y, c_all, saved,
    )  # fmt: skip
    if batch_sizes is None:
        reads = ("resets", "gx", "b_hh", "h", "c" if call.c0 is None else "c0")
        writes = ("y", "h_n", "c" if call.c_n is None else "c_n", "c_all", "saved")
        step_graphs.run(_forward_steps, kernels, w_hh, call, reads, writes)
    else:
        _forward_steps(kernels, w_hh, call)
    return y, h_n, c_n, c_all, saved


def _forward_steps(kernels: Kernels, w_hh: Tensor, call: GatesForward) -> None:
    """All steps, on arrays that are all there."""
    gates = kernels.gates_forward(call)
    first, later = (product(h, w_hh.transpose(1, 2), call.gh) for h in (call.h, call.h_n))
    for k, n in enumerate(_widths(call.table)):
        (later if k else first)(n)
        gates(k)


def _states(
    kind: Cell,
    h0: Tensor,
    c0: Tensor | None,
    compute: torch.dtype,
    batch_sizes: Tensor | None,
    resets: Tensor | None,
) -> tuple[Tensor | None, ...]:
    """What step 0 reads as h, and h_n, c and c_n as it finds them."""
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


@torch.no_grad()
def backward(
    kernels: Kernels,
    cell: str,
    dy: Tensor | None,
    dh_n: Tensor | None,
    dc_n: Tensor | None,
    dc: Tensor | None,
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
    """The backward on the gate kernels of a backend; see :data:`rnn_kernels.ops.BACKWARD`."""
    kind, compute, leading = CELLS[cell], compute_dtype(y.dtype), y.shape[:-1]
    D, B, H = h0.shape
    T = leading[0] if batch_sizes is None else batch_sizes.shape[0]
    whole = batch_sizes is None and resets is None
    resets, h0, c0, y, c, saved = contiguous(resets, h0, c0, y, c, saved)
    dy, dc, dh_n, dc_n = contiguous(dy, dc, dh_n, dc_n)
    dgx = y.new_empty(*leading, D, kind.gates * H)
    dgh = y.new_empty(D, B, kind.gates * H)
    dgh_last = y.new_empty(*leading, D, H) if kind.splits else None
    h_before = y.new_empty(*leading, D, H) if weights and not whole else None
    dh = y.new_empty(D, B, H, dtype=compute)
    direct = torch.empty_like(dh) if kind.mixes else None
    dc_state = torch.empty_like(dh) if kind.has_c else None
    table = steps(T, B, D, batch_sizes)
    hidden = (h0, y) if kind.mixes or h_before is not None else (None, None)
    call = GatesBackward(
        cell, (B, H, D), table, resets, saved, c, hidden[0], c0, hidden[1], dy, dc, dh_n, dc_n,
        dh, direct, dc_state, dgx, dgh, dgh_last, h_before, None, None,
    )  # fmt: skip
    if batch_sizes is None:
        reads = ("resets", "saved", "c_all", "h0", "c0", "y", "dy", "dc_all", "dh_n", "dc_n")
        writes = ("dh", "direct", "dc", "dgx", "dgh_last", "h_before")
        step_graphs.run(_backward_steps, kernels, w_hh, call, reads, writes)
    else:
        _backward_steps(kernels, w_hh, call)

    def initial(d_state: Tensor | None, d_final: Tensor | None) -> Tensor | None:
        """The gradient of an initial state, from that of the state before each row's first step."""
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
    dw_hh, db_hh = weight_gradients(kind, dgx, dgh_last, y, h0, h_before, weights, bias)
    return dgx, dw_hh, db_hh, None, initial(dh, dh_n), initial(dc_state, dc_n)


def _backward_steps(kernels: Kernels, w_hh: Tensor, call: GatesBackward) -> None:
    """All steps, the last first, on arrays that are all there."""
    gates, through = kernels.gates_backward(call), product(call.dgh, w_hh, call.dh)
    for k, n in reversed(list(enumerate(_widths(call.table)))):
        gates(k)
        through(n)  # rows that were done at a later step come out as they were


def one(
    kernels: Kernels,
    cell: str,
    x: Tensor,
    w_ih: Tensor,
    b_ih: Tensor | None,
    w_hh: Tensor,
    b_hh: Tensor | None,
    h: Tensor,
    c: Tensor | None,
    h_new: Tensor,
    c_new: Tensor | None,
    y: Tensor | None,
) -> None:
    """A step of one direction into h_new, c_new and, where it is wanted, h once more into y.

    x (…, B, I), states (…, B, H), contiguous; without gradients.
    """
    gx, gh = F.linear(x, w_ih, b_ih), F.linear(h, w_hh, b_hh)
    *_, B, H = h.shape
    hidden = h if CELLS[cell].mixes else None
    out = (None, c_new, h_new) if y is None else (h_new, c_new, y)
    call = GatesForward(
        cell, (B, H, 1), None, None, gx, gh, None, hidden, c, None, *out, None, None
    )
    kernels.gates_forward(call)(0)


@torch.no_grad()
def gates(
    kernels: Kernels, cell: str, gx: Tensor, gh: Tensor, state: Tensor, save: bool
) -> tuple[Tensor | None, ...]:
    """The gates alone; see :data:`rnn_kernels.gate_ops.FORWARD`."""
    gx, gh, state = contiguous(gx, gh, state)
    h, c, c_all, saved = outputs.gates(cell, state, save, kernels.saved_dtype(gx.dtype))
    h0, c0 = (None, state) if CELLS[cell].has_c else (state, None)
    call = GatesForward(
        cell, (*state.shape, 1), None, None, gx, gh, None, h0, c0, None, None, c, h, c_all, saved
    )
    kernels.gates_forward(call)(0)
    return h, c, c_all, saved


@torch.no_grad()
def gates_grad(
    kernels: Kernels,
    cell: str,
    dh: Tensor | None,
    dc: Tensor | None,
    state: Tensor,
    c_all: Tensor | None,
    saved: Tensor,
) -> tuple[Tensor | None, ...]:
    """Their backward; see :data:`rnn_kernels.gate_ops.BACKWARD`."""
    dh, dc, state, c_all, saved = contiguous(dh, dc, state, c_all, saved)
    dgx, dgh, dstate = outputs.gates_backward(cell, state)
    has_c = CELLS[cell].has_c
    h0, c0, dh0, dc0 = (None, state, None, dstate) if has_c else (state, None, dstate, None)
    call = GatesBackward(
        cell, (*state.shape, 1), None, None, saved, c_all, h0, c0, None, None, None, dh, dc,
        None, None, None, dgx, dgh, None, None, dh0, dc0,
    )  # fmt: skip
    kernels.gates_backward(call)(0)
    return dgx, dgh, dstate
