"""Graphs of steps as tests see them: played where there is no CUDA, and poisoned everywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

import rnn_kernels as rk
from rnn_kernels.backends.gpu import step_graphs
from rnn_kernels.backends.gpu.precision import product_settings
from rnn_kernels.core.cells import CELLS


class Played:
    """A graph that keeps the work and does it again, where there is no CUDA."""

    made: list[Played] = []
    address: int | None = 0
    failure: str | None = None
    meanwhile: Callable[[], None] | None = None

    def __init__(self, work: Callable[[], None], device: torch.device) -> None:
        if self.failure:
            raise RuntimeError(self.failure)
        self.work, self.settings = work, product_settings()
        self.made.append(self)

    def replay(self) -> None:
        assert product_settings() == self.settings, "a graph would have kept the old ones"
        if self.meanwhile:
            self.meanwhile()
        self.work()

    @classmethod
    def stream(cls, device: torch.device) -> int | None:
        return cls.address


class Poisoned(step_graphs._Recorded):
    """What was not copied in for this very call, or is not written by it, is NaN, or cuts."""

    def run(self, *args: Any) -> None:
        self.poison()
        super().run(*args)
        self.poison()

    def poison(self) -> None:
        for t in (self._w, *self._call[3:]):
            if t is not None:
                t.fill_(True if t.dtype == torch.bool else torch.nan)


@contextmanager
def playing() -> Iterator[list[Played]]:
    """The graphs that are made, from the second call on of however few steps."""
    fresh = type("Fresh", (Played,), {"made": []})
    rk.clear_graphs()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(step_graphs.GRAPHS, "cpu", fresh)
        patch.setattr(step_graphs, "_Recorded", Poisoned)
        patch.setattr(step_graphs, "MIN_STEPS", 2)
        yield fresh.made
    rk.clear_graphs()


def recorded() -> int:
    return sum(entry.recorded is not None for entry in step_graphs._entries.values())


def step_by_step(run: Callable[..., Any], *args: Any) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step_graphs, "GRAPHS", {})
        return run(*args)


def same(got: tuple[Tensor | None, ...], expected: tuple[Tensor | None, ...]) -> bool:
    return all(
        (a is None and b is None) or torch.equal(a, b) and a.isfinite().all()
        for a, b in zip(got, expected, strict=True)
    )


def forward_args(
    cell: str,
    D: int,
    dtype: torch.dtype,
    sizes: tuple[int, int, int],
    resets: bool,
    save: bool,
    own: bool,
) -> tuple[Any, ...]:
    """Of a backend's forward; sizes T, B, H."""
    T, B, H = sizes
    kind = CELLS[cell]
    gx, w = torch.randn(T, B, D, kind.gates * H), torch.randn(D, kind.gates * H, H) / H**0.5
    b, h0 = torch.randn(D, kind.gates * H), torch.randn(D, B, H)
    c0 = torch.randn(D, B, H).to(dtype) if kind.has_c else None
    cuts = torch.rand(T, B) < 0.3 if resets else None
    gx, w, b, h0 = (t.to(dtype) for t in (gx, w, b, h0))
    b = b if resets else None
    return cell, gx, w, b, None, h0, c0, None, cuts, save, not save, own
