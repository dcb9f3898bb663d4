"""What operators and layers ask of their arguments, since kernels are handed bare addresses."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import Parameter

from ..core import calls
from ..core.cells import CELLS, Cell, cell_named
from ..core.compiled import core
from ..core.dtypes import DTYPES, compute_dtype


def expect(
    like: Tensor,
    *expected: tuple[str, Tensor | None, tuple[int, ...]],
    dtype: torch.dtype | None = None,
) -> None:
    """Raises RuntimeError unless each (name, tensor, shape) fits; dtype and device are ``like``'s.

    None fits.

    Args:
        dtype: what is expected instead.
    """
    dtype = dtype or like.dtype
    if core is not None and dtype in DTYPES:  # soon done where all is as usual
        on = None if like.is_cpu else like.device
        if core.in_memory((Tensor, Parameter, dtype), DTYPES[dtype], on, expected):
            return
    device = like.device
    for name, tensor, shape in expected:
        if tensor is None or tensor is like and tensor.shape == shape:
            continue
        if tensor.shape != shape:
            raise RuntimeError(f"Expected {name} size {tuple(shape)}, got {list(tensor.shape)}")
        if tensor.dtype != dtype:
            raise RuntimeError(f"Expected {name} to have dtype {dtype}, got {tensor.dtype}")
        if tensor.device != device:
            raise RuntimeError(f"Expected {name} on {device}, got {tensor.device}")


def rows(
    batch_sizes: Tensor | None,
    resets: Tensor | None,
    lead: torch.Size,
    B: int,
    device: torch.device,
) -> None:
    """``lead`` is (T, B), or (N,) for packed rows."""
    if batch_sizes is not None:
        on_cpu = batch_sizes.device.type == "cpu"
        if batch_sizes.dtype != torch.int64 or batch_sizes.dim() != 1 or not on_cpu:
            raise RuntimeError("batch_sizes should be a 1-D int64 tensor on the CPU")
        sizes = batch_sizes.tolist()
        if not sizes:
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
        if sizes != sorted(sizes, reverse=True) or sizes[0] > B or sizes[-1] < 0:
            raise RuntimeError(f"batch_sizes should decrease from at most {B} (the rows of h0)")
        if sum(sizes) != lead[0]:
            raise RuntimeError(f"batch_sizes add up to {sum(sizes)}, but there are {lead[0]} rows")
    elif lead[0] == 0:
        raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
    if resets is not None:
        if resets.dtype != torch.bool:
            raise RuntimeError(f"Expected resets to have dtype torch.bool, got {resets.dtype}")
        if resets.shape != lead:
            raise RuntimeError(f"Expected resets size {tuple(lead)}, got {list(resets.shape)}")
        if resets.device != device:
            raise RuntimeError(f"Expected resets on {device}, got {resets.device}")


def kind_of(cell: str, c0: Tensor | None, w_hr: Tensor | None) -> Cell:
    """The cell of that name, if it has what it is given and needs no more."""
    kind = CELLS.get(cell) or cell_named(cell)
    if (c0 is not None) != kind.has_c:
        raise RuntimeError(f"recurrence: {cell} {'needs' if kind.has_c else 'has no'} c0")
    if w_hr is not None and kind.unprojected is None:
        raise RuntimeError(f"recurrence: {cell} has no projection")
    return kind


def recurrence(call: calls.Recurrence) -> None:
    """Raises RuntimeError if the arguments of the forward do not fit together."""
    cell, gx, w_hh, b_hh, w_hr, h0, c0, batch_sizes, resets, _, _ = call
    kind = kind_of(cell, c0, w_hr)
    lead = 1 if batch_sizes is not None else 2
    if gx.dim() != lead + 2 or w_hh.dim() != 3 or h0.dim() != 3:
        raise RuntimeError(
            f"recurrence: expected gx, w_hh and h0 of {lead + 2}, 3 and 3 dimensions, got "
            f"{gx.dim()}, {w_hh.dim()} and {h0.dim()}"
        )
    (D, B, P), H = h0.shape, w_hh.shape[1] // kind.gates
    if D not in (1, 2) or H == 0 or (w_hr is None and P != H):
        raise RuntimeError(
            f"recurrence: w_hh {list(w_hh.shape)} and h0 {list(h0.shape)} do not fit {cell}"
        )
    G_H, steps = kind.gates * H, gx.shape[:1]
    expect(
        gx,
        ("gx", gx, (*steps, D, G_H) if lead == 1 else (*steps, B, D, G_H)),
        ("w_hh", w_hh, (D, G_H, P)),
        ("b_hh", b_hh, (D, G_H)),
        ("w_hr", w_hr, (D, P, H)),
        ("h0", h0, (D, B, P)),
        ("c0", c0, (D, B, H)),
    )
    rows(batch_sizes, resets, gx.shape[:lead], B, gx.device)


def layer(call: calls.Layer) -> None:
    """Raises RuntimeError if the arguments of a layer without projection do not fit together."""
    cell, x, weights, h0, c0, batch_sizes, resets, _ = call
    kind = kind_of(cell, c0, None)
    lead = 1 if batch_sizes is not None else 2
    w_ih, w_hh = weights[0][:2]
    if x.dim() != lead + 1 or w_ih.dim() != 2 or w_hh.dim() != 2 or h0.dim() != 3:
        raise RuntimeError(
            f"layer: expected input, w_ih, w_hh and h0 of {lead + 1}, 2, 2 and 3 dimensions, got "
            f"{x.dim()}, {w_ih.dim()}, {w_hh.dim()} and {h0.dim()}"
        )
    (D, B, H), I = h0.shape, x.shape[-1]
    if len(weights) != D or D not in (1, 2) or H == 0 or w_hh.shape[1] != H:
        raise RuntimeError(
            f"layer: {len(weights)} x w_hh {list(w_hh.shape)} and h0 {list(h0.shape)} do not fit "
            f"{cell}"
        )
    G_H = kind.gates * H
    if w_ih.shape[1] != I:
        raise RuntimeError(
            f"input.size(-1) must be equal to input_size. Expected {w_ih.shape[1]}, got {I}"
        )
    for w in weights:
        expect(
            x,
            ("w_ih", w.w_ih, (G_H, I)),
            ("w_hh", w.w_hh, (G_H, H)),
            ("b_ih", w.b_ih, (G_H,)),
            ("b_hh", w.b_hh, (G_H,)),
        )
    expect(
        x,
        ("input", x, x.shape if lead == 1 else (x.shape[0], B, I)),
        ("h0", h0, (D, B, H)),
        ("c0", c0, (D, B, H)),
    )
    rows(batch_sizes, resets, x.shape[:lead], B, x.device)


def recurrence_backward(call: calls.RecurrenceBackward) -> None:
    """Raises RuntimeError if the arguments of the backward do not fit together."""
    cell, (dy, dh_n, dc_n, dc, dsaved) = call.cell, call.grads
    w_hh, w_hr, h0, c0, y, c, saved, batch_sizes, resets = call.kept
    kind = kind_of(cell, c0, w_hr)
    packed = batch_sizes is not None
    if y.dim() != (2 if packed else 3) or w_hh.dim() != 3 or h0.dim() != 3:
        raise RuntimeError(
            f"recurrence_backward: expected y, w_hh and h0 of {2 if packed else 3}, 3 and 3 "
            f"dimensions, got {y.dim()}, {w_hh.dim()} and {h0.dim()}"
        )
    (D, B, P), H = h0.shape, w_hh.shape[1] // kind.gates
    if D not in (1, 2) or H == 0 or (w_hr is None and P != H):
        raise RuntimeError(
            f"recurrence_backward: w_hh {list(w_hh.shape)} and h0 {list(h0.shape)} do not fit "
            f"{cell}"
        )
    if kind.has_c and c is None:
        raise RuntimeError(f"recurrence_backward: {cell} needs c")
    lead = y.shape[:1] if packed else torch.Size((y.shape[0], B))
    state, cell_state = (D, B, P), (D, B, H)
    expect(
        y,
        ("y", y, (*lead, D * P)),
        ("w_hh", w_hh, (D, kind.gates * H, P)),
        ("w_hr", w_hr, (D, P, H)),
        ("h0", h0, state),
        ("c0", c0, cell_state),
        ("dy", dy, (*lead, D * P)),
        ("dh_n", dh_n, state),
        ("dc_n", dc_n if kind.has_c else None, cell_state),
    )
    expect(
        y,
        ("saved", saved, (*lead, D, kind.saved, H)),
        ("dsaved", dsaved, (*lead, D, kind.saved, H)),
        dtype=kept_dtype(saved, y),
    )
    if kind.has_c:
        cells = (*lead, D, H)
        expect(y, ("c", c, cells), ("dc", dc, cells), dtype=compute_dtype(y.dtype))
    rows(batch_sizes, resets, lead, B, y.device)


def kept_dtype(saved: Tensor, like: Tensor) -> torch.dtype:
    """That of ``saved``: the storage dtype, if it has that, or the one computed in."""
    return like.dtype if saved.dtype == like.dtype else compute_dtype(like.dtype)


def step(call: calls.Step) -> None:
    """Raises RuntimeError if the arguments of one step of one direction do not fit together."""
    cell, x, w, h, c = call
    kind = kind_of(cell, c, None)
    if x.dim() != 2 or h.dim() != 2:
        raise RuntimeError(
            f"{cell}_cell: expected input and hidden of 2 dimensions, got {x.dim()} and {h.dim()}"
        )
    (B, I), H = x.shape, h.shape[1]
    G_H = kind.gates * H
    expect(
        x,
        ("input", x, (B, I)),
        ("w_ih", w.w_ih, (G_H, I)),
        ("w_hh", w.w_hh, (G_H, H)),
        ("b_ih", w.b_ih, (G_H,)),
        ("b_hh", w.b_hh, (G_H,)),
        ("hidden", h, (B, H)),
        ("c", c, (B, H)),
    )


def single_step(call: calls.Layer) -> None:
    """Raises RuntimeError if the states and resets of a layer do not fit input (1, B, I).

    The steps see to the rest.
    """
    kind_of(call.cell, call.c0, None)
    D, B, H = len(call.weights), call.x.shape[1], call.weights[0].w_hh.shape[1]
    if D not in (1, 2):
        raise RuntimeError(f"recurrence: expected weights of 1 or 2 directions, got {D}")
    for name, state in (("h0", call.h0), ("c0", call.c0)):
        if state is not None and state.shape != (D, B, H):
            raise RuntimeError(f"Expected {name} size {(D, B, H)}, got {list(state.shape)}")
    if call.resets is not None:
        rows(None, call.resets, call.x.shape[:2], B, call.x.device)


def gates(call: calls.Gates) -> None:
    """Raises RuntimeError if the arguments of the gates do not fit together."""
    cell, gx, gh, state, _ = call
    kind = cell_named(cell)
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


def gates_backward(call: calls.GatesBackward) -> None:
    """Raises RuntimeError if the arguments of the gates' backward do not fit together."""
    cell, (dh, dc, dc_all, dsaved), (state, c_all, saved) = call
    kind = cell_named(cell)
    if state.dim() != 2:
        raise RuntimeError(f"gates_backward: expected state of 2 dimensions, got {state.dim()}")
    if kind.has_c and c_all is None:
        raise RuntimeError(f"gates_backward: {cell} needs c_all")
    R, H = state.shape
    expect(state, ("dh", dh, (R, H)), ("dc", dc if kind.has_c else None, (R, H)))
    expect(
        state,
        ("saved", saved, (R, kind.saved, H)),
        ("dsaved", dsaved, (R, kind.saved, H)),
        dtype=kept_dtype(saved, state),
    )
    if kind.has_c:
        computed = compute_dtype(state.dtype)
        expect(state, ("c_all", c_all, (R, H)), ("dc_all", dc_all, (R, H)), dtype=computed)
