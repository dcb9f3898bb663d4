"""The gates alone as operators, for cells that others put together: fake functions and autograd.

``torch.ops.rnn_kernels.gates`` turns both halves of the gates and the state into the new state,
``torch.ops.rnn_kernels.gates_backward`` is its backward, and can be differentiated again.

Sizes: R rows, H hidden, G gates, K saved values per unit. S is the dtype of ``gx``, A the one
computed in: float64 for float64 and float32 for all others. The state is h, or c for a cell that
has one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import backends, reference, step_checks
from .cells import CELLS
from .reference import compute_dtype
from .registration import autocast, differentiate_again, filled, library
from .tracing import plain, stored, transformed

FORWARD = """gates(
    str cell, Tensor gx, Tensor gh, Tensor state, bool save, str backend
) -> (Tensor h, Tensor c, Tensor c_all, Tensor saved)"""
"""
    cell: "lstm" (gate order i f g o) or "gru" (r z n).
    gx, gh (R, G·H) S: input and recurrent half of each gate, before activation.
    state (R, H) S: c for the LSTM, h for the GRU.
    save: keep what the backward needs.  backend: a name of rnn_kernels.backends.

    h, c (R, H) S: the new state; c for the LSTM only.
    c_all (R, H) A: c unrounded, where S is not A and the backward needs it.
    saved (R, K, H) A or S, as the backend keeps it: activated gates; for the GRU also the
        candidate's recurrent half.
    Outputs that do not apply or were not asked for are empty.
"""

BACKWARD = """gates_backward(
    str cell, Tensor? dh, Tensor? dc, Tensor? dc_all, Tensor? dsaved,
    Tensor state, Tensor? c_all, Tensor saved, str backend
) -> (Tensor dgx, Tensor dgh, Tensor dstate)"""
"""
    Gradients with respect to the outputs come in (None: zero), with respect to the inputs go out.
    dgh is empty where it is dgx: for cells that do not scale a recurrent half.
"""

library.define(" ".join(FORWARD.split()))
library.define(" ".join(BACKWARD.split()))

_forward_op = torch.ops.rnn_kernels.gates.default
_backward_op = torch.ops.rnn_kernels.gates_backward.default


def _check(cell: str, gx: Tensor, gh: Tensor, state: Tensor) -> None:
    """Raises RuntimeError if the arguments do not fit together."""
    if cell not in CELLS:
        raise RuntimeError(f"gates: unknown cell {cell!r}, expected one of {sorted(CELLS)}")
    kind = CELLS[cell]
    if not gx.is_floating_point():
        raise RuntimeError(f"{cell} gates: expected a floating-point dtype, got {gx.dtype}")
    if gx.dim() != 2 or gx.shape != gh.shape or not gx.shape[1] or gx.shape[1] % kind.gates:
        raise RuntimeError(
            f"{cell} gates: expected gx and gh of one size (R, {kind.gates}·H), got "
            f"{list(gx.shape)} and {list(gh.shape)}"
        )
    size, name = (gx.shape[0], gx.shape[1] // kind.gates), "c" if kind.has_c else "h"
    if state.shape != size:
        raise RuntimeError(f"{cell} gates: expected {name} of size {size}, got {list(state.shape)}")
    for which, t in (("gh", gh), (name, state)):
        if t.dtype != gx.dtype or t.device != gx.device:
            raise RuntimeError(
                f"{cell} gates: expected {which} as {gx.dtype} on {gx.device} like gx, "
                f"got {t.dtype} on {t.device}"
            )


def _run_forward(
    cell: str, gx: Tensor, gh: Tensor, state: Tensor, save: bool, backend: str
) -> tuple[Tensor | None, ...]:
    _check(cell, gx, gh, state)
    return backends.honour(backend, cell, gx, None).gates(cell, gx, gh, state, save)


def run_backward(
    cell: str,
    dh: Tensor | None,
    dc: Tensor | None,
    dc_all: Tensor | None,
    dsaved: Tensor | None,
    state: Tensor,
    c_all: Tensor | None,
    saved: Tensor,
    backend: str,
) -> tuple[Tensor | None, ...]:
    """The backward operator less the dispatcher; None for what does not apply."""
    step_checks.gates_backward(cell, dh, dc, dc_all, dsaved, state, c_all, saved)
    chosen = backends.honour(backend, cell, state, None)
    if dsaved is not None or dc_all is not None or chosen is reference:
        # Gradients of what the forward saved arise from second derivatives alone.
        return reference.gates_backward(cell, dh, dc, dc_all, dsaved, state, c_all, saved)
    return chosen.gates_grad(cell, dh, dc, state, c_all, saved)


library.impl("gates", filled(_run_forward), "CompositeExplicitAutograd")
library.impl("gates_backward", filled(run_backward), "CompositeExplicitAutograd")


@torch.library.register_fake("rnn_kernels::gates", lib=library)
def _fake_forward(cell, gx, gh, state, save, backend) -> tuple[Tensor, ...]:
    kind, (R, H), compute = CELLS[cell], state.shape, compute_dtype(gx.dtype)
    keep_c, saved = (
        kind.has_c and save and compute != gx.dtype,
        backends.saved_dtype(backend, gx.dtype),
    )
    return (
        gx.new_empty(R, H),
        gx.new_empty((R, H) if kind.has_c else (0,)),
        gx.new_empty(R, H, dtype=compute) if keep_c else gx.new_empty(0),
        gx.new_empty(R, kind.saved, H, dtype=saved) if save else gx.new_empty(0),
    )


@torch.library.register_fake("rnn_kernels::gates_backward", lib=library)
def _fake_backward(
    cell, dh, dc, dc_all, dsaved, state, c_all, saved, backend
) -> tuple[Tensor, ...]:
    kind, (R, H) = CELLS[cell], state.shape
    return (
        state.new_empty(R, kind.gates * H),
        state.new_empty((R, kind.gates * H) if kind.splits else (0,)),
        state.new_empty(R, H),
    )


def _keep_for_backward(ctx: Any, inputs: tuple, output: tuple) -> None:
    cell, _, _, state, save, backend = inputs
    _, c, c_all, saved = output
    exact = c if compute_dtype(state.dtype) == state.dtype else c_all
    ctx.save_for_backward(state, exact if CELLS[cell].has_c else None, saved)
    ctx.set_materialize_grads(False)
    ctx.call = (cell, save, backend)


def _backward(
    ctx: Any, dh: Tensor | None, dc: Tensor | None, dc_all: Tensor | None, dsaved: Tensor | None
) -> tuple[Tensor | None, ...]:
    cell, save, backend = ctx.call
    if not save:
        raise RuntimeError("gates: called with save=False, so they cannot be differentiated")
    kind, kept = CELLS[cell], ctx.saved_tensors
    if not kind.has_c:
        dc = dc_all = None
    elif kept[1].dtype == kept[0].dtype:  # c itself was kept
        dc_all = None
    grads = (dh, dc, dc_all, dsaved)
    direct = not torch.is_grad_enabled() and plain(*kept, *grads) and stored(*grads)
    dgx, dgh, dstate = (run_backward if direct else _backward_op)(cell, *grads, *kept, backend)
    return None, dgx, dgh if kind.splits else dgx, dstate, None, None


torch.library.register_autograd(
    "rnn_kernels::gates", _backward, setup_context=_keep_for_backward, lib=library
)
differentiate_again("rnn_kernels::gates_backward", reference.gates_backward, 0)
autocast("gates", _forward_op)


class RecurrentGates(torch.autograd.Function):
    """The forward operator less the dispatcher."""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> tuple[Tensor | None, ...]:
        output = _run_forward(*args)
        _keep_for_backward(ctx, args, output)
        return output

    backward = staticmethod(_backward)


def gates(cell: str, gx: Tensor, gh: Tensor, state: Tensor) -> tuple[Tensor, Tensor | None]:
    """The new h, and c for a cell that has one; arguments as in :data:`FORWARD`."""
    tensors = (gx, gh, state)
    save = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
    backend = backends.choose(cell, gx.dtype, gx.device.type, False)
    args = (cell, *tensors, save, backend)
    if plain(*tensors):
        h, c, *_ = RecurrentGates.apply(*args) if save else _run_forward(*args)
    elif transformed():
        h, c, *_ = reference.gates(*args[:-1])
    else:
        h, c, *_ = _forward_op(*args)
    return h, c
