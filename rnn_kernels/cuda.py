"""The CUDA backend: gate kernels compiled from C++, driven by the per-step path."""

from __future__ import annotations

import sys
from functools import partial

import torch

from . import steps
from .addresses import DTYPES, addresses
from .gates import GatesBackward, GatesForward, Step

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


forward = partial(steps.forward, sys.modules[__name__])
backward = partial(steps.backward, sys.modules[__name__])
gates = partial(steps.gates, sys.modules[__name__])
gates_grad = partial(steps.gates_grad, sys.modules[__name__])
