"""Functional forms of the modules: stateless layers, cells, and the gates alone.

Sizes: T time, B batch, I input, H hidden, P projected (H without a projection), L layers, D
directions, G gates (LSTM 4: i f g o; GRU 3: r z n), N rows of a packed sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from .core.calls import Layer, Stack, Step
from .core.cells import CELLS
from .core.weights import Weights
from .execution import layer as _layer
from .execution import single_step
from .execution import stack as _stack
from .operators import gates

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
        cell: "lstm", "gru" or "rnn_tanh".
        input: (T, B, I), or (N, I) for packed rows.
        weights: one per direction.
        h0: (D, B, P). c0: (D, B, H), for cells that have one.
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
    return _layer.run(Layer(cell, input, weights, h0, c0, batch_sizes, resets, cells))


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
    form = lengths, dropout if training else 0.0, batch_first
    return _stack.run(Stack(cell, input, weights, h0, c0, batch_sizes, resets, cells, *form))


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
    form = lengths, dropout if training else 0.0, batch_first
    call = Stack("lstm", input, weights, *hx, batch_sizes, resets, return_cells, *form)
    y, h_n, c_n, cells = _stack.run(call)
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
    form = lengths, dropout if training else 0.0, batch_first
    call = Stack("gru", input, weights, hx, None, batch_sizes, resets, False, *form)
    y, h_n, _, _ = _stack.run(call)
    return y, h_n


def _gates(cell: str, gx: Tensor, gh: Tensor, state: Tensor) -> tuple[Any, Any]:
    """As in :mod:`rnn_kernels.operators.gates`, for any leading dimensions."""
    if gx.dim() == 2:
        return gates.gates(cell, gx, gh, state)
    if not gx.dim() or gx.shape != gh.shape or gx.shape[:-1] != state.shape[:-1]:
        raise RuntimeError(
            f"{cell}_gates: expected gx and gh of one size (…, {CELLS[cell].gates}·H) and a state "
            f"(…, H), got {list(gx.shape)}, {list(gh.shape)} and {list(state.shape)}"
        )
    rows = (t.flatten(0, -2) if t.dim() > 1 else t.unsqueeze(0) for t in (gx, gh, state))
    return tuple(t if t is None else t.view(state.shape) for t in gates.gates(cell, *rows))


def lstm_gates(gx: Tensor, gh: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """What an LSTM does with its gates, for cells with products of their own.

    ``i, f, o = σ(gx + gh)``, ``g = tanh(gx + gh)``, ``c' = f ⊙ c + i ⊙ g``, ``h' = o ⊙ tanh(c')``:
    the equations of torch.nn.LSTM, gate order i f g o. One kernel, its backward another.

    Args:
        gx: (…, 4·H), the input half of the gates before activation, biases included.
        gh: (…, 4·H), the recurrent half.
        c: (…, H), the cell state before the step.

    Returns:
        The new h and c, (…, H) each.

    Raises:
        RuntimeError: sizes, dtypes or devices do not fit together, or the requested backend
            does not support the call.
    """
    return _gates("lstm", gx, gh, c)


def gru_gates(gx: Tensor, gh: Tensor, h: Tensor) -> Tensor:
    """What a GRU does with its gates, for cells with products of their own.

    ``r, z = σ(gx + gh)``, ``n = tanh(gx + r ⊙ gh)``, ``h' = (1 - z) ⊙ n + z ⊙ h``: the equations of
    torch.nn.GRU, gate order r z n. One kernel, its backward another.

    Args:
        gx: (…, 3·H), the input half of the gates before activation, its bias included.
        gh: (…, 3·H), the recurrent half, its bias included.
        h: (…, H), the hidden state before the step.

    Returns:
        The new h, (…, H).

    Raises:
        RuntimeError: as for :func:`lstm_gates`.
    """
    return _gates("gru", gx, gh, h)[0]


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
    return single_step.run(Step("lstm", input, Weights(w_ih, w_hh, b_ih, b_hh), *hx))


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
    return single_step.run(Step("gru", input, Weights(w_ih, w_hh, b_ih, b_hh), hx, None))[0]
