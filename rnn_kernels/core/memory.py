"""Tensors as kernels see them: contiguous memory, and where it starts."""

from __future__ import annotations

import torch
from torch import Tensor


def addresses(*tensors: Tensor | None) -> list[int]:
    """0 for None; RuntimeError for a tensor without memory, such as a wrapper's."""
    return [0 if t is None else t.data_ptr() or _nowhere(t) for t in tensors]


def named_addresses(**arrays: Tensor | None) -> dict[str, int]:
    """The same, by the name that a kernel's call has for each."""
    return {k: 0 if t is None else t.data_ptr() or _nowhere(t) for k, t in arrays.items()}


def _nowhere(t: Tensor) -> int:
    if t.numel():
        raise RuntimeError(f"kernels need tensors with memory, got {type(t)}")
    return 0


def sent(t: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on a device, without waiting for what is under way there.

    While a CUDA graph is captured that is an error of CUDA's: the graph would read this memory
    again at each replay, when it may be somebody else's.
    """
    if device.type != "cuda" or torch.compiler.is_compiling():
        return t.to(device)
    if torch.cuda.is_current_stream_capturing():
        return t.to(device)
    return t.pin_memory().to(device, non_blocking=True)  # other memory would be waited for


def contiguous(*tensors: Tensor | None) -> list[Tensor | None]:
    """As the kernels read them: in order, and with no sign left to be flipped."""
    return [
        t if t is None or t.is_contiguous() and not t.is_neg() else t.resolve_neg().contiguous()
        for t in tensors
    ]
