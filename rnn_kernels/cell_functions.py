"""Functional forms of single steps: cells, and the gates alone for cells that others put together.

Sizes: B batch, I input, H hidden, G gates (LSTM 4: i f g o; GRU 3: r z n).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from . import gate_ops, portable, products, profiling, single_steps, step_checks
from .cells import CELLS
from .weights import Weights


def _gates(cell: str, gx: Tensor, gh: Tensor, state: Tensor) -> tuple[Any, Any]:
    """As in gate_ops, for any leading dimensions."""
    if gx.dim() == 2:
        return gate_ops.gates(cell, gx, gh, state)
    if not gx.dim() or gx.shape != gh.shape or gx.shape[:-1] != state.shape[:-1]:
        raise RuntimeError(
            f"{cell}_gates: expected gx and gh of one size (…, {CELLS[cell].gates}·H) and a state "
            f"(…, H), got {list(gx.shape)}, {list(gh.shape)} and {list(state.shape)}"
        )
    rows = (t.flatten(0, -2) if t.dim() > 1 else t.unsqueeze(0) for t in (gx, gh, state))
    return tuple(t if t is None else t.view(state.shape) for t in gate_ops.gates(cell, *rows))


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


def _step(
    cell: str, x: Tensor, weights: Weights, h: Tensor, c: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """One step of one direction: two products and the gates. x (B, I), h and c (B, H)."""
    if profiling.on():
        with profiling.named(cell, "step"):
            return _plain_step(cell, x, weights, h, c)
    return _plain_step(cell, x, weights, h, c)


def _plain_step(
    cell: str, x: Tensor, weights: Weights, h: Tensor, c: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    if portable.wanted():
        return portable.step(cell, x, weights, h, c)
    whole = single_steps.run(cell, x, weights, h, c)
    if whole is not None:
        return whole
    gx = products.linear(x, weights.w_ih, weights.b_ih)
    gh = products.linear(h, weights.w_hh, weights.b_hh)
    return gate_ops.gates(cell, gx, gh, h if c is None else c)


def single_step(
    cell: str,
    input: Tensor,
    weights: Sequence[Weights],
    h0: Tensor,
    c0: Tensor | None,
    resets: Tensor | None,
    cells: bool,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """A layer at T = 1, without projection: results of :func:`rnn_kernels.functional.layer`.

    Each direction is a cell, so that nothing is stacked, and no loop set up.
    """
    step_checks.single_step(cell, input, len(weights), weights[0].w_hh.shape[1], h0, c0, resets)

    def state(values: Tensor | None, d: int) -> Tensor | None:
        if values is None or resets is None or d == 1:  # no step before, no boundary to cut
            return None if values is None else values[d]
        return values[d].masked_fill(resets[0, :, None], 0)

    done = [_step(cell, input[0], w, state(h0, d), state(c0, d)) for d, w in enumerate(weights)]
    hs, cs = zip(*done, strict=True)

    # The results share no memory, since one may be changed in place; and those with gradients are
    # no views, which wrappers with hooks of their own (fully_shard) would lose sight of then.
    def steps(values: Sequence[Tensor]) -> Tensor:
        if len(values) == 1:
            return torch.stack(values)
        return torch.cat([v.unsqueeze(0) for v in values], -1)

    def finals(values: Sequence[Tensor]) -> Tensor:
        if len(values) == 1 and not torch.is_grad_enabled():
            return values[0].unsqueeze(0)
        return torch.stack(values)

    return (
        steps(hs),
        finals(hs),
        None if c0 is None else finals(cs),
        steps(cs) if cells else None,
    )


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
    return _step("lstm", input, Weights(w_ih, w_hh, b_ih, b_hh), *hx)


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
    return _step("gru", input, Weights(w_ih, w_hh, b_ih, b_hh), hx, None)[0]
