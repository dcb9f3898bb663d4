"""A layer as the input product and the operator, which compilers, tracers and autocast can see."""

from __future__ import annotations

from typing import NamedTuple

import torch

from ..backends.base import Backend
from ..core.calls import Layer, Recurrence, Results
from ..core.weights import Joined
from ..operators import recurrence
from . import products


class Watch(NamedTuple):
    """Who watches a layer."""

    unseen: bool  # nobody, see observers.plain
    traced: bool = False  # it is recorded, and may be run with gradients or without later on


def run(call: Layer, both: Joined, backend: Backend, watch: Watch) -> Results:
    """Results as the operator gives them.

    Args:
        both: the weights of the call, put together.
    """
    D = both.w_hh.shape[0]
    gx = products.linear(call.x, both.w_ih, both.b_ih)
    gx = gx.unsqueeze(-2) if D == 1 else gx.unflatten(-1, (D, -1))
    tensors = (gx, *both[2:], call.h0, call.c0)
    grads = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
    save = watch.traced or grads
    rows = call.batch_sizes, call.resets
    of_steps = Recurrence(call.cell, gx, *both[2:], call.h0, call.c0, *rows, save, call.cells)
    return recurrence.recurrence(of_steps, backend, watch.unseen)
