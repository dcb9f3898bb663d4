"""Tiles of rows and units in memory, and of all gates at once.

A tile of gates has the units of one after those of another: (rows, 4 · units), whatever a cell has.
"""

import triton
import triton.language as tl


@triton.jit
def gate(base, row, j, mask, H, k: tl.constexpr, G: tl.constexpr, A: tl.constexpr):
    """Gate k of (…, G, H) at rows (BB, 1) and units (1, BU), in dtype A."""
    return tl.load(base + (row * G + k) * H + j, mask=mask, other=0.0).to(A)


@triton.jit
def put(base, offset, value, mask):
    tl.store(base + offset, value.to(base.dtype.element_ty), mask=mask)


@triton.jit
def split(gates, BB: tl.constexpr, BU: tl.constexpr):
    """(BB, 4 · BU) to four tiles (BB, BU).

    Where a warp has 8 columns of a product in turn, a thread has all gates of its units already.
    """
    by_gate = tl.permute(tl.reshape(gates, [BB, 2, 2, BU]), (0, 3, 1, 2))
    even, odd = tl.split(by_gate)
    g0, g2 = tl.split(even)
    g1, g3 = tl.split(odd)
    return g0, g1, g2, g3


@triton.jit
def join(g0, g1, g2, g3, BB: tl.constexpr, BU: tl.constexpr):
    """Four tiles (BB, BU) to (BB, 4 · BU)."""
    by_gate = tl.join(tl.join(g0, g2), tl.join(g1, g3))
    return tl.reshape(tl.permute(by_gate, (0, 2, 3, 1)), [BB, 4 * BU])
