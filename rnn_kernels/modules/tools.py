"""What tools that rewrite models find in our modules, and torch's class for each of ours."""

from __future__ import annotations

import copy
import warnings
from typing import Any, ClassVar

from torch import nn
from torch.nn.utils import parametrize


class Toolable(nn.Module):
    """A module that torch.jit.script and torch.ao.quantization get an answer from.

    Attributes:
        stands_in_for: torch.nn's class of the same parameters, set by each class of ours.
    """

    stands_in_for: ClassVar[type[nn.Module]]

    def __prepare_scriptable__(self) -> nn.Module:
        """Torch's own layer with these parameters: what torch.jit.script takes in its place."""
        return as_torch_layer(self)

    @property
    def qconfig(self) -> None:
        """How torch.ao.quantization would quantize the module: never, it knows torch.nn's alone."""
        return None

    @qconfig.setter
    def qconfig(self, value: Any) -> None:
        name = type(self).__name__
        warnings.warn(
            f"quantization goes by exact types and leaves rnn_kernels.{name} as it is; to have it "
            "quantized, quantize rnn_kernels.to_torch(model) instead",
            stacklevel=3,
        )

    @qconfig.deleter
    def qconfig(self) -> None:
        pass


class Joined:
    """A class of somebody else's with a layer of ours among its bases."""

    __slots__ = ()
    stands_for: type[nn.Module]


def parametrized(kind: type[nn.Module], base: type[nn.Module]) -> type[nn.Module]:
    """torch.nn.utils.parametrize's class of one module, on another base."""
    own = {k: v for k, v in vars(kind).items() if k not in ("__dict__", "__weakref__")}
    return type(kind.__name__, (base,), own)


def original(kind: type[nn.Module], is_parametrized: bool) -> type[nn.Module] | None:
    """The class that ``kind``, one of ours, was converted from; None for subclasses of ours."""
    if is_parametrized:
        base = original(kind.__bases__[0], False)
        return None if base is None else parametrized(kind, base)
    return kind.stands_for if issubclass(kind, Joined) else vars(kind).get("stands_in_for")


def full_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def as_torch_layer(module: nn.Module) -> nn.Module:
    """Torch's own layer for torch.jit.script, with the parameters and hooks of one of ours.

    Warns:
        UserWarning: always, because torch.jit.script puts it into the model that it is given.

    Raises:
        NotImplementedError: a subclass of ours, for which torch.nn has no layer.
    """
    kind = original(type(module), parametrize.is_parametrized(module))
    if kind is None:
        raise NotImplementedError(
            f"torch.jit.script cannot compile {full_name(type(module))}: trace or export it instead"
        )
    warnings.warn(
        f"torch.jit.script compiles torch.nn's {kind.__name__} in place of rnn_kernels', and leaves"
        " it in the model; rnn_kernels.convert brings ours back",
        stacklevel=4,
    )
    twin = kind.__new__(kind)
    twin.__dict__ = {k: copy.copy(v) if isinstance(v, (dict, list)) else v
                     for k, v in vars(module).items()}  # fmt: skip
    return twin
