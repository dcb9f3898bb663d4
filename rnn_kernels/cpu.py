"""The CPU backend: allocates with torch, computes in the compiled core.

Per step and row the backward needs, in the dtype computed in (float32, or float64 for float64):
LSTM 4·H gates and H cell states, GRU 4·H; besides y, which the caller has anyway.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from . import outputs
from .addresses import DTYPES, addresses, contiguous
from .cells import CELLS
from .reference import compute_dtype
from .weights import Weights

try:
    from . import _core as core
except ImportError as error:  # a source tree that was never built
    core, _missing = None, str(error)


def unavailable() -> str | None:
    """Why this backend cannot run on this machine, or None."""
    return None if core else f"the compiled core did not load: {_missing}"


def refuses(cell: str, dtype: torch.dtype, device_type: str, projected: bool) -> str | None:
    """Why a call of this kind cannot run on this backend, or None."""
    if device_type != "cpu":
        return f"it computes on the CPU, the tensors are on {device_type}"
    if dtype not in DTYPES:
        return f"it has no kernels for {dtype}"
    if projected:
        return "it has no kernels for projections (proj_size > 0)"
    return None


def _fresh(*arrays: Tensor | None) -> None:
    """Asks for large pages under arrays that nobody has written yet; see csrc/cpu/pages.h."""
    for t in arrays:
        if t is not None and t.nbytes >= core.large:
            core.prefer_large_pages(t.data_ptr(), t.nbytes)


def saved_dtype(dtype: torch.dtype) -> torch.dtype:
    """What the backward needs is kept in this dtype, for calls in ``dtype``."""
    return compute_dtype(dtype)


def forward(
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
    own_gx: bool = False,
) -> tuple[Tensor | None, ...]:
    """The recurrence; see :data:`rnn_kernels.ops.FORWARD`. None for outputs that do not apply."""
    H = h0.shape[2]
    gx, w_hh, b_hh = contiguous(gx, w_hh, b_hh)
    y, c, saved = outputs.recurrence(CELLS[cell], gx, H, save, cells, own_gx, saved_dtype(gx.dtype))
    given = (*addresses(gx), (0, 0, 0, 0), (0,), (0,), _each(w_hh), _each(b_hh))
    T = gx.shape[0] if batch_sizes is None else batch_sizes.shape[0]
    return _forward(cell, T, given, h0, c0, batch_sizes, resets, y, c, saved)


def layer(
    cell: str,
    x: Tensor,
    weights: Sequence[Weights],
    h0: Tensor,
    c0: Tensor | None,
    batch_sizes: Tensor | None,
    resets: Tensor | None,
    save: bool,
    cells: bool,
) -> tuple[Tensor | None, ...]:
    """The input product and the recurrence in one: outputs as of :func:`forward`.

    x (T, B, I) or (N, I), its rows anywhere; weights of each direction, where they are.
    """
    kind, (D, _, H) = CELLS[cell], h0.shape
    if x.stride(-1) != 1 or x.is_neg():
        (x,) = contiguous(x)
    kept = [contiguous(*w[:4]) for w in weights]
    w_ih, w_hh, b_ih, b_hh = (tuple(addresses(*one)) for one in zip(*kept, strict=True))
    leading = x.shape[:-1]
    y, c, saved = outputs.layer(kind, x, D, H, save, cells, saved_dtype(x.dtype))
    packed = batch_sizes is not None
    steps = (0, x.stride(0)) if packed else (x.stride(0), x.stride(1))
    given = (0, (x.shape[-1], *addresses(x), *steps), w_ih, b_ih, w_hh, b_hh)
    T = batch_sizes.shape[0] if packed else leading[0]
    return _forward(cell, T, given, h0, c0, batch_sizes, resets, y, c, saved)


# Rows up to which a step's weights are read where they are; with more, packing pays.
STEP_ROWS = 48


def step(
    cell: str, x: Tensor, w: Weights, h0: Tensor, c0: Tensor | None, save: bool
) -> tuple[Tensor | None, ...]:
    """One step of one direction: the new h and c (B, H), c_all and saved as of the gates alone."""
    if x.stride(1) != 1 or x.is_neg():
        (x,) = contiguous(x)
    w_ih, w_hh, b_ih, b_hh, h0, c0 = contiguous(*w[:4], h0, c0)
    results = outputs.gates(cell, h0, save, saved_dtype(x.dtype))
    (B, I), H = x.shape, h0.shape[1]
    core.step(
        cell, DTYPES[x.dtype], torch.get_num_threads(), B, I, H, *addresses(x), x.stride(0),
        *addresses(w_ih, b_ih, w_hh, b_hh, h0, c0, results[0], results[1], None, *results[2:]),
    )  # fmt: skip
    return results


def _each(values: Tensor | None) -> tuple[int, ...]:
    """The address of each direction's part of a contiguous (D, …)."""
    if values is None:
        return (0,)
    return tuple(addresses(*values.unbind(0)))


def _forward(
    cell: str,
    T: int,
    given: tuple,
    h0: Tensor,
    c0: Tensor | None,
    batch_sizes: Tensor | None,
    resets: Tensor | None,
    y: Tensor,
    c: Tensor | None,
    saved: Tensor | None,
) -> tuple[Tensor | None, ...]:
    """The compiled forward, from gx or from x as ``given``."""
    D, B, H = h0.shape
    batch_sizes, resets, h0, c0 = contiguous(batch_sizes, resets, h0, c0)
    _fresh(y, c, saved)
    h_n = torch.empty_like(h0)
    c_n = torch.empty_like(h_n) if c0 is not None else None
    core.forward(
        cell,
        DTYPES[y.dtype],
        torch.get_num_threads(),
        (T, B, D, H),
        *addresses(batch_sizes, resets),
        *given,
        *addresses(h0, c0, y, h_n, c_n, c, saved),
    )
    return y, h_n, c_n, c, saved


def backward(
    cell: str,
    dy: Tensor | None,
    dh_n: Tensor | None,
    dc_n: Tensor | None,
    dc: Tensor | None,
    w_hh: Tensor,
    w_hr: Tensor | None,
    h0: Tensor,
    c0: Tensor | None,
    y: Tensor,
    c: Tensor | None,
    saved: Tensor,
    batch_sizes: Tensor | None,
    resets: Tensor | None,
    weights: bool,
    bias: bool,
) -> tuple[Tensor | None, ...]:
    """The backward; see :data:`rnn_kernels.ops.BACKWARD`. None for outputs that do not apply."""
    kind = CELLS[cell]
    D, B, H = h0.shape
    leading = y.shape[:-1]
    dgx = y.new_empty(*leading, D, kind.gates * H)
    dgh = y.new_empty(*leading, D, H) if kind.splits else None
    dh0 = torch.empty_like(h0, memory_format=torch.contiguous_format)
    dc0 = torch.empty_like(dh0) if kind.has_c else None
    dw_hh = y.new_empty(w_hh.shape) if weights else None
    db_hh = y.new_empty(w_hh.shape[:2]) if bias else None
    _fresh(dgx, dgh, dw_hh)
    inputs = contiguous(batch_sizes, resets, w_hh, h0, c0, y, c, saved, dy, dh_n, dc_n, dc)
    core.backward(
        cell,
        DTYPES[y.dtype],
        torch.get_num_threads(),
        (leading[0] if batch_sizes is None else batch_sizes.shape[0], B, D, H),
        *addresses(*inputs),
        *addresses(dgx, dgh, dh0, dc0, dw_hh, db_hh),
    )
    return dgx, dw_hh, db_hh, None, dh0, dc0


def gates(
    cell: str, gx: Tensor, gh: Tensor, state: Tensor, save: bool
) -> tuple[Tensor | None, ...]:
    """The gates alone; see :data:`rnn_kernels.gate_ops.FORWARD`."""
    inputs, results = (
        contiguous(gx, gh, state),
        outputs.gates(cell, state, save, saved_dtype(gx.dtype)),
    )
    core.gates_forward(
        cell, DTYPES[gx.dtype], torch.get_num_threads(), *state.shape,
        *addresses(*inputs, *results),
    )  # fmt: skip
    return results


def gates_grad(
    cell: str,
    dh: Tensor | None,
    dc: Tensor | None,
    state: Tensor,
    c_all: Tensor | None,
    saved: Tensor,
) -> tuple[Tensor | None, ...]:
    """Their backward; see :data:`rnn_kernels.gate_ops.BACKWARD`."""
    inputs, results = contiguous(dh, dc, state, c_all, saved), outputs.gates_backward(cell, state)
    core.gates_backward(
        cell, DTYPES[state.dtype], torch.get_num_threads(), *state.shape,
        *addresses(*inputs, *results),
    )  # fmt: skip
    return results
