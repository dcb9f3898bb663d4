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

from ..backends import reference
from ..backends.base import Backend
from ..backends.dispatch import BACKENDS, choose, honour
from ..core.calls import Gates, GatesBackward, GatesGradients, GatesKept, GatesResults, Kind
from ..core.cells import CELLS
from ..core.dtypes import compute_dtype
from ..core.observers import plain, stored, transformed
from . import checks
from .library import autocast, differentiate_again, filled, library

FORWARD = """gates(
    str cell, Tensor gx, Tensor gh, Tensor state, bool save, str backend
) -> (Tensor h, Tensor c, Tensor c_all, Tensor saved)"""
"""
    cell: a name of rnn_kernels.core.cells, such as "lstm" (gate order i f g o) or "gru" (r z n).
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
Backwards = tuple[Tensor, Tensor | None, Tensor]  # dgx, dgh where it is not dgx, dstate


def _operator_forward(*args: Any) -> GatesResults:
    *call, name = args
    call = Gates(*call)
    checks.gates(call)
    kind = Kind(call.cell, call.gx.dtype, call.gx.device.type, False)
    return honour(name, kind).gates(call)


def _operator_backward(*args: Any) -> Backwards:
    *flat, name = args
    call = GatesBackward.of(*flat)
    checks.gates_backward(call)
    like = call.kept.state
    return _backward_on(call, honour(name, Kind(call.cell, like.dtype, like.device.type, False)))


def _run(call: Gates, backend: Backend) -> GatesResults:
    checks.gates(call)
    return backend.gates(call)


def _backward_on(call: GatesBackward, backend: Backend) -> Backwards:
    if call.grads.dsaved is not None or call.grads.dc_all is not None:
        # Gradients of what the forward saved arise from second derivatives alone.
        return reference.gates_backward(call)
    return backend.gates_grad(call)


def run_backward(call: GatesBackward, backend: Backend) -> Backwards:
    """The backward operator less the dispatcher; None for what does not apply."""
    checks.gates_backward(call)
    return _backward_on(call, backend)


def _plain_backward(*args: Any) -> Backwards:
    """In plain torch, from the operator's arguments."""
    return reference.gates_backward(GatesBackward.of(*args))


library.impl("gates", filled(_operator_forward), "CompositeExplicitAutograd")
library.impl("gates_backward", filled(_operator_backward), "CompositeExplicitAutograd")


@torch.library.register_fake("rnn_kernels::gates", lib=library)
def _fake_forward(cell, gx, gh, state, save, backend) -> tuple[Tensor, ...]:
    kind, (R, H), compute = CELLS[cell], state.shape, compute_dtype(gx.dtype)
    keep_c = kind.has_c and save and compute != gx.dtype
    saved = BACKENDS[backend].saved_dtype(gx.dtype)
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
    ctx.save_for_backward(state, kept_c(cell, state, c, c_all), saved)
    ctx.set_materialize_grads(False)
    ctx.call = (cell, save, backend)


def kept_c(cell: str, state: Tensor, c: Tensor | None, c_all: Tensor | None) -> Tensor | None:
    """The new c as exact as there is, for cells that have one."""
    if not CELLS[cell].has_c:
        return None
    return c if compute_dtype(state.dtype) == state.dtype else c_all


def differentiate(
    cell: str, grads: tuple[Tensor | None, ...], kept: GatesKept, backend: Backend | str
) -> Backwards:
    """The backward inside an autograd Function's, from the gradients of all that it returned.

    By the operator only where somebody may see it: where the derivative may be taken again, and
    where tensors are not what they seem. dgh is dgx where the cell does not tell them apart.
    """
    kind, (dh, dc, dc_all, dsaved) = CELLS[cell], grads
    if not kind.has_c or kept.c_all.dtype == kept.state.dtype:  # c itself was kept
        dc_all = None
    found = GatesGradients(dh, dc if kind.has_c else None, dc_all, dsaved)
    call = GatesBackward(cell, found, kept)
    if torch.is_grad_enabled() or not plain(*kept, *found) or not stored(*found):
        name = backend if isinstance(backend, str) else backend.name
        dgx, dgh, dstate = _backward_op(*call.flat(), name)
    else:
        own = BACKENDS[backend] if isinstance(backend, str) else backend
        dgx, dgh, dstate = run_backward(call, own)
    return dgx, dgh if kind.splits else dgx, dstate


def _backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
    cell, save, backend = ctx.call
    if not save:
        raise RuntimeError("gates: called with save=False, so they cannot be differentiated")
    found = differentiate(cell, grads, GatesKept(*ctx.saved_tensors), backend)
    return None, *found, None, None


torch.library.register_autograd(
    "rnn_kernels::gates", _backward, setup_context=_keep_for_backward, lib=library
)
differentiate_again("rnn_kernels::gates_backward", _plain_backward, 0)
autocast("gates", _forward_op)


class GatesFunction(torch.autograd.Function):
    """The forward operator less the dispatcher; its arguments are the call's, and the backend."""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> GatesResults:
        *call, backend = args
        output = _run(Gates(*call), backend)
        _keep_for_backward(ctx, args, output)
        return output

    backward = staticmethod(_backward)


def gates(
    cell: str, gx: Tensor, gh: Tensor, state: Tensor, backend: Backend | None = None
) -> tuple[Tensor, Tensor | None]:
    """The new h, and c for a cell that has one; arguments as in :data:`FORWARD`.

    Args:
        backend: one that can run the call; None: chosen here.
    """
    tensors = (gx, gh, state)
    save = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
    if backend is None:
        backend = BACKENDS[choose(cell, gx.dtype, gx.device.type, False)]
    call = Gates(cell, *tensors, save)
    if plain(*tensors):
        h, c, *_ = GatesFunction.apply(*call, backend) if save else _run(call, backend)
    elif transformed():
        h, c, *_ = reference.gates(call)
    else:
        h, c, *_ = _forward_op(*call, backend.name)
    return h, c
