"""Layers of random sizes and options on random inputs, each made anew from its number."""

from __future__ import annotations

import math
import random
import statistics
from dataclasses import dataclass
from typing import Any

import torch
from tolerance import Tensors, cast, errors, run
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import rnn_kernels as rk

MUCH = 4  # times what the rule allows
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def _size(draw: random.Random, largest: int) -> int:
    """From 1 on, small ones as often as large ones."""
    return round(largest ** draw.random())


@dataclass(frozen=True)
class RandomLayer:
    """A layer and the form of its input, of torch.nn's but for resets."""

    cell: str
    dtype: torch.dtype
    T: int
    B: int
    I: int
    H: int
    layers: int
    bidirectional: bool
    bias: bool
    batch_first: bool
    packed: bool
    resets: bool
    states: bool  # initial ones are given
    seed: int

    @classmethod
    def of(cls, number: int, widest: int) -> RandomLayer:
        """The layer of that number, of up to ``widest`` hidden units."""
        draw = random.Random(number)

        def chance(percent: int) -> bool:
            return draw.randrange(100) < percent

        packed = chance(25)
        return cls(
            draw.choice(("LSTM", "GRU")),
            draw.choice(DTYPES),
            _size(draw, 40),
            _size(draw, 80),
            _size(draw, 100),
            _size(draw, widest),
            draw.choice((1, 1, 1, 2, 3)),
            chance(30),
            chance(75),
            chance(30),
            packed,
            not packed and chance(25),
            chance(60),
            number,
        )

    def module(self, kind: type[nn.Module]) -> nn.Module:
        return kind(
            self.I, self.H, self.layers, self.bias, self.batch_first,
            bidirectional=self.bidirectional,
        )  # fmt: skip

    def arguments(self) -> tuple[tuple, dict[str, Any]]:
        """In float64: what the layer is called with."""
        lead = (self.B, self.T) if self.batch_first else (self.T, self.B)
        input: Any = torch.randn(*lead, self.I, dtype=torch.float64)
        if self.packed:
            lengths = torch.randint(1, self.T + 1, (self.B,), device="cpu")
            input = pack_padded_sequence(input, lengths, self.batch_first, enforce_sorted=False)
        rows = self.layers * (2 if self.bidirectional else 1)
        h, c = (torch.randn(rows, self.B, self.H, dtype=torch.float64) for _ in range(2))
        state: Any = (h, c) if self.cell == "LSTM" else h
        options = {"resets": torch.rand(lead) < 0.1} if self.resets else {}
        return ((input, state) if self.states else (input,)), options

    def check(self) -> None:
        """Holds ours to the tolerance rule: outputs, final states and all gradients.

        Of thousands of layers a few have a gradient of three numbers that torch happens to get
        right to the last bit. So a layer that is off by less than MUCH is given other inputs, and
        is wrong if it is off with most of them.
        """
        worst, name = self.off(0)
        assert worst <= MUCH, f"{name} is off by {worst:.3g} of what is allowed"
        if worst > 1:
            all_five = [worst, *(self.off(draw)[0] for draw in range(1, 5))]
            assert statistics.median(all_five) <= 1, f"{name} is off by {all_five}"

    def off(self, draw: int) -> tuple[float, str]:
        """Our largest error as a multiple of what is allowed, with some inputs, and where it is.

        Torch's layer knows no resets. There our own equations, run by torch one operation after
        the other, stand in for it. In float64 torch is off as far as we are.
        """
        ours, args, options = self.made(draw)
        results = run(ours, args, **options)
        exact = self.reference(ours, args, options, torch.float64)
        if self.dtype == torch.float64:
            for name, t in exact.items():
                bound = 1e-12 * max(1.0, t.abs().max().item())
                torch.testing.assert_close(results[name], t, rtol=0, atol=bound)
            return 0, ""
        theirs = self.reference(ours, args, options, self.dtype)
        # An error that is no number is as large as any.
        return max(
            (error and (error / allowed if error <= MUCH * allowed else math.inf), name)
            for name, error, allowed in errors(results, theirs, exact)
        )

    def made(self, draw: int = 0) -> tuple[nn.Module, tuple, dict[str, Any]]:
        """Our layer, and what it is called with."""
        torch.manual_seed(5 * self.seed + draw)
        ours = self.module(getattr(rk, self.cell)).to(self.dtype)
        args, options = self.arguments()
        return ours, cast(args, self.dtype), options

    def results(self) -> Tensors:
        ours, args, options = self.made()
        return run(ours, args, **options)

    def reference(
        self, ours: nn.Module, args: tuple, options: dict[str, Any], dtype: torch.dtype
    ) -> Tensors:
        """What ours is compared with, of its weights."""
        module = self.module(getattr(rk if self.resets else nn, self.cell))
        module.load_state_dict(ours.state_dict())
        with rk.backend("reference"):
            return run(module.to(dtype), cast(args, dtype), **options)


def failures(numbers: range, widest: int) -> list[str]:
    """What is wrong with the layers of these numbers."""
    found = []
    for number in numbers:
        layer = RandomLayer.of(number, widest)
        try:
            layer.check()
        except Exception as error:  # a crash is as wrong as a wrong number
            found.append(f"{layer}: {type(error).__name__}: {error}")
    return found
