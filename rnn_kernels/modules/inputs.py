"""The forms in which sequences come, and how results get back the form of the input.

Sizes: T time, B batch, I input, F features of a result, N rows of a packed sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from ..core.memory import sent
from ..core.observers import unwatched
from ..export import torch_layers
from . import checks


class Sequences(NamedTuple):
    """What a stack of layers takes.

    Attributes:
        x: (T, B, I), or (B, T, I) with batch_first; (N, I) where rows are packed.
        B: how many sequences there are.
        formed: gives a result, shaped as x with F features, the form of the input; None: it has it.
        resets: (T, B), (B, T) or (N,) bool, or None.
        batched: whether states have a dimension of B already.
        batch_sizes: (T,) int64 on the CPU where rows are packed, else None.
        order, back: (B,), the permutation of sequences that packed them, and its inverse, or None.
        lengths: (B,) int64 where padded steps have still to be told apart, else None.
    """

    x: Tensor
    B: int
    formed: Callable[[Tensor], Any] | None
    resets: Tensor | None = None
    batched: bool = True
    batch_sizes: Tensor | None = None
    order: Tensor | None = None
    back: Tensor | None = None
    lengths: Tensor | None = None


def read(
    input: Any,
    batch_first: bool,
    lengths: Tensor | Sequence[int] | None,
    resets: Any,
    states: Sequence[Tensor] | None,
) -> Sequences:
    """The input of a module, whichever form it has. Raises the errors of each form."""
    if lengths is not None and (isinstance(input, PackedSequence) or input.is_nested):
        raise TypeError("lengths are for padded input; packed and nested input have their own")
    if isinstance(input, PackedSequence):
        return _packed(input, resets, states)
    if input.is_nested:
        return _nested(input, batch_first, resets)
    if lengths is not None:
        return _padded(input, 0 if batch_first else 1, lengths, resets)
    if input.dim() == 3:
        B = input.size(0 if batch_first else 1)
        return Sequences(input, B, None, resets)
    batch_dim = 0 if batch_first else 1
    return Sequences(
        input.unsqueeze(batch_dim),
        1,
        lambda values: values.squeeze(batch_dim),
        None if resets is None else resets.unsqueeze(batch_dim),
        batched=False,
    )


def _packed(input: PackedSequence, resets: Any, states: Sequence[Tensor] | None) -> Sequences:
    x, batch_sizes, order, back = input
    if order is not None:
        B = order.size(0)  # sequences of no steps among them
    elif torch.compiler.is_compiling() and states is not None:
        B = states[0].size(1)  # a compiler knows sizes; values are for the finished graph to check
        torch._check(
            batch_sizes[0].item() == B, lambda: "Expected hidden of the packed batch's size"
        )
    elif torch_layers.traced():
        B = batch_sizes[0]  # type: ignore[assignment]  # and a trace records where its numbers come from
    else:
        B = batch_sizes[0].item()  # type: ignore[assignment]  # a SymInt, for a compiler

    def formed(values: Tensor) -> PackedSequence:
        return PackedSequence(values, batch_sizes, order, back)

    rows = checks.packed_resets(resets, input)
    return Sequences(x, B, formed, rows, True, batch_sizes, order, back)


def _ragged(
    lengths: Tensor, starts: Tensor, stride: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """batch_sizes, order, back, and where each packed row lies: step t of b at
    ``starts[b] + t * stride``. Lengths are on the CPU."""
    sizes, order = lengths.sort(descending=True, stable=True)
    T = max(1, int(sizes[0])) if len(sizes) else 1
    t = torch.arange(T, device="cpu")[:, None]
    inside = t < sizes
    index = (starts[order] + t * stride)[inside]
    order, back, index = (sent(rows, device) for rows in (order, order.argsort(), index))
    return inside.sum(1), order, back, index


def _padded(x: Tensor, batch_dim: int, given: Tensor | Sequence[int], resets: Any) -> Sequences:
    """Padded sequences with their lengths: packed, where the lengths are at hand.

    On another device they are not, nor where a compiler or a transform stands for all of them.
    """
    if x.dim() != 3:
        raise RuntimeError(f"lengths are for a batch, 3-D input; got {x.dim()}-D input")
    B, T = x.size(batch_dim), x.size(1 - batch_dim)
    if torch_layers.traced():
        raise NotImplementedError(
            "a trace would hold these very lengths: use torch.export, "
            "torch.onnx.export(dynamo=True) or a PackedSequence"
        )
    lengths = checks.lengths(given, B, T)
    checks.resets(resets, x)
    # Packed where lengths can be read, and nobody would take what they are for all there can be.
    if lengths.device.type != "cpu" or not unwatched(lengths) or not B or not T:
        lengths = lengths.to(x.device)
        return Sequences(x, B, None, resets, lengths=lengths)
    each = torch.arange(B, device="cpu")
    starts, stride = (each, B) if batch_dim else (each * T, 1)
    batch_sizes, order, back, index = _ragged(lengths, starts, stride, x.device)
    lead = x.shape[:2]

    def formed(values: Tensor) -> Tensor:
        padded = values.new_zeros(B * T, values.shape[1]).index_copy(0, index, values)
        return padded.view(*lead, -1)

    rows = x.flatten(0, 1).index_select(0, index)
    flags = None if resets is None else resets.flatten().index_select(0, index)
    return Sequences(rows, B, formed, flags, True, batch_sizes, order, back)


def _nested(x: Any, batch_first: bool, resets: Any) -> Sequences:
    """A jagged nested tensor (B, jagged, I): its rows are packed, and never padded."""
    if x.layout != torch.jagged:
        raise NotImplementedError(
            "nested input should have layout torch.jagged: "
            "torch.nested.nested_tensor(tensors, layout=torch.jagged)"
        )
    if not batch_first:
        raise RuntimeError("nested input is (B, jagged, I), which needs batch_first=True")
    if x.dim() != 3 or x.lengths() is not None or x._ragged_idx != 1:
        raise NotImplementedError(
            "nested input should be contiguous, (B, jagged, I): call .contiguous()"
        )
    values, offsets = x.values(), x.offsets()
    bounds = offsets.cpu()
    if int(bounds[0]) != 0 or int(bounds[-1]) != len(values):
        raise NotImplementedError("nested input should hold no other values: call .contiguous()")
    starts, lengths = bounds[:-1], bounds.diff()
    batch_sizes, order, back, index = _ragged(lengths, starts, 1, values.device)
    flags = None
    if resets is not None:
        same = resets.is_nested and resets.layout == torch.jagged and resets.dim() == 2
        if not same or not torch.equal(resets.offsets(), offsets) or resets.lengths() is not None:
            raise TypeError("resets should be a nested tensor (B, jagged) of the lengths of input")
        checks.resets(resets.values()[None], values[None])
        flags = resets.values().index_select(0, index)

    def formed(rows: Tensor) -> Tensor:
        jagged = rows.new_empty(len(rows), rows.shape[1]).index_copy(0, index, rows)
        return torch.nested.nested_tensor_from_jagged(jagged, offsets)

    rows = values.index_select(0, index)
    return Sequences(rows, len(starts), formed, flags, True, batch_sizes, order, back)
