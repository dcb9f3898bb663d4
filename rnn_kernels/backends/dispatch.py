"""The one dispatcher: which backend runs a call.

``auto`` takes the first in the device's order that can; a backend that was asked for by name runs,
or refuses with every reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

import torch

from ..core.calls import Kind
from .base import Backend
from .cpu import CPU
from .gpu.cuda import CUDA
from .gpu.triton import Triton
from .reference import REFERENCE

BACKENDS: dict[str, Backend] = {b.name: b for b in (CPU(), CUDA(), Triton(), REFERENCE)}
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
def refusals(name: str, kind: Kind) -> tuple[str, ...]:
    """Every reason why that backend cannot run such a call; none where it can."""
    return tuple(BACKENDS[name].refusals(kind))


@cache
def _chosen(name: str, *of: Any) -> str:
    kind = Kind(*of)
    if name == "auto":
        return next(n for n in order(kind.device_type) if not refusals(n, kind))
    why = refusals(name, kind)
    if why:
        raise RuntimeError(f"backend {name!r} cannot run this {kind.cell}: {'; '.join(why)}")
    return name


def order(device_type: str) -> tuple[str, ...]:
    """Which backends ``auto`` tries on such a device, the first first."""
    return ORDER.get(device_type, ELSEWHERE)


def forget() -> None:
    """What was found out about backends is found out again; for tests that change them."""
    refusals.cache_clear()
    _chosen.cache_clear()


def choose(cell: str, dtype: torch.dtype, device_type: str, projected: bool) -> str:
    """Name of the backend that runs a call of this kind, under the request in force.

    Raises:
        RuntimeError: the backend that was asked for does not support the call.
    """
    return _chosen(_requested.get(), cell, dtype, device_type, projected)


# What torch.compiler.assume_constant_result does, less the 0.7 s in which it imports the compiler.
choose._dynamo_marked_constant = True


def honour(name: str, kind: Kind) -> Backend:
    """The backend of that name, if it can run such a call."""
    if name not in BACKENDS:
        raise ValueError(f"unknown backend {name!r}, expected one of {list(BACKENDS)}")
    return BACKENDS[_chosen(name, *kind)]
