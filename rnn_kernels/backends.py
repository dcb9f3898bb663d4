"""The one dispatcher: which backend runs a call.

``auto`` takes the first in the device's order that can; a backend that was asked for by name runs,
or refuses with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from . import cpu, cuda, reference, triton

BACKENDS: dict[str, ModuleType] = {
    "cpu": cpu,
    "cuda": cuda,
    "triton": triton,
    "reference": reference,
}
# Compiled kernels first. On the CPU Triton's are interpreted, which only a test would ask for.
ORDER = {"cpu": ("cpu", "reference")}
ELSEWHERE = ("cuda", "triton", "reference")

_requested: ContextVar[str] = ContextVar("rnn_kernels.backend", default="auto")


@contextmanager
def backend(name: str) -> Iterator[None]:
    """Runs every layer inside on backend ``name``: auto, cpu, cuda, triton or reference.

    Applies to the current thread or task. A graph that ``torch.compile`` made keeps the backend
    that was in force when it was made.

    Raises:
        ValueError: there is no backend of that name.
        RuntimeError: it cannot run on this machine; and, inside the block, a call it does not
            support.
    """
    if name != "auto":
        if name not in BACKENDS:
            raise ValueError(f"unknown backend {name!r}, expected one of {['auto', *BACKENDS]}")
        why = BACKENDS[name].unavailable()
        if why:
            raise RuntimeError(f"backend {name!r} is not available: {why}")
    token = _requested.set(name)
    try:
        yield
    finally:
        _requested.reset(token)


def requested() -> str:
    """The name that was asked for, auto by default."""
    return _requested.get()


@cache
def _refusal(name: str, *call: object) -> str | None:
    module = BACKENDS[name]
    return module.refuses(*call) or module.unavailable()


@cache
def _chosen(name: str, *call: Any) -> str:
    if name == "auto":
        order = ORDER.get(call[2], ELSEWHERE)
        return next(name for name in order if _refusal(name, *call) is None)
    why = _refusal(name, *call)
    if why:
        raise RuntimeError(f"backend {name!r} cannot run this {call[0]}: {why}")
    return name


def choose(cell: str, dtype: torch.dtype, device_type: str, projected: bool) -> str:
    """Name of the backend that runs a call of this kind, under the request in force.

    Raises:
        RuntimeError: the backend that was asked for does not support the call.
    """
    return _chosen(_requested.get(), cell, dtype, device_type, projected)


# What torch.compiler.assume_constant_result does, less the 0.7 s in which it imports the compiler.
choose._dynamo_marked_constant = True


def saved_dtype(name: str, dtype: torch.dtype) -> torch.dtype:
    """In which dtype that backend keeps what its backward needs, for calls in ``dtype``."""
    return BACKENDS[name].saved_dtype(dtype)


def layer(name: str) -> Callable[..., tuple[Tensor | None, ...]] | None:
    """The backend's kernel for a layer with its input product, if it has one."""
    return getattr(BACKENDS[name], "layer", None)


def step(name: str) -> Callable[..., tuple[Tensor | None, ...]] | None:
    """The backend's kernel for a single step with its products, if it has one."""
    return getattr(BACKENDS[name], "step", None)


def honour(name: str, cell: str, like: Tensor, w_hr: Tensor | None) -> ModuleType:
    """The backend of that name, if it can run a call on tensors such as ``like``."""
    if name not in BACKENDS:
        raise ValueError(f"unknown backend {name!r}, expected one of {list(BACKENDS)}")
    _chosen(name, cell, like.dtype, like.device.type, w_hr is not None)
    return BACKENDS[name]
