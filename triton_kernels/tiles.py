"""Tiles of rows and units in memory, and of all gates at once.

A tile of gates has the units of one after those of another: (rows, W · units) for W of 1 or 4, as
many as a cell's gates or saved values at least, since Triton's tiles have powers of two.
"""

import triton
import triton.language as tl


@triton.jit
def gate(base, row, j, mask, H, k: tl.constexpr, G: tl.constexpr, A: tl.constexpr):
    """Gate k of (…, G, H) at rows (BB, 1) and units (1, BU), in dtype A."""
    return tl.load(base + (row * G + k) * H + j, mask=mask, other=0.0).to(A)


@triton.jit
def each(base, row, j, mask, H, N: tl.constexpr, A: tl.constexpr):
    """All N of (…, N, H), at most four; the first once more for those that are not there."""
    g0 = gate(base, row, j, mask, H, 0, N, A)
    g1 = gate(base, row, j, mask, H, 1, N, A) if N > 1 else g0
    g2 = gate(base, row, j, mask, H, 2, N, A) if N > 2 else g0
    g3 = gate(base, row, j, mask, H, 3, N, A) if N > 3 else g0
    return g0, g1, g2, g3


@triton.jit
def put(base, offset, value, mask):
    tl.store(base + offset, value.to(base.dtype.element_ty), mask=mask)


@triton.jit
def put_each(base, row, j, g0, g1, g2, g3, mask, H, N: tl.constexpr):
    """The first N of four tiles to (…, N, H)."""
    put(base, (row * N) * H + j, g0, mask)
    if N > 1:
        put(base, (row * N + 1) * H + j, g1, mask)
    if N > 2:
        put(base, (row * N + 2) * H + j, g2, mask)
    if N > 3:
        put(base, (row * N + 3) * H + j, g3, mask)


@triton.jit
def with_last(g0, g1, g2, last, G: tl.constexpr):
    """Of G gates the last one replaced."""
    return last if G == 1 else g0, last if G == 2 else g1, last if G == 3 else g2, last


@triton.jit
def split(gates, W: tl.constexpr, BB: tl.constexpr, BU: tl.constexpr):
    """(BB, W · BU) to four tiles (BB, BU), all of them the same where W is 1.

    Where a warp has 8 columns of a product in turn, a thread has all gates of its units already.
    """
    if W == 1:
        return gates, gates, gates, gates
    else:
        by_gate = tl.permute(tl.reshape(gates, [BB, 2, 2, BU]), (0, 3, 1, 2))
        even, odd = tl.split(by_gate)
        g0, g2 = tl.split(even)
        g1, g3 = tl.split(odd)
        return g0, g1, g2, g3


@triton.jit
def join(g0, g1, g2, g3, W: tl.constexpr, BB: tl.constexpr, BU: tl.constexpr):
    """The first W of four tiles (BB, BU) to (BB, W · BU)."""
    if W == 1:
        return g0
    else:
        by_gate = tl.join(tl.join(g0, g2), tl.join(g1, g3))
        return tl.reshape(tl.permute(by_gate, (0, 2, 3, 1)), [BB, 4 * BU])
