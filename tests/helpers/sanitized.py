"""Every CUDA kernel once over small odd shapes: what `make gpu` runs under compute-sanitizer."""

from __future__ import annotations

import itertools

import torch
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

import rnn_kernels as rk

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def main() -> None:
    torch.manual_seed(0)
    with rk.backend("cuda"), torch.device("cuda"):
        for cell, dtype, H, both in itertools.product(
            ("LSTM", "GRU"), DTYPES, (7, 40, 200, 1000), (False, True)
        ):
            layer = getattr(rk, cell)(5, H, bidirectional=both, bias=both).to(dtype)
            x = torch.randn(4, 3, 5).to(dtype).requires_grad_()
            resets = torch.rand(4, 3) < 0.3
            for input, options in (
                (x, {"resets": resets}),
                (pack_padded_sequence(x, [4, 2, 1]), {}),
                (x[:1], {}),
            ):
                y, _ = layer(input, **options)
                y = y.data if isinstance(y, PackedSequence) else y
                y.sum().backward()
    torch.cuda.synchronize()
    print("every kernel ran")


main()
