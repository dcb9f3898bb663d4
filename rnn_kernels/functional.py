"""Functional forms of the modules: stateless layers and cells.

Sizes: T time, B batch, I input, H hidden, P projected (H without a projection), L layers, D
directions, G gates (LSTM 4: i f g o; GRU 3: r z n), N rows of a packed sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from . import backends, ops, pieces, products


class Weights(NamedTuple):
    """Parameters of one layer in one direction, shaped as torch.nn.LSTM's and GRU's.

    ``w_ih`` (G·H, I), ``w_hh`` (G·H, P), ``b_ih`` and ``b_hh`` (G·H) or None, ``w_hr`` (P, H) or
    None. ``I`` of later layers is D·P.
    """

    w_ih: Tensor
    w_hh: Tensor
    b_ih: Tensor | None = None
    b_hh: Tensor | None = None
    w_hr: Tensor | None = None


def _biases(cell: str, weights: Weights) -> tuple[Tensor | None, Tensor | None]:
    """Biases of the input product and of the recurrent product.

    The LSTM only ever adds the two, so both biases join the recurrent one, where adding them is
    free and so is their gradient. The GRU scales its candidate's recurrent half, bias included,
    and keeps them apart.
    """
    if cell == "gru" or weights.b_ih is None or weights.b_hh is None:
        return weights.b_ih, weights.b_hh
    return None, weights.b_ih + weights.b_hh


def _joined(cell: str, weights: Sequence[Weights]) -> tuple[Tensor | None, ...]:
    """w_ih (D·G·H, I), its bias (D·G·H), w_hh (D, G·H, P), its bias (D, G·H), w_hr (D, P, H).

    Views where D is 1.
    """
    biases = [_biases(cell, w) for w in weights]
    if len(weights) == 1:
        (w,), ((b_ih, b_hh),) = weights, biases
        return (
            w.w_ih,
            b_ih,
            w.w_hh.unsqueeze(0),
            None if b_hh is None else b_hh.unsqueeze(0),
            None if w.w_hr is None else w.w_hr.unsqueeze(0),
        )

    def both(tensors: Sequence[Tensor | None], join: Callable) -> Tensor | None:
        return None if tensors[0] is None else join(tuple(tensors))

    return (
        torch.cat([w.w_ih for w in weights]),
        both([b_ih for b_ih, _ in biases], torch.cat),
        torch.stack([w.w_hh for w in weights]),
        both([b_hh for _, b_hh in biases], torch.stack),
        both([w.w_hr for w in weights], torch.stack),
    )


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
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
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
    w_ih, b_ih, w_hh, b_hh, w_hr = _joined(cell, weights)
    D, projected = len(weights), w_hr is not None

    def run(x: Tensor, h0: Tensor, c0: Tensor | None, resets: Tensor | None) -> tuple[Tensor, ...]:
        gx = products.linear(x, w_ih, b_ih)
        gx = gx.unsqueeze(-2) if D == 1 else gx.unflatten(-1, (D, -1))
        save = torch.is_grad_enabled() and any(
            t is not None and t.requires_grad for t in (gx, w_hh, b_hh, w_hr, h0, c0)
        )
        chosen = backends.choose(cell, gx.dtype, gx.device.type, projected)
        y, h_n, c_n, c, _ = ops.recurrence(
            cell, gx, w_hh, b_hh, w_hr, h0, c0, batch_sizes, resets, save, cells, chosen
        )
        return y, h_n, c_n, c.flatten(-2).to(y.dtype) if cells else c

    n = 1 if batch_sizes is not None else pieces.count(input, w_ih.shape[0], D)
    return pieces.run(run, n, input, h0, c0, resets) if n > 1 else run(input, h0, c0, resets)


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
) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, ...]]:
    """A stack of layers of one cell; arguments and results as in :func:`lstm`."""
    swap = batch_first and batch_sizes is None
    x = input.transpose(0, 1) if swap else input
    if resets is not None and swap:
        resets = resets.transpose(0, 1)
    finals_h, finals_c, states = [], [], []
    for k, directions in enumerate(weights):
        if k and dropout and training:
            x = F.dropout(x, dropout)
        own = slice(k * len(directions), (k + 1) * len(directions))
        x, h_n, c_n, c = layer(
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
        states.append(c.transpose(0, 1) if cells and swap else c)
    h_n = finals_h[0] if len(weights) == 1 else torch.cat(finals_h)
    c_n = finals_c[0] if c0 is None or len(weights) == 1 else torch.cat(finals_c)
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
        return_cells,
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
        False,
    )  # fmt: skip
    return y, h_n


def lstm_cell(
    input: Tensor,
    hx: tuple[Tensor, Tensor],
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """One step of an LSTM, as torch.nn.LSTMCell defines it.

    Args:
        input: (B, I). hx: h and c, (B, H) each. w_ih: (4·H, I). w_hh: (4·H, H). b_ih, b_hh: (4·H).

    Returns:
        The new h and c, (B, H) each.
    """
    h, c = hx
    weights = (Weights(w_ih, w_hh, b_ih, b_hh),)
    _, h, c, _ = layer("lstm", input.unsqueeze(0), weights, h.unsqueeze(0), c.unsqueeze(0))
    return h.squeeze(0), c.squeeze(0)


def gru_cell(
    input: Tensor,
    hx: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
) -> Tensor:
    """One step of a GRU, as torch.nn.GRUCell defines it.

    Args:
        input: (B, I). hx: h, (B, H). w_ih: (3·H, I). w_hh: (3·H, H). b_ih, b_hh: (3·H).

    Returns:
        The new h, (B, H).
    """
    weights = (Weights(w_ih, w_hh, b_ih, b_hh),)
    _, h, _, _ = layer("gru", input.unsqueeze(0), weights, hx.unsqueeze(0))
    return h.squeeze(0)
