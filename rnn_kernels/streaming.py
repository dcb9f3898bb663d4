"""One step without gradients, as loops that feed a layer its own state take it by the thousand.

What is checked here is only whether a call is as plain as can be: tensors in memory of their own,
of fitting sizes, and nobody watching. Then one compiled call does it all on the CPU, and on a GPU
two products and one kernel that writes the results where they belong; every other call, bad ones
among them, gets None and goes the general way.

Sizes: B batch, I input, H hidden.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import Parameter

from . import backends, cpu, profiling
from .addresses import DTYPES
from .cells import CELLS
from .tracing import dispatch_modes, functorch_level, known, tracing

_usable = known and cpu.unavailable() is None
_GATES = {name: kind.gates for name, kind in CELLS.items()}
_CELL_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def _kernels(cell: str, x: Tensor) -> ModuleType | None:
    """The backend that takes a step of x, where nothing but the call's own arguments decides how it
    runs (see tracing.plain), and the backend has one that can be taken without autograd."""
    where = "cpu" if x.is_cpu else "cuda" if x.is_cuda else None
    if (
        where is None
        or torch.is_grad_enabled()
        or not _usable
        or torch.compiler.is_compiling()
        or dispatch_modes()
        or functorch_level() is not None
        or forward_ad._current_level >= 0
        or tracing() is not None
        or torch.is_autocast_enabled(where)
    ):
        return None
    if where == "cpu" and backends.requested() in ("auto", "cpu"):
        return cpu
    chosen = backends.BACKENDS[backends.choose(cell, x.dtype, where, False)]
    return chosen if hasattr(chosen, "one_step") else None


def _step(
    kernels: ModuleType,
    cell: str,
    module: nn.Module,
    names: tuple[str, ...] | list[str],
    x: Tensor,
    h: Tensor | None,
    c: Tensor | None,
    B: int,
    given: tuple[int, ...],
    state: tuple[int, ...],
    y: tuple[int, ...] | None,
) -> tuple[Tensor | None, ...] | None:
    """h, c and y of one step; x and the states should have the shapes ``given`` and ``state``, y is
    wanted in the shape ``y``. The module's parameters have these names."""
    dtype, I, H, own = x.dtype, module.input_size, module.hidden_size, module._parameters
    name, G_H = DTYPES.get(dtype), _GATES[cell] * H
    if name is None or B == 0 or kernels is cpu and B > cpu.STEP_ROWS:
        return None
    b_ih, b_hh = (own.get(names[2]), own.get(names[3])) if module.bias else (None, None)
    if module.bias and (b_ih is None or b_hh is None):
        return None
    w_ih, w_hh = own.get(names[0]), own.get(names[1])
    if w_ih is None or w_hh is None or h is None or (c is None) == CELLS[cell].has_c:
        return None
    bias = (G_H,)
    device = None if kernels is cpu else x.device
    found = cpu.core.addresses_in_memory(
        Tensor, Parameter, dtype, device, w_ih, (G_H, I), b_ih, bias, w_hh, (G_H, H), b_hh, bias,
        h, state, c, state, x, given,
    )  # fmt: skip
    if found is None:
        return None
    h_new = h.new_empty(*state)
    c_new = None if c is None else h.new_empty(*state)
    again = None if y is None else h.new_empty(*y)
    if kernels is cpu:
        run = cpu.core.step
        call = (
            cell, name, torch.get_num_threads(), B, I, H, found[6], I, *found[:6], h_new.data_ptr(),
            0 if c is None else c_new.data_ptr(), 0 if y is None else again.data_ptr(), 0, 0,
        )  # fmt: skip
    else:
        run = kernels.one_step
        call = cell, x, w_ih, b_ih, w_hh, b_hh, h, c, h_new, c_new, again
    if profiling.on():
        with profiling.named(cell, "step"):
            run(*call)
    else:
        run(*call)
    return h_new, c_new, again


def cell_step(
    cell: str, module: nn.RNNCellBase, x: Any, h: Tensor | None, c: Tensor | None
) -> tuple[Any, ...] | None:
    """The new h and c of a cell, x (B, I), h and c (B, H); or None."""
    if type(x) is not Tensor or x.dim() != 2:
        return None
    kernels = _kernels(cell, x)
    if kernels is None:
        return None
    B = len(x)
    given, state = (B, module.input_size), (B, module.hidden_size)
    found = _step(kernels, cell, module, _CELL_NAMES, x, h, c, B, given, state, None)
    return None if found is None else found[:2]


def layer_step(
    cell: str, module: nn.RNNBase, x: Any, h: Tensor | None, c: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None] | None:
    """y, h_n and c_n of a module's single step, x (1, B, I) or (B, 1, I); or None.

    For modules of one layer and one direction, without a projection.
    """
    if type(x) is not Tensor or module.num_layers != 1 or module.bidirectional or x.dim() != 3:
        return None
    # Before sizes are looked at, which would tie a compiler's graph to them.
    kernels = None if module.proj_size else _kernels(cell, x)
    if kernels is None:
        return None
    first, second, _ = x.shape
    B, T = (first, second) if module.batch_first else (second, first)
    if T != 1:
        return None
    I, H = module.input_size, module.hidden_size
    found = _step(
        kernels, cell, module, module._flat_weights_names, x, h, c, B,
        (first, second, I), (1, B, H), (first, second, H),
    )  # fmt: skip
    return None if found is None else (found[2], *found[:2])
