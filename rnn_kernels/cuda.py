"""The CUDA backend: kernels compiled from C++, for whole sequences and for single steps."""

from __future__ import annotations

import sys
from functools import cache, lru_cache, partial

import torch
from torch import Tensor

from . import lanes, persistent, steps
from .addresses import DTYPES, addresses
from .cells import CELLS
from .gates import GatesBackward, GatesForward, Step
from .persistent import Backward, Forward, Plan
from .precision import tf32_allowed

try:
    from . import _cuda
except ImportError as error:  # built without nvcc
    _cuda, _missing = None, str(error)

_DEVICE_TYPE = "cuda"


def built() -> str | None:
    """Toolkit and architectures of the build, or None if it has no CUDA part."""
    if _cuda is None:
        return None
    version = _cuda.runtime_version()
    return f"CUDA {version // 1000}.{version % 1000 // 10}, sm_{_cuda.architectures}"


def devices() -> list[dict]:
    """Facts of every GPU; RuntimeError in CUDA's own words when there is none to ask."""
    return [] if _cuda is None else _cuda.devices()


def unavailable() -> str | None:
    """Why this backend cannot run on this machine, or None."""
    if _cuda is None:
        return f"the package was built without CUDA ({_missing})"
    if not torch.cuda.is_available():
        return "torch finds no CUDA device"
    try:
        has_code = _cuda.has_code_for(torch.cuda.current_device())
    except RuntimeError as error:  # a driver too old for this build, or none of NVIDIA's
        return str(error)
    if not has_code:
        name, (major, minor) = torch.cuda.get_device_name(), torch.cuda.get_device_capability()
        return f"this build ({built()}) has no code for {name} (sm_{major}{minor})"
    return None


def refuses(cell: str, dtype: torch.dtype, device_type: str, projected: bool) -> str | None:
    """Why a call of this kind cannot run on this backend, or None."""
    if device_type != _DEVICE_TYPE:
        return f"it computes on CUDA devices, the tensors are on {device_type}"
    if dtype not in DTYPES:
        return f"it has no kernels for {dtype}"
    if projected:
        return "it has no kernels for projections (proj_size > 0)"
    return None


def saved_dtype(dtype: torch.dtype) -> torch.dtype:
    """What the backward needs is kept in this dtype, for calls in ``dtype``."""
    return dtype


def _stream(device: torch.device) -> tuple[int, int]:
    """Index of the device and address of torch's current stream on it."""
    return device.index, torch._C._cuda_getCurrentRawStream(device.index)


def gates_forward(call: GatesForward) -> Step:
    """See :class:`rnn_kernels.gates.Kernels`."""
    cell, sizes, *arrays = call
    dtypes = DTYPES[call.gx.dtype], DTYPES[call.gh.dtype]
    return _cuda.GatesForward(cell, *dtypes, *_stream(call.gx.device), sizes, *addresses(*arrays))


def gates_backward(call: GatesBackward) -> Step:
    """See :class:`rnn_kernels.gates.Kernels`."""
    cell, sizes, *arrays = call
    dtype = DTYPES[call.dgx.dtype]
    return _cuda.GatesBackward(cell, dtype, *_stream(call.dgx.device), sizes, *addresses(*arrays))


@cache
def facts(index: int) -> tuple[int, int, tuple[int, ...], int]:
    """What the planner asks of a GPU.

    10 · major + minor of its compute capability, bytes of shared memory that a block may have, how
    many clusters of 1, 2, 4, 8 and 16 blocks run at once, and blocks of a grid that may wait for
    each other.
    """
    return _cuda.facts(index)


@lru_cache(4096)
def _planned(
    cell: str,
    element: int,
    exact: bool,
    backward: bool,
    sizes: tuple[int, int, int],
    *facts: object,
) -> Plan | str:
    found = _cuda.plan(CELLS[cell].gates, element, exact, backward, sizes, *facts)
    return Plan(*(found[name] for name in Plan._fields)) if found["fits"] else found["why"]


def plan(
    cell: str,
    like: Tensor,
    sizes: tuple[int, int, int],
    backward: bool,
    packed: bool,
    beside: int | None = None,
) -> Plan | str:
    """How a call is run in one launch, or why it goes per step.

    Args:
        like: of the dtype and on the device of the call.  sizes: B, H, D.
        beside: calls that share the device, this one included; None: as the current stream says.
    """
    why = persistent.uncopyable(like, packed)
    if why:
        return why
    if beside is None:
        beside = lanes.beside(*_stream(like.device))
    capability, shared_memory, clusters, grid = facts(like.device.index)
    # A grid starts when all of it can, so it shares with nobody.
    share = (tuple(n // beside for n in clusters), grid if beside == 1 else 0)
    exact = like.dtype == torch.float32 and not tf32_allowed()
    return _planned(
        cell, like.element_size(), exact, backward, sizes, capability, shared_memory, *share
    )


def recurrence_forward(call: Forward) -> None:
    """See :class:`rnn_kernels.persistent.PersistentKernels`."""
    cell, sizes, T, plan, *arrays = call
    where = (cell, DTYPES[call.gx.dtype], *_stream(call.gx.device))
    _cuda.recurrence_forward(*where, sizes, T, plan.cut, plan.exact, *addresses(*arrays))


def recurrence_backward(call: Backward) -> None:
    """See :class:`rnn_kernels.persistent.PersistentKernels`."""
    cell, sizes, T, plan, *arrays = call
    where = (cell, DTYPES[call.y.dtype], *_stream(call.y.device))
    _cuda.recurrence_backward(*where, sizes, T, plan.cut, plan.exact, *addresses(*arrays))


forward = partial(persistent.forward, sys.modules[__name__])
backward = partial(persistent.backward, sys.modules[__name__])
gates = partial(steps.gates, sys.modules[__name__])
gates_grad = partial(steps.gates_grad, sys.modules[__name__])
one_step = partial(steps.one, sys.modules[__name__])
