"""Layers as nodes of an ONNX file: one LSTM or GRU each, for any T and B.

Sizes: T time, B batch, I input, H hidden, D directions, G gates.
Source: https://onnx.ai/onnx/operators/onnx__LSTM.html and onnx__GRU.html.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from . import portable
from .weights import Weights

# ONNX's order of the gates, by their places in torch's: i o f c of i f g o, z r h of r z n.
GATE_ORDER = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2)}
OPSET = 17


def wanted() -> bool:
    """True in torch.onnx.export(dynamo=True), from torch 2.8 on, which lets a model name a node."""
    # dynamo=False traces, and knows torch's layers.
    return portable.exported() and not portable.traced() and hasattr(torch.onnx, "ops")


def _ordered(cell: str, values: Tensor) -> Tensor:
    """values (G·H, …) with the gates in ONNX's order."""
    order = torch.tensor(GATE_ORDER[cell], device=values.device)
    return values.unflatten(0, (len(order), -1)).index_select(0, order).flatten(0, 1)


def layer(
    cell: str,
    x: Tensor,
    weights: Sequence[Weights],
    h0: Tensor,
    c0: Tensor | None,
    lengths: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor | None, None]:
    """y (T, B, D·H), h_n and c_n of a layer of x (T, B, I), for sequences of ``lengths`` (B,).

    Raises:
        NotImplementedError: the layer has a projection, which ONNX's has not.
    """
    portable.refuse_extras(proj_size=weights[0].w_hr)

    def both(tensors: list[Tensor]) -> Tensor:
        return torch.stack([_ordered(cell, t) for t in tensors])

    bias = None
    if all(w.b_ih is not None and w.b_hh is not None for w in weights):
        bias = torch.cat([both([w.b_ih for w in weights]), both([w.b_hh for w in weights])], 1)
    (T, B, _), (D, _, H) = x.shape, h0.shape
    attributes = {"hidden_size": H, "direction": "forward" if D == 1 else "bidirectional"}
    if cell == "gru":
        attributes["linear_before_reset"] = 1
    states = [h0] if c0 is None else [h0, c0]
    y, *finals = torch.onnx.ops.symbolic_multi_out(
        cell.upper(),
        [
            x, both([w.w_ih for w in weights]), both([w.w_hh for w in weights]), bias,
            None if lengths is None else lengths.to(torch.int32), *states,
        ],
        attributes,
        dtypes=[x.dtype] * (1 + len(states)),
        shapes=[(T, D, B, H)] + [(D, B, H)] * len(states),
        version=OPSET,
    )  # fmt: skip
    y = y.transpose(1, 2).flatten(2)
    return y, finals[0], finals[1] if c0 is not None else None, None
