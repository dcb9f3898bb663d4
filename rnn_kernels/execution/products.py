"""The large matrix products around the recurrence, each by the fastest library torch carries.

In fp32 on x86 torch hands ``F.linear`` and ``mm`` to MKL, which keeps to its AVX2 kernels on
processors of makers other than Intel; oneDNN, in the same wheel, uses all of AVX-512 there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.observers import plain

_pointwise = getattr(torch.ops.mkldnn, "_linear_pointwise", None)


def _on_intel() -> bool:
    """Whether the processor is Intel's: there MKL is the faster of the two for the gradients of
    weights, and the more exact one."""
    try:
        return "GenuineIntel" in Path("/proc/cpuinfo").read_text()
    except OSError:  # not Linux
        return False


_INTEL = _on_intel()
# Below this many multiply-adds oneDNN's set-up costs more than it saves.
_WORTH_IT = 1 << 20


def _onednn(x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    """x (N, K) · w (M, K)ᵀ + b (M)."""
    # It takes the strides of x and w as they are, and those of b for one.
    return _pointwise(x, w, None if b is None else b.contiguous(), "none", [], "")


def _prefers_onednn(x: Tensor, columns: int) -> bool:
    return (
        x.numel() * columns >= _WORTH_IT
        and x.dtype == torch.float32
        and x.device.type == "cpu"
        and _pointwise is not None
        and torch.backends.mkldnn.enabled
        and not _INTEL
    )


class InputProduct(torch.autograd.Function):
    """F.linear on oneDNN, for inputs of two dimensions; differentiable any number of times."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, w)
        return _onednn(x, w, b)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, w = ctx.saved_tensors
        needs_x, needs_w, needs_b = ctx.needs_input_grad
        return (
            linear(dy, w.T, None) if needs_x else None,
            outer(dy, x) if needs_w else None,
            dy.sum(0) if needs_b else None,
        )


def linear(x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
    """x (…, K) · w (M, K)ᵀ + b (M), as torch.nn.functional.linear."""
    # A compiler comes first: comparing symbolic sizes would tie its graph to them.
    if torch.compiler.is_compiling() or not _prefers_onednn(x, w.shape[0]) or not plain(x, w, b):
        return F.linear(x, w, b)
    y = InputProduct.apply(x.reshape(-1, x.shape[-1]), w, b)
    return y.view(*x.shape[:-1], w.shape[0])


def outer(g: Tensor, x: Tensor) -> Tensor:
    """gᵀ · x, g (N, M) and x (N, K): the sum over N rows of their outer products."""
    # Over many rows transposed, because oneDNN reads the operand in the role of weights faster
    # across its rows. A gradient has to lie as its parameter does, or accumulating it is slow.
    if g.shape[0] < 256 or _INTEL or x.device.type != "cpu":
        return g.T @ x
    return linear(x.T, g.T, None).T.contiguous()
