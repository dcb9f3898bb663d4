"""Fused LSTM and GRU: drop-in replacements for torch.nn's.

>>> import torch, rnn_kernels
>>> lstm = rnn_kernels.LSTM(40, 256, num_layers=2)
>>> y, (h, c) = lstm(torch.randn(100, 8, 40))
"""

from importlib.metadata import PackageNotFoundError, version

import torch  # noqa: F401  (before the compiled core, which then shares torch's OpenMP threads)

from . import functional
from .backends import backend
from .backends.gpu.step_graphs import clear_graphs, record_steps
from .conversion import convert, posing_as_torch, to_torch
from .execution.recompute import recompute
from .explanation import explain
from .modules import GRU, LSTM, GRUCell, LSTMCell

try:
    __version__ = version("rnn_kernels")
except PackageNotFoundError:  # imported from a source tree that was never installed
    __version__ = "unknown"

__all__ = [
    "GRU",
    "LSTM",
    "GRUCell",
    "LSTMCell",
    "backend",
    "clear_graphs",
    "record_steps",
    "convert",
    "explain",
    "functional",
    "posing_as_torch",
    "recompute",
    "to_torch",
]
