"""One step without gradients, as loops that feed a layer its own state take it by the thousand.

What is checked here is only whether a call is as plain as can be: tensors in memory of their own, of
fitting sizes, and nobody watching. Then one compiled call does it all; every other call, bad ones
among them, gets None and goes the general way. An attribute of a tensor costs 50 ns, which is why
this file spells out what others say in a line.

Sizes: B batch, I input, H hidden.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from . import backends, cpu
from .addresses import DTYPES
from .cells import CELLS
from .tracing import dispatch_modes, functorch_level, known, tracing

_usable = known and cpu.unavailable() is None
_GATES = {name: kind.gates for name, kind in CELLS.items()}


def _unwatched() -> bool:
    """True if nothing but the call's own arguments decides how it runs; see tracing.plain."""
    return (
        not torch.is_grad_enabled()
        and _usable
        and not torch.compiler.is_compiling()
        and dispatch_modes() == 0
        and functorch_level() is None
        and forward_ad._current_level < 0
        and tracing() is None
        and not torch.is_autocast_enabled("cpu")
        and backends.requested() in ("auto", "cpu")
    )


def _in_memory(t: Tensor | None, dtype: torch.dtype, shape: tuple[int, ...]) -> bool:
    return (
        type(t) is Tensor
        and t.shape == shape
        and t.dtype is dtype
        and t.is_cpu
        and t.is_contiguous()
        and not t.is_neg()
    )


def _parameter(t: Tensor | None, dtype: torch.dtype, shape: tuple[int, ...]) -> bool:
    """The same for a parameter, which is no view with its sign still to be flipped."""
    return (
        type(t) is nn.Parameter
        and t.dtype is dtype
        and t.is_cpu
        and t.is_contiguous()
        and t.shape == shape
    )


def _addresses(
    cell: str, own: dict[str, Tensor | None], names: tuple[str, ...], bias: bool,
    dtype: torch.dtype, I: int, H: int,
) -> tuple[int, int, int, int] | None:  # fmt: skip
    """Where w_ih, b_ih, w_hh and b_hh lie; None if one of them is not as plain."""
    G_H = _GATES[cell] * H
    w_ih, w_hh = own.get(names[0]), own.get(names[1])
    if not (_parameter(w_ih, dtype, (G_H, I)) and _parameter(w_hh, dtype, (G_H, H))):
        return None
    if not bias:
        return w_ih.data_ptr(), 0, w_hh.data_ptr(), 0
    b_ih, b_hh = own.get(names[2]), own.get(names[3])
    if not (_parameter(b_ih, dtype, (G_H,)) and _parameter(b_hh, dtype, (G_H,))):
        return None
    return w_ih.data_ptr(), b_ih.data_ptr(), w_hh.data_ptr(), b_hh.data_ptr()


_CELL_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def cell_step(
    cell: str, module: nn.RNNCellBase, x: Tensor, h: Tensor, c: Tensor | None
) -> tuple[Tensor, Tensor | None] | None:
    """The new h and c of a cell, x (B, I), h and c (B, H); or None."""
    if type(x) is not Tensor or not _unwatched():
        return None
    dtype, sizes, H = x.dtype, x.shape, module.hidden_size
    name = DTYPES.get(dtype)
    if name is None or len(sizes) != 2 or not 0 < sizes[0] <= cpu.STEP_ROWS:
        return None
    B, I = sizes
    if not (_in_memory(x, dtype, (B, module.input_size)) and _in_memory(h, dtype, (B, H))):
        return None
    if c is not None and not _in_memory(c, dtype, (B, H)):
        return None
    weights = _addresses(cell, module._parameters, _CELL_NAMES, module.bias, dtype, I, H)
    if weights is None:
        return None
    h_new = h.new_empty(B, H)
    c_new = None if c is None else h.new_empty(B, H)
    cpu.core.step(
        cell, name, torch.get_num_threads(), B, I, H, x.data_ptr(), I, *weights,
        h.data_ptr(), 0 if c is None else c.data_ptr(), h_new.data_ptr(),
        0 if c is None else c_new.data_ptr(), 0, 0, 0,
    )  # fmt: skip
    return h_new, c_new


def layer_step(
    cell: str, module: nn.RNNBase, x: Tensor, h: Tensor, c: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None] | None:
    """y, h_n and c_n of a module's single step, x (1, B, I) or (B, 1, I); or None.

    For modules of one layer and one direction, without a projection.
    """
    if type(x) is not Tensor or module.num_layers != 1 or module.bidirectional:
        return None
    if module.proj_size or not _unwatched():
        return None
    dtype, sizes, H = x.dtype, x.shape, module.hidden_size
    name = DTYPES.get(dtype)
    if name is None or len(sizes) != 3:
        return None
    B, T = sizes[:2] if module.batch_first else (sizes[1], sizes[0])
    if T != 1 or not 0 < B <= cpu.STEP_ROWS:
        return None
    I, state = module.input_size, (1, B, H)
    if not (_in_memory(x, dtype, (*sizes[:2], I)) and _in_memory(h, dtype, state)):
        return None
    if c is not None and not _in_memory(c, dtype, state):
        return None
    weights = _addresses(
        cell, module._parameters, module._flat_weights_names, module.bias, dtype, I, H
    )
    if weights is None:
        return None
    y, h_n = h.new_empty(sizes[0], sizes[1], H), h.new_empty(1, B, H)
    c_n = None if c is None else h.new_empty(1, B, H)
    cpu.core.step(
        cell, name, torch.get_num_threads(), B, I, H, x.data_ptr(), I, *weights,
        h.data_ptr(), 0 if c is None else c.data_ptr(), h_n.data_ptr(),
        0 if c is None else c_n.data_ptr(), y.data_ptr(), 0, 0,
    )  # fmt: skip
    return y, h_n, c_n
