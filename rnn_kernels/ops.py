"""The two operators, registered with torch.library: fake functions, autograd, autocast, FLOPs.

``torch.ops.rnn_kernels.recurrence`` runs one layer's recurrence, all steps and both directions.
``torch.ops.rnn_kernels.recurrence_backward`` is its backward, and can be differentiated again.

Sizes: T time, B batch, H hidden, P projected (H without a projection), D directions (1 or 2),
G gates, K saved values per unit, N rows in all. S is the dtype of ``gx``; A is the dtype computed
in, float64 for float64 and float32 for all others. Leading dimensions (T, B) become (N,) for
packed rows.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from . import backends, checks, reference, step_graphs
from .cells import CELLS
from .reference import compute_dtype
from .registration import autocast, differentiate_again, filled, library
from .tracing import plain, stored, transformed

FORWARD = """recurrence(
    str cell, Tensor gx, Tensor w_hh, Tensor? b_hh, Tensor? w_hr, Tensor h0, Tensor? c0,
    Tensor? batch_sizes, Tensor? resets, bool save, bool cells, str backend
) -> (Tensor y, Tensor h_n, Tensor c_n, Tensor c, Tensor saved)"""
"""
    cell: "lstm" (gate order i f g o) or "gru" (r z n).
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


def _run_forward(*args: Any, own_gx: bool = False) -> tuple[Tensor | None, ...]:
    *call, backend = args
    checks.recurrence(*call)
    return backends.honour(backend, call[0], call[1], call[4]).forward(*call, own_gx)


def run_backward(*args: Any) -> tuple[Tensor | None, ...]:
    """The backward operator less the dispatcher; None for what does not apply."""
    cell, dy, dh_n, dc_n, dc, dsaved, *call, weights, bias, backend = args
    grads = (dy, dh_n, dc_n, dc)
    checks.recurrence_backward(cell, *grads, dsaved, *call)
    chosen = backends.honour(backend, cell, call[4], call[1])
    if dsaved is not None or chosen is reference:
        # Gradients of what the forward saved arise from second derivatives alone.
        return reference.backward(cell, *grads, dsaved, *call, weights, bias)
    return chosen.backward(cell, *grads, *call, weights, bias)


library.impl("recurrence", filled(_run_forward), "CompositeExplicitAutograd")
library.impl("recurrence_backward", filled(run_backward), "CompositeExplicitAutograd")


@torch.library.register_fake("rnn_kernels::recurrence", lib=library)
def _fake_forward(
    cell, gx, w_hh, b_hh, w_hr, h0, c0, batch_sizes, resets, save, cells, backend
) -> tuple[Tensor, ...]:
    kind, leading, compute = CELLS[cell], gx.shape[:-2], compute_dtype(gx.dtype)
    D, B, P = h0.shape
    H = w_hh.shape[1] // kind.gates
    keep_c, saved = kind.has_c and (save or cells), backends.saved_dtype(backend, gx.dtype)
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
    cell, gx, w_hh, b_hh, w_hr, h0, c0, batch_sizes, resets, save, cells, backend = inputs
    y, _, _, c, saved = output
    c = c if CELLS[cell].has_c else None
    ctx.save_for_backward(w_hh, w_hr, h0, c0, y, c, saved, batch_sizes, resets)
    ctx.set_materialize_grads(False)
    ctx.call = (cell, save, backend)


def _backward(
    ctx: Any,
    dy: Tensor | None,
    dh_n: Tensor | None,
    dc_n: Tensor | None,
    dc: Tensor | None,
    dsaved: Tensor | None,
) -> tuple[Tensor | None, ...]:
    cell, save, backend = ctx.call
    if not save:
        raise RuntimeError("recurrence: called with save=False, so it cannot be differentiated")
    if not CELLS[cell].has_c:  # c_n and c are empty, and so are their gradients
        dc_n = dc = None
    grads, needed = (dy, dh_n, dc_n, dc, dsaved), ctx.needs_input_grad
    # Only a derivative that may be taken again has to be one that autograd can see.
    kept = ctx.saved_tensors  # once: checkpointing unpacks each tensor a single time
    direct = not torch.is_grad_enabled() and plain(*kept, *grads) and stored(*grads)
    args = (cell, *grads, *kept, needed[2], needed[3], backend)
    run = partial(step_graphs.allowing, run_backward) if direct else _backward_op
    dgx, dw_hh, db_hh, dw_hr, dh0, dc0 = run(*args)
    found = (None, dgx, dw_hh, db_hh, dw_hr, dh0, dc0, None, None, None, None, None)
    return tuple(g if n else None for g, n in zip(found, needed, strict=True))


torch.library.register_autograd(
    "rnn_kernels::recurrence", _backward, setup_context=_keep_for_backward, lib=library
)
differentiate_again("rnn_kernels::recurrence_backward", reference.backward, 2)
autocast("recurrence", _forward_op)


class Recurrence(torch.autograd.Function):
    """The forward operator less the dispatcher."""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> tuple[Tensor, ...]:
        output = step_graphs.allowing(_run_forward, *args, own_gx=True)
        _keep_for_backward(ctx, args, output)
        return output

    backward = staticmethod(_backward)


def recurrence(*args: Any) -> tuple[Tensor, ...]:
    """Calls the operator, and takes over gx; directly where nothing else could be listening.

    The dispatcher and the two Python kernels behind it take 7 µs of a call, 20 with gradients: as
    long as a short step itself.
    """
    if plain(*args[1:9]):
        return Recurrence.apply(*args) if args[9] else step_graphs.allowing(_run_forward, *args)
    return reference.forward(*args[:-1]) if transformed() else _forward_op(*args)


@register_flop_formula(torch.ops.rnn_kernels.recurrence)
def _forward_flops(cell, gx, w_hh, *rest: Any, **kwargs: Any) -> int:
    rows = gx[0] * gx[1] if len(gx) == 4 else gx[0]
    return 2 * rows * w_hh[0] * w_hh[1] * w_hh[2]


@register_flop_formula(torch.ops.rnn_kernels.recurrence_backward)
def _backward_flops(
    cell, dy, dh_n, dc_n, dc, dsaved, w_hh, w_hr, h0, c0, y, *rest: Any, **kwargs: Any
) -> int:
    rows = y[0] * y[1] if len(y) == 3 else y[0]
    return 4 * rows * w_hh[0] * w_hh[1] * w_hh[2]
