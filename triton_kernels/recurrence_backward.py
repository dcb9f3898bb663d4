"""The backward of a whole sequence in one launch, the last step first.

Arguments are those of rnn_kernels.backends.gpu.sequence_kernels.Backward, shapes included; pointers
are None where they do not apply. Programs have units and rows as in the forward.
"""

import triton
import triton.language as tl

from .cells import backward
from .sequence import cuts, rows_of, steps_of
from .share import as_factor, tell, wait
from .tiles import gate, join, put, split, with_last


@triton.jit
def _weights(
    w, i, top, H, G: tl.constexpr, W: tl.constexpr, BU: tl.constexpr, BK: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """From the gates of units i … i + BK to units top …: (W, BK, BU)."""
    g, k = tl.arange(0, W)[:, None, None], i + tl.arange(0, BK)[None, :, None]
    j = top + tl.arange(0, BU)[None, None, :]
    mask = (k < H) & (j < H) & (g < G)
    return as_factor(tl.load(w + (j * G + g) * H + k, mask=mask, other=0.0), PRECISION)


@triton.jit
def _weights_of_gate(w, g, H, G: tl.constexpr, BU: tl.constexpr, PRECISION: tl.constexpr):
    """From gate g of all units to all units: (BU, BU)."""
    k, j = tl.arange(0, BU)[:, None], tl.arange(0, BU)[None, :]
    tile = tl.load(w + (j * G + g) * H + k, mask=(k < H) & (j < H), other=0.0)
    return as_factor(tile, PRECISION)


@triton.jit
def _gradients(
    dgx, dgh_last, row, wanted, i, H, G: tl.constexpr, W: tl.constexpr, BK: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Those of the gates of units i … i + BK, for rows (1, BB, 1): (W, BB, BK)."""
    g, k = tl.arange(0, W)[:, None, None], i + tl.arange(0, BK)[None, None, :]
    wanted = wanted & (k < H)
    found = tl.load(dgx + (row * G + g) * H + k, mask=wanted & (g < G), other=0.0)
    if dgh_last is not None:
        last = tl.load(dgh_last + row * H + k + 0 * g, mask=wanted & (g == G - 1), other=0.0)
        found = tl.where(g == G - 1, last, found)
    return as_factor(found, PRECISION)


@triton.jit
def _left(
    saved, c_all, h0, c0, y, dy, dc_all, table, t, T, B, b, d, D, j, at, is_saved, H,
    K: tl.constexpr, HAS_C: tl.constexpr, BB: tl.constexpr, BU: tl.constexpr,
):  # fmt: skip
    """What the forward left of step t, and what came back for it, as they are stored.

    That is saved values, h and c before the step, c after it, and the gradients of h and c.
    """
    S: tl.constexpr = saved.dtype.element_ty
    first, rows = rows_of(table, t, T, B)
    first_before, rows_before = rows_of(table, tl.where(d == 0, t - 1, t + 1), T, B)
    row, row_before, state = (first + b) * D + d, (first_before + b) * D + d, d * B + b
    active = (b < rows) & (j < H)
    arrives, starts = active & (b < rows_before), active & (b >= rows_before)
    s = tl.load(saved + row * K * H + at, mask=(b < rows) & is_saved, other=0.0)
    h = gate(y, row_before, j, arrives, H, 0, 1, S) + gate(h0, state, j, starts, H, 0, 1, S)
    none = tl.zeros([BB, BU], tl.float32)
    c, c_before = none, none
    if HAS_C:
        c = gate(c_all, row, j, active, H, 0, 1, tl.float32)
        c_before = gate(c_all, row_before, j, arrives, H, 0, 1, tl.float32)
        c_before += gate(c0, state, j, starts, H, 0, 1, tl.float32)
    dh = gate(dy, row, j, active, H, 0, 1, S) if dy is not None else none
    dc = gate(dc_all, row, j, active, H, 0, 1, tl.float32) if dc_all is not None else none
    return s, h, c_before, c, dh, dc


@triton.jit(do_not_specialize=["T", "B", "groups"])
def recurrence_backward(
    w, saved, c_all, h0, c0, y, dy, dc_all, dh_n, dc_n, dgx, dgh_last, h_before, dh0, dc0,
    table, resets, arrived,
    T, B, H, groups,
    CELL: tl.constexpr, G: tl.constexpr, K: tl.constexpr, HAS_C: tl.constexpr,
    MIXES: tl.constexpr, BB: tl.constexpr, BU: tl.constexpr, BK: tl.constexpr,
    CHUNKS: tl.constexpr, SHARED: tl.constexpr, PRECISION: tl.constexpr, CDNA: tl.constexpr,
):  # fmt: skip
    A: tl.constexpr = tl.float32  # what is computed in
    S: tl.constexpr = saved.dtype.element_ty
    d, D = tl.program_id(2).to(tl.int64), tl.num_programs(2)
    top = tl.program_id(1) * BU
    j = top + tl.arange(0, BU)[None, :]
    W: tl.constexpr = 1 if G * K == 1 else 4  # gates and saved values of a tile
    n = tl.arange(0, W * BU)[None, :]
    g, j4 = n // BU, top + n % BU
    at, is_saved, is_gate = g * H + j4, (g < K) & (j4 < H), (g < G) & (j4 < H)
    w += d * G * H * H
    own = ()
    for i in tl.static_range(CHUNKS if SHARED else G):
        if SHARED:
            own = own + (_weights(w, i * BK, top, H, G, W, BU, BK, PRECISION),)
        else:
            own = own + (_weights_of_gate(w, i, H, G, BU, PRECISION),)

    for group in range(tl.program_id(0), groups, tl.num_programs(0)):
        b = group * BB + tl.arange(0, BB)[:, None].to(tl.int64)
        state, there = d * B + b, (b < B) & (j < H)
        # Rows that have not ended yet have the gradients of their final states.
        dh, dc = tl.zeros([BB, BU], A), tl.zeros([BB, BU], A)
        if dh_n is not None:
            dh += gate(dh_n, state, j, there, H, 0, 1, A)
        if dc_n is not None:
            dc += gate(dc_n, state, j, there, H, 0, 1, A)
        steps = steps_of(table, group * BB, T)
        # What a step reads is requested a step ahead, and stays as it is stored until it is needed.
        t = tl.where(d == 0, steps - 1, 0)
        s, h, c_before, c, dh_t, dc_t = _left(
            saved, c_all, h0, c0, y, dy, dc_all, table, t, T, B, b, d, D, j, at, is_saved, H,
            K, HAS_C, BB, BU,
        )  # fmt: skip
        cut = cuts(resets, table, tl.where(d == 0, t, t + 1), T, B, b)

        for k in range(steps):
            t = tl.where(d == 0, steps - 1 - k, k)
            first, rows = rows_of(table, t, T, B)
            row, active, goes_on = (first + b) * D + d, there & (b < rows), cut == 0
            h_t = tl.where(goes_on, h.to(A), 0.0)
            c_before = tl.where(goes_on, c_before, 0.0)
            s0, s1, s2, s3 = split(s.to(A), W, BB, BU)
            dh_new, dc_new = dh + dh_t.to(A), dc + dc_t

            passed, dc_before, g0, g1, g2, g3, last = backward(
                CELL, s0, s1, s2, s3, h_t, c_before, c, dh_new, dc_new
            )
            gates = join(g0, g1, g2, g3, W, BB, BU)
            put(dgx, row * G * H + at, gates, (b < rows) & is_gate)
            if dgh_last is not None:
                put(dgh_last, row * H + j, last, active)
            if SHARED:
                tell(arrived + d * groups + group, CDNA)
            if h_before is not None:
                put(h_before, row * H + j, h_t, active)
            t_before = tl.where(d == 0, t - 1, t + 1)
            s, h, c_before, c, dh_t, dc_t = _left(
                saved, c_all, h0, c0, y, dy, dc_all, table, t_before, T, B, b, d, D, j, at,
                is_saved, H, K, HAS_C, BB, BU,
            )  # fmt: skip
            cut = cuts(resets, table, tl.where(d == 0, t_before, t_before + 1), T, B, b)

            # The gradients of all gates times the weights that lead to them from our units.
            before = passed if MIXES else tl.zeros([BB, BU], A)
            if SHARED:
                wait(arrived + d * groups + group, (k + 1) * tl.num_programs(1))
                sums = tl.zeros([W, BB, BU], A)
                of, wanted = row[None, :, :], (b < rows)[None, :, :]
                for i in tl.static_range(CHUNKS):
                    part = _gradients(dgx, dgh_last, of, wanted, i * BK, H, G, W, BK, PRECISION)
                    sums = tl.dot(part, own[i], sums, input_precision=PRECISION)
                if CHUNKS == 0:
                    for i in range(0, H, BK):
                        part = _gradients(dgx, dgh_last, of, wanted, i, H, G, W, BK, PRECISION)
                        tile = _weights(w, i, top, H, G, W, BU, BK, PRECISION)
                        sums = tl.dot(part, tile, sums, input_precision=PRECISION)
                before += tl.sum(sums, 0)
            else:
                parts = with_last(g0, g1, g2, last, G)
                for i in tl.static_range(G):
                    part = as_factor(parts[i].to(S), PRECISION)
                    before += tl.dot(part, own[i], input_precision=PRECISION)
            dh = tl.where(active, tl.where(goes_on, before, 0.0), dh)
            dc = tl.where(active, tl.where(goes_on, dc_before, 0.0), dc)

        put(dh0, state * H + j, dh, there)
        if HAS_C:
            put(dc0, state * H + j, dc, there)
