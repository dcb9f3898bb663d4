"""Tensors as kernels see them: in contiguous memory."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import Parameter

from .compiled import core


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
    if core is not None and core.in_order(Tensor, Parameter, tensors):
        return list(tensors)
    return [
        t if t is None or t.is_contiguous() and not t.is_neg() else t.resolve_neg().contiguous()
        for t in tensors
    ]
