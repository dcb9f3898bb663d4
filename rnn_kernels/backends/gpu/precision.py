"""What torch is set to allow of products."""

from __future__ import annotations

import torch

# Since torch 2.9 a setting has a name that replaces allow_tf32, and reading the old one after the
# new one was set is an error.
_FP32 = "fp32_precision" if hasattr(torch.backends.cuda.matmul, "fp32_precision") else "allow_tf32"
_REDUCED = [f"allow_{kind}_reduced_precision_reduction" for kind in ("fp16", "bf16")]
_MATMUL = [_FP32, "allow_fp16_accumulation", *_REDUCED, *(f"{name}_split_k" for name in _REDUCED)]


def tf32_allowed() -> bool:
    """Whether torch.nn's recurrent layers may round float32 factors to TF32 on a GPU.

    ``torch.backends.cudnn.rnn.fp32_precision`` since torch 2.9, ``torch.backends.cudnn.allow_tf32``
    before; both allow it unless told otherwise.
    https://docs.pytorch.org/docs/stable/notes/cuda.html#tf32-on-ampere
    """
    rnn = getattr(torch.backends.cudnn, "rnn", None)
    return torch.backends.cudnn.allow_tf32 if rnn is None else rnn.fp32_precision == "tf32"


def product_settings() -> tuple[object, ...]:
    """What torch's products on a GPU depend on besides their operands."""
    matmul = torch.backends.cuda.matmul
    return (
        *(getattr(matmul, name, None) for name in _MATMUL),
        torch.backends.cuda.preferred_blas_library(),
        torch.are_deterministic_algorithms_enabled(),
    )
