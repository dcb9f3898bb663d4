"""Where the rows of a sequence lie: T steps of B rows, or as a table says.

The table (2·T + 3) int64 has the first row of each step, and N; then the rows of each step, between
two zeros. Resets (N,) at step t cut states between t - 1 and t.
"""

import triton
import triton.language as tl


@triton.jit
def rows_of(table, t, T, B):
    """The first row of step t, and how many it has; none outside of 0 … T - 1."""
    inside = (t >= 0) & (t < T)
    if table is None:
        return t.to(tl.int64) * B, tl.where(inside, B, 0).to(tl.int64)
    else:
        first = tl.load(table + t, mask=inside, other=0)
        return first, tl.load(table + T + 2 + t, mask=inside, other=0)


@triton.jit
def steps_of(table, b, T):
    """How many steps have a row b."""
    if table is None:
        return T
    else:
        steps = 0
        for t in range(0, T, 1024):
            at = t + tl.arange(0, 1024)
            rows = tl.load(table + T + 2 + at, mask=at < T, other=0)
            steps += tl.sum((rows > b).to(tl.int32), 0)
        return steps


@triton.jit
def cuts(resets, table, t, T, B, b):
    """Not 0 for rows b (BB, 1) whose states do not go on from step t - 1 to t, or t to t - 1."""
    if resets is None:
        return (b < 0).to(tl.uint8)
    else:
        first, rows = rows_of(table, t, T, B)
        return tl.load(resets + first + b, mask=b < rows, other=0).to(tl.uint8)
