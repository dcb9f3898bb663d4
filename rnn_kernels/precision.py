"""What torch allows of float32 products."""

from __future__ import annotations

import torch


def tf32_allowed() -> bool:
    """Whether torch.nn's recurrent layers may round float32 factors to TF32 on a GPU.

    ``torch.backends.cudnn.rnn.fp32_precision`` since torch 2.9, ``torch.backends.cudnn.allow_tf32``
    before; both allow it unless told otherwise.
    https://docs.pytorch.org/docs/stable/notes/cuda.html#tf32-on-ampere
    """
    rnn = getattr(torch.backends.cudnn, "rnn", None)
    return torch.backends.cudnn.allow_tf32 if rnn is None else rnn.fp32_precision == "tf32"
