"""Kernels against the reference: the same numbers but for their last bits."""

from __future__ import annotations

from typing import Any

import torch
from backend_calls import backward, forward
from persistent_calls import cotangents
from torch import Tensor

from rnn_kernels.backends.base import Backend
from rnn_kernels.backends.reference import REFERENCE

# Both round in the same places and differ in the order of their sums: for the halves that flips the
# last bit of a value now and then, and a gradient sums what comes of it. So differences are held
# against the largest magnitude of a tensor. Accuracy itself is the business of test_accuracy.py.
CLOSE = {
    torch.float64: 1e-12,
    torch.float32: 1e-5,
    torch.bfloat16: 2 * torch.finfo(torch.bfloat16).eps,
    torch.float16: 2 * torch.finfo(torch.float16).eps,
}


def assert_close(
    got: tuple[Tensor | None, ...], expected: tuple[Tensor | None, ...], dtype: torch.dtype
) -> None:
    for k, (a, b) in enumerate(zip(got, expected, strict=True)):
        assert (a is None) == (b is None), k
        if b is None or not b.numel():
            continue
        assert a.shape == b.shape and a.dtype == b.dtype, k
        bound = CLOSE[dtype] * max(1.0, b.abs().max().item())
        difference = (a.double() - b.double()).abs().max().item()
        assert difference <= bound, f"result {k}: {difference:.3g} apart, allowed {bound:.3g}"


def check(backend: Backend, args: tuple[Any, ...]) -> None:
    """Forward and backward agree with the reference to its last bits, or almost."""
    cell, dtype, w_hh, h0, c0 = args[0], args[1].dtype, args[2], args[5], args[6]
    ours = forward(backend, *args, True, True)
    *theirs, saved = forward(REFERENCE, *args, True, True)
    theirs.append(saved.to(dtype))
    assert_close(ours, theirs, dtype)
    y, _, _, c, saved = theirs
    grads = cotangents(theirs[:4])
    rest = (w_hh, None, h0, c0, y, c, saved, *args[7:], True, True)
    assert_close(
        backward(backend, cell, *grads, *rest), backward(REFERENCE, cell, *grads, *rest), dtype
    )
