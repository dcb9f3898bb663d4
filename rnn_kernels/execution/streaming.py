"""One step without gradients, as loops that feed a layer its own state take it by the thousand.

What is checked here is only whether a call is as plain as can be: tensors in memory of their own,
of fitting sizes, and nobody watching. Then the backend does it all in one call that writes the
results where they belong; every other call, bad ones among them, gets None and goes the general
way. This is the one path where arguments are not put together into a value: that takes as long as
a tenth of a step.

Sizes: B batch, I input, H hidden.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad, profiler

from ..backends.base import Backend
from ..backends.dispatch import BACKENDS, choose
from ..core import profiling
from ..core.cells import CELLS
from ..core.dtypes import DTYPES
from ..core.observers import autocasts, dispatch_modes, functorch_level, known, tracing

_SIZES = {name: (kind.gates, kind.has_c) for name, kind in CELLS.items()}
_CELL_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
_CPU = BACKENDS["cpu"]
_usable = known and _CPU.unavailable() is None


def _backend(cell: str, x: Tensor) -> Backend | None:
    """The backend that takes a step of x, where nothing but the call's own arguments decides how it
    runs (see observers.plain)."""
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
        or autocasts()
    ):
        return None
    if x.dtype not in DTYPES:
        return None
    return BACKENDS[choose(cell, x.dtype, where, False)]


def _step(
    backend: Backend,
    cell: str,
    module: nn.Module,
    names: tuple[str, ...] | list[str],
    given: tuple[Any, ...],
    y: tuple[int, ...] | None,
) -> tuple[Tensor | None, ...] | None:
    """h, c and y of one step.

    Args:
        names: of the module's parameters.
        given: x, h and c, and the shapes that x and the states should have.
        y: the shape in which y is wanted.
    """
    x, h, c, x_shape, shape = given
    own, (G, has_c) = module._parameters, _SIZES[cell]
    b_ih, b_hh = (own.get(names[2]), own.get(names[3])) if module.bias else (None, None)
    if module.bias and (b_ih is None or b_hh is None):
        return None
    w_ih, w_hh = own.get(names[0]), own.get(names[1])
    if w_ih is None or w_hh is None or h is None or (c is not None) != has_c:
        return None
    I, H = module.input_size, module.hidden_size
    bias = (G * H,)
    tensors = (w_ih, w_hh, b_ih, b_hh, h, c, x)
    shapes = ((G * H, I), (G * H, H), bias, bias, shape, shape, x_shape)
    # Sizes one by one: torch takes half as long again to read a tuple of them.
    results = (
        x.new_empty(*shape),
        None if c is None else x.new_empty(*shape),
        None if y is None else x.new_empty(*y),
        None,
        None,
    )
    if profiler._is_profiler_enabled:
        with profiling.named(cell, "step"):
            done = backend.stream(cell, tensors, shapes, results)
    else:
        done = backend.stream(cell, tensors, shapes, results)
    return results[:3] if done else None


def cell_step(
    cell: str, module: nn.RNNCellBase, x: Any, h: Tensor | None, c: Tensor | None
) -> tuple[Any, ...] | None:
    """The new h and c of a cell, x (B, I), h and c (B, H); or None."""
    if type(x) is not Tensor or x.dim() != 2:
        return None
    backend = _backend(cell, x)
    if backend is None:
        return None
    B = x.shape[0]
    if not 0 < B <= backend.stream_rows:
        return None
    given = (x, h, c, (B, module.input_size), (B, module.hidden_size))
    found = _step(backend, cell, module, _CELL_NAMES, given, None)
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
    backend = None if module.proj_size else _backend(cell, x)
    if backend is None:
        return None
    first, second, _ = x.shape
    B, T = (first, second) if module.batch_first else (second, first)
    if T != 1 or not 0 < B <= backend.stream_rows:
        return None
    H = module.hidden_size
    given = (x, h, c, (first, second, module.input_size), (1, B, H))
    found = _step(backend, cell, module, module._flat_weights_names, given, (first, second, H))
    return None if found is None else (found[2], *found[:2])
