"""Compiles the Triton kernels for a GPU that need not be there: calls on the CPU, no launches.

``python triton_compile.py 90 FOLDER`` writes a cubin for every kernel that the calls below ask
for; ``python triton_compile.py 90`` prints how many kernels calls of ever new sizes have asked for.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver

from rnn_kernels import triton as backend
from rnn_kernels.cells import CELLS

compiled: dict[str, Any] = {}


class Driver:
    """What Triton asks of a GPU before it launches."""

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", int(sys.argv[1]), 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


def compile_only(kernel: str, like: Tensor, grid: tuple, *args: Any, **constants: Any) -> None:
    done = getattr(backend._kernels()[0], kernel).warmup(*args, grid=grid, **constants)
    compiled[done.hash] = done


def run(cell: str, T: int, B: int, D: int, H: int, dtype: torch.dtype, packed: bool) -> None:
    """One layer's forward and backward, with everything a call may have or with nothing."""
    kind = CELLS[cell]

    def values(*sizes: int) -> Tensor:
        return torch.randn(sizes).to(dtype)

    batch_sizes = torch.full((T,), B) if packed else None
    lead = (T * B,) if packed else (T, B)
    resets = torch.zeros(lead, dtype=torch.bool) if packed else None
    w_hh, h0 = values(D, kind.gates * H, H), values(D, B, H)
    c0 = values(D, B, H) if kind.has_c else None
    b_hh = values(D, kind.gates * H) if packed else None
    rows = (batch_sizes, resets)
    gx = values(*lead, D, kind.gates * H)
    y, h_n, c_n, c, saved = backend.forward(cell, gx, w_hh, b_hh, None, h0, c0, *rows, True, False)
    backend.forward(cell, gx, w_hh, b_hh, None, h0, c0, *rows, False, False)
    finals = (h_n, c_n, c) if packed else (None, None, None)
    backend.backward(cell, y, *finals, w_hh, None, h0, c0, y, c, saved, *rows, True, True)


def gates(cell: str, R: int, H: int, dtype: torch.dtype) -> None:
    kind = CELLS[cell]
    gx, state = torch.zeros(R, kind.gates * H, dtype=dtype), torch.zeros(R, H, dtype=dtype)
    h, c, c_all, saved = backend.gates(cell, gx, gx.clone(), state, True)
    backend.gates(cell, gx, gx.clone(), state, False)
    backend.gates_grad(cell, h, c, state, c if c_all is None else c_all, saved)


def main() -> None:
    driver.set_active(Driver())
    backend._launch = compile_only
    if len(sys.argv) > 2:
        dtypes = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
        for cell, dtype in itertools.product(CELLS, dtypes):
            for D, H, packed in ((1, 7, False), (1, 256, False), (2, 256, True)):
                run(cell, 2, 3, D, H, dtype, packed)
            gates(cell, 3, 256, dtype)
        for name, kernel in compiled.items():
            (Path(sys.argv[2]) / f"{name}.cubin").write_bytes(kernel.asm["cubin"])
        return
    for cell, packed in itertools.product(CELLS, (False, True)):
        counts = []
        for T, B in ((2, 3), (5, 16), (7, 1), (33, 32), (3, 17), (16, 64)):
            run(cell, T, B, 1, 48, torch.float32, packed)
            counts.append(len(compiled))
        print(*counts)


main()
