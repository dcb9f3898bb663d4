"""Fused LSTM and GRU: drop-in replacements for torch.nn.

>>> import torch, rnn_kernels
>>> lstm = rnn_kernels.LSTM(40, 256, num_layers=2)
>>> y, (h, c) = lstm(torch.randn(100, 8, 40))
"""

import torch  # noqa: F401  (first: the compiled core shares its OpenMP threads)

from . import ops
