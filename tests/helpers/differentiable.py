"""Layers as functions of all that a derivative can be taken of."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from rnn_kernels import functional
from rnn_kernels.functional import Weights


class Sizes(NamedTuple):
    """P is the width of a projection."""

    T: int = 3
    B: int = 2
    I: int = 2
    H: int = 3
    P: int = 2


SMALL = Sizes()


def problem(
    cell: str, directions: str, packing: str, resets: str, sizes: Sizes = SMALL
) -> tuple[Callable[..., tuple[Tensor, ...]], list[Tensor]]:
    """A function of all differentiable inputs of one layer, and those inputs."""
    T, B, I, H, P = sizes
    assert packing == "padded" or (T, B) == (SMALL.T, SMALL.B)
    D, gates = (2 if directions == "both" else 1), (3 if cell == "gru" else 4)
    projected = cell == "lstm projected"
    batch_sizes = torch.tensor([2, 2, 1], device="cpu") if packing == "packed" else None
    lead = (5,) if packing == "packed" else (T, B)
    mask = torch.rand(lead) < 0.4 if resets == "reset" else None

    def leaf(*sizes: int) -> Tensor:
        return torch.randn(*sizes, dtype=torch.float64).requires_grad_()

    width = P if projected else H
    parameters = [
        t
        for _ in range(D)
        for t in (
            leaf(gates * H, I),
            leaf(gates * H, width),
            leaf(gates * H),
            leaf(gates * H),
            *([leaf(P, H)] if projected else []),
        )
    ]
    x, h0, c0 = leaf(*lead, I), leaf(D, B, width), leaf(D, B, H)
    inputs = [x, h0, *([] if cell == "gru" else [c0]), *parameters]

    def function(*values: Tensor) -> tuple[Tensor, ...]:
        x, h0, *rest = values
        c0 = None if cell == "gru" else rest.pop(0)
        each = len(rest) // D
        weights = [Weights(*rest[k * each : (k + 1) * each]) for k in range(D)]
        results = functional.layer(
            "gru" if cell == "gru" else "lstm",
            x,
            weights,
            h0,
            c0,
            batch_sizes=batch_sizes,
            resets=mask,
            cells=cell != "gru",
        )
        return results[:2] if cell == "gru" else results

    return function, inputs
