"""What the operators share in how they are made known to torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..core.dtypes import AUTOCAST_FROM

library = torch.library.Library("rnn_kernels", "DEF")


def filled(run: Callable[..., tuple[Tensor | None, ...]]) -> Callable[..., tuple[Tensor, ...]]:
    """An operator returns tensors only: what does not apply becomes an empty one."""

    def whole(*args: Any) -> tuple[Tensor, ...]:
        outputs = run(*args)
        return tuple(outputs[0].new_empty(0) if o is None else o for o in outputs)

    return whole


def autocast(name: str, op: Callable[..., tuple[Tensor, ...]]) -> None:
    """Under autocast the operator takes and gives the autocast dtype."""

    def on(device_type: str) -> None:
        def run(*args: Any) -> tuple[Tensor, ...]:
            dtype = torch.get_autocast_dtype(device_type)
            with torch.autocast(device_type, enabled=False):
                return op(
                    *(
                        a.to(dtype) if isinstance(a, Tensor) and a.dtype in AUTOCAST_FROM else a
                        for a in args
                    )
                )

        library.impl(name, run, f"Autocast{device_type.upper()}")

    on("cpu")
    on("cuda")


def differentiate_again(
    name: str, backward: Callable[..., tuple[Tensor | None, ...]], flags: int
) -> None:
    """Gives a backward operator a derivative: that of ``backward``, which is plain torch.

    The operator's arguments are a cell, tensors or None, ``flags`` others, and a backend, which
    ``backward`` does without: it takes the others as they are, flat.
    """

    def keep(ctx: Any, inputs: tuple, output: tuple) -> None:
        cell, *rest = inputs
        tensors = rest[: -1 - flags]
        ctx.save_for_backward(*tensors)
        ctx.set_materialize_grads(False)
        ctx.cell, ctx.flags = cell, rest[len(tensors) : -1]

    def derivative(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        again, kept = torch.is_grad_enabled(), ctx.saved_tensors
        needed = ctx.needs_input_grad[1 : 1 + len(kept)]
        with torch.enable_grad():
            # Views stop gradients from running on into what one input owes to another.
            inputs = [t.view_as(t) if t is not None and t.is_floating_point() else t for t in kept]
            outputs = backward(ctx.cell, *inputs, *ctx.flags)
        wanted = [t for t, n in zip(inputs, needed, strict=True) if n]
        pairs = [
            (o, g) for o, g in zip(outputs, grads, strict=True) if g is not None and o is not None
        ]
        if pairs:
            outs, cotangents = zip(*pairs, strict=True)
            found = iter(
                torch.autograd.grad(outs, wanted, cotangents, create_graph=again, allow_unused=True)
            )
        else:
            found = iter([None] * len(wanted))
        slots = [next(found) if n else None for n in needed]
        return (None, *slots, *[None] * flags, None)

    torch.library.register_autograd(name, derivative, setup_context=keep, lib=library)
