"""Long inputs in pieces, so that the gates of one piece stay in the cache.

gx is four times the size of y and lives only from the input product to the recurrence. Whole, it
comes from fresh memory, whose pages the system clears one by one, and goes out to memory and back:
on two Zen 5 cores (T 365, B 256, H 128) that took 114 ms where pieces take 70.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .tracing import plain

# Elements of gx in a piece; 8 MiB of float32, which the allocator hands out again and again.
SIZE = 1 << 21

Layer = Callable[[Tensor, Tensor, Tensor | None, Tensor | None], tuple[Tensor, ...]]


def count(input: Tensor, gates: int, directions: int) -> int:
    """Pieces that input (T, B, I) should be run in, for ``gates`` D·G·H columns of gx.

    More than one only without gradients, for a backward needs everything at once, and on the CPU.
    Pieces of less than 8 rows would starve the register tiles.
    """
    if torch.compiler.is_compiling():
        return 1
    T, B, _ = input.shape
    wanted = T * B * gates // SIZE
    if wanted < 2 or torch.is_grad_enabled() or input.device.type != "cpu" or not plain(input):
        return 1
    return max(1, min(wanted, T if directions == 1 else B // 8))


def run(
    layer: Layer,
    n: int,
    input: Tensor,
    h0: Tensor,
    c0: Tensor | None,
    resets: Tensor | None,
) -> tuple[Tensor, ...]:
    """y, h_n, c_n and c of ``layer(input, h0, c0, resets)``, from n calls.

    One direction takes n runs of steps, each from the states the last one left; two directions
    would need both ends, so they take n groups of rows.
    """
    dim = 0 if h0.shape[0] == 1 else 1

    def split(values: Tensor | None, dim: int) -> tuple[Tensor | None, ...]:
        return (None,) * n if values is None else values.tensor_split(n, dim)

    xs, masks = split(input, dim), split(resets, dim)
    if dim == 0:
        results = []
        for x, mask in zip(xs, masks, strict=True):
            results.append(layer(x, h0, c0, mask))
            _, h0, c0, _ = results[-1]
        h_n, c_n = h0, c0
    else:
        states = zip(xs, split(h0, 1), split(c0, 1), masks, strict=True)
        results = [layer(*piece) for piece in states]
        h_n = torch.cat([r[1] for r in results], 1)
        c_n = None if c0 is None else torch.cat([r[2] for r in results], 1)
    y = torch.cat([r[0] for r in results], dim)
    c = results[0][3]
    if c is not None and c.dim() > 1:
        c = torch.cat([r[3] for r in results], dim)
    return y, h_n, c_n, c
