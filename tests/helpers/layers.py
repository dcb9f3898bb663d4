"""Our four modules, with inputs that fit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import rnn_kernels as rk

LAYERS = ["LSTM", "GRU"]
CELLS = ["LSTMCell", "GRUCell"]
ALL = LAYERS + CELLS


def quick(*kinds: str, of: list[str]) -> list[Any]:
    """All of them as parameters, of which `make test` runs these alone."""
    return [kind if kind in kinds else pytest.param(kind, marks=pytest.mark.slow) for kind in of]


I, H = 6, 7


def layer(kind: str, **options: Any) -> nn.Module:
    return getattr(rk, kind)(I, H, **options)


def sample(kind: str, T: int = 5, B: int = 3) -> Tensor:
    """An input of the kind: (T, B, I), or (B, I) for cells."""
    return torch.randn(B, I) if kind in CELLS else torch.randn(T, B, I)


def flat(output: Any) -> list[Tensor]:
    """The tensors of nested tuples and packed sequences."""
    if isinstance(output, Tensor):
        return [output]
    if hasattr(output, "batch_sizes"):
        return [output.data]
    return [t for part in output for t in flat(part)]


def laid_out(t: Tensor, form: str) -> Tensor:
    """A tensor of the same sizes, "contiguous", "transposed" or "expanded"."""
    t = t.detach()
    if form == "transposed":
        return t.mT.contiguous().mT
    return t[:1].expand(t.shape) if form == "expanded" else t


def loss(output: Any) -> Tensor:
    return sum(t.square().sum() for t in flat(output))


def gradients(module: nn.Module, *args: Any, **options: Any) -> list[Tensor]:
    """Of the parameters, after one call."""
    return list(torch.autograd.grad(loss(module(*args, **options)), list(module.parameters())))


class First(nn.Module):
    """A model around a layer, whose output is one tensor."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *args: Any) -> Tensor:
        return flat(self.inner(*args))[0]


class Lengths(nn.Module):
    """A model of a layer and the lengths of its input, whose outputs are a list."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor, lengths: Tensor) -> list[Tensor]:
        return flat(self.inner(x, lengths=lengths))


class Resets(nn.Module):
    """A model of a layer and the resets of its input, whose output is one tensor."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor, done: Tensor) -> Tensor:
        return self.inner(x, resets=done)[0]


DYNAMIC = torch.export.Dim.DYNAMIC


def sizes(kind: str) -> dict[int, Any]:
    """Of an exported input: every dimension but the last may change."""
    return {0: DYNAMIC} if kind in CELLS else {0: DYNAMIC, 1: DYNAMIC}
