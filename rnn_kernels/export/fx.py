"""Layers as leaves of torch.fx's graphs."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.fx import Proxy
from torch.fx.proxy import TraceError


def symbolic(input: object, hx: object) -> bool:
    """True for what torch.fx.symbolic_trace hands a module in place of tensors."""
    if hx is None or isinstance(input, Proxy):
        return isinstance(input, Proxy)
    return any(isinstance(v, Proxy) for v in (hx if isinstance(hx, tuple) else (hx,)))


def leaf(module: nn.Module, input: Any, hx: Any, **options: object) -> Any:
    """Records the whole module as one node of torch.fx's graph, as torch's own layers are.

    Raises:
        TraceError: the module is all there is to trace; or it has hooks or a forward of its own,
            which have run by now and would run again.
    """
    states = hx if isinstance(hx, tuple) else (hx,)
    tracer = next(v.tracer for v in (input, *states) if isinstance(v, Proxy))
    name = type(module).__name__
    path = tracer.path_of_module(module)
    if not path:
        raise TraceError(f"{name} is a leaf of torch.fx's graphs: trace a model that contains it")
    stock = type(module).forward.__module__.partition(".")[0] == __package__.partition(".")[0]
    if not stock or module._forward_hooks or module._forward_pre_hooks:
        raise TraceError(
            f"{name} ({path}) has hooks or a forward of its own, and can be no leaf by itself: "
            "trace with a torch.fx.Tracer whose is_leaf_module says yes to it"
        )
    args = (input,) if hx is None else (input, hx)
    given = {k: v for k, v in options.items() if v is not None and v is not False}
    return tracer.create_proxy("call_module", path, args, given)
