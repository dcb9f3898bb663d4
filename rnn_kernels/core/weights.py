"""The parameters of a layer, and how both directions are put together for one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .cells import CELLS


class Weights(NamedTuple):
    """Parameters of one layer in one direction, shaped as torch.nn.LSTM's and GRU's.

    ``w_ih`` (G·H, I), ``w_hh`` (G·H, P), ``b_ih`` and ``b_hh`` (G·H) or None, ``w_hr`` (P, H) or
    None. ``I`` of later layers is D·P.
    """

    w_ih: Tensor
    w_hh: Tensor
    b_ih: Tensor | None = None
    b_hh: Tensor | None = None
    w_hr: Tensor | None = None


def biases(cell: str, weights: Weights) -> tuple[Tensor | None, Tensor | None]:
    """Biases of the input product and of the recurrent product.

    Most cells only ever add the two, so both biases join the recurrent one, where adding them is
    free and so is their gradient. The GRU scales its candidate's recurrent half, bias included,
    and keeps them apart.
    """
    if CELLS[cell].splits or weights.b_ih is None or weights.b_hh is None:
        return weights.b_ih, weights.b_hh
    return None, weights.b_ih + weights.b_hh


class Joined(NamedTuple):
    """The parameters of both directions, put together; views where D is 1."""

    w_ih: Tensor  # (D·G·H, I)
    b_ih: Tensor | None  # (D·G·H) of the input product
    w_hh: Tensor  # (D, G·H, P)
    b_hh: Tensor | None  # (D, G·H) of the recurrent product
    w_hr: Tensor | None  # (D, P, H)


def joined(cell: str, weights: Sequence[Weights]) -> Joined:
    """The parameters of each direction, put together for one call."""
    pairs = [biases(cell, w) for w in weights]
    if len(weights) == 1:
        (w,), ((b_ih, b_hh),) = weights, pairs
        return Joined(
            w.w_ih,
            b_ih,
            w.w_hh.unsqueeze(0),
            None if b_hh is None else b_hh.unsqueeze(0),
            None if w.w_hr is None else w.w_hr.unsqueeze(0),
        )

    def both(tensors: Sequence[Tensor | None], join: Callable) -> Tensor | None:
        return None if tensors[0] is None else join(tuple(tensors))

    return Joined(
        torch.cat([w.w_ih for w in weights]),
        both([b_ih for b_ih, _ in pairs], torch.cat),
        torch.stack([w.w_hh for w in weights]),
        both([b_hh for _, b_hh in pairs], torch.stack),
        both([w.w_hr for w in weights], torch.stack),
    )


def separate(both: Joined) -> list[Weights]:
    """What :func:`joined` made, as weights of each direction."""
    w_ih, b_ih, w_hh, b_hh, _ = both
    D = w_hh.shape[0]

    def each(values: Tensor | None) -> Sequence[Tensor | None]:
        return (None,) * D if values is None else values.chunk(D)

    second = (None,) * D if b_hh is None else b_hh.unbind(0)
    return [
        Weights(*one) for one in zip(each(w_ih), w_hh.unbind(0), each(b_ih), second, strict=True)
    ]
