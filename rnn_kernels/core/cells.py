"""The table of cells: what each is called, its sizes, and its step and backward in plain torch.

A step works on any number of rows R at once. Values are tuples of (R, H) tensors, one per gate.
It is the definition that every kernel is tested against, and what double backward differentiates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

Gates = tuple[Tensor, ...]


@dataclass(frozen=True)
class Node:
    """ONNX's operator for a layer of a cell.

    Source: https://onnx.ai/onnx/operators/ (LSTM, GRU, RNN).
    """

    name: str
    order: tuple[int, ...]  # its gates, by their places in torch's order
    attributes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Cell:
    """What the rest of the package needs to know about a cell.

    Attributes:
        name: in calls; torch.nn's ``mode`` in small letters, where torch has the cell.
        letters: of the gates, in their order; one for each of the G rows of ``w_hh`` per unit.
        saved: values per unit kept for the backward besides h and c, K.
        has_c: whether a cell state runs beside h.
        splits: whether the last gate takes ``W_hn·h + b_hn`` apart from its input half.
        mixes: whether the new h takes in the previous one directly, not through ``w_hh``.
        step: ``(gx, gh, h, c) -> (h, c, saved)``.
        step_backward: ``(saved, h, c_prev, c, dh, dc, dsaved) -> (dgx, dgh, dh, dc)`` where the
            returned ``dh`` is the share that does not pass through ``w_hh``.
        unprojected: ``(saved, c) -> h`` before a projection, for cells that have one.
        torch_layer, torch_cell: torch's own functions for it, or None.
        node: ONNX's, or None.
    """

    name: str
    letters: str
    saved: int
    has_c: bool
    splits: bool
    mixes: bool
    step: Callable[[Gates, Gates, Tensor, Tensor], tuple[Tensor, Tensor, Gates]]
    step_backward: Callable[..., tuple[Gates, Gates, Tensor, Tensor]]
    unprojected: Callable[[Gates, Tensor], Tensor] | None = None
    torch_layer: Callable[..., tuple[Tensor, ...]] | None = None
    torch_cell: Callable[..., Tensor | tuple[Tensor, Tensor]] | None = None
    node: Node | None = None
    gates: int = field(init=False)  # G
    states: tuple[str, ...] = field(init=False)  # that run from step to step

    def __post_init__(self) -> None:
        object.__setattr__(self, "gates", len(self.letters))
        object.__setattr__(self, "states", ("h", "c") if self.has_c else ("h",))


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


def rnn_tanh_step(gx: Gates, gh: Gates, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Gates]:
    """One step of torch.nn.RNN's cell with tanh. ``c`` is passed through."""
    h = torch.tanh(gx[0] + gh[0])
    return h, c, (h,)


def rnn_tanh_step_backward(
    saved: Gates, h: Tensor, c_prev: Tensor, c: Tensor, dh: Tensor, dc: Tensor, dsaved: Gates
) -> tuple[Gates, Gates, Tensor, Tensor]:
    """Backward of :func:`rnn_tanh_step`; what is saved is the new h."""
    gates = ((dh + dsaved[0]) * (1 - saved[0] * saved[0]),)
    return gates, gates, torch.zeros_like(dh), dc


CELLS: dict[str, Cell] = {
    cell.name: cell
    for cell in (
        Cell(
            "lstm", "ifgo", 4, has_c=True, splits=False, mixes=False,
            step=lstm_step, step_backward=lstm_step_backward, unprojected=lstm_unprojected,
            torch_layer=torch.lstm, torch_cell=torch.lstm_cell,
            node=Node("LSTM", (0, 3, 1, 2)),
        ),
        Cell(
            "gru", "rzn", 4, has_c=False, splits=True, mixes=True,
            step=gru_step, step_backward=gru_step_backward,
            torch_layer=torch.gru, torch_cell=torch.gru_cell,
            node=Node("GRU", (1, 0, 2), {"linear_before_reset": 1}),
        ),
        Cell(
            "rnn_tanh", "h", 1, has_c=False, splits=False, mixes=False,
            step=rnn_tanh_step, step_backward=rnn_tanh_step_backward,
            torch_layer=torch.rnn_tanh, torch_cell=torch.rnn_tanh_cell,
            node=Node("RNN", (0,)),
        ),
    )
}  # fmt: skip


def cell_named(name: str) -> Cell:
    """The cell of that name.

    Raises:
        RuntimeError: there is none.
    """
    if name not in CELLS:
        raise RuntimeError(f"unknown cell {name!r}, expected one of {sorted(CELLS)}")
    return CELLS[name]
