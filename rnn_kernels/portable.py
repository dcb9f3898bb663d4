"""Torch's own layers, for what leaves the process: traces, scripts and ONNX files.

They run where this package is not installed; an ONNX file holds one LSTM or GRU node per layer.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from .tracing import dispatch_modes, known, tracing
from .weights import Weights

_LAYERS = {"lstm": torch.lstm, "gru": torch.gru}
_CELLS = {"lstm": torch.lstm_cell, "gru": torch.gru_cell}


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


def layer(
    cell: str,
    x: Tensor,
    weights: Sequence[Weights],
    h0: Tensor,
    c0: Tensor | None,
    batch_sizes: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor | None, None]:
    """y, h_n and c_n of :func:`rnn_kernels.functional.layer`, without gradients' rules of ours."""
    flat = [t for w in weights for t in w if t is not None]
    bias, both = weights[0].b_ih is not None, len(weights) == 2
    states = h0 if c0 is None else (h0, c0)
    options = (states, flat, bias, 1, 0.0, False, both)
    if batch_sizes is not None and int(batch_sizes[0]) != h0.shape[1]:
        raise RuntimeError("torch's own layer, which a trace takes, has no sequences of no steps")
    if batch_sizes is None:
        y, *finals = _LAYERS[cell](x, *options, False)
    else:
        y, *finals = _LAYERS[cell](x, batch_sizes, *options)
    return y, finals[0], finals[1] if c0 is not None else None, None


def step(
    cell: str, x: Tensor, w: Weights, h: Tensor, c: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """The new h and c of a cell."""
    found = _CELLS[cell](x, h if c is None else (h, c), *w[:4])
    return (found, None) if c is None else found
