"""What tools that rewrite models find in our modules."""

from __future__ import annotations

import warnings
from typing import Any

from torch import nn


class Toolable(nn.Module):
    """A module that torch.jit.script and torch.ao.quantization get an answer from."""

    def __prepare_scriptable__(self) -> nn.Module:
        """Torch's own layer with these parameters: what torch.jit.script takes in its place."""
        from .conversion import as_torch_layer

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
