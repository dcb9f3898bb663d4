"""What the modules ask of their inputs, in torch's words where it has any."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from ..core.cells import CELLS
from ..core.observers import unwatched

_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def input(x: Tensor, weight: Tensor, input_size: int, packed: bool) -> None:
    """Raises ValueError for a dtype, RuntimeError for sizes or a device that do not fit."""
    if x.dtype != weight.dtype and not torch.is_autocast_enabled(x.device.type):
        raise ValueError(
            f"RNN input dtype ({x.dtype}) does not match weight dtype ({weight.dtype}). "
            f"Convert input: input.to({weight.dtype}), or convert model: model.to({x.dtype})"
        )
    expected = 2 if packed else 3
    if x.dim() != expected:
        raise RuntimeError(f"input must have {expected} dimensions, got {x.dim()}")
    if x.size(-1) != input_size:
        raise RuntimeError(
            f"input.size(-1) must be equal to input_size. Expected {input_size}, got {x.size(-1)}"
        )
    if x.device != weight.device:
        raise RuntimeError(
            "Input and parameter tensors are not at the same device, found input tensor at "
            f"{x.device} and parameter tensor at {weight.device}"
        )


def states(
    module: nn.RNNBase, x: Tensor, B: int, given: Sequence[Tensor] | None
) -> Sequence[Tensor]:
    """The initial states, h and c where the cell has one: those given, else zero.

    Raises RuntimeError unless given ones have the module's sizes, and x's device and dtype.
    """
    rows, H = module.num_layers * (2 if module.bidirectional else 1), module.hidden_size
    sizes = [(rows, B, module.proj_size or H), (rows, B, H)]
    if given is None:
        return [x.new_zeros(*size) for size in sizes[: len(CELLS[module.mode.lower()].states)]]
    names = ["hidden[0]", "hidden[1]"] if len(given) == 2 else ["hidden"]
    for name, state, size in zip(names, given, sizes, strict=False):
        if state.shape != size:
            raise RuntimeError(f"Expected {name} size {size}, got {list(state.shape)}")
        if state.device != x.device:
            raise RuntimeError(
                "Input and hidden tensors are not at the same device, found input tensor at "
                f"{x.device} and hidden tensor at {state.device}"
            )
        if state.dtype != x.dtype and not torch.is_autocast_enabled(x.device.type):
            raise RuntimeError(
                "Input and hidden tensors are not the same dtype, found input tensor with "
                f"{x.dtype} and hidden tensor with {state.dtype}"
            )
    return given


def steps(x: Tensor, batch_first: bool, resets_given: Any) -> None:
    """Raises RuntimeError if there are no steps, and what :func:`resets` raises."""
    if x.size(1 if batch_first else 0) == 0:
        raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
    resets(resets_given, x)


def resets(given: Any, x: Tensor) -> None:
    """Raises TypeError or RuntimeError unless they are flags of the steps of x (…, …, I)."""
    if given is None:
        return
    if isinstance(given, PackedSequence):
        raise TypeError("resets should be a tensor, since input is a tensor")
    if given.dtype != torch.bool:
        raise TypeError(f"resets should be of dtype torch.bool, got {given.dtype}")
    if given.shape != x.shape[:2]:
        raise RuntimeError(f"Expected resets size {tuple(x.shape[:2])}, got {list(given.shape)}")


def packed_resets(given: Any, like: PackedSequence) -> Tensor | None:
    """The flags of packed rows. Raises TypeError unless they are packed as the input is."""
    if given is None:
        return None

    def same(a: Tensor | None, b: Tensor | None) -> bool:
        if a is None or b is None or a is b:  # a GPU is not asked what it need not be
            return a is b
        return torch.equal(a, b)

    if (
        not isinstance(given, PackedSequence)
        or not same(given.batch_sizes, like.batch_sizes)
        or not same(given.sorted_indices, like.sorted_indices)
    ):
        raise TypeError(
            "resets should be a PackedSequence of the same lengths as input, in the same order"
        )
    if given.data.dtype != torch.bool:
        raise TypeError(f"resets should be of dtype torch.bool, got {given.data.dtype}")
    return given.data


def lengths(given: Tensor | Sequence[int], B: int, T: int) -> Tensor:
    """Lengths as a (B,) int64 tensor, where they are.

    Raises:
        TypeError: they are no whole numbers.
        RuntimeError: they are not B; or, where they can be read without waiting for a device or
            tying a compiler's graph to them, one of them is not from 0 to T.
    """
    if isinstance(given, Tensor):
        values = given
    else:  # an empty list would be of floats
        values = torch.tensor(given, dtype=None if len(given) else torch.int64, device="cpu")
    if values.dtype not in _INTEGERS:
        raise TypeError(f"lengths should be whole numbers, got {values.dtype}")
    if values.shape != (B,):
        raise RuntimeError(
            f"Expected `len(lengths)` to be equal to batch_size, but got {list(values.shape)} "
            f"(batch_size={B})"
        )
    values = values.to(torch.int64)
    if values.device.type == "cpu" and unwatched(values) and B:
        low, high = values.min().item(), values.max().item()
        if low < 0 or high > T:
            raise RuntimeError(
                f"Expected lengths from 0 to the {T} steps of input, got {low if low < 0 else high}"
            )
    return values
