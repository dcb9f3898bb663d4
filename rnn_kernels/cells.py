"""The table of cells: sizes, and each step and its backward in plain torch.

A step works on any number of rows R at once. Values are tuples of (R, H) tensors, one per gate.
It is the definition that every kernel is tested against, and what double backward differentiates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Gates = tuple[Tensor, ...]


@dataclass(frozen=True)
class Cell:
    """What backends need to know about a cell.

    Attributes:
        name: the name in operator calls.
        gates: rows of ``w_hh`` per hidden unit, G.
        saved: values per unit kept for the backward besides h and c, K.
        has_c: whether a cell state runs beside h.
        splits: whether the last gate takes ``W_hn·h + b_hn`` apart from its input half.
        mixes: whether the new h takes in the previous one directly, not through ``w_hh``.
        step: ``(gx, gh, h, c) -> (h, c, saved)``.
        step_backward: ``(saved, h, c_prev, c, dh, dc, dsaved) -> (dgx, dgh, dh, dc)`` where the
            returned ``dh`` is the share that does not pass through ``w_hh``.
        unprojected: ``(saved, c) -> h`` before a projection, for cells that have one.
    """

    name: str
    gates: int
    saved: int
    has_c: bool
    splits: bool
    mixes: bool
    step: Callable[[Gates, Gates, Tensor, Tensor], tuple[Tensor, Tensor, Gates]]
    step_backward: Callable[..., tuple[Gates, Gates, Tensor, Tensor]]
    unprojected: Callable[[Gates, Tensor], Tensor] | None = None


def lstm_step(gx: Gates, gh: Gates, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Gates]:
    """One step of torch.nn.LSTM's cell; gate order i f g o."""
    i = torch.sigmoid(gx[0] + gh[0])
    f = torch.sigmoid(gx[1] + gh[1])
    g = torch.tanh(gx[2] + gh[2])
    o = torch.sigmoid(gx[3] + gh[3])
    c = f * c + i * g
    return o * torch.tanh(c), c, (i, f, g, o)


def lstm_step_backward(
    saved: Gates, h: Tensor, c_prev: Tensor, c: Tensor, dh: Tensor, dc: Tensor, dsaved: Gates
) -> tuple[Gates, Gates, Tensor, Tensor]:
    """Backward of :func:`lstm_step`; ``dsaved`` are gradients of the saved gates themselves."""
    i, f, g, o = saved
    m = torch.tanh(c)
    dc = dc + dh * o * (1 - m * m)
    di, df = dc * g + dsaved[0], dc * c_prev + dsaved[1]
    dg, do = dc * i + dsaved[2], dh * m + dsaved[3]
    gates = (di * i * (1 - i), df * f * (1 - f), dg * (1 - g * g), do * o * (1 - o))
    return gates, gates, torch.zeros_like(dh), dc * f


def lstm_unprojected(saved: Gates, c: Tensor) -> Tensor:
    """The hidden state before ``weight_hr`` projects it."""
    return saved[3] * torch.tanh(c)


def gru_step(gx: Gates, gh: Gates, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Gates]:
    """One step of torch.nn.GRU's cell; gate order r z n. ``c`` is passed through."""
    r = torch.sigmoid(gx[0] + gh[0])
    z = torch.sigmoid(gx[1] + gh[1])
    n = torch.tanh(gx[2] + r * gh[2])
    return n + z * (h - n), c, (r, z, n, gh[2])


def gru_step_backward(
    saved: Gates, h: Tensor, c_prev: Tensor, c: Tensor, dh: Tensor, dc: Tensor, dsaved: Gates
) -> tuple[Gates, Gates, Tensor, Tensor]:
    """Backward of :func:`gru_step`; ``dsaved`` are gradients of the saved values themselves."""
    r, z, n, a = saved
    dn = (dh * (1 - z) + dsaved[2]) * (1 - n * n)
    dr = (dn * a + dsaved[0]) * r * (1 - r)
    dz = (dh * (h - n) + dsaved[1]) * z * (1 - z)
    return (dr, dz, dn), (dr, dz, dn * r + dsaved[3]), dh * z, dc


CELLS: dict[str, Cell] = {
    cell.name: cell
    for cell in (
        Cell("lstm", 4, 4, True, False, False, lstm_step, lstm_step_backward, lstm_unprojected),
        Cell("gru", 3, 4, False, True, True, gru_step, gru_step_backward),
    )
}
