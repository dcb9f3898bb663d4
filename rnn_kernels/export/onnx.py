"""Layers as nodes of an ONNX file: one LSTM or GRU each, for any T and B.

Sizes: T time, B batch, I input, H hidden, D directions, G gates.
Source: https://onnx.ai/onnx/operators/onnx__LSTM.html and onnx__GRU.html.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.calls import Layer, LayerResults
from ..core.cells import CELLS
from . import torch_layers

OPSET = 17


def wanted() -> bool:
    """True in torch.onnx.export(dynamo=True), from torch 2.8 on, which lets a model name a node."""
    # dynamo=False traces, and knows torch's layers.
    return torch_layers.exported() and not torch_layers.traced() and hasattr(torch.onnx, "ops")


def ordered(cell: str, values: Tensor) -> Tensor:
    """values (G·H, …) with the gates in ONNX's order."""
    order = torch.tensor(CELLS[cell].node.order, device=values.device)
    return values.unflatten(0, (len(order), -1)).index_select(0, order).flatten(0, 1)


def layer(call: Layer, lengths: Tensor | None = None) -> LayerResults:
    """The call as one node, for sequences of ``lengths`` (B,); x (T, B, I).

    Raises:
        NotImplementedError: the layer has a projection, which ONNX's has not; or ONNX has no such
            cell.
    """
    cell, x, weights, h0, c0, *_ = call
    node = CELLS[cell].node
    if node is None:
        raise NotImplementedError(f"ONNX has no node for the cell {cell}")
    torch_layers.refuse_extras(proj_size=weights[0].w_hr)

    def both(tensors: list[Tensor]) -> Tensor:
        return torch.stack([ordered(cell, t) for t in tensors])

    bias = None
    if all(w.b_ih is not None and w.b_hh is not None for w in weights):
        bias = torch.cat([both([w.b_ih for w in weights]), both([w.b_hh for w in weights])], 1)
    (T, B, _), (D, _, H) = x.shape, h0.shape
    attributes = {"hidden_size": H, "direction": "forward" if D == 1 else "bidirectional"}
    states = [h0] if c0 is None else [h0, c0]
    y, *finals = torch.onnx.ops.symbolic_multi_out(
        node.name,
        [
            x, both([w.w_ih for w in weights]), both([w.w_hh for w in weights]), bias,
            None if lengths is None else lengths.to(torch.int32), *states,
        ],
        {**attributes, **node.attributes},
        dtypes=[x.dtype] * (1 + len(states)),
        shapes=[(T, D, B, H)] + [(D, B, H)] * len(states),
        version=OPSET,
    )  # fmt: skip
    y = y.transpose(1, 2).flatten(2)
    return LayerResults(y, finals[0], finals[1] if c0 is not None else None, None)
