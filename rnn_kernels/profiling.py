"""Names for torch.profiler's tables and timelines."""

from __future__ import annotations

import torch
from torch.autograd import profiler
from torch.autograd.profiler import record_function


def on() -> bool:
    """True while a profiler records what runs. (A compiled graph has names of its own.)"""
    return not torch.compiler.is_compiling() and profiler._is_profiler_enabled


def named(cell: str, what: str) -> record_function:
    """The range of a call: "rnn_kernels::lstm layer"."""
    return record_function(f"rnn_kernels::{cell} {what}")
