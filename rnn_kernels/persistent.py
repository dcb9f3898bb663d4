"""The persistent path: a whole sequence in one launch, the recurrent weights on the chip.

What the planner cannot place there goes per step. Nothing here waits for the device.

Per row and unit the backward needs what the per-step path keeps: see :mod:`rnn_kernels.steps`.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from . import outputs, steps
from .addresses import contiguous, sent
from .cells import CELLS
from .gates import Kernels
from .weight_gradients import weight_gradients


class Plan(NamedTuple):
    """How the CUDA backend cuts a call; csrc/cuda/plan.h has the words."""

    exact: bool  # float32 is not rounded to TF32
    grid: bool  # the blocks that share the weights are no cluster, but of a grid
    cluster: int  # blocks that share the weights; 1: one block has them all
    units: int  # hidden units of a block
    rows: int  # batch rows that they have
    elements: int  # of the state, per thread, at most
    strips: int  # of 32 rows of the weights, and (16 in a grid)
    chunks: int  # of 64 bytes along them, that a block keeps (128 in a grid)
    fragments: int  # of these, per warp
    held: int  # of those, in registers
    slots: int  # partial sums
    mail_units: int  # of a row that blocks of a grid read of each other, for each gate
    shared: int  # bytes of shared memory of a block
    groups: int  # of rows
    waves: int  # of groups that run at once
    step_ns: float  # predicted time of a step

    @property
    def cut(self) -> tuple[bool, int, int]:
        """What the others follow from."""
        return self.grid, self.cluster, self.rows

    @property
    def through_memory(self) -> bool:
        """See :class:`AnyPlan`."""
        return self.grid

    def __str__(self) -> str:
        team = "the whole grid in teams" if self.grid else "clusters"
        has = (
            "one block has all weights" if self.cluster == 1 else f"{team} of {self.cluster} blocks"
        )
        waves = "" if self.waves == 1 else f", {self.waves} after each other"
        return (
            f"one launch: {has}, {self.units} units each, {self.groups} groups of {self.rows} rows"
            f"{waves}; {self.held} of {self.fragments} weight fragments per warp in registers, "
            f"{self.shared / 1024:.0f} KiB of shared memory; "
            f"{self.step_ns / 1000:.2f} µs per step predicted"
        )


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


class PersistentKernels(Kernels, Protocol):
    """A backend with kernels for whole sequences, besides those for steps."""

    def plan(
        self,
        cell: str,
        like: Tensor,
        sizes: tuple[int, int, int],
        backward: bool,
        packed: bool,
        beside: int | None = None,
    ) -> AnyPlan | str: ...

    def recurrence_forward(self, call: Forward) -> None: ...

    def recurrence_backward(self, call: Backward) -> None: ...


def uncopyable(like: Tensor, packed: bool) -> str | None:
    """Why the table of packed rows cannot come to the device of ``like`` now, or None."""
    if packed and like.is_cuda and torch.cuda.is_current_stream_capturing():
        return "a graph is being captured, into which the table of packed rows cannot be copied"
    return None


def _table(batch_sizes: Tensor | None, device: torch.device) -> Tensor | None:
    """First row of each step, and N; then the rows of each step, between two zeros."""
    if batch_sizes is None:
        return None
    none = batch_sizes.new_zeros(1)
    return sent(torch.cat((none, batch_sizes.cumsum(0), none, batch_sizes, none)), device)


def _blank(mail: Tensor) -> Tensor:
    """Fills it with the bits that tell blocks of a grid that nothing has come yet."""
    mail.view(torch.int32 if mail.element_size() == 4 else torch.int16).fill_(-1)
    return mail


def _mail(plan: AnyPlan, *outputs: Tensor) -> tuple[Tensor | None, ...]:
    """Where blocks of a grid leave what others need: in ``outputs`` (…, H), contiguous.

    Where these rows are not whole pieces of 16 bytes, it is one array beside, like the first.
    """
    if not plan.mail_units:
        return (None,) * len(outputs)
    *leading, H = outputs[0].shape
    if plan.mail_units == H:
        return tuple(map(_blank, outputs))
    beside = outputs[0].new_empty(*leading, plan.mail_units)
    return _blank(beside), *[None] * (len(outputs) - 1)


@torch.no_grad()
def forward(
    kernels: PersistentKernels,
    cell: str,
    gx: Tensor,
    w_hh: Tensor,
    b_hh: Tensor | None,
    w_hr: Tensor | None,
    h0: Tensor,
    c0: Tensor | None,
    batch_sizes: Tensor | None,
    resets: Tensor | None,
    save: bool,
    cells: bool,
    own_gx: bool = False,
) -> tuple[Tensor | None, ...]:
    """The recurrence; see :data:`rnn_kernels.ops.FORWARD`."""
    D, B, H = h0.shape
    plan = kernels.plan(cell, gx, (B, H, D), False, batch_sizes is not None)
    if isinstance(plan, str):
        return steps.forward(
            kernels, cell, gx, w_hh, b_hh, w_hr, h0, c0, batch_sizes, resets, save, cells, own_gx
        )
    kind, T = CELLS[cell], gx.shape[0] if batch_sizes is None else batch_sizes.shape[0]
    resets, gx, w_hh, b_hh, h0, c0 = contiguous(resets, gx, w_hh, b_hh, h0, c0)
    y, c_all, saved = outputs.recurrence(
        kind, gx, H, save, cells, own_gx, kernels.saved_dtype(gx.dtype)
    )
    h_n, c_n = torch.empty_like(h0), None if c0 is None else torch.empty_like(c0)
    (mail,) = _mail(plan, y.view(-1, D, H))
    kernels.recurrence_forward(
        Forward(
            cell, (B, H, D), T, plan, _table(batch_sizes, gx.device), resets, gx, w_hh, b_hh,
            h0, c0, h_n, c_n, y, c_all, saved, mail,
        )
    )  # fmt: skip
    return y, h_n, c_n, c_all, saved


@torch.no_grad()
def backward(
    kernels: PersistentKernels,
    cell: str,
    dy: Tensor | None,
    dh_n: Tensor | None,
    dc_n: Tensor | None,
    dc: Tensor | None,
    w_hh: Tensor,
    w_hr: Tensor | None,
    h0: Tensor,
    c0: Tensor | None,
    y: Tensor,
    c: Tensor | None,
    saved: Tensor,
    batch_sizes: Tensor | None,
    resets: Tensor | None,
    weights: bool,
    bias: bool,
) -> tuple[Tensor | None, ...]:
    """The backward; see :data:`rnn_kernels.ops.BACKWARD`."""
    D, B, H = h0.shape
    plan = kernels.plan(cell, y, (B, H, D), True, batch_sizes is not None)
    if isinstance(plan, str):
        return steps.backward(
            kernels, cell, dy, dh_n, dc_n, dc, w_hh, w_hr, h0, c0, y, c, saved, batch_sizes,
            resets, weights, bias,
        )  # fmt: skip
    kind, leading = CELLS[cell], y.shape[:-1]
    T = leading[0] if batch_sizes is None else batch_sizes.shape[0]
    whole = batch_sizes is None and resets is None
    resets, h0, c0, y, c, saved = contiguous(resets, h0, c0, y, c, saved)
    dy, dc, dh_n, dc_n = contiguous(dy, dc, dh_n, dc_n)
    dgx = y.new_empty(*leading, D, kind.gates * H)
    last = kind.splits and (weights or bias or plan.through_memory)
    dgh_last = y.new_empty(*leading, D, H) if last else None
    h_before = y.new_empty(*leading, D, H) if weights and not whole else None
    dh0, dc0 = torch.empty_like(h0), None if c0 is None else torch.empty_like(c0)
    others = [] if dgh_last is None else [dgh_last]
    mail, mail_last, *_ = *_mail(plan, dgx.view(-1, D, kind.gates, H), *others), None
    kernels.recurrence_backward(
        Backward(
            cell, (B, H, D), T, plan, _table(batch_sizes, y.device), resets,
            w_hh.transpose(1, 2).contiguous(), saved, c, h0, c0, y, dy, dc, dh_n, dc_n,
            dgx, dgh_last, h_before, dh0, dc0, mail, mail_last,
        )
    )  # fmt: skip
    dw_hh, db_hh = weight_gradients(kind, dgx, dgh_last, y, h0, h_before, weights, bias)
    return dgx, dw_hh, db_hh, None, dh0, dc0
