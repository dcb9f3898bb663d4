"""The CUDA backend on the CPU: csrc/cuda compiled as ordinary C++; see docs/emulation.md."""

from __future__ import annotations

import os
import shutil
from functools import cache, wraps
from pathlib import Path
from types import ModuleType
from typing import Any
from zlib import crc32

import pytest
import torch
from built import build, load
from torch import Tensor

from rnn_kernels.backends.gpu.cuda import CUDA, Facts

MODE = os.environ.get("EMULATE", "")
if MODE not in ("", "asan"):
    raise RuntimeError(f"EMULATE must be asan or empty, got {MODE!r}")
SANITIZED = MODE == "asan"


# A GPU on which so little runs at once that the planner takes as few blocks as it can.
FEW = Facts(90, 227 << 10, (1, 1, 0, 0, 0), 0)


@cache
def _folder() -> Path:
    missing = [tool for tool in ("g++", "addr2line") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"the emulation needs {' and '.join(missing)}: apt-get install g++")
    if SANITIZED and "libasan" not in os.environ.get("LD_PRELOAD", ""):
        raise RuntimeError("EMULATE=asan needs its library before Python: make test EMULATE=asan")
    return build("emulation", "emulation-asan" if SANITIZED else "emulation",
                 "-DCMAKE_CXX_COMPILER=g++", f"-DASAN={'ON' if SANITIZED else 'OFF'}")  # fmt: skip


@cache
def machine() -> ModuleType:
    """What executes the kernels: ``seed`` chooses the schedule of the launches that follow."""
    return load(_folder(), "_machine")


@cache
def kernels() -> ModuleType:
    """The kernels of tests/kernels."""
    machine()
    return load(_folder(), "_kernels")


def seed_of(test: str) -> int:
    """The schedule of a test: one of its own, or $EMULATION_SEED."""
    return int(os.environ.get("EMULATION_SEED", crc32(test.encode())))


def may_touch(**buffers: Tensor) -> None:
    """Kernels may touch these tensors, and nothing else, until they are forgotten."""
    for name, t in buffers.items():
        if not t.numel():
            continue
        last = sum((n - 1) * step for n, step in zip(t.shape, t.stride(), strict=True))
        machine().add_buffer(t.data_ptr(), (last + 1) * t.element_size(), name)


class Emulated(CUDA):
    """The CUDA backend once more, on the emulated kernels and on tensors of the CPU.

    Kernels may touch the arrays of their calls, until the call that they are part of is over.
    """

    name = "emulated"

    def unavailable(self) -> str | None:
        return None

    def stream_of(self, device: torch.device) -> tuple[int, int]:
        return 0, 0

    def facts(self, index: int) -> Facts:
        return FEW


def _registering(name: str) -> None:
    launcher = getattr(CUDA, name)

    @wraps(launcher)
    def registered(self: Emulated, call: Any) -> Any:
        may_touch(**{k: v for k, v in call._asdict().items() if isinstance(v, Tensor)})
        return launcher(self, call)

    setattr(Emulated, name, registered)


def _forgetting(name: str) -> None:
    function = getattr(Emulated, name)

    @wraps(function, assigned=())
    def forgotten(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        finally:
            machine().remove_all_buffers()

    setattr(Emulated, name, forgotten)


WHOLE = ("recurrence_forward", "recurrence_backward")
for _name in ("gates_forward", "gates_backward", *WHOLE):
    _registering(_name)
for _name in ("forward", "backward", "gates", "gates_grad", "stream", *WHOLE):
    _forgetting(_name)


@cache
def backend() -> Emulated:
    machine()
    return Emulated(load(_folder(), "_cuda"), device_type="cpu")
