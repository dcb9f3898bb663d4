"""The CUDA backend: kernels compiled from C++, for whole sequences and for single steps."""

from __future__ import annotations

from functools import cache, lru_cache
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor

from ...core.cells import CELLS
from ...core.dtypes import DTYPES
from . import gate_kernels, lanes, sequence_kernels
from .cuda_plan import Plan
from .gate_kernels import Step
from .persistent import Persistent, uncopyable
from .precision import tf32_allowed
from .speeds import per_step_ns, product_kind

try:
    from ... import _cuda
except ImportError as error:  # built without nvcc
    _cuda, _missing = None, str(error)
else:
    _missing = ""


class Facts(NamedTuple):
    """What the planner asks of a GPU."""

    capability: int  # 10 · major + minor
    shared_memory: int  # bytes that a block may have
    clusters: tuple[int, ...]  # of 1, 2, 4, 8 and 16 blocks: how many run at once
    grid: int  # blocks of a grid that may wait for each other


class CUDA(Persistent):
    """The backend, on one build of its kernels.

    Args:
        kernels: the compiled module, or None.
        missing: why there is none.
        device_type: of the tensors that these kernels compute on.
    """

    name = "cuda"

    def __init__(
        self,
        kernels: ModuleType | None = _cuda,
        missing: str = _missing,
        device_type: str = "cuda",
    ) -> None:
        self.kernels, self.missing, self.device_type = kernels, missing, device_type
        self._planned = lru_cache(4096)(self._plan)

    def built(self) -> str | None:
        """Toolkit and architectures of the build, or None if it has no CUDA part."""
        if self.kernels is None:
            return None
        version = self.kernels.runtime_version()
        number = f"{version // 1000}.{version % 1000 // 10}"
        return f"CUDA {number}, sm_{self.kernels.architectures}"

    def devices(self) -> list[dict]:
        """Facts of every GPU; RuntimeError in CUDA's own words when there is none to ask."""
        return [] if self.kernels is None else self.kernels.devices()

    def unavailable(self) -> str | None:
        if self.kernels is None:
            return f"the package was built without CUDA ({self.missing})"
        if not torch.cuda.is_available():
            return "torch finds no CUDA device"
        try:
            has_code = self.kernels.has_code_for(torch.cuda.current_device())
        except RuntimeError as error:  # a driver too old for this build, or none of NVIDIA's
            return str(error)
        if not has_code:
            name, (major, minor) = torch.cuda.get_device_name(), torch.cuda.get_device_capability()
            return f"this build ({self.built()}) has no code for {name} (sm_{major}{minor})"
        return None

    def cells(self) -> tuple[str, ...]:
        return () if self.kernels is None else self.kernels.cells

    def elsewhere(self, device_type: str) -> str | None:
        if device_type == self.device_type:
            return None
        return f"it computes on CUDA devices, the tensors are on {device_type}"

    def stream_of(self, device: torch.device) -> tuple[int, int]:
        """Index of the device and address of torch's current stream on it."""
        return device.index, torch._C._cuda_getCurrentRawStream(device.index)

    def gates_forward(self, call: gate_kernels.Forward) -> Step:
        dtypes = DTYPES[call.gx.dtype], DTYPES[call.gh.dtype]
        where = self.stream_of(call.gx.device)
        return self.kernels.GatesForward(call.cell, *dtypes, *where, call.sizes, _arrays(call))

    def gates_backward(self, call: gate_kernels.Backward) -> Step:
        dtype, where = DTYPES[call.dgx.dtype], self.stream_of(call.dgx.device)
        return self.kernels.GatesBackward(call.cell, dtype, *where, call.sizes, _arrays(call))

    def facts(self, index: int) -> Facts:
        """What the planner asks of a GPU."""
        return _facts(self.kernels, index)

    def _plan(
        self, cell: str, dtype: torch.dtype, exact: bool, backward: bool, sizes: tuple, facts: Facts
    ) -> Plan | str:
        gates = CELLS[cell].gates
        alone_ns = per_step_ns(gates, dtype.itemsize, sizes, product_kind(dtype, exact))
        how = (gates, dtype.itemsize, exact, backward, sizes)
        found = self.kernels.plan(*how, *facts, alone_ns)
        return Plan(*(found[name] for name in Plan._fields)) if found["fits"] else found["why"]

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
        if beside is None:
            beside = lanes.beside(*self.stream_of(like.device))
        facts = Facts(*self.facts(like.device.index))
        # A grid starts when all of it can, so it shares with nobody.
        facts = facts._replace(
            clusters=tuple(n // beside for n in facts.clusters),
            grid=facts.grid if beside == 1 else 0,
        )
        exact = like.dtype == torch.float32 and not tf32_allowed()
        return self._planned(cell, like.dtype, exact, backward, sizes, facts)

    def recurrence_forward(self, call: sequence_kernels.Forward) -> None:
        where = (call.cell, DTYPES[call.gx.dtype], *self.stream_of(call.gx.device))
        how = (call.sizes, call.T, call.plan.cut, call.plan.exact)
        self.kernels.recurrence_forward(*where, *how, _arrays(call))

    def recurrence_backward(self, call: sequence_kernels.Backward) -> None:
        where = (call.cell, DTYPES[call.y.dtype], *self.stream_of(call.y.device))
        how = (call.sizes, call.T, call.plan.cut, call.plan.exact)
        self.kernels.recurrence_backward(*where, *how, _arrays(call))


@cache
def _facts(kernels: ModuleType, index: int) -> Facts:
    return Facts(*kernels.facts(index))


def _arrays(call: NamedTuple) -> dict[str, Tensor | None]:
    """The arrays of a kernel's call."""
    numbers = ("cell", "sizes", "T", "plan")
    fields = call._asdict()
    return {name: t for name, t in fields.items() if name not in numbers}
