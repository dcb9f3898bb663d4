"""The persistent path: a whole sequence in one launch, the recurrent weights on the chip.

What the planner cannot place there goes step by step. Nothing here waits for the device.

Per row and unit the backward needs what the per-step path keeps: see
:mod:`rnn_kernels.backends.gpu.per_step`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...core import allocation
from ...core.calls import InputGradients, Recurrence, RecurrenceBackward, Results
from ...core.cells import CELLS
from ...core.memory import contiguous, sent
from .per_step import PerStep
from .sequence_kernels import AnyPlan, Backward, Forward
from .weight_gradients import weight_gradients


def uncopyable(like: Tensor) -> str | None:
    """Why the table of packed rows cannot come to the device of ``like`` now, or None."""
    if like.is_cuda and torch.cuda.is_current_stream_capturing():
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


class Persistent(PerStep):
    """A backend with kernels for whole sequences, besides those for steps."""

    def plan(
        self,
        cell: str,
        like: Tensor,
        sizes: tuple[int, int, int],
        backward: bool,
        packed: bool,
        beside: int | None = None,
    ) -> AnyPlan | str:
        """How a call is run in one launch, or why it goes step by step.

        Args:
            like: of the dtype and on the device of the call.  sizes: B, H, D.
            beside: calls that share the device, this one included; None: as the current stream
                says.
        """
        raise NotImplementedError

    def recurrence_forward(self, call: Forward) -> None:
        """Launches the forward."""
        raise NotImplementedError

    def recurrence_backward(self, call: Backward) -> None:
        """Launches the backward."""
        raise NotImplementedError

    @torch.no_grad()
    def forward(self, call: Recurrence, own_gx: bool = False) -> Results:
        D, B, H = call.h0.shape
        batch_sizes = call.batch_sizes
        plan = self.plan(call.cell, call.gx, (B, H, D), False, batch_sizes is not None)
        if isinstance(plan, str):
            return super().forward(call, own_gx)
        resets, gx, w, b_hh, h0, c0 = contiguous(
            call.resets, call.gx, call.w_hh, call.b_hh, call.h0, call.c0
        )
        call = call._replace(gx=gx)
        y, c, saved = allocation.recurrence(call, own_gx, self.saved_dtype(gx.dtype))
        h_n, c_n = torch.empty_like(h0), None if c0 is None else torch.empty_like(c0)
        (mail,) = _mail(plan, y.view(-1, D, H))
        table = _table(batch_sizes, gx.device)
        self.recurrence_forward(
            Forward(
                call.cell, (B, H, D), call.T, plan, table, resets, gx, w, b_hh, h0, c0,
                h_n, c_n, y, c, saved, mail,
            )
        )  # fmt: skip
        return Results(y, h_n, c_n, c, saved)

    @torch.no_grad()
    def backward(self, call: RecurrenceBackward) -> InputGradients:
        kept, y, (D, B, H) = call.kept, call.kept.y, call.kept.h0.shape
        plan = self.plan(call.cell, y, (B, H, D), True, kept.batch_sizes is not None)
        if isinstance(plan, str):
            return super().backward(call)
        kind, leading = CELLS[call.cell], y.shape[:-1]
        whole = kept.batch_sizes is None and kept.resets is None
        resets, h0, c0, y, c, saved = contiguous(
            kept.resets, kept.h0, kept.c0, y, kept.c, kept.saved
        )
        dy, dh_n, dc_n, dc = contiguous(*call.grads[:4])
        dgx = y.new_empty(*leading, D, kind.gates * H)
        last = kind.splits and (call.weights or call.bias or plan.through_memory)
        dgh_last = y.new_empty(*leading, D, H) if last else None
        h_before = y.new_empty(*leading, D, H) if call.weights and not whole else None
        dh0, dc0 = torch.empty_like(h0), None if c0 is None else torch.empty_like(c0)
        others = [] if dgh_last is None else [dgh_last]
        mail, mail_last, *_ = *_mail(plan, dgx.view(-1, D, kind.gates, H), *others), None
        self.recurrence_backward(
            Backward(
                call.cell, (B, H, D), kept.T, plan, _table(kept.batch_sizes, y.device), resets,
                kept.w_hh.transpose(1, 2).contiguous(), saved, c, h0, c0, y, dy, dc, dh_n, dc_n,
                dgx, dgh_last, h_before, dh0, dc0, mail, mail_last,
            )
        )  # fmt: skip
        dw_hh, db_hh = weight_gradients(call, dgx, dgh_last, h_before)
        return InputGradients(dgx, dw_hh, db_hh, None, dh0, dc0)
