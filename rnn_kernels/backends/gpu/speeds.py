"""What a GPU is reckoned to do: the one table that every choice between ways to run reads.

Derived from data sheets and from what others report of an H100; none of it has been measured here.
What steps inside our own kernels take is the planners' business: ``Speeds`` in
csrc/cuda/plan/plan.h, and triton_plan.py.

Sizes: B batch, H hidden, D directions, G gates.
"""

from __future__ import annotations

from typing import NamedTuple

import torch


class Speeds(NamedTuple):
    """Times in nanoseconds, rates per nanosecond."""

    # A step that runs by itself: a product and a gate kernel, each a launch.
    host_step_ns: float = 15e3  # for the host to issue it: two calls of torch, one of a kernel
    graph_step_ns: float = 6e3  # on the GPU, of two nodes that compute next to nothing
    # A layer's chunk of time in a stack that runs side by side.
    chunk_ns: float = 15e3  # two launches, 3 µs each, and some 9 for the weights to be on the chip
    host_chunk_ns: tuple[float, float] = (60e3, 150e3)  # to issue one, forward and backward
    # Bytes.
    memory: float = 2500
    l2: float = 4500  # by all processors


SPEEDS = Speeds()

# Operations of large products, by what their factors are.
FLOP_PER_NS = {"half": 300e3, "tf32": 200e3, "float32": 40e3, "float64": 20e3}


def product_kind(dtype: torch.dtype, exact: bool) -> str:
    """The row of :data:`FLOP_PER_NS` for factors of that dtype.

    Args:
        exact: float32 is not rounded to TF32.
    """
    if dtype == torch.float32:
        return "float32" if exact else "tf32"
    return "float64" if dtype == torch.float64 else "half"


def per_step_ns(gates: int, element: int, sizes: tuple[int, int, int], kind: str) -> float:
    """Predicted time of a step by itself, replayed from a graph.

    Args:
        element: bytes of one.  sizes: B, H, D.  kind: of the product.
    """
    B, H, D = sizes
    weights, rows = D * gates * H * H, D * B * H
    moved = (weights + 3 * gates * rows) * element
    return SPEEDS.graph_step_ns + 2 * weights * B / FLOP_PER_NS[kind] + moved / SPEEDS.memory


def products_ns(gates: int, sizes: tuple[int, int], kind: str) -> float:
    """Predicted time of one step's share of a large product with H inputs.

    Args:
        sizes: B, H.  kind: of the product.
    """
    B, H = sizes
    return 2 * B * gates * H * H / FLOP_PER_NS[kind]
