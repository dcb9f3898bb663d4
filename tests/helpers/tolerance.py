"""The one tolerance rule: our error is at most twice torch.nn's, plus a few ulp.

Errors are largest absolute differences from torch.nn in float64 on the same inputs. The few ulp,
of the largest magnitude of the tensor, are for where torch.nn happens to be (almost) exact.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

Tensors = dict[str, Tensor]
ULPS = 8  # for vendors' products, which sum in other orders; docs/design.md has the cases


def tensors(value: object, name: str = "output") -> Tensors:
    """The tensors of nested tuples and packed sequences, by name."""
    if isinstance(value, PackedSequence):
        return {name: value.data}
    if isinstance(value, Tensor):
        return {name: value}
    found: Tensors = {}
    for k, part in enumerate(value):
        found |= tensors(part, f"{name}[{k}]")
    return found


def cast(value: object, dtype: torch.dtype) -> object:
    """A detached copy whose floating-point tensors have ``dtype`` and want gradients."""
    if isinstance(value, PackedSequence):
        return PackedSequence(cast(value.data, dtype), *value[1:])
    if isinstance(value, Tensor):
        if not value.is_floating_point():
            return value
        return value.detach().to(dtype).clone().requires_grad_()
    return tuple(cast(part, dtype) for part in value)


def run(module: nn.Module, args: tuple, **kwargs: object) -> Tensors:
    """Outputs, and the gradients of every parameter and input, by name."""
    results = tensors(module(*args, **kwargs))
    loss = sum(
        (r * torch.linspace(-1, 1, r.numel(), dtype=torch.float64).to(r).view_as(r)).sum()
        for r in results.values()
    )
    wanted = {f"d {name}": p for name, p in module.named_parameters()}
    wanted |= {f"d {name}": t for name, t in tensors(args, "input").items() if t.requires_grad}
    grads = torch.autograd.grad(loss, list(wanted.values()))
    return {k: v.detach() for k, v in results.items()} | dict(zip(wanted, grads, strict=True))


def errors(ours: Tensors, theirs: Tensors, exact: Tensors) -> Iterator[tuple[str, float, float]]:
    """Name, error and what the rule allows, of each tensor that has elements."""
    assert ours.keys() == exact.keys() == theirs.keys()
    for name, truth in exact.items():
        assert ours[name].shape == truth.shape, name
        assert ours[name].dtype == theirs[name].dtype, name
        if truth.numel() == 0:
            continue
        error = (ours[name].double() - truth).abs().max().item()
        allowed = 2 * (theirs[name].double() - truth).abs().max().item()
        allowed += ULPS * torch.finfo(ours[name].dtype).eps * truth.abs().max().item()
        yield name, error, allowed


def assert_as_accurate(ours: Tensors, theirs: Tensors, exact: Tensors) -> None:
    """The rule, for each tensor by name."""
    for name, error, allowed in errors(ours, theirs, exact):
        assert error <= allowed, f"{name}: error {error:.3g}, allowed {allowed:.3g}"


def compare(
    ours: nn.Module,
    theirs: nn.Module,
    args: tuple,
    dtype: torch.dtype,
    adapt: Callable[[tuple], tuple] = lambda args: args,
) -> None:
    """Gives ``ours`` the parameters of ``theirs`` and holds it to the rule in ``dtype``.

    ``args`` are float64 inputs, rounded to ``dtype`` for all three; ``adapt`` may change their
    form (strides, say) for ``ours`` alone.
    """
    theirs.to(dtype)
    ours.to(dtype).load_state_dict(theirs.state_dict())
    exact = copy.deepcopy(theirs).double()
    rounded = cast(args, dtype)
    assert_as_accurate(
        run(ours, adapt(cast(rounded, dtype))),
        run(theirs, rounded),
        run(exact, cast(rounded, torch.float64)),
    )
