"""What the gate kernels of a backend take: one step's share of the per-step path.

Sizes: N rows of the sequence, D directions, B rows of a state, H hidden units, G gates, K saved
values. S is the storage dtype, A the one computed in, P that of the product W_hh·h: A or S. Arrays
are contiguous; None where they do not apply or are not wanted.

A backend makes either into a call of one argument k that launches step k's kernel for both
directions. The C++ side of this is csrc/cuda/gates/gates.h.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

Step = Callable[[int], None]


class Forward(NamedTuple):
    """The forward's arrays. Step 0 reads h and c0; later steps what was left in h_n and c."""

    cell: str
    sizes: tuple[int, int, int]  # B, H, D
    table: Tensor | None  # (T, D, 8), see step_table; None: one step, all B rows
    resets: Tensor | None  # (N,) bool
    gx: Tensor  # (N, D, G·H) S: input half of the gates
    gh: Tensor  # (D, B, G·H) P: W_hh·h
    b_hh: Tensor | None  # (D, G·H) S
    h: Tensor | None  # (D, B, H) S: hidden states before step 0; cells that mix
    c0: Tensor | None  # (D, B, H) S: cell states before step 0; None: c has them
    c: Tensor | None  # (D, B, H) A: cell states, replaced by those that go on
    h_n: Tensor | None  # (D, B, H) S: out, hidden states that go on
    c_n: Tensor | None  # (D, B, H) S: out, cell states that go on
    y: Tensor  # (N, D·H) S: out, all hidden states
    c_all: Tensor | None  # (N, D, H) A: out, all cell states
    saved: Tensor | None  # (N, D, K, H) S: out, what the backward needs; may be gx


class Backward(NamedTuple):
    """The backward's arrays."""

    cell: str
    sizes: tuple[int, int, int]  # B, H, D
    table: Tensor | None  # (T, D, 8), as in the forward
    resets: Tensor | None  # (N,) bool
    saved: Tensor  # (N, D, K, H) S
    c_all: Tensor | None  # (N, D, H) A
    h0: Tensor | None  # (D, B, H) S: initial states; cells that mix, or for h_before
    c0: Tensor | None  # (D, B, H) S
    y: Tensor | None  # (N, D·H) S
    dy: Tensor | None  # (N, D·H) S
    dc_all: Tensor | None  # (N, D, H) A
    dh_n: Tensor | None  # (D, B, H) S
    dc_n: Tensor | None  # (D, B, H) S
    dh: Tensor | None  # (D, B, H) A: W_hhᵀ·dgh of the step that states left for
    direct: Tensor | None  # (D, B, H) A: the share of dh that passes by W_hh; cells that mix
    dc: Tensor | None  # (D, B, H) A: replaced by the gradient of the cell states before
    dgx: Tensor  # (N, D, G·H) S: out
    dgh: Tensor | None  # (D, B, G·H) S: out, for the product
    dgh_last: Tensor | None  # (N, D, H) S: out, of the last gate; cells that split
    h_before: Tensor | None  # (N, D, H) S: out, hidden states before the step
    dh0: Tensor | None  # (D, B, H) S: out, in place of direct
    dc0: Tensor | None  # (D, B, H) S: out, in place of dc


class Kernels(Protocol):
    """A backend with gate kernels."""

    def saved_dtype(self, dtype: torch.dtype) -> torch.dtype: ...

    def gates_forward(self, call: Forward) -> Step: ...

    def gates_backward(self, call: Backward) -> Step: ...
