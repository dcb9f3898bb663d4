"""Whether anything besides autograd watches the operators that run now."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import Parameter

# As for torch's own modules, whose checks of sizes a trace leaves out as well.
warnings.filterwarnings("ignore", category=torch.jit.TracerWarning, module=r"rnn_kernels\b")

dispatch_modes = getattr(torch._C, "_len_torch_dispatch_stack", None)
functorch_level = getattr(torch._C._functorch, "maybe_current_level", None)
_functorch_active = getattr(torch._C, "_are_functorch_transforms_active", None)
tracing = getattr(torch._C, "_get_tracing_state", None)
_saved_hooks = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)
# One question for all devices, where this torch has it.
autocasts: Callable[[], bool] = getattr(torch._C, "_is_any_autocast_enabled", None) or (
    lambda: torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda")
)
known = None not in (dispatch_modes, functorch_level, tracing)
PLAIN = frozenset((Tensor, Parameter, type(None)))


def transformed() -> bool:
    """True inside a function transform (torch.func) or forward-mode differentiation.

    Tensors may then be batched or carry tangents, which only plain torch operations understand.
    """
    if torch.compiler.is_compiling():  # which knows this question alone
        return _functorch_active is not None and _functorch_active()
    return forward_ad._current_level >= 0 or (
        functorch_level is not None and functorch_level() is not None
    )


def stored(*tensors: Tensor | None) -> bool:
    """True if all tensors have memory of their own; those of a batched gradient have none."""
    try:
        for t in tensors:
            if t is not None:
                t.untyped_storage()
    except (NotImplementedError, RuntimeError):
        return False
    return True


def hooked() -> bool:
    """True where hooks have what autograd saves: checkpointing, offloading.

    Also wherever this torch (before 2.7) does not let us find out.
    """
    return _saved_hooks is None or _saved_hooks(True) is not None


def unwatched(*tensors: Tensor | None) -> bool:
    """True if a call on these tensors is torch's as usual: they are no subclasses, and no compiler,
    tracer, dispatch mode or function transform is at work.

    False wherever this torch does not let us find out.
    """
    return (
        known
        and not torch.compiler.is_compiling()
        and dispatch_modes() == 0
        and not transformed()
        and tracing() is None
        and PLAIN.issuperset(map(type, tensors))
    )


def plain(*tensors: Tensor | None) -> bool:
    """True if a call on these tensors needs no dispatcher: it is unwatched, and not autocast."""
    return unwatched(*tensors) and not autocasts()
