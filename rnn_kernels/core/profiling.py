"""Names for torch.profiler's tables and timelines."""

from __future__ import annotations

from torch.autograd.profiler import record_function


def named(cell: str, what: str) -> record_function:
    """The range of a call: "rnn_kernels::lstm layer"."""
    return record_function(f"rnn_kernels::{cell} {what}")
