"""The arrays that a backend's kernels write, in the shapes that the operators promise."""

from __future__ import annotations

import torch
from torch import Tensor

from .calls import GatesResults, Layer, Recurrence
from .cells import CELLS
from .dtypes import COMPUTED

Written = tuple[Tensor, Tensor | None, Tensor | None]  # y, c and saved of calls.Results


def recurrence(call: Recurrence, own_gx: bool, saved_dtype: torch.dtype) -> Written:
    """For gx (…, D, G·H), contiguous.

    With ``own_gx`` nobody reads gx afterwards: where the saved gates have its very shape and dtype
    they take its place, element by element, and half of the memory of a training step is gone.
    """
    kind, gx, H = CELLS[call.cell], call.gx, call.h0.shape[2]
    leading, D = gx.shape[:-2], gx.shape[-2]
    c = saved = None
    if kind.has_c and (call.save or call.cells):
        c = gx.new_empty(*leading, D, H, dtype=COMPUTED[gx.dtype])
    if call.save and own_gx and kind.saved == kind.gates and gx.dtype == saved_dtype:
        saved = gx.detach().view(*leading, D, kind.saved, H)
    elif call.save:
        saved = gx.new_empty(*leading, D, kind.saved, H, dtype=saved_dtype)
    return gx.new_empty(*leading, D * H), c, saved


def layer(call: Layer, save: bool, saved_dtype: torch.dtype) -> Written:
    """For a layer of input x (…, I), where gx is never whole."""
    kind, x, (D, _, H) = CELLS[call.cell], call.x, call.h0.shape
    leading, c, saved = x.shape[:-1], None, None
    if kind.has_c and (save or call.cells):
        c = x.new_empty(*leading, D, H, dtype=COMPUTED[x.dtype])
    if save:
        saved = x.new_empty(*leading, D, kind.saved, H, dtype=saved_dtype)
    return x.new_empty(*leading, D * H), c, saved


def gates(cell: str, state: Tensor, save: bool, saved_dtype: torch.dtype) -> GatesResults:
    """For a state (R, H), or of a layer's step (1, R, H)."""
    kind, compute, (*one, R, H) = CELLS[cell], COMPUTED[state.dtype], state.shape
    keep_c = kind.has_c and save and compute != state.dtype
    return GatesResults(
        state.new_empty(*one, R, H),
        state.new_empty(*one, R, H) if kind.has_c else None,
        state.new_empty(R, H, dtype=compute) if keep_c else None,
        state.new_empty(R, kind.saved, H, dtype=saved_dtype) if save else None,
    )


def gates_backward(cell: str, state: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
    """dgx, dgh where it is not dgx, and dstate; for a state (R, H)."""
    kind, (R, H) = CELLS[cell], state.shape
    dgx = state.new_empty(R, kind.gates * H)
    return dgx, torch.empty_like(dgx) if kind.splits else None, state.new_empty(R, H)
