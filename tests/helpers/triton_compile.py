"""Compiles the Triton kernels for a GPU that need not be there: calls on the CPU, no launches.

``python triton_compile.py 90 gates``, ``… 90 lstm`` and so on compile the kernels that the backend
can ask for: those of single steps, and those of a cell's whole sequences; ``… 90 lstm half`` every
other tile of these, and ``… 90 gru half`` the rest. Each has a line: its name, registers, bytes of
stack, of shared memory, those that the plan has reserved, and whether its programs meet in order.
``python triton_compile.py 90 sizes`` prints how many kernels calls of ever new sizes ask for.
"""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
import tempfile
from typing import Any

import torch
from backend_calls import backward, forward, gates_grad
from backend_calls import gates as gates_of
from machine_code import cuobjdump
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver

from rnn_kernels.backends import BACKENDS
from rnn_kernels.backends.gpu import triton as compiling
from rnn_kernels.backends.gpu import triton_plan
from rnn_kernels.backends.gpu.triton_plan import Facts
from rnn_kernels.core.cells import CELLS

# Of an A100, an H100 and an MI300X.
GPUS = {
    "80": Facts("cuda", 80, 108, True, 163 << 10),
    "90": Facts("cuda", 90, 132, True, 227 << 10),
    "gfx942": Facts("hip", 0, 304, True, 64 << 10),
}
HALF, SINGLE, DOUBLE = torch.float16, torch.float32, torch.float64
compiled: dict[str, tuple[Any, int]] = {}
plan: Any = "each step by itself"


backend = BACKENDS["triton"]


class Driver:
    """What Triton asks of a GPU before it launches."""

    def get_current_target(self) -> GPUTarget:
        name = sys.argv[1]
        return GPUTarget("cuda", int(name), 32) if name.isdigit() else GPUTarget("hip", name, 64)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


def compile_only(kernel: str, like: Tensor, grid: tuple, *args: Any, **constants: Any) -> None:
    done = compiling._kernels()[0][kernel].warmup(*args, grid=grid, **constants)
    compiled[done.hash] = done, 0 if isinstance(plan, str) else plan.shared


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
    y, h_n, c_n, c, saved = forward(backend, cell, gx, w_hh, b_hh, None, h0, c0, *rows, True, False)
    forward(backend, cell, gx, w_hh, b_hh, None, h0, c0, *rows, False, False)
    finals = (h_n, c_n, c) if packed else (None, None, None)
    backward(backend, cell, y, *finals, w_hh, None, h0, c0, y, c, saved, *rows, True, True)


def gates(cell: str, R: int, H: int, dtype: torch.dtype) -> None:
    kind = CELLS[cell]
    gx, state = torch.zeros(R, kind.gates * H, dtype=dtype), torch.zeros(R, H, dtype=dtype)
    h, c, c_all, saved = gates_of(backend, cell, gx, gx.clone(), state, True)
    gates_of(backend, cell, gx, gx.clone(), state, False)
    gates_grad(backend, cell, h, c, state, c if c_all is None else c_all, saved)


def single_steps() -> None:
    # sm_80 differs from sm_90 in registers' use by a few: its narrowest and its widest dtype show.
    dtypes = (DOUBLE, HALF) if sys.argv[1] == "80" else (SINGLE, DOUBLE, torch.bfloat16, HALF)
    for cell, dtype in itertools.product(CELLS, dtypes):
        for D, H, packed in ((1, 7, False), (1, 256, False), (2, 256, True)):
            run(cell, 2, 3, D, H, dtype, packed)
        gates(cell, 3, 256, dtype)


def whole_sequences(cell: str) -> None:
    """Tiles in every precision; each pass with all that a call may have."""
    global plan
    kind, facts = CELLS[cell], GPUS[sys.argv[1]]
    # What takes most registers stands for both on sm_80, whose tiles are sm_90's.
    exactly = {"90": ("tf32", "tf32x3"), "80": ("tf32x3",)}.get(sys.argv[1], ("ieee",))
    dtypes = ((HALF, "ieee"), *((SINGLE, precision) for precision in exactly))
    for (dtype, precision), back in itertools.product(dtypes, (False, True)):
        element = dtype.itemsize
        tiles = triton_plan.tiles(element, back)
        first = (list(CELLS).index(cell) + back) % 2
        for tile in tiles[first::2] if "half" in sys.argv else tiles:
            H = tile.block * tile.chunks or 256
            plan = triton_plan.placed(tile, element, precision, back, (3, H, 1), facts)
            if plan is None:  # too much shared memory
                continue
            gx, w = torch.zeros(6, 1, kind.gates * H), torch.zeros(1, kind.gates * H, H)
            b, state, y = torch.zeros(1, kind.gates * H), torch.zeros(1, 3, H), torch.zeros(6, H)
            gx, w, b, state, y = (t.to(dtype) for t in (gx, w, b, state, y))
            c, saved = torch.zeros(6, 1, H), torch.zeros(6, 1, kind.saved, H, dtype=dtype)
            c, c0 = (c, state) if kind.has_c else (None, None)
            rows = torch.tensor([3, 3]), torch.zeros(6, dtype=torch.bool)
            if back:
                grads = (y, state, c0, c)
                rest = (w, None, state, c0, y, c, saved, *rows, True, True)
                backward(backend, cell, *grads, *rest)
            else:
                forward(backend, cell, gx, w, b, None, state, c0, *rows, True, True)


def report() -> None:
    for kernel, reserved in compiled.values():
        used = ("0", "0") if cuobjdump() is None or "cubin" not in kernel.asm else resources(kernel)
        if "amdgcn" in kernel.asm:
            found = [
                re.search(rf"\.{what}: +(\d+)", kernel.asm["amdgcn"])[1]
                for what in ("vgpr_count", "private_segment_fixed_size")
            ]
            used = (found[0], found[1])
        print(kernel.metadata.name, *used, kernel.metadata.shared, reserved, in_order(kernel.asm))


# What a line of machine code does that others may depend on.
EVENTS = {
    "ptx": {
        "store": r"\bst\.global",
        "barrier": r"\bbar\.sync",
        "release": r"\batom\S*\.release",
        "acquire": r"\batom\S*\.acquire",
        "load": r"\bld\.global|\bcp\.async\.c[ag]",
    },
    "amdgcn": {
        "store": r"\b(global|buffer)_store",
        "wait": r"\bs_waitcnt vmcnt\(0\)",
        "barrier": r"\bs_barrier",
        "release": r"\bbuffer_wbl2",
    },
}
BEFORE_RELEASE = {"ptx": ["store", "barrier"], "amdgcn": ["store", "wait", "barrier"]}


def in_order(asm: dict[str, str]) -> bool:
    """Whether all stores of a program precede its word, and its loads follow that of others."""
    language = next(name for name in EVENTS if name in asm)
    past: list[str] = []
    for line in asm[language].splitlines():
        found = [what for what, pattern in EVENTS[language].items() if re.search(pattern, line)]
        if "release" in found:
            last = len(past) - past[::-1].index("store") - 1
            if not is_within(BEFORE_RELEASE[language], past[last:]):
                return False
        if "load" in found and "acquire" in past:
            last = len(past) - past[::-1].index("acquire") - 1
            if "barrier" not in past[last:]:
                return False
        past += found
    return True


def is_within(wanted: list[str], events: list[str]) -> bool:
    """Whether all of them come, in this order."""
    rest = iter(events)
    return all(event in rest for event in wanted)


def resources(kernel: Any) -> tuple[str, str]:
    """Registers and bytes of stack of a thread."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"])
        file.flush()
        command = [cuobjdump(), "-res-usage", file.name]
        found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    used = re.search(r"REG:(\d+) STACK:(\d+) .*LOCAL:(\d+)", found)
    return used[1], str(int(used[2]) + int(used[3]))


def new_sizes() -> None:
    """Of calls step by step, of programs alone, and of programs that share."""
    kinds = itertools.product(CELLS, (False, True))
    for (whole, H), (cell, packed) in itertools.product(
        ((False, 48), (True, 48), (True, 192)), kinds
    ):
        counts = []
        if whole:
            backend.plan = PLAN
        for T, B in ((2, 3), (7, 1), (33, 64)):
            run(cell, T, B, 1, H, SINGLE, packed)
            counts.append(len(compiled))
        print(*counts)


PLAN = backend.plan


def main() -> None:
    driver.set_active(Driver())
    compiling._launch = compile_only
    backend.facts = lambda index: GPUS[sys.argv[1]]
    backend.plan = lambda *call: plan
    what = sys.argv[2]
    if what == "sizes":
        new_sizes()
        return
    single_steps() if what == "gates" else whole_sequences(what)
    report()


main()
