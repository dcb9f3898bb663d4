"""Layers of padded sequences whose lengths nobody waits for: every step is taken, and what follows
a sequence's end is zero.

A reversed direction reads each sequence from its own end, so that initial states enter there.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.calls import Layer, LayerResults
from ..export import onnx, torch_layers
from . import layer


def run(call: Layer, lengths: Tensor) -> LayerResults:
    """Results of a layer for sequences of lengths (B,) on x's device, x (T, B, I).

    Lengths below 0 count as 0, those above T as T; results are zero from a sequence's end on.
    """
    x, resets = call.x, call.resets
    if onnx.wanted():
        torch_layers.refuse_extras(resets=resets, return_cells=call.cells)
        return onnx.layer(call, lengths)
    T, B = x.shape[:2]
    if lengths.shape != (B,):
        raise RuntimeError(f"Expected lengths size ({B},), got {list(lengths.shape)}")
    lengths = lengths.clamp(0, T)
    t = torch.arange(T, device=x.device)[:, None]
    inside = t < lengths
    # What lies beyond the ends, be it NaN, takes no part in the products for the weights either.
    x = torch.where(inside[..., None], x, 0)
    there = torch.where(inside, lengths - 1 - t, t)  # its own inverse
    # Nor does the state of a sequence without steps.
    given, some = (call.h0, call.c0), lengths[:, None] > 0
    h0, c0 = (None if state is None else torch.where(some, state, 0) for state in given)
    done = []
    for d, w in enumerate(call.weights):
        own, flags, again = x, resets, inside[..., None]
        if d:
            own = _along(x, there)
            flags = None if resets is None else _later(resets, there)
        states = h0[d : d + 1], None if c0 is None else c0[d : d + 1]
        y, _, _, c = layer.run(Layer(call.cell, own, [w], *states, None, flags, c0 is not None))
        h_n, c_n = (
            None if first is None else _last(values, first[d], lengths)
            for values, first in zip((y, c), given, strict=True)
        )
        results = [torch.where(again, v, 0) for v in ([y, c] if call.cells else [y])]
        done.append(([_along(v, there) if d else v for v in results], h_n, c_n))
    values, h_n, c_n = zip(*done, strict=True)
    y, *c = (torch.cat(both, -1) for both in zip(*values, strict=True))
    c_n = None if c0 is None else torch.stack(c_n)
    return LayerResults(y, torch.stack(h_n), c_n, c[0] if call.cells else None)


def _along(values: Tensor, there: Tensor) -> Tensor:
    """values (T, B, F), of each sequence the step that ``there`` (T, B) names."""
    return values.gather(0, there[..., None].expand(-1, -1, values.shape[2]))


def _later(resets: Tensor, there: Tensor) -> Tensor:
    """The flags between a sequence's step ``there`` and the next one, from which its state comes.
    The first step of all comes from the initial state."""
    flags = resets.roll(-1, 0).gather(0, there)
    return torch.cat((torch.zeros_like(flags[:1]), flags[1:]))


def _last(values: Tensor, first: Tensor, lengths: Tensor) -> Tensor:
    """values (T, B, F) after each sequence's last step; ``first`` (B, F) where it has none."""
    index = (lengths - 1).clamp(min=0)[None, :, None].expand(1, -1, values.shape[2])
    return torch.where(lengths[:, None] > 0, values.gather(0, index)[0], first.to(values.dtype))
