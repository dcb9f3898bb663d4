"""Single steps on a backend that has them whole: products and gates in one call.

Sizes: B batch, I input, H hidden, G gates, K saved values per unit.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import backends, gate_ops, products, step_checks
from .cells import CELLS
from .reference import compute_dtype
from .tracing import plain, stored
from .weights import Weights


def run(
    cell: str, x: Tensor, w: Weights, h: Tensor, c: Tensor | None
) -> tuple[Tensor, Tensor | None] | None:
    """The new h and c of x (B, I), h and c (B, H); None where something else has to run the step.

    That is on backends without such a kernel, with many rows, and wherever compilers, tracers,
    autocast or function transforms should see the products.
    """
    w_ih, w_hh, b_ih, b_hh, _ = w
    backend = backends.choose(cell, x.dtype, x.device.type, False)
    step = backends.step(backend)
    if step is None or not plain(x, w_ih, w_hh, b_ih, b_hh, h, c):
        return None
    if x.dim() == 2 and x.shape[0] > backends.BACKENDS[backend].STEP_ROWS:
        return None
    step_checks.step(cell, x, w, h, c)
    tensors = (x, h, c, w_ih, w_hh, b_ih, b_hh)
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors):
        return RecurrentStep.apply(backend, cell, *tensors)[:2]
    return step(cell, x, w, h, c, False)[:2]


class RecurrentStep(torch.autograd.Function):
    """Products and gates of a step. The backward is the gates' and the products', which all have
    derivatives; what the forward saves is an output, so that second derivatives flow through it."""

    @staticmethod
    def forward(
        ctx: Any,
        backend: str,
        cell: str,
        x: Tensor,
        h: Tensor,
        c: Tensor | None,
        *weights: Tensor | None,
    ) -> tuple[Tensor | None, ...]:
        results = backends.step(backend)(cell, x, Weights(*weights), h, c, True)
        _, c_new, c_all, saved = results
        exact = c_new if compute_dtype(x.dtype) == x.dtype else c_all
        ctx.save_for_backward(x, h, c, *weights, exact, saved)
        ctx.set_materialize_grads(False)
        ctx.call = backend, cell
        return results

    @staticmethod
    def backward(
        ctx: Any,
        dh: Tensor | None,
        dc: Tensor | None,
        dc_all: Tensor | None,
        dsaved: Tensor | None,
    ) -> tuple[Tensor | None, ...]:
        backend, cell = ctx.call
        x, h, c, w_ih, w_hh, b_ih, b_hh, exact, saved = ctx.saved_tensors
        kind, needed = CELLS[cell], ctx.needs_input_grad[2:]
        if not kind.has_c:
            dc = dc_all = None
        elif exact.dtype == h.dtype:  # c itself was kept
            dc_all = None
        args = (cell, dh, dc, dc_all, dsaved, h if c is None else c, exact, saved, backend)
        direct = not torch.is_grad_enabled() and plain(*args[1:8]) and stored(*args[1:5])
        run = gate_ops.run_backward if direct else torch.ops.rnn_kernels.gates_backward
        dgx, dgh, dstate = run(*args)
        dgh = dgh if kind.splits else dgx
        dx = products.linear(dgx, w_ih.T, None) if needed[0] else None
        dh0 = products.linear(dgh, w_hh.T, None) if needed[1] else None
        found = (
            dx,
            dh0 + dstate if kind.mixes and needed[1] else dh0,
            dstate if kind.has_c else None,
            products.outer(dgx, x) if needed[3] else None,
            products.outer(dgh, h) if needed[4] else None,
            dgx.sum(0) if needed[5] else None,
            dgh.sum(0) if needed[6] else None,
        )
        return None, None, *(g if n else None for g, n in zip(found, needed, strict=True))
