"""Whether anything besides autograd watches the operators that run now."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import Parameter

_dispatch_modes = getattr(torch._C, "_len_torch_dispatch_stack", None)
_functorch_level = getattr(torch._C._functorch, "maybe_current_level", None)
_tracing = getattr(torch._C, "_get_tracing_state", None)
_known = None not in (_dispatch_modes, _functorch_level, _tracing)
_PLAIN = (Tensor, Parameter, type(None))


def forward_mode() -> bool:
    """True inside forward-mode differentiation: tensors may carry tangents."""
    return not torch.compiler.is_compiling() and forward_ad._current_level >= 0


def plain(*tensors: Tensor | None) -> bool:
    """True if a call on these tensors needs no dispatcher: they are no subclasses, and no
    compiler, tracer, dispatch mode, function transform or autocast is at work.

    False wherever this torch does not let us find out.
    """
    return (
        _known
        and not torch.compiler.is_compiling()
        and _dispatch_modes() == 0
        and _functorch_level() is None
        and _tracing() is None
        and not torch.is_autocast_enabled("cpu")
        and not torch.is_autocast_enabled("cuda")
        and all(type(t) in _PLAIN for t in tensors)
    )
