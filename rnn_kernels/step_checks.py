"""What single steps and gates ask of their arguments, since kernels are handed bare addresses."""

from __future__ import annotations

from torch import Tensor

from .cells import CELLS
from .checks import expect, kept_dtype, kind_of, rows
from .reference import compute_dtype
from .weights import Weights


def step(cell: str, x: Tensor, w: Weights, h: Tensor, c: Tensor | None) -> None:
    """Raises RuntimeError if the arguments of one step of one direction do not fit together."""
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


def single_step(
    cell: str,
    input: Tensor,
    D: int,
    H: int,
    h0: Tensor,
    c0: Tensor | None,
    resets: Tensor | None,
) -> None:
    """Raises RuntimeError if the states and resets of a layer do not fit input (1, B, I).

    The products and the gates see to the rest.
    """
    kind_of(cell, c0, None)
    B = input.shape[1]
    if D not in (1, 2):
        raise RuntimeError(f"recurrence: expected weights of 1 or 2 directions, got {D}")
    for name, state in (("h0", h0), ("c0", c0)):
        if state is not None and state.shape != (D, B, H):
            raise RuntimeError(f"Expected {name} size {(D, B, H)}, got {list(state.shape)}")
    if resets is not None:
        rows(None, resets, input.shape[:2], B, input.device)


def gates_backward(
    cell: str,
    dh: Tensor | None,
    dc: Tensor | None,
    dc_all: Tensor | None,
    dsaved: Tensor | None,
    state: Tensor,
    c_all: Tensor | None,
    saved: Tensor,
) -> None:
    """Raises RuntimeError if the arguments of the gates' backward do not fit together."""
    if cell not in CELLS:
        raise RuntimeError(f"gates: unknown cell {cell!r}, expected one of {sorted(CELLS)}")
    kind = CELLS[cell]
    if state.dim() != 2:
        raise RuntimeError(f"gates_backward: expected state of 2 dimensions, got {state.dim()}")
    if kind.has_c and c_all is None:
        raise RuntimeError(f"gates_backward: {cell} needs c_all")
    R, H = state.shape
    like = state.new_empty(0, dtype=compute_dtype(state.dtype))  # what the forward computed in
    expect(state, ("dh", dh, (R, H)), ("dc", dc if kind.has_c else None, (R, H)))
    kept = kept_dtype(saved, state)
    expect(
        kept,
        ("saved", saved, (R, kind.saved, H)),
        ("dsaved", dsaved, (R, kind.saved, H)),
    )
    expect(
        like,
        ("c_all", c_all if kind.has_c else None, (R, H)),
        ("dc_all", dc_all if kind.has_c else None, (R, H)),
    )
