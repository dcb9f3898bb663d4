"""Layers on top of each other, one after the other or side by side."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ..core.calls import Layer, LayerResults, Stack, StackResults
from . import layer, padded, wavefront


def run(call: Stack) -> StackResults:
    """The results of a stack.

    Raises:
        RuntimeError: sizes, dtypes or devices do not fit together, or the requested backend
            does not support the call.
    """
    swap = call.batch_first and call.batch_sizes is None
    if swap:
        resets = None if call.resets is None else call.resets.transpose(0, 1)
        call = Stack(call.cell, call.x.transpose(0, 1), *call[2:6], resets, *call[7:])
    chunks = wavefront.lengths(call) if len(call.weights) > 1 else None
    each = _in_turn(call) if chunks is None else wavefront.run(call, chunks)
    y, alone = each[-1].y, len(each) == 1
    h_n = each[0].h_n if alone else torch.cat([one.h_n for one in each])
    c_n = each[0].c_n
    if call.c0 is not None and not alone:
        c_n = torch.cat([one.c_n for one in each])
    cells = tuple(one.c for one in each) if call.cells else ()
    if swap:
        y, cells = y.transpose(0, 1), tuple(c.transpose(0, 1) for c in cells)
    return StackResults(y, h_n, c_n, cells)


def _in_turn(call: Stack) -> list[LayerResults]:
    """The results of each layer, one after the other."""
    x, results, alone = call.x, [], len(call.weights) == 1
    for k, directions in enumerate(call.weights):
        if k and call.dropout:
            x = F.dropout(x, call.dropout)
        own = slice(k * len(directions), (k + 1) * len(directions))
        h0 = call.h0 if alone else call.h0[own]
        c0 = call.c0 if call.c0 is None or alone else call.c0[own]
        rows = call.batch_sizes, call.resets
        one = Layer(call.cell, x, directions, h0, c0, *rows, call.cells)
        results.append(layer.run(one) if call.lengths is None else padded.run(one, call.lengths))
        x = results[-1].y
    return results
