"""What the matrix units of a GPU make of a factor."""

from __future__ import annotations

import torch
from torch import Tensor


def as_tf32(t: Tensor) -> Tensor:
    """To nearest, ties away from zero."""
    bits = t.float().contiguous().view(torch.int32)
    return (bits + 0x1000 & ~0x1FFF).view(torch.float32)
