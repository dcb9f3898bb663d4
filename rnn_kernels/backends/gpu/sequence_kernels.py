"""What the kernels for whole sequences take, and what a plan of one tells.

Sizes: N rows of the sequence, T steps, D directions, B rows of a state, H hidden units, G gates, K
saved values. Arrays are contiguous, and None where they do not apply. S is the storage dtype. The
C++ side of this is csrc/cuda/recurrence/recurrence.h.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor


class AnyPlan(Protocol):
    """What there is to know about a plan of any backend; ``str`` of it is for users."""

    mail_units: int  # of a row of mail, for each gate; 0: there is none
    step_ns: float  # predicted time of a step

    @property
    def through_memory(self) -> bool:
        """Whether those who share the work read each other's results from memory."""
        ...


class Forward(NamedTuple):
    """The forward's arrays; N rows, contiguous, None where they do not apply. S is gx's dtype."""

    cell: str
    sizes: tuple[int, int, int]  # B, H, D
    T: int
    plan: AnyPlan
    table: Tensor | None  # (2·T + 3,) int64, see _table; None: B rows each step
    resets: Tensor | None  # (N,) bool
    gx: Tensor  # (N, D, G·H) S
    w: Tensor  # (D, G·H, H) S
    b_hh: Tensor | None  # (D, G·H) S
    h0: Tensor  # (D, B, H) S
    c0: Tensor | None  # (D, B, H) S
    h_n: Tensor  # (D, B, H) S: out
    c_n: Tensor | None  # (D, B, H) S: out
    y: Tensor  # (N, D·H) S: out
    c_all: Tensor | None  # (N, D, H) float32: out
    saved: Tensor | None  # (N, D, K, H) S: out, may be gx
    mail: Tensor | None  # (N, D, mail_units) S: out, of a grid, may be y


class Backward(NamedTuple):
    """The backward's arrays."""

    cell: str
    sizes: tuple[int, int, int]  # B, H, D
    T: int
    plan: AnyPlan
    table: Tensor | None
    resets: Tensor | None
    w: Tensor  # (D, H, G·H) S: transposed
    saved: Tensor  # (N, D, K, H) S
    c_all: Tensor | None  # (N, D, H) float32
    h0: Tensor
    c0: Tensor | None
    y: Tensor  # (N, D·H) S
    dy: Tensor | None  # (N, D·H) S
    dc_all: Tensor | None  # (N, D, H) float32
    dh_n: Tensor | None  # (D, B, H) S
    dc_n: Tensor | None
    dgx: Tensor  # (N, D, G·H) S: out
    dgh_last: Tensor | None  # (N, D, H) S: out, of the last gate; cells that split
    h_before: Tensor | None  # (N, D, H) S: out, hidden states before the step
    dh0: Tensor  # (D, B, H) S: out
    dc0: Tensor | None
    mail: Tensor | None  # (N, D, G, mail_units) S: out, of a grid, may be dgx
    mail_last: Tensor | None  # dgh_last, where that has the last gate's
