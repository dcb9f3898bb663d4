"""The CUDA backend: what was built, and what it finds on this machine."""

from __future__ import annotations

import torch

try:
    from . import _cuda
except ImportError as error:  # built without nvcc
    _cuda, _missing = None, str(error)


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
    return "this version has no recurrence kernels for CUDA yet"
