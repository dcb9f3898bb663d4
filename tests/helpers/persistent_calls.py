"""Calls of whole sequences, and the ways to cut them, for tests."""

from __future__ import annotations

from typing import Any

import emulated
import torch
from torch import Tensor

from rnn_kernels.backends.gpu.cuda_plan import Plan
from rnn_kernels.backends.gpu.precision import tf32_allowed
from rnn_kernels.core.cells import CELLS

HALF, BRAIN, SINGLE = torch.float16, torch.bfloat16, torch.float32
H100 = (90, 227 << 10, (132, 66, 33, 16, 8), 132)


def cut(
    cell: str,
    like: Tensor,
    sizes: tuple[int, int, int],
    backward: bool,
    blocks: int,
    rows: int,
    grid: bool = False,
) -> Plan:
    """The plan of a call, but on teams of so many blocks with so many rows each."""
    exact = like.dtype == SINGLE and not tf32_allowed()
    found = emulated.backend().kernels.cut(
        CELLS[cell].gates, like.element_size(), exact, backward, sizes, *H100, (grid, blocks, rows)
    )
    return Plan(*(found[name] for name in Plan._fields))


def call(
    cell: str, dtype: torch.dtype, H: int, B: int, T: int, D: int, form: str = ""
) -> tuple[Any, ...]:
    """Arguments of a forward; ``form`` names what is special: packed, reset, unbiased."""
    kind, lead, batch_sizes = CELLS[cell], (T, B), None
    if "packed" in form:
        lengths = [max(T - 2 * b, 0) for b in range(B)]
        counts = [sum(n > t for n in lengths) for t in range(T)]
        batch_sizes = torch.tensor(counts, device="cpu")
        lead = (int(batch_sizes.sum()),)

    def values(*sizes: int) -> Tensor:
        return torch.randn(*sizes, dtype=torch.float64).to(dtype)

    return (
        cell,
        values(*lead, D, kind.gates * H),
        values(D, kind.gates * H, H) / H**0.5,
        None if "unbiased" in form else values(D, kind.gates * H),
        None,
        values(D, B, H),
        values(D, B, H) if kind.has_c else None,
        batch_sizes,
        torch.rand(lead) < 0.3 if "reset" in form else None,
    )


def cotangents(outputs: list[Tensor | None]) -> list[Tensor | None]:
    return [None if t is None else torch.randn(t.shape).to(t) for t in outputs]
