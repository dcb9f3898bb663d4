"""One layer, both directions: which of the ways to run it is taken.

Read from here: the layer, then the way (:mod:`fused`, :mod:`operator_layer`, :mod:`recompute`,
:mod:`single_step`), then the operator or the backend.
"""

from __future__ import annotations

import torch
from torch.autograd import profiler

from ..backends.dispatch import BACKENDS, choose
from ..core import profiling
from ..core.calls import Layer, LayerResults
from ..core.dtypes import product_dtype
from ..core.observers import plain
from ..core.weights import joined
from ..export import onnx, torch_layers
from . import fused, operator_layer, recompute, single_step
from .operator_layer import Watch


def run(call: Layer) -> LayerResults:
    """The results of a layer.

    Raises:
        RuntimeError: sizes, dtypes or devices do not fit together, or the requested backend
            does not support the call.
    """
    # A compiled graph has names of its own.
    if not torch.compiler.is_compiling() and profiler._is_profiler_enabled:
        with profiling.named(call.cell, "layer"):
            return _run(call)
    return _run(call)


def _run(call: Layer) -> LayerResults:
    """What is asked of a call is asked here, once."""
    x, weights, packed = call.x, call.weights, call.batch_sizes is not None
    w_hr, flat = weights[0].w_hr, [t for w in weights for t in w]
    unseen = plain(x, *flat, call.h0, call.c0, call.batch_sizes, call.resets)
    traced = not unseen and torch_layers.wanted()
    if traced:
        torch_layers.refuse_extras(resets=call.resets, return_cells=call.cells)
        if onnx.wanted() and not packed:
            return onnx.layer(call)
        if call.resets is None and not call.cells:
            return torch_layers.layer(call)
    dtype = x.dtype if unseen else product_dtype(x)
    backend = BACKENDS[choose(call.cell, dtype, x.device.type, w_hr is not None)]
    if not traced and not packed and x.shape[0] == 1 and w_hr is None:
        return single_step.layer(call, backend, unseen)
    compiling = torch.compiler.is_compiling()  # a compiler cannot read a context variable
    if not compiling and recompute.requested.get() and recompute.applies(call):
        results = recompute.run(call, backend)
    elif unseen and backend.has_layers:
        results = fused.run(call, backend)
    else:
        watch = Watch(unseen, traced)
        results = operator_layer.run(call, joined(call.cell, weights), backend, watch)
    y, h_n, c_n, c, _ = results
    return LayerResults(y, h_n, c_n, c.flatten(-2).to(y.dtype) if call.cells else c)
