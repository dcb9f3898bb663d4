"""The two operators, registered with torch.library: fake functions, autograd, autocast, FLOPs.

``torch.ops.rnn_kernels.recurrence`` runs one layer's recurrence, all steps and both directions.
``torch.ops.rnn_kernels.recurrence_backward`` is its backward, and can be differentiated again.

Sizes: T time, B batch, H hidden, P projected (H without a projection), D directions (1 or 2),
G gates, K saved values per unit, N rows in all. S is the dtype of ``gx``; A is the dtype computed
in, float64 for float64 and float32 for all others. Leading dimensions (T, B) become (N,) for
packed rows.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from ..backends import reference
from ..backends.base import Backend
from ..backends.dispatch import BACKENDS, honour
from ..backends.gpu import step_graphs
from ..core.calls import (
    Gradients,
    InputGradients,
    Kept,
    Kind,
    Recurrence,
    RecurrenceBackward,
    Results,
)
from ..core.cells import CELLS
from ..core.dtypes import compute_dtype
from ..core.observers import plain, stored, transformed
from . import checks
from .library import autocast, differentiate_again, filled, library

FORWARD = """recurrence(
    str cell, Tensor gx, Tensor w_hh, Tensor? b_hh, Tensor? w_hr, Tensor h0, Tensor? c0,
    Tensor? batch_sizes, Tensor? resets, bool save, bool cells, str backend
) -> (Tensor y, Tensor h_n, Tensor c_n, Tensor c, Tensor saved)"""
"""
    cell: a name of rnn_kernels.core.cells, such as "lstm" (gate order i f g o) or "gru" (r z n).
    gx (T, B, D, G·H) S: input half of the gates, W_ih·x plus any bias that belongs to it.
    w_hh (D, G·H, P) S: recurrent weights.
    b_hh (D, G·H) S or None: added to W_hh·h, inside r ⊙ (…) for the GRU's candidate.
    w_hr (D, P, H) S or None: projection of h, LSTM only.
    h0 (D, B, P) S, c0 (D, B, H) S: initial states; c0 for cells with a cell state only.
    batch_sizes (T,) int64 on the CPU or None: rows of each step, never increasing.
    resets (T, B) bool or None: true at t makes step t start from a zero state. Direction 1, which
        comes from t + 1, is cut at the same boundary: between t - 1 and t.
    save: keep what the backward needs.  cells: keep all cell states.
    backend: a name of rnn_kernels.backends; it is honoured or refused. Second derivatives and
        function transforms run on the reference, whatever the name.

    y (T, B, D·P) S: all hidden states.
    h_n (D, B, P) S, c_n (D, B, H) S: final states.
    c (T, B, D, H) A: all cell states.
    saved (T, B, D, K, H) A or S, as the backend keeps it: activated gates; for the GRU also
        W_hn·h + b_hn.
    Outputs that do not apply or were not asked for are empty.
"""

BACKWARD = """recurrence_backward(
    str cell, Tensor? dy, Tensor? dh_n, Tensor? dc_n, Tensor? dc, Tensor? dsaved,
    Tensor w_hh, Tensor? w_hr, Tensor h0, Tensor? c0, Tensor y, Tensor? c, Tensor saved,
    Tensor? batch_sizes, Tensor? resets, bool weights, bool bias, str backend
) -> (Tensor dgx, Tensor dw_hh, Tensor db_hh, Tensor dw_hr, Tensor dh0, Tensor dc0)"""
"""
    Gradients of a scalar with respect to the forward's outputs come in (None: zero), with respect
    to its inputs go out, each in the shape of what it is the gradient of. ``weights`` and ``bias``
    say whether dw_hh and db_hh are wanted.
"""

library.define(" ".join(FORWARD.split()))
library.define(" ".join(BACKWARD.split()))

_forward_op = torch.ops.rnn_kernels.recurrence.default
_backward_op = torch.ops.rnn_kernels.recurrence_backward.default


def _operator_forward(*args: Any) -> Results:
    *call, name = args
    call = Recurrence(*call)
    checks.recurrence(call)
    kind = Kind(call.cell, call.gx.dtype, call.gx.device.type, call.w_hr is not None)
    return honour(name, kind).forward(call)


def _operator_backward(*args: Any) -> InputGradients:
    *flat, name = args
    call = RecurrenceBackward.of(*flat)
    checks.recurrence_backward(call)
    y, w_hr = call.kept.y, call.kept.w_hr
    backend = honour(name, Kind(call.cell, y.dtype, y.device.type, w_hr is not None))
    return _backward_on(call, backend)


def _backward_on(call: RecurrenceBackward, backend: Backend) -> InputGradients:
    if call.grads.dsaved is not None:
        # Gradients of what the forward saved arise from second derivatives alone.
        return reference.backward(call)
    return backend.backward(call)


def run_backward(call: RecurrenceBackward, backend: Backend) -> InputGradients:
    """The backward operator less the dispatcher; None for what does not apply."""
    checks.recurrence_backward(call)
    return _backward_on(call, backend)


def _plain_backward(*args: Any) -> InputGradients:
    """In plain torch, from the operator's arguments."""
    return reference.backward(RecurrenceBackward.of(*args))


library.impl("recurrence", filled(_operator_forward), "CompositeExplicitAutograd")
library.impl("recurrence_backward", filled(_operator_backward), "CompositeExplicitAutograd")


@torch.library.register_fake("rnn_kernels::recurrence", lib=library)
def _fake_forward(
    cell, gx, w_hh, b_hh, w_hr, h0, c0, batch_sizes, resets, save, cells, backend
) -> tuple[Tensor, ...]:
    kind, leading, compute = CELLS[cell], gx.shape[:-2], compute_dtype(gx.dtype)
    D, B, P = h0.shape
    H = w_hh.shape[1] // kind.gates
    keep_c, saved = kind.has_c and (save or cells), BACKENDS[backend].saved_dtype(gx.dtype)
    return (
        gx.new_empty(*leading, D * P),
        gx.new_empty(D, B, P),
        gx.new_empty((D, B, H) if kind.has_c else (0,)),
        gx.new_empty(*leading, D, H, dtype=compute) if keep_c else gx.new_empty(0),
        gx.new_empty(*leading, D, kind.saved, H, dtype=saved) if save else gx.new_empty(0),
    )


@torch.library.register_fake("rnn_kernels::recurrence_backward", lib=library)
def _fake_backward(
    cell, dy, dh_n, dc_n, dc, dsaved, w_hh, w_hr, h0, c0, y, c, saved,
    batch_sizes, resets, weights, bias, backend,
) -> tuple[Tensor, ...]:  # fmt: skip
    D, G_H = w_hh.shape[:2]
    return (
        y.new_empty(*y.shape[:-1], D, G_H),
        y.new_empty(w_hh.shape if weights else (0,)),
        y.new_empty((D, G_H) if bias else (0,)),
        y.new_empty((0,) if w_hr is None else w_hr.shape),
        y.new_empty(h0.shape),
        y.new_empty((0,) if c0 is None else c0.shape),
    )


def _keep_for_backward(ctx: Any, inputs: tuple, output: tuple) -> None:
    *call, backend = inputs
    call, (y, _, _, c, saved) = Recurrence(*call), output
    c = c if CELLS[call.cell].has_c else None
    rows = call.batch_sizes, call.resets
    ctx.save_for_backward(call.w_hh, call.w_hr, call.h0, call.c0, y, c, saved, *rows)
    ctx.set_materialize_grads(False)
    ctx.call = call.cell, call.save, backend


def differentiate(call: RecurrenceBackward, backend: Backend) -> InputGradients:
    """The backward inside an autograd Function's: by the operator only where somebody may see it.

    That is, where the derivative may be taken again, and where tensors are not what they seem.
    """
    grads, kept = call.grads, call.kept
    if torch.is_grad_enabled() or not plain(*kept, *grads) or not stored(*grads):
        return InputGradients(*_backward_op(*call.flat(), backend.name))
    return step_graphs.allowing(run_backward, call, backend)


def _backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
    cell, save, backend = ctx.call
    if not save:
        raise RuntimeError("recurrence: called with save=False, so it cannot be differentiated")
    found, needed = Gradients(*grads), ctx.needs_input_grad
    if not CELLS[cell].has_c:  # c_n and c are empty, and so are their gradients
        found = found._replace(dc_n=None, dc=None)
    kept = Kept(*ctx.saved_tensors)  # once: checkpointing unpacks each tensor a single time
    call = RecurrenceBackward(cell, found, kept, needed[2], needed[3])
    backend = BACKENDS[backend] if isinstance(backend, str) else backend
    dgx, dw_hh, db_hh, dw_hr, dh0, dc0 = differentiate(call, backend)
    results = (None, dgx, dw_hh, db_hh, dw_hr, dh0, dc0, None, None, None, None, None)
    return tuple(g if n else None for g, n in zip(results, needed, strict=True))


torch.library.register_autograd(
    "rnn_kernels::recurrence", _backward, setup_context=_keep_for_backward, lib=library
)
differentiate_again("rnn_kernels::recurrence_backward", _plain_backward, 2)
autocast("recurrence", _forward_op)


class RecurrenceFunction(torch.autograd.Function):
    """The forward operator less the dispatcher; its arguments are the call's, and the backend."""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> Results:
        *call, backend = args
        output = _run(Recurrence(*call), backend, own_gx=True)
        _keep_for_backward(ctx, args, output)
        return output

    backward = staticmethod(_backward)


def _run(call: Recurrence, backend: Backend, own_gx: bool = False) -> Results:
    checks.recurrence(call)
    return step_graphs.allowing(backend.forward, call, own_gx=own_gx)


def recurrence(call: Recurrence, backend: Backend, unseen: bool) -> Results:
    """Calls the operator, and takes over gx; directly where nothing else could be listening.

    The dispatcher and the two Python kernels behind it take 7 µs of a call, 20 with gradients: as
    long as a short step itself.

    Args:
        backend: one that can run the call.
        unseen: nothing else is, see observers.plain.
    """
    if unseen:
        if call.save:
            return Results(*RecurrenceFunction.apply(*call, backend))
        return _run(call, backend)
    if transformed():
        return reference.forward(call)
    return Results(*_forward_op(*call, backend.name))


@register_flop_formula(torch.ops.rnn_kernels.recurrence)
def _forward_flops(cell, gx, w_hh, *rest: Any, **kwargs: Any) -> int:
    rows = gx[0] * gx[1] if len(gx) == 4 else gx[0]
    return 2 * rows * w_hh[0] * w_hh[1] * w_hh[2]


@register_flop_formula(torch.ops.rnn_kernels.recurrence_backward)
def _backward_flops(cell, *shapes: Any, **kwargs: Any) -> int:
    w_hh, y = shapes[5], shapes[9]  # in the order of the operator's arguments
    rows = y[0] * y[1] if len(y) == 3 else y[0]
    return 4 * rows * w_hh[0] * w_hh[1] * w_hh[2]
