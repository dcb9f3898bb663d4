"""The dtypes that kernels know, and which one a call is computed in."""

from __future__ import annotations

import torch
from torch import Tensor

DTYPES = {
    torch.float32: "float32",
    torch.float64: "float64",
    torch.bfloat16: "bfloat16",
    torch.float16: "float16",
}

# What autocast changes. As for torch's own operators, float64 stays what it is.
AUTOCAST_FROM = (torch.float32, torch.float16, torch.bfloat16)

# The dtype that gates and cell states are computed in, for each of them.
COMPUTED = {dtype: torch.float64 if dtype == torch.float64 else torch.float32 for dtype in DTYPES}


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype that gates and cell states are computed in, for any dtype."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def product_dtype(t: Tensor) -> torch.dtype:
    """The dtype that a product with ``t`` is computed in: autocast's, where that is on."""
    if t.dtype in AUTOCAST_FROM and torch.is_autocast_enabled(t.device.type):
        return torch.get_autocast_dtype(t.device.type)
    return t.dtype
