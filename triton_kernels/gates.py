"""The gate kernels: one step of all rows and units, both directions.

Arguments are those of rnn_kernels.backends.gpu.gate_kernels, shapes included; pointers are None
where they do not apply. A tile is BB rows × BH units. It has at least as many elements as its
threads move in one 16-byte access of the smaller dtype, so that no element has two owners: states
are replaced in place.
"""

import triton
import triton.language as tl

from .cells import backward, forward
from .tiles import each, gate, put, put_each, with_last

# Numbers that change from call to call or step to step make no kernels of their own.
_FORWARD = ["B", *(f"{name}{d}" for d in (0, 1) for name in ("first", "rows", "leave", "cut_out"))]
_BACKWARD = [
    "B",
    *(
        f"{name}{d}"
        for d in (0, 1)
        for name in ("first", "rows", "before", "arrive", "leave", "cut_in", "cuts_in", "cut_out")
    ),
]


@triton.jit(do_not_specialize=_FORWARD)
def gates_forward(
    gx, gh, b_hh, h, c0, c, h_n, c_n, y, c_all, saved, resets,
    B, H,
    first0, rows0, leave0, cut_out0,
    first1, rows1, leave1, cut_out1,
    CELL: tl.constexpr, G: tl.constexpr, K: tl.constexpr, D: tl.constexpr, HAS_C: tl.constexpr,
    MIXES: tl.constexpr, DOUBLE: tl.constexpr, BB: tl.constexpr, BH: tl.constexpr,
):  # fmt: skip
    A: tl.constexpr = tl.float64 if DOUBLE else tl.float32  # what is computed in
    d = tl.program_id(2).to(tl.int64)
    b = tl.program_id(0).to(tl.int64) * BB + tl.arange(0, BB)[:, None]
    j = tl.program_id(1) * BH + tl.arange(0, BH)[None, :]
    first = tl.where(d == 0, first0, first1)
    mask = (b < tl.where(d == 0, rows0, rows1)) & (j < H)
    row = (first + b) * D + d  # of (N, D)
    state = d * B + b  # of (D, B)

    # Both halves of the gates, and the states before.
    x0, x1, x2, x3 = each(gx, row, j, mask, H, G, A)
    r0, r1, r2, r3 = each(gh, state, j, mask, H, G, A)
    if b_hh is not None:
        b0, b1, b2, b3 = each(b_hh, d, j, j < H, H, G, A)
        r0 += b0
        r1 += b1
        r2 += b2
        r3 += b3
    h_before = gate(h, state, j, mask, H, 0, 1, A) if MIXES else x0
    c_before = x0
    if HAS_C:
        if c0 is not None:
            c_before = gate(c0, state, j, mask, H, 0, 1, A)
        else:
            c_before = gate(c, state, j, mask, H, 0, 1, A)

    h_new, c_new, s0, s1, s2, s3 = forward(CELL, x0, x1, x2, x3, r0, r1, r2, r3, h_before, c_before)

    # What is kept of this step.
    put(y, row * H + j, h_new, mask)
    if saved is not None:
        put_each(saved, row, j, s0, s1, s2, s3, mask, H, K)
    if c_all is not None:
        put(c_all, row * H + j, c_new, mask)

    # What goes on to the next step.
    if resets is not None:
        leaves = b < tl.where(d == 0, leave0, leave1)
        flags = resets + tl.where(d == 0, cut_out0, cut_out1) + b
        cut = tl.load(flags, mask=leaves, other=0) != 0
        h_new = tl.where(cut, 0.0, h_new)
        c_new = tl.where(cut, 0.0, c_new)
    if h_n is not None:
        put(h_n, state * H + j, h_new, mask)
    if c is not None:
        put(c, state * H + j, c_new, mask)
    if c_n is not None:
        put(c_n, state * H + j, c_new, mask)


@triton.jit(do_not_specialize=_BACKWARD)
def gates_backward(
    saved, c_all, h0, c0, y, dy, dc_all, dh_n, dc_n, dh, direct, dc,
    dgx, dgh, dgh_last, h_before, dh0, dc0, resets,
    B, H,
    first0, rows0, before0, arrive0, leave0, cut_in0, cuts_in0, cut_out0,
    first1, rows1, before1, arrive1, leave1, cut_in1, cuts_in1, cut_out1,
    CELL: tl.constexpr, G: tl.constexpr, K: tl.constexpr, D: tl.constexpr, HAS_C: tl.constexpr,
    MIXES: tl.constexpr, DOUBLE: tl.constexpr, BB: tl.constexpr, BH: tl.constexpr,
):  # fmt: skip
    A: tl.constexpr = tl.float64 if DOUBLE else tl.float32  # what is computed in
    d = tl.program_id(2).to(tl.int64)
    b = tl.program_id(0).to(tl.int64) * BB + tl.arange(0, BB)[:, None]
    j = tl.program_id(1) * BH + tl.arange(0, BH)[None, :]
    first = tl.where(d == 0, first0, first1)
    before = tl.where(d == 0, before0, before1)
    mask = (b < tl.where(d == 0, rows0, rows1)) & (j < H)
    arrives = b < tl.where(d == 0, arrive0, arrive1)
    leaves = b < tl.where(d == 0, leave0, leave1)
    row = (first + b) * D + d  # of (N, D)
    row_before = (before + b) * D + d
    state = d * B + b  # of (D, B)
    goes_on, comes = mask & leaves, mask
    if resets is not None:
        flags = resets + tl.where(d == 0, cut_out0, cut_out1) + b
        goes_on = goes_on & (tl.load(flags, mask=leaves, other=0) == 0)
        flags = resets + tl.where(d == 0, cut_in0, cut_in1) + b
        apply = b < tl.where(d == 0, cuts_in0, cuts_in1)
        comes = comes & (tl.load(flags, mask=apply, other=0) == 0)
    ends, starts = mask & (leaves == 0), comes & (arrives == 0)

    # What the forward left.
    s0, s1, s2, s3 = each(saved, row, j, mask, H, K, A)
    none = tl.zeros([BB, BH], A)
    h, c, c_before = none, none, none
    if MIXES or h_before is not None:
        h = gate(h0, state, j, starts, H, 0, 1, A)
        if y is not None:
            h += gate(y, row_before, j, comes & arrives, H, 0, 1, A)
    if HAS_C:
        c = gate(c_all, row, j, mask, H, 0, 1, A)
        c_before = gate(c0, state, j, starts, H, 0, 1, A)
        c_before += gate(c_all, row_before, j, comes & arrives, H, 0, 1, A)

    # Gradients of the new states: from the step they left for, or from their end.
    dh_new, dc_new = none, none
    if dh is not None:
        dh_new += gate(dh, state, j, goes_on, H, 0, 1, A)
    if MIXES and direct is not None:
        dh_new += gate(direct, state, j, goes_on, H, 0, 1, A)
    if dh_n is not None:
        dh_new += gate(dh_n, state, j, ends, H, 0, 1, A)
    if dy is not None:
        dh_new += gate(dy, row, j, mask, H, 0, 1, A)
    if HAS_C:
        if dc is not None:
            dc_new += gate(dc, state, j, goes_on, H, 0, 1, A)
        if dc_n is not None:
            dc_new += gate(dc_n, state, j, ends, H, 0, 1, A)
        if dc_all is not None:
            dc_new += gate(dc_all, row, j, mask, H, 0, 1, A)

    passed, dc_before, g0, g1, g2, g3, last = backward(
        CELL, s0, s1, s2, s3, h, c_before, c, dh_new, dc_new
    )

    # For the products after the loop, and for the one of this step.
    put_each(dgx, row, j, g0, g1, g2, g3, mask, H, G)
    if dgh_last is not None:
        put(dgh_last, row * H + j, last, mask)
    if dgh is not None:
        r0, r1, r2, r3 = with_last(g0, g1, g2, last, G)
        put_each(dgh, state, j, r0, r1, r2, r3, mask, H, G)
    if h_before is not None:
        put(h_before, row * H + j, h, mask)

    # For the step that the states came from.
    if dh0 is not None:
        put(dh0, state * H + j, passed, mask)
    elif MIXES:
        put(direct, state * H + j, passed, mask)
    if HAS_C:
        if dc0 is not None:
            put(dc0, state * H + j, dc_before, mask)
        else:
            put(dc, state * H + j, dc_before, mask)
