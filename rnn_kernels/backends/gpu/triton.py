"""The Triton backend: kernels for whole sequences and for single steps.

Runs on any GPU that Triton knows. Under ``TRITON_INTERPRET=1`` it runs on the CPU, for tests.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cache, lru_cache
from typing import Any

import torch
from torch import Tensor

from ...core.cells import CELLS
from . import gate_kernels, lanes, sequence_kernels, triton_plan
from .gate_kernels import Step
from .persistent import Persistent, uncopyable
from .precision import tf32_allowed
from .triton_plan import Facts, Plan

TILE = 512  # elements
REGISTERS = 1 << 16  # of a processor of NVIDIA's


@cache
def _kernels() -> tuple[dict[str, Any], str]:
    """The kernels by name, or why there are none. Triton takes 0.1 s to import."""
    try:
        from ...triton_kernels.gates import gates_backward, gates_forward
        from ...triton_kernels.recurrence_backward import recurrence_backward
        from ...triton_kernels.recurrence_forward import recurrence_forward
    except ImportError as error:
        return {}, str(error)
    kernels = (gates_forward, gates_backward, recurrence_forward, recurrence_backward)
    return {kernel.__name__: kernel for kernel in kernels}, ""


@cache
def _interpreted() -> bool:
    found, missing = _kernels()
    if missing:
        return False
    from triton.runtime.interpreter import InterpretedFunction

    return isinstance(found["gates_forward"], InterpretedFunction)


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


GateCall = gate_kernels.Forward | gate_kernels.Backward


def _numbers(call: GateCall, k: int) -> list[list[int]]:
    """Two directions × eight numbers of step k; with one direction its numbers twice."""
    alone = [[0, call.sizes[0], 0, 0, 0, 0, 0, 0]]
    step = alone if call.table is None else call.table[k].tolist()
    return step if call.sizes[2] == 2 else step * 2


def _on(device: torch.device) -> AbstractContextManager:
    """Triton launches on the current device."""
    elsewhere = device.type == "cuda" and device.index != torch.cuda.current_device()
    return torch.cuda.device(device) if elsewhere else nullcontext()


def _grid(call: GateCall, step: list[list[int]]) -> tuple[int, int, int]:
    _, H, D = call.sizes
    BB, BH = blocks(H)
    return -(-max(of[1] for of in step) // BB), -(-H // BH), D


def _launch(kernel: str, like: Tensor, grid: tuple[int, ...], *args: Any, **constants: Any) -> None:
    if grid[0]:
        with _on(like.device):
            _kernels()[0][kernel][grid](*args, **constants)


class Triton(Persistent):
    name = "triton"

    def unavailable(self) -> str | None:
        _, missing = _kernels()
        if missing:
            return f'Triton is not installed ({missing}): pip install "rnn_kernels[triton]"'
        if not _interpreted() and not torch.cuda.is_available():
            return "torch finds no GPU that Triton could use"
        return None

    def cells(self) -> tuple[str, ...]:
        if _kernels()[1]:
            return ()
        from ...triton_kernels.cells import CELLS as NAMES

        return NAMES

    def elsewhere(self, device_type: str) -> str | None:
        if device_type == "cuda" or device_type == "cpu" and _interpreted():
            return None
        return f"it computes on GPUs, the tensors are on {device_type}"

    def gates_forward(self, call: gate_kernels.Forward) -> Step:
        cell, (B, H, D), _, resets, gx, gh, b_hh, h, c0, c, h_n, c_n, *kept = call
        fixed = constants(cell, D, H, gx.dtype)

        def step(k: int) -> None:
            of_step = _numbers(call, k)
            states = (h, c0, c) if k == 0 else (h_n, None, c)
            numbers = [n for of in of_step for n in (of[0], of[1], of[4], of[7])]
            arrays = (gx, gh, b_hh, *states, h_n, c_n, *kept, resets)
            _launch("gates_forward", gx, _grid(call, of_step), *arrays, B, H, *numbers, **fixed)

        return step

    def gates_backward(self, call: gate_kernels.Backward) -> Step:
        cell, (B, H, D), _, resets, *arrays = call
        fixed = constants(cell, D, H, call.dgx.dtype)

        def step(k: int) -> None:
            of_step = _numbers(call, k)
            numbers, grid = [n for of in of_step for n in of], _grid(call, of_step)
            _launch("gates_backward", call.dgx, grid, *arrays, resets, B, H, *numbers, **fixed)

        return step

    def facts(self, index: int) -> Facts:
        """What the planner asks of a GPU."""
        return _facts(index)

    def plan(
        self,
        cell: str,
        like: Tensor,
        sizes: tuple[int, int, int],
        backward: bool,
        packed: bool,
        beside: int | None = None,
    ) -> Plan | str:
        why = uncopyable(like) if packed else None
        if why:
            return why
        device = self.facts(like.device.index)
        if like.is_cuda:
            if beside is None:
                stream = torch.cuda.current_stream(like.device).cuda_stream
                beside = lanes.beside(like.device.index, stream)
            if beside > 1:  # programs that wait for each other share with nobody
                share = max(1, device.processors // beside)
                device = device._replace(processors=share, meet=False)
        exact = like.dtype == torch.float32 and not tf32_allowed()
        return _planned(cell, like.element_size(), exact, backward, sizes, device)

    def recurrence_forward(self, call: sequence_kernels.Forward) -> None:
        arrays = (call.gx, call.w, call.b_hh, call.h0, call.c0, call.h_n, call.c_n)
        outputs = (call.y, call.c_all, call.saved)
        splits = CELLS[call.cell].splits
        self._launch("recurrence_forward", call, (*arrays, *outputs), SPLITS=splits)

    def recurrence_backward(self, call: sequence_kernels.Backward) -> None:
        arrays = (call.w, call.saved, call.c_all, call.h0, call.c0, call.y)
        gradients = (call.dy, call.dc_all, call.dh_n, call.dc_n)
        outputs = (call.dgx, call.dgh_last, call.h_before, call.dh0, call.dc0)
        arrays, mixes = (*arrays, *gradients, *outputs), CELLS[call.cell].mixes
        self._launch("recurrence_backward", call, arrays, MIXES=mixes)

    def _launch(
        self,
        kernel: str,
        call: sequence_kernels.Forward | sequence_kernels.Backward,
        arrays: tuple[Tensor | None, ...],
        **constants: bool,
    ) -> None:
        """Launches one for a whole sequence, whose first arguments are ``arrays``."""
        plan, kind, (B, H, D), like = call.plan, CELLS[call.cell], call.sizes, call.y
        arrived = None
        if plan.through_memory:
            arrived = torch.zeros(D * plan.groups, dtype=torch.int32, device=like.device)
        grid = (plan.slots if B else 0, plan.programs, D)
        target = self.facts(like.device.index).target
        _launch(
            kernel, like, grid, *arrays, call.table, call.resets, arrived, call.T, B, H,
            plan.groups, CELL=call.cell, G=kind.gates, K=kind.saved, HAS_C=kind.has_c,
            BB=plan.rows, BU=plan.units, BK=plan.block, CHUNKS=plan.chunks,
            SHARED=plan.through_memory, PRECISION=plan.precision,
            CDNA=target == "hip", **constants, **options(plan, target),
        )  # fmt: skip


@cache
def _facts(index: int) -> Facts:
    import triton
    from triton.compiler.compiler import make_backend
    from triton.runtime import driver

    if tuple(map(int, triton.__version__.split(".")[:2])) < (3, 5):
        return Facts("old", 0, 0, False, 0)
    if _interpreted():
        return Facts("interpreted", 0, 0, False, 0)
    with _on(torch.device("cuda", index)):
        target = driver.active.get_current_target()
    properties = driver.active.utils.get_device_properties(index)
    on_cuda = target.backend == "cuda"
    # What a program has stored is told in one way on NVIDIA and CDNA each: see share.tell.
    known = on_cuda or target.arch.startswith("gfx9")
    cooperative = hasattr(make_backend(target).parse_options({}), "launch_cooperative_grid")
    return Facts(
        target.backend,
        target.arch if on_cuda else 0,
        properties["multiprocessor_count"],
        known and cooperative,
        properties["max_shared_mem"],
    )


_planned = lru_cache(4096)(triton_plan.plan)


def options(plan: Plan, target: str) -> dict[str, Any]:
    """How Triton compiles and launches a kernel for such a plan."""
    found = {
        "num_warps": plan.warps,
        "num_stages": plan.stages,
        "enable_fp_fusion": True,
        "launch_cooperative_grid": plan.through_memory,
    }
    if target == "cuda":  # as many as there are: fewer would spill, or hide less
        found["maxnreg"] = min(255, REGISTERS // (32 * plan.warps))
    return found
