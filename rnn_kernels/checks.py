"""What the operators ask of their arguments, since kernels are handed bare addresses."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .cells import CELLS, Cell
from .reference import compute_dtype
from .weights import Weights


def expect(like: Tensor, *expected: tuple[str, Tensor | None, tuple[int, ...]]) -> None:
    """Raises RuntimeError unless each (name, tensor, shape) fits; dtype and device are ``like``'s.

    None fits.
    """
    dtype, device = like.dtype, like.device
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


def recurrence(
    cell: str,
    gx: Tensor,
    w_hh: Tensor,
    b_hh: Tensor | None,
    w_hr: Tensor | None,
    h0: Tensor,
    c0: Tensor | None,
    batch_sizes: Tensor | None,
    resets: Tensor | None,
    save: bool,
    cells: bool,
) -> None:
    """Raises RuntimeError if the arguments of the forward do not fit together."""
    kind = kind_of(cell, c0, w_hr)
    lead = 1 if batch_sizes is not None else 2
    if gx.dim() != lead + 2 or w_hh.dim() != 3 or h0.dim() != 3:
        raise RuntimeError(
            f"recurrence: expected gx, w_hh and h0 of {lead + 2}, 3 and 3 dimensions, got "
            f"{gx.dim()}, {w_hh.dim()} and {h0.dim()}"
        )
    D, B, P = h0.shape
    H = w_hh.shape[1] // kind.gates
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


def layer(
    cell: str,
    x: Tensor,
    weights: Sequence[Weights],
    h0: Tensor,
    c0: Tensor | None,
    batch_sizes: Tensor | None,
    resets: Tensor | None,
) -> None:
    """Raises RuntimeError if the arguments of a layer without projection do not fit together."""
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


def recurrence_backward(
    cell: str,
    dy: Tensor | None,
    dh_n: Tensor | None,
    dc_n: Tensor | None,
    dc: Tensor | None,
    dsaved: Tensor | None,
    w_hh: Tensor,
    w_hr: Tensor | None,
    h0: Tensor,
    c0: Tensor | None,
    y: Tensor,
    c: Tensor | None,
    saved: Tensor,
    batch_sizes: Tensor | None,
    resets: Tensor | None,
) -> None:
    """Raises RuntimeError if the arguments of the backward do not fit together."""
    kind = kind_of(cell, c0, w_hr)
    packed = batch_sizes is not None
    if y.dim() != (2 if packed else 3) or w_hh.dim() != 3 or h0.dim() != 3:
        raise RuntimeError(
            f"recurrence_backward: expected y, w_hh and h0 of {2 if packed else 3}, 3 and 3 "
            f"dimensions, got {y.dim()}, {w_hh.dim()} and {h0.dim()}"
        )
    D, B, P = h0.shape
    H = w_hh.shape[1] // kind.gates
    if D not in (1, 2) or H == 0 or (w_hr is None and P != H):
        raise RuntimeError(
            f"recurrence_backward: w_hh {list(w_hh.shape)} and h0 {list(h0.shape)} do not fit "
            f"{cell}"
        )
    if kind.has_c and c is None:
        raise RuntimeError(f"recurrence_backward: {cell} needs c")
    lead = y.shape[:1] if packed else torch.Size((y.shape[0], B))
    like = y.new_empty(0, dtype=compute_dtype(y.dtype))  # what the forward computed in
    kept = kept_dtype(saved, y)
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
        kept,
        ("saved", saved, (*lead, D, kind.saved, H)),
        ("dsaved", dsaved, (*lead, D, kind.saved, H)),
    )
    expect(
        like,
        ("c", c if kind.has_c else None, (*lead, D, H)),
        ("dc", dc if kind.has_c else None, (*lead, D, H)),
    )
    rows(batch_sizes, resets, lead, B, y.device)


def kept_dtype(saved: Tensor, like: Tensor) -> Tensor:
    """Of the dtype that ``saved`` should have: the storage dtype, if it has that."""
    dtype = like.dtype if saved.dtype == like.dtype else compute_dtype(like.dtype)
    return like.new_empty(0, dtype=dtype)


def kind_of(cell: str, c0: Tensor | None, w_hr: Tensor | None) -> Cell:
    """The cell of that name, if it has what it is given and needs no more."""
    if cell not in CELLS:
        raise RuntimeError(f"recurrence: unknown cell {cell!r}, expected one of {sorted(CELLS)}")
    kind = CELLS[cell]
    if (c0 is not None) != kind.has_c:
        raise RuntimeError(f"recurrence: {cell} {'needs' if kind.has_c else 'has no'} c0")
    if w_hr is not None and kind.unprojected is None:
        raise RuntimeError(f"recurrence: {cell} has no projection")
    return kind
