"""Torch's own layers, for what leaves the process: traces, scripts and ONNX files.

They run where this package is not installed; an ONNX file holds one LSTM or GRU node per layer.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from ..core.calls import Layer, LayerResults, Step
from ..core.cells import CELLS
from ..core.observers import dispatch_modes, known, tracing


def traced() -> bool:
    """True while torch.jit.trace records what this thread runs."""
    if torch.compiler.is_dynamo_compiling():
        return False
    return tracing is not None and tracing() is not None


def exported() -> bool:
    """True while torch.onnx.export records what this thread runs.

    Its own flag is the process's: other threads may be serving.
    """
    if torch.compiler.is_dynamo_compiling():
        return torch.onnx.is_in_onnx_export()
    watched = traced() or dispatch_modes is not None and dispatch_modes() > 0
    return watched and torch.onnx.is_in_onnx_export()


def wanted() -> bool:
    """True where the layers recorded should be torch's, or ONNX's."""
    if torch.compiler.is_dynamo_compiling() or not known:
        return traced() or exported()
    # The same without asking twice, on the way of every call.
    return tracing() is not None or dispatch_modes() > 0 and torch.onnx.is_in_onnx_export()


def refuse_extras(**extras: object) -> None:
    """Raises NotImplementedError for what an ONNX file cannot hold, and warns of it: the exporter
    tries other ways then, and ends in an error that only says that none was left.

    A trace keeps this package's operator for them.
    """
    named = [name for name, value in extras.items() if value is not None and value is not False]
    if named and exported():
        message = f"ONNX has no node for a layer with {' or '.join(named)}"
        warnings.warn(message, stacklevel=2)
        raise NotImplementedError(message)


def layer(call: Layer) -> LayerResults:
    """The call by torch's own operators, without gradients' rules of ours."""
    run = CELLS[call.cell].torch_layer
    if run is None:
        raise NotImplementedError(f"torch has no layer for the cell {call.cell}")
    h0, c0, batch_sizes = call.h0, call.c0, call.batch_sizes
    flat = [t for w in call.weights for t in w if t is not None]
    bias, both = call.weights[0].b_ih is not None, len(call.weights) == 2
    states = h0 if c0 is None else (h0, c0)
    options = (states, flat, bias, 1, 0.0, False, both)
    if batch_sizes is not None and int(batch_sizes[0]) != h0.shape[1]:
        raise RuntimeError("torch's own layer, which a trace takes, has no sequences of no steps")
    if batch_sizes is None:
        y, *finals = run(call.x, *options, False)
    else:
        y, *finals = run(call.x, batch_sizes, *options)
    return LayerResults(y, finals[0], finals[1] if c0 is not None else None, None)


def step(call: Step) -> tuple[Tensor, Tensor | None]:
    """The new h and c of a cell."""
    cell, x, w, h, c = call
    run = CELLS[cell].torch_cell
    if run is None:
        raise NotImplementedError(f"torch has no cell {cell}")
    found = run(x, h if c is None else (h, c), *w[:4])
    return (found, None) if c is None else found
