"""The arrays that a backend's kernels write, in the shapes that the operators promise."""

from __future__ import annotations

import torch
from torch import Tensor

from .cells import CELLS, Cell
from .reference import compute_dtype


def recurrence(
    kind: Cell,
    gx: Tensor,
    H: int,
    save: bool,
    cells: bool,
    own_gx: bool,
    saved_dtype: torch.dtype,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """y, c and saved of :data:`rnn_kernels.ops.FORWARD`; gx (…, D, G·H) is contiguous.

    With ``own_gx`` nobody reads gx afterwards: where the saved gates have its very shape and dtype
    they take its place, element by element, and half of the memory of a training step is gone.
    """
    *leading, D, _ = gx.shape
    compute = compute_dtype(gx.dtype)
    c = saved = None
    if kind.has_c and (save or cells):
        c = gx.new_empty(*leading, D, H, dtype=compute)
    if save and own_gx and kind.saved == kind.gates and gx.dtype == saved_dtype:
        saved = gx.detach().view(*leading, D, kind.saved, H)
    elif save:
        saved = gx.new_empty(*leading, D, kind.saved, H, dtype=saved_dtype)
    return gx.new_empty(*leading, D * H), c, saved


def layer(
    kind: Cell, x: Tensor, D: int, H: int, save: bool, cells: bool, saved_dtype: torch.dtype
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The same for a layer of input x (…, I), where gx is never whole."""
    leading, c, saved = x.shape[:-1], None, None
    if kind.has_c and (save or cells):
        c = x.new_empty(*leading, D, H, dtype=compute_dtype(x.dtype))
    if save:
        saved = x.new_empty(*leading, D, kind.saved, H, dtype=saved_dtype)
    return x.new_empty(*leading, D * H), c, saved


def gates(
    cell: str, state: Tensor, save: bool, saved_dtype: torch.dtype
) -> tuple[Tensor | None, ...]:
    """h, c, c_all and saved of :data:`rnn_kernels.gate_ops.FORWARD`; state (R, H)."""
    kind, compute, (R, H) = CELLS[cell], compute_dtype(state.dtype), state.shape
    keep_c = kind.has_c and save and compute != state.dtype
    return (
        state.new_empty(R, H),
        state.new_empty(R, H) if kind.has_c else None,
        state.new_empty(R, H, dtype=compute) if keep_c else None,
        state.new_empty(R, kind.saved, H, dtype=saved_dtype) if save else None,
    )


def gates_backward(cell: str, state: Tensor) -> tuple[Tensor | None, ...]:
    """dgx, dgh and dstate of :data:`rnn_kernels.gate_ops.BACKWARD`; state (R, H)."""
    kind, (R, H) = CELLS[cell], state.shape
    dgx = state.new_empty(R, kind.gates * H)
    return dgx, torch.empty_like(dgx) if kind.splits else None, state.new_empty(R, H)
