"""Functional forms of the modules: stateless layers; cells are in cell_functions.

Sizes: T time, B batch, I input, H hidden, P projected (H without a projection), L layers, D
directions, G gates (LSTM 4: i f g o; GRU 3: r z n), N rows of a packed sequence.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from . import (
    backends,
    cell_functions,
    fused,
    onnx_layers,
    ops,
    padding,
    portable,
    products,
    profiling,
    recomputation,
    wavefront,
)
from .cell_functions import gru_cell, gru_gates, lstm_cell, lstm_gates
from .lanes import Lanes
from .weights import Weights, joined, separate

__all__ = [
    "Weights",
    "gru",
    "gru_cell",
    "gru_gates",
    "layer",
    "lstm",
    "lstm_cell",
    "lstm_gates",
    "stack",
]


def layer(
    cell: str,
    input: Tensor,
    weights: Sequence[Weights],
    h0: Tensor,
    c0: Tensor | None = None,
    *,
    batch_sizes: Tensor | None = None,
    resets: Tensor | None = None,
    cells: bool = False,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """One layer, one or both directions: the input product, then the recurrence.

    Args:
        cell: "lstm" or "gru".
        input: (T, B, I), or (N, I) for packed rows.
        weights: one per direction.
        h0: (D, B, P). c0: (D, B, H), LSTM only.
        batch_sizes: (T,) int64 on the CPU for packed rows, else None.
        resets: bool, (T, B) or (N,), or None: where true the state is zero before the step.
        cells: whether all cell states are wanted.

    Returns:
        y (T, B, D·P) or (N, D·P), h_n (D, B, P), c_n (D, B, H) and all cell states
        (T, B, D·H) or (N, D·H); the last two None or empty where they do not apply.

    Raises:
        RuntimeError: sizes, dtypes or devices do not fit together, or the requested backend
            does not support the call.
    """
    if profiling.on():
        with profiling.named(cell, "layer"):
            return _layer(cell, input, weights, h0, c0, batch_sizes, resets, cells)
    return _layer(cell, input, weights, h0, c0, batch_sizes, resets, cells)


def _layer(
    cell: str,
    input: Tensor,
    weights: Sequence[Weights],
    h0: Tensor,
    c0: Tensor | None,
    batch_sizes: Tensor | None,
    resets: Tensor | None,
    cells: bool,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    if portable.wanted():
        portable.refuse_extras(resets=resets, return_cells=cells)
        if onnx_layers.wanted() and batch_sizes is None:
            return onnx_layers.layer(cell, input, weights, h0, c0)
        if resets is None and not cells:
            return portable.layer(cell, input, weights, h0, c0, batch_sizes)
    elif batch_sizes is None and input.shape[0] == 1 and weights[0].w_hr is None:
        return cell_functions.single_step(cell, input, weights, h0, c0, resets, cells)
    flat = [t for w in weights for t in w]
    rows = (h0, c0, batch_sizes, resets)
    backend = backends.choose(cell, input.dtype, input.device.type, weights[0].w_hr is not None)
    if recomputation.applies(weights[0].w_hr, input, *flat, h0, c0):
        *own, _ = joined(cell, weights)
        y, h_n, c_n, c = recomputation.run(_run, cell, input, *own, *rows)
    elif fused.applies(backend, input, *flat, *rows):
        y, h_n, c_n, c = fused.run(backend, cell, input, weights, *rows, cells)
    else:
        y, h_n, c_n, c = _run(cell, input, *joined(cell, weights), *rows, cells)
    return y, h_n, c_n, c.flatten(-2).to(y.dtype) if cells else c


def _run(
    cell: str,
    input: Tensor,
    w_ih: Tensor,
    b_ih: Tensor | None,
    w_hh: Tensor,
    b_hh: Tensor | None,
    w_hr: Tensor | None,
    h0: Tensor,
    c0: Tensor | None,
    batch_sizes: Tensor | None,
    resets: Tensor | None,
    cells: bool,
) -> tuple[Tensor | None, ...]:
    """y, h_n, c_n and c as the operator gives them; weights as :func:`weights.joined` does."""
    D = w_hh.shape[0]
    chosen = backends.choose(cell, input.dtype, input.device.type, w_hr is not None)
    if not torch.is_grad_enabled() and fused.applies(chosen, input, w_ih, w_hh, h0):
        weights = separate(w_ih, b_ih, w_hh, b_hh)
        return fused.run(chosen, cell, input, weights, h0, c0, batch_sizes, resets, cells)
    gx = products.linear(input, w_ih, b_ih)
    gx = gx.unsqueeze(-2) if D == 1 else gx.unflatten(-1, (D, -1))
    # A trace may be run with gradients or without, whichever it was made with.
    save = (
        portable.wanted()
        or torch.is_grad_enabled()
        and any(t is not None and t.requires_grad for t in (gx, w_hh, b_hh, w_hr, h0, c0))
    )
    chosen = backends.choose(cell, gx.dtype, gx.device.type, w_hr is not None)  # as autocast has it
    return ops.recurrence(
        cell, gx, w_hh, b_hh, w_hr, h0, c0, batch_sizes, resets, save, cells, chosen
    )[:4]


def stack(
    cell: str,
    input: Tensor,
    weights: Sequence[Sequence[Weights]],
    h0: Tensor,
    c0: Tensor | None,
    dropout: float,
    training: bool,
    batch_first: bool,
    batch_sizes: Tensor | None,
    resets: Tensor | None,
    cells: bool,
    lengths: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor | None, tuple[Tensor, ...]]:
    """A stack of layers of one cell; arguments and results as in :func:`lstm`."""
    swap = batch_first and batch_sizes is None
    x = input.transpose(0, 1) if swap else input
    if resets is not None and swap:
        resets = resets.transpose(0, 1)
    dropout = dropout if training else 0
    run = padding.along(lengths, layer)
    chunks = wavefront.lengths(cell, x, weights, h0, c0, batch_sizes, dropout)
    if chunks is not None and lengths is None:
        x, finals_h, finals_c, states = wavefront.run(
            layer, Lanes(x.device, len(weights)), chunks, cell, x, weights, h0, c0, dropout,
            batch_sizes, resets, cells,
        )  # fmt: skip
    else:
        finals_h, finals_c, states = [], [], []
        for k, directions in enumerate(weights):
            if k and dropout:
                x = F.dropout(x, dropout)
            own = slice(k * len(directions), (k + 1) * len(directions))
            x, h_n, c_n, c = run(
                cell,
                x,
                directions,
                h0 if len(weights) == 1 else h0[own],
                c0 if c0 is None or len(weights) == 1 else c0[own],
                batch_sizes=batch_sizes,
                resets=resets,
                cells=cells,
            )
            finals_h.append(h_n)
            finals_c.append(c_n)
            states.append(c)
    h_n = finals_h[0] if len(weights) == 1 else torch.cat(finals_h)
    c_n = finals_c[0] if c0 is None or len(weights) == 1 else torch.cat(finals_c)
    if cells and swap:
        states = [c.transpose(0, 1) for c in states]
    return x.transpose(0, 1) if swap else x, h_n, c_n, tuple(states)


def lstm(
    input: Tensor,
    hx: tuple[Tensor, Tensor],
    weights: Sequence[Sequence[Weights]],
    *,
    dropout: float = 0.0,
    training: bool = False,
    batch_first: bool = False,
    batch_sizes: Tensor | None = None,
    lengths: Tensor | None = None,
    resets: Tensor | None = None,
    return_cells: bool = False,
) -> tuple[Tensor, ...]:
    """A stack of LSTM layers, as torch.nn.LSTM defines it.

    Args:
        input: (T, B, I), (B, T, I) with ``batch_first``, or (N, I) rows with ``batch_sizes``.
        hx: initial states h (L·D, B, P) and c (L·D, B, H).
        weights: per layer, one :class:`Weights` per direction.
        dropout: probability, between layers and while ``training``.
        batch_sizes: (T,) int64 on the CPU, as in a PackedSequence.
        lengths: (B,) int64 on the device of ``input``, for padded input: results are zero from a
            sequence's end on, final states those of its last step, and nothing waits for a GPU.
        resets: bool, (T, B), (B, T) with ``batch_first``, or (N,) with ``batch_sizes``; where
            true the state is replaced by zero before the step. A reversed direction is cut at
            the same boundary between steps t - 1 and t.
        return_cells: also return all cell states.

    Returns:
        y (T, B, D·P) in the layout of ``input``, h_n (L·D, B, P), c_n (L·D, B, H); with
        ``return_cells`` also a tuple of L tensors (T, B, D·H) in the layout of ``input``.

    Raises:
        RuntimeError: sizes, dtypes or devices do not fit together, or the requested backend
            does not support the call.
    """
    y, h_n, c_n, cells = stack(
        "lstm", input, weights, *hx, dropout, training, batch_first, batch_sizes, resets,
        return_cells, lengths,
    )  # fmt: skip
    return (y, h_n, c_n, cells) if return_cells else (y, h_n, c_n)


def gru(
    input: Tensor,
    hx: Tensor,
    weights: Sequence[Sequence[Weights]],
    *,
    dropout: float = 0.0,
    training: bool = False,
    batch_first: bool = False,
    batch_sizes: Tensor | None = None,
    lengths: Tensor | None = None,
    resets: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """A stack of GRU layers, as torch.nn.GRU defines it; arguments as in :func:`lstm`.

    Args:
        hx: initial state (L·D, B, H).

    Returns:
        y (T, B, D·H) in the layout of ``input`` and h_n (L·D, B, H).
    """
    y, h_n, _, _ = stack(
        "gru", input, weights, hx, None, dropout, training, batch_first, batch_sizes, resets,
        False, lengths,
    )  # fmt: skip
    return y, h_n
