"""The preset: one recurrent layer with the shape that a named project really runs."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch
from torch import nn

import rnn_kernels

# Of every layer that torch.nn and rnn_kernels have under one name: gates, G.
GATES = {
    name: getattr(nn, name)(1, 1, device="meta").weight_hh_l0.shape[0]
    for name in sorted({"LSTM", "GRU", "RNN"} & set(rnn_kernels.__all__))
}
PASSES = ("fwd", "fwd_bwd", "graph_fwd", "host_fwd")

# Up to this many steps the host's work for one call is a good part of its time on a GPU. A CUDA
# graph takes that part away, which tells how the kernels themselves compare; and the host's part is
# timed by itself.
GRAPH_T = 128

# One call of 150 GFLOP takes about a second on two fast cores and ten on two slow ones; a gate in
# float64 and five rounds of each provider must stay bearable.
CPU_LIMIT_GFLOP = 150.0

# `--quick` keeps I, H, L and D, which choose the kernels, and shortens what only repeats them.
QUICK_T, QUICK_B = 16, 8


class Shape(Protocol):
    """Sizes, as presets and rows of results have them."""

    cell: str
    I: int  # noqa: E741  the field's letter
    H: int
    L: int
    D: int
    B: int
    T: int


def matrix_gflop(shape: Shape, pass_name: str) -> float:
    """Matrix work of one call, in 1e9 operations; packed lengths count as full."""
    inputs = shape.I + (shape.L - 1) * shape.D * shape.H
    macs = shape.T * shape.B * shape.D * GATES[shape.cell] * shape.H * (inputs + shape.L * shape.H)
    return 2e-9 * macs * (3 if computed(pass_name) == "fwd_bwd" else 1)


def computed(pass_name: str) -> str:
    """What a pass computes, however it is timed: fwd, fwd_bwd or cell_fwd."""
    return pass_name.removeprefix("graph_").removeprefix("host_")


@dataclass(frozen=True)
class Preset:
    """Sizes: I input, H hidden, L layers, D directions, B batch, T time steps."""

    name: str
    cell: str  # LSTM or GRU
    I: int  # noqa: E741  the letter of the presets and of the results file
    H: int
    L: int
    D: int
    B: int
    T: int
    dtype: str  # a torch dtype by name
    mode: str  # train or infer
    source: str
    note: str = ""  # a star marks a size that is assumed or derived
    resets: float = 0.0  # share of (t, b) at which an episode ends
    packed: bool = False  # sequences of different lengths, at most T
    dropout: float = 0.0  # between layers, in the timed training pass only

    def __post_init__(self) -> None:
        if self.cell not in GATES or self.mode not in ("train", "infer"):
            raise ValueError(f"preset {self.name}: cell {self.cell!r}, mode {self.mode!r}")

    @property
    def torch_dtype(self) -> torch.dtype:
        return getattr(torch, self.dtype)

    @property
    def passes(self) -> tuple[str, ...]:
        """A network in training is also evaluated; one that only infers has no backward."""
        return ("fwd", "fwd_bwd") if self.mode == "train" else ("fwd",)

    def passes_on(self, device: str) -> tuple[str, ...]:
        """On a GPU also the host's part of the forward, and the forward replayed from a CUDA graph,
        unless the host is hidden anyway.

        Packed lengths are the host's business, and a graph would hold them fast.
        """
        if device != "cuda" or self.T > GRAPH_T:
            return self.passes
        return (*self.passes, "host_fwd", *(() if self.packed else ("graph_fwd",)))

    def gflop(self, pass_name: str) -> float:
        """Matrix work of one call, see `matrix_gflop`."""
        return matrix_gflop(self, pass_name)

    def too_big_for_cpu(self) -> str | None:
        """The reason to leave the preset out of the CPU set, or None if it belongs there."""
        work = self.gflop(self.passes[-1])
        if work <= CPU_LIMIT_GFLOP:
            return None
        return f"{work:.0f} GFLOP a call, over {CPU_LIMIT_GFLOP:.0f}"

    def quick(self) -> "Preset":
        """The same layer on at most QUICK_T steps and QUICK_B sequences."""
        return replace(self, T=min(self.T, QUICK_T), B=min(self.B, QUICK_B))


def load(path: Path) -> dict[str, Preset]:
    """By name, in the file's order."""
    presets = [Preset(**entry) for entry in json.loads(path.read_text())["presets"]]
    by_name = {preset.name: preset for preset in presets}
    if len(by_name) != len(presets):
        raise ValueError(f"{path.name}: a preset's name is used twice")
    return by_name


PRESETS = load(Path(__file__).with_name("presets.json"))


def device_set(
    device: str, presets: Iterable[Preset] = PRESETS.values()
) -> tuple[list[Preset], list[tuple[Preset, str]]]:
    """The presets a device runs in a sensible time, and the others, each with the reason."""
    judged = [(preset, preset.too_big_for_cpu() if device == "cpu" else None) for preset in presets]
    fitting = [preset for preset, reason in judged if reason is None]
    return fitting, [(preset, reason) for preset, reason in judged if reason is not None]
