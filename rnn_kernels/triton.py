"""The Triton backend: gate kernels in Triton, driven by the per-step path.

Runs on any GPU that Triton knows. Under ``TRITON_INTERPRET=1`` it runs on the CPU, for tests.
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from functools import cache, partial
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from . import steps
from .addresses import DTYPES
from .cells import CELLS
from .gates import GatesBackward, GatesForward, Step

TILE = 512  # elements


@cache
def _kernels() -> tuple[ModuleType | None, str]:
    """The module of kernels, or why there is none. Triton takes 0.1 s to import."""
    try:
        from .triton_kernels import gates
    except ImportError as error:
        return None, str(error)
    return gates, ""


def _interpreted() -> bool:
    found, _ = _kernels()
    return found is not None and found.INTERPRETED


def unavailable() -> str | None:
    """Why this backend cannot run on this machine, or None."""
    found, missing = _kernels()
    if found is None:
        return f'Triton is not installed ({missing}): pip install "rnn_kernels[triton]"'
    if not found.INTERPRETED and not torch.cuda.is_available():
        return "torch finds no GPU that Triton could use"
    return None


def refuses(cell: str, dtype: torch.dtype, device_type: str, projected: bool) -> str | None:
    """Why a call of this kind cannot run on this backend, or None."""
    if device_type == "cpu" and not _interpreted():
        return "it computes on GPUs, the tensors are on cpu"
    if device_type not in ("cpu", "cuda"):
        return f"it computes on GPUs, the tensors are on {device_type}"
    if dtype not in DTYPES:
        return f"it has no kernels for {dtype}"
    if projected:
        return "it has no kernels for projections (proj_size > 0)"
    return None


def saved_dtype(dtype: torch.dtype) -> torch.dtype:
    """What the backward needs is kept in this dtype, for calls in ``dtype``."""
    return dtype


def blocks(H: int) -> tuple[int, int]:
    """Rows and units of a tile; depends on H alone, in four steps."""
    BH = next(n for n in (16, 32, 64, 128) if n >= H or n == 128)
    return TILE // BH, BH


def constants(cell: str, D: int, H: int, dtype: torch.dtype) -> dict[str, Any]:
    """What a kernel is compiled for, and how, besides types and alignment of its arguments."""
    kind, (BB, BH) = CELLS[cell], blocks(H)
    return {
        "CELL": cell,
        "G": kind.gates,
        "K": kind.saved,
        "D": D,
        "HAS_C": kind.has_c,
        "MIXES": kind.mixes,
        "DOUBLE": dtype == torch.float64,
        "BB": BB,
        "BH": BH,
        # Each thread then owns 16 bytes of the smaller dtype. Twice as many elements spill float64.
        "num_warps": 2 if dtype.itemsize == 2 else 4,
        "enable_fp_fusion": True,
    }


def _numbers(call: GatesForward | GatesBackward, k: int) -> list[list[int]]:
    """Two directions × eight numbers of step k; with one direction its numbers twice."""
    alone = [[0, call.sizes[0], 0, 0, 0, 0, 0, 0]]
    step = alone if call.table is None else call.table[k].tolist()
    return step if call.sizes[2] == 2 else step * 2


def _on(device: torch.device) -> AbstractContextManager:
    """Triton launches on the current device."""
    elsewhere = device.type == "cuda" and device.index != torch.cuda.current_device()
    return torch.cuda.device(device) if elsewhere else nullcontext()


def _grid(call: GatesForward | GatesBackward, step: list[list[int]]) -> tuple[int, int, int]:
    _, H, D = call.sizes
    BB, BH = blocks(H)
    return -(-max(of[1] for of in step) // BB), -(-H // BH), D


def _launch(kernel: str, like: Tensor, grid: tuple[int, ...], *args: Any, **constants: Any) -> None:
    if grid[0]:
        with _on(like.device):
            getattr(_kernels()[0], kernel)[grid](*args, **constants)


def gates_forward(call: GatesForward) -> Step:
    """See :class:`rnn_kernels.gates.Kernels`."""
    cell, (B, H, D), _, resets, gx, gh, b_hh, h, c0, c, h_n, c_n, *kept = call
    fixed = constants(cell, D, H, gx.dtype)

    def step(k: int) -> None:
        of_step = _numbers(call, k)
        states = (h, c0, c) if k == 0 else (h_n, None, c)
        numbers = [n for of in of_step for n in (of[0], of[1], of[4], of[7])]
        arrays = (gx, gh, b_hh, *states, h_n, c_n, *kept, resets)
        _launch("gates_forward", gx, _grid(call, of_step), *arrays, B, H, *numbers, **fixed)

    return step


def gates_backward(call: GatesBackward) -> Step:
    """See :class:`rnn_kernels.gates.Kernels`."""
    cell, (B, H, D), _, resets, *arrays = call
    fixed = constants(cell, D, H, call.dgx.dtype)

    def step(k: int) -> None:
        of_step = _numbers(call, k)
        numbers, grid = [n for of in of_step for n in of], _grid(call, of_step)
        _launch("gates_backward", call.dgx, grid, *arrays, resets, B, H, *numbers, **fixed)

    return step


forward = partial(steps.forward, sys.modules[__name__])
backward = partial(steps.backward, sys.modules[__name__])
gates = partial(steps.gates, sys.modules[__name__])
gates_grad = partial(steps.gates_grad, sys.modules[__name__])
