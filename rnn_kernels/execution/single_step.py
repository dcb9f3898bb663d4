"""Single steps: a cell, and a layer at T = 1, each direction of which is a cell.

Sizes: B batch, I input, H hidden, D directions, G gates, K saved values per unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import profiler

from ..backends.base import Backend
from ..backends.dispatch import BACKENDS, choose
from ..core import allocation, profiling
from ..core.calls import GatesKept, Layer, LayerResults, Step, StepResults
from ..core.cells import CELLS
from ..core.dtypes import product_dtype
from ..core.observers import plain
from ..export import torch_layers
from ..operators import checks, gates
from . import products


def run(call: Step) -> tuple[Tensor, Tensor | None]:
    """The new h and c of a cell: two products and the gates."""
    cell, x, w, h, c = call
    unseen = plain(x, *w[:4], h, c)
    if not unseen and torch_layers.wanted():
        return torch_layers.step(call)
    if unseen and x.dim() != 2:
        checks.step(call)  # raises: three dimensions are a layer's, below
    dtype = x.dtype if unseen else product_dtype(x)
    found = _step(call, BACKENDS[choose(cell, dtype, x.device.type, False)], unseen)
    return found.h, found.c


def _step(call: Step, backend: Backend, unseen: bool) -> StepResults:
    # A compiled graph has names of its own.
    if not torch.compiler.is_compiling() and profiler._is_profiler_enabled:
        with profiling.named(call.cell, "step"):
            return _run(call, backend, unseen)
    return _run(call, backend, unseen)


def _run(call: Step, backend: Backend, unseen: bool) -> StepResults:
    cell, x, w, h, c = call
    if not _at_once(x, backend, unseen):
        gx = products.linear(x, w.w_ih, w.b_ih)
        gh = products.linear(h, w.w_hh, w.b_hh)
        found = gates.gates(cell, gx, gh, h if c is None else c, backend)
        return StepResults(*found, None, None, None)
    tensors = x, h, c, *w[:4]
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors):
        return StepResults(*RecurrentStep.apply(backend, call, *tensors))
    return _whole(call, backend, False)


def _at_once(x: Tensor, backend: Backend, unseen: bool) -> bool:
    """Whether the backend takes the step in one call: if it does so for so many rows, and nobody
    watches. Compilers, tracers, autocast and function transforms want to see the products."""
    return unseen and backend.step_rows > 0 and (x.dim() < 2 or x.shape[-2] <= backend.step_rows)


def _whole(call: Step, backend: Backend, save: bool) -> StepResults:
    """Products and gates in one call of the backend, whose kernel checks what it is given.

    What it does not take as it is gets its errors here, or is brought into order.
    """
    cell, x, (w_ih, w_hh, b_ih, b_hh, w_hr), h, c = call
    kind, dims = CELLS.get(cell), x.dim()
    if kind is not None and 2 <= dims == h.dim() and (c is not None) == kind.has_c:
        *rows, I = x.shape
        H = h.shape[-1]
        G_H, state = kind.gates * H, (*rows, H)
        own = allocation.gates(cell, h, save, backend.saved_dtype(x.dtype))
        results = StepResults(*own, h.new_empty(*h.shape) if dims == 3 else None)
        tensors = (w_ih, w_hh, b_ih, b_hh, h, c, x)
        shapes = ((G_H, I), (G_H, H), (G_H,), (G_H,), state, state, (*rows, I))
        h_new, c_new, c_all, saved, y = results
        if H and backend.stream(cell, tensors, shapes, (h_new, c_new, y, c_all, saved)):
            return results
    if dims == 3:
        one = Step(cell, x[0], call.weights, h[0], None if c is None else c[0])
        h_new, c_new, c_all, saved, _ = _whole(one, backend, save)
        h_new, c_new, y = (None if t is None else t[None].clone() for t in (h_new, c_new, h_new))
        return StepResults(h_new, c_new, c_all, saved, y)
    checks.step(call)
    return StepResults(*backend.step(call, save), None)


class RecurrentStep(torch.autograd.Function):
    """Products and gates of a step; tensors are x, h, c, w_ih, w_hh, b_ih and b_hh of the call.

    The backward is the gates' and the products', which all have derivatives; what the forward saves
    is an output, so that second derivatives flow through it.
    """

    @staticmethod
    def forward(ctx: Any, backend: Backend, call: Step, *tensors: Tensor | None) -> StepResults:
        results = _whole(call, backend, True)
        _, c, c_all, saved, _ = results
        ctx.save_for_backward(*tensors, gates.kept_c(call.cell, call.x, c, c_all), saved)
        ctx.set_materialize_grads(False)
        ctx.call = backend, call.cell
        return results

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        backend, cell = ctx.call
        x, h, c, w_ih, w_hh, b_ih, b_hh, exact, saved = ctx.saved_tensors
        dh_new, dc_new, dc_all, dsaved, dy = grads
        if dy is not None:
            dh_new = dy if dh_new is None else dh_new + dy
        of_layer = x.dim() == 3
        if of_layer:
            x, h, c, exact, dh_new, dc_new = map(_rows, (x, h, c, exact, dh_new, dc_new))
        kind, needed = CELLS[cell], ctx.needs_input_grad[2:]
        kept = GatesKept(h if c is None else c, exact, saved)
        found = dh_new, dc_new, dc_all, dsaved
        dgx, dgh, dstate = gates.differentiate(cell, found, kept, backend)
        dx = products.linear(dgx, w_ih.T, None) if needed[0] else None
        dh = products.linear(dgh, w_hh.T, None) if needed[1] else None
        if kind.mixes and needed[1]:
            dh = dh + dstate
        dc = dstate if kind.has_c else None
        if of_layer:
            dx, dh, dc = (None if g is None else g[None] for g in (dx, dh, dc))
        found = (
            dx,
            dh,
            dc,
            products.outer(dgx, x) if needed[3] else None,
            products.outer(dgh, h) if needed[4] else None,
            dgx.sum(0) if needed[5] else None,
            dgh.sum(0) if needed[6] else None,
        )
        return None, None, *(g if n else None for g, n in zip(found, needed, strict=True))


def _rows(values: Tensor | None) -> Tensor | None:
    """(B, H) of a layer's (1, B, H); what has no 1 before B stays."""
    return values if values is None or values.dim() == 2 else values[0]


def layer(call: Layer, backend: Backend, unseen: bool) -> LayerResults:
    """A layer at T = 1, without projection: nothing is stacked, and no loop set up.

    Args:
        unseen: nobody watches, see observers.plain.
    """
    checks.single_step(call)
    if len(call.weights) == 1 and _at_once(call.x, backend, unseen):
        return _alone(call, backend)
    x, resets = call.x[0], call.resets

    def state(values: Tensor | None, d: int) -> Tensor | None:
        if values is None or resets is None or d == 1:  # no step before, no boundary to cut
            return None if values is None else values[d]
        return values[d].masked_fill(resets[0, :, None], 0)

    steps = [
        Step(call.cell, x, w, state(call.h0, d), state(call.c0, d))
        for d, w in enumerate(call.weights)
    ]
    done = [_step(step, backend, unseen) for step in steps]
    hs, cs = [one.h for one in done], [one.c for one in done]
    c_n = None if call.c0 is None else _finals(cs)
    return LayerResults(_steps(hs), _finals(hs), c_n, _steps(cs) if call.cells else None)


def _alone(call: Layer, backend: Backend) -> LayerResults:
    """One direction: its step is that of the layer."""
    states = call.h0, call.c0
    if call.resets is not None:
        cut = call.resets[..., None]
        states = tuple(None if s is None else s.masked_fill(cut, 0) for s in states)
    h, c, _, _, y = _step(Step(call.cell, call.x, call.weights[0], *states), backend, True)
    if c is not None and c.requires_grad:
        c = c.clone()  # its backward reads the other
    return LayerResults(y, h, c, c.clone() if call.cells else None)


# The results share no memory, since one may be changed in place; and those with gradients are no
# views, which wrappers with hooks of their own (fully_shard) would lose sight of then.


def _steps(values: Sequence[Tensor]) -> Tensor:
    """(1, B, D·H) of each direction's (B, H)."""
    if len(values) == 1:
        return torch.stack(values)
    return torch.cat([v.unsqueeze(0) for v in values], -1)


def _finals(values: Sequence[Tensor]) -> Tensor:
    """(D, B, H) of each direction's (B, H)."""
    if len(values) == 1 and not torch.is_grad_enabled():
        return values[0].unsqueeze(0)
    return torch.stack(values)
