"""The forward of a whole sequence in one launch.

Arguments are those of rnn_kernels.backends.gpu.sequence_kernels.Forward, shapes included; pointers
are None where they do not apply. Program (g, u, d) has units u·BU … of rows g·BB …, and of every
num_programs(0)-th group of rows after those, in direction d.
"""

import triton
import triton.language as tl

from .cells import forward
from .sequence import cuts, rows_of, steps_of
from .share import as_factor, tell, wait
from .tiles import gate, join, put, split, with_last


@triton.jit
def _weights(
    w, i, top, H, G: tl.constexpr, W: tl.constexpr, BU: tl.constexpr, BK: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """From units i … i + BK to the gates of units top …: (BK, W · BU)."""
    k, n = i + tl.arange(0, BK)[:, None], tl.arange(0, W * BU)[None, :]
    g, j = n // BU, top + n % BU
    mask = (k < H) & (j < H) & (g < G)
    return as_factor(tl.load(w + (g * H + j) * H + k, mask=mask, other=0.0), PRECISION)


@triton.jit
def _inputs(
    gx, table, t, T, B, b, d, D, at, merges, j, H, G: tl.constexpr, SPLITS: tl.constexpr,
    BB: tl.constexpr, BU: tl.constexpr,
):  # fmt: skip
    """The input half of step t as it is stored: of the gates that merge, and of the last if split.

    Halves merge that are only ever added to each other.
    """
    S: tl.constexpr = gx.dtype.element_ty
    first, rows = rows_of(table, t, T, B)
    row = (first + b) * D + d
    merged = tl.load(gx + row * G * H + at, mask=(b < rows) & merges, other=0.0)
    if SPLITS:
        return merged, gate(gx, row, j, (b < rows) & (j < H), H, G - 1, G, S)
    else:
        return merged, tl.zeros([BB, BU], S)


@triton.jit
def _states(y, h0, arrives, starts, some_start, i, H, BK: tl.constexpr, PRECISION: tl.constexpr):
    """Units i … i + BK of the states before: from y of rows that arrive, from h0 of new ones."""
    k = i + tl.arange(0, BK)[None, :]
    states = tl.load(y + k, mask=arrives & (k < H), other=0.0)
    if some_start:
        states += tl.load(h0 + k, mask=starts & (k < H), other=0.0)
    return as_factor(states, PRECISION)


@triton.jit(do_not_specialize=["T", "B", "groups"])
def recurrence_forward(
    gx, w, b_hh, h0, c0, h_n, c_n, y, c_all, saved, table, resets, arrived,
    T, B, H, groups,
    CELL: tl.constexpr, G: tl.constexpr, K: tl.constexpr, HAS_C: tl.constexpr,
    SPLITS: tl.constexpr, BB: tl.constexpr, BU: tl.constexpr, BK: tl.constexpr,
    CHUNKS: tl.constexpr, SHARED: tl.constexpr, PRECISION: tl.constexpr, CDNA: tl.constexpr,
):  # fmt: skip
    A: tl.constexpr = tl.float32  # what is computed in
    S: tl.constexpr = gx.dtype.element_ty
    d, D = tl.program_id(2).to(tl.int64), tl.num_programs(2)
    top = tl.program_id(1) * BU
    j = top + tl.arange(0, BU)[None, :]
    # Of all gates: which, of which unit, and where that is in (G, H).
    W: tl.constexpr = 1 if G * K == 1 else 4  # gates and saved values of a tile
    n = tl.arange(0, W * BU)[None, :]
    g, j4 = n // BU, top + n % BU
    at, is_gate = g * H + j4, (g < G) & (j4 < H)
    merges = is_gate & (g < G - 1) if SPLITS else is_gate
    w += d * G * H * H
    own = ()
    for i in tl.static_range(CHUNKS):
        own = own + (_weights(w, i * BK, top, H, G, W, BU, BK, PRECISION),)
    bias = tl.zeros([BB, W * BU], A)
    if b_hh is not None:
        bias += tl.load(b_hh + d * G * H + at, mask=is_gate, other=0.0).to(A)
    none = tl.zeros([BB, BU], A)

    for group in range(tl.program_id(0), groups, tl.num_programs(0)):
        b = group * BB + tl.arange(0, BB)[:, None].to(tl.int64)
        state, there = d * B + b, (b < B) & (j < H)
        h = gate(h0, state, j, there, H, 0, 1, A)
        c = gate(c0, state, j, there, H, 0, 1, A) if HAS_C else h
        steps = steps_of(table, group * BB, T)
        # What a step reads is requested a step ahead, and stays as it is stored until it is needed.
        t = tl.where(d == 0, 0, steps - 1)
        x, x_last = _inputs(gx, table, t, T, B, b, d, D, at, merges, j, H, G, SPLITS, BB, BU)
        cut = cuts(resets, table, tl.where(d == 0, 0, steps), T, B, b)

        for k in range(steps):
            t = tl.where(d == 0, k, steps - 1 - k)
            first, rows = rows_of(table, t, T, B)
            first_before, rows_before = rows_of(table, tl.where(d == 0, t - 1, t + 1), T, B)
            row, active = (first + b) * D + d, there & (b < rows)
            goes_on = cut == 0
            h = tl.where(goes_on, h, 0.0)
            c = tl.where(goes_on, c, 0.0)

            # The states before, of all units, times the weights of ours.
            r = bias + x.to(A)
            if SHARED:
                if k > 0:
                    wait(arrived + d * groups + group, k * tl.num_programs(1))
                y_before, h_before = y + ((first_before + b) * D + d) * H, h0 + state * H
                arrives, some_start = b < rows_before, rows_before < rows
                wanted = (b < rows) & goes_on
                arrives, starts = wanted & arrives, wanted & (arrives == 0)
                for i in tl.static_range(CHUNKS):
                    part = _states(
                        y_before, h_before, arrives, starts, some_start, i * BK, H, BK, PRECISION
                    )
                    r = tl.dot(part, own[i], r, input_precision=PRECISION)
                if CHUNKS == 0:
                    for i in range(0, H, BK):
                        part = _states(
                            y_before, h_before, arrives, starts, some_start, i, H, BK, PRECISION
                        )
                        tile = _weights(w, i, top, H, G, W, BU, BK, PRECISION)
                        r = tl.dot(part, tile, r, input_precision=PRECISION)
            else:
                part = as_factor(h.to(S), PRECISION)
                r = tl.dot(part, own[0], r, input_precision=PRECISION)

            r0, r1, r2, r3 = split(r, W, BB, BU)
            x0, x1, x2, x3 = with_last(none, none, none, x_last.to(A), G)
            h_new, c_new, s0, s1, s2, s3 = forward(CELL, x0, x1, x2, x3, r0, r1, r2, r3, h, c)
            h = tl.where(active, h_new.to(S).to(A), h)  # as others and the backward will read it
            c = tl.where(active, c_new, c)

            # What others wait for, what is kept, and what the next step will need.
            put(y, row * H + j, h, active)
            if SHARED:
                tell(arrived + d * groups + group, CDNA)
            if saved is not None:
                mask = (b < rows) & (j4 < H) & (g < K)
                put(saved, row * K * H + at, join(s0, s1, s2, s3, W, BB, BU), mask)
            if c_all is not None:
                put(c_all, row * H + j, c, active)
            t_after = tl.where(d == 0, t + 1, t - 1)
            x, x_last = _inputs(
                gx, table, t_after, T, B, b, d, D, at, merges, j, H, G, SPLITS, BB, BU
            )
            cut = cuts(resets, table, tl.where(d == 0, t + 1, t), T, B, b)

        put(h_n, state * H + j, h, there)
        if HAS_C:
            put(c_n, state * H + j, c, there)
