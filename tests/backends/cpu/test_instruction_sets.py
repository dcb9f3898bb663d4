"""The CPU's kernels are compiled for several instruction sets, of which one is chosen."""

from __future__ import annotations

import pytest
from processes import python

AGREE = """
import sys, torch, rnn_kernels
from rnn_kernels.backends import cpu
assert cpu.core.isa() == sys.argv[1]
bounds = {"float64": 1e-12, "float32": 1e-5, "bfloat16": 0.03, "float16": 0.004}
for dtype, bound in bounds.items():
    for cell in ("LSTM", "GRU"):
        for B, H in ((1, 1), (5, 37), (20, 64)):
            torch.manual_seed(0)
            layer = getattr(rnn_kernels, cell)(6, H, bidirectional=True).to(getattr(torch, dtype))
            x = torch.randn(5, B, 6).to(layer.weight_hh_l0)
            results = []
            for name in ("cpu", "reference"):
                with rnn_kernels.backend(name):
                    y, _ = layer(x)
                    grads = torch.autograd.grad(y.sum(), list(layer.parameters()))
                results.append([y, *grads])
            for a, b in zip(*results):
                error = (a - b).abs().max() / (1 + b.abs().max())
                assert error < bound, (dtype, cell, B, H, error.item())
print("agrees")
"""

ASK = "from rnn_kernels.backends import cpu; cpu.core.isa()"


@pytest.mark.slow
@pytest.mark.parametrize("isa", ["baseline", "avx2", "avx512", "avx512_bf16"])
def test_every_instruction_set_gives_the_same_numbers(isa: str) -> None:
    done = python(AGREE, isa, RNN_KERNELS_CPU_ISA=isa)
    if "not one that this processor runs" in done.stderr:
        pytest.skip(f"this processor does not run {isa}")
    assert done.stdout == "agrees\n", done.stderr


@pytest.mark.slow
def test_an_unknown_instruction_set_is_refused_clearly() -> None:
    done = python(ASK, RNN_KERNELS_CPU_ISA="mmx")
    last = done.stderr.splitlines()[-1]
    assert last.startswith("RuntimeError: RNN_KERNELS_CPU_ISA=mmx is not one that this processor")
