"""The peer on a GPU: a library with kernels of its own for the recurrence.

What is timed begins and ends with torch.nn's time-major x and y, and includes the product with the
input weights. Weights and initial states lie ready in the layout that the library likes best; their
gradients are put into torch.nn's after the call. Single layers are stacked as their users do.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from importlib.util import find_spec

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from ..host.environment import version_of
from ..shapes.presets import computed
from ..shapes.workload import Workload
from .candidate import Candidate, Result
from .graph import captured
from .provider import Provider

Tensors = tuple[Tensor, ...]

FLOATS = ("float32", "float16", "bfloat16")


class Layer(ABC):
    """One layer in a library's layout."""

    leaves: Tensors  # of the autograd graph: initial states, then weights

    @abstractmethod
    def __call__(self, x: Tensor) -> tuple[Tensor, Tensors]:
        """From (T, B, I): y (T, B, H), and h_n and for an LSTM c_n, each (B, H)."""

    @abstractmethod
    def grads(self, grads: Tensors) -> Tensors:
        """From the leaves': those of h_0 and c_0, each (B, H), and of the `parameters`."""


class GPUPeer(Provider):
    """A library: what it can do, and how to get it."""

    devices = ("cuda",)
    peer = True
    packages: tuple[str, ...]
    install = "pip install 'rnn_kernels[gpu-peers]'"
    layer: Callable[[Workload, int, bool], Layer]  # of that index, and whether it trains
    used: tuple[str, ...]  # its name on PyPI, and which of its kernels
    dtypes: dict[str, tuple[str, ...]]  # by cell
    resets = False
    waits = False  # for the device inside its call

    def missing(self, work: Workload, pass_name: str) -> str | None:
        if not all(map(find_spec, self.packages)):
            return f"needs {' and '.join(self.packages)}: {self.install}"
        preset, graph = work.preset, pass_name.startswith("graph_")
        dtypes = self.dtypes.get(preset.cell, ())
        reasons = {
            "has whole sequences only, no cells": computed(pass_name) not in ("fwd", "fwd_bwd"),
            "has no packed input": isinstance(work.x, PackedSequence),
            "has no resets": work.resets is not None and not self.resets,
            "has one direction only": preset.D > 1,
            f"has no {preset.cell}": not dtypes,
            f"its {preset.cell} computes in {' or '.join(dtypes)} only": preset.dtype not in dtypes,
            "waits for the device inside its call, so no CUDA graph holds it": graph and self.waits,
        }
        return next((reason for reason, holds in reasons.items() if holds), None)

    def backend_used(self, work: Workload) -> str:
        name, *kernels = self.used
        return " ".join((name, version_of(name), *kernels))

    def build(self, work: Workload, pass_name: str, dropout: float = 0.0) -> Candidate:
        training, graph = computed(pass_name) == "fwd_bwd", pass_name.startswith("graph_")
        layers = [self.layer(work, index, training) for index in range(work.preset.L)]
        if training:
            return _forward_backward(layers, work, dropout)
        results = partial(_joined, len(work.states))
        forward = Candidate(partial(_run, layers, work.x), torch.no_grad, results)
        return replace(captured(forward), results=results) if graph else forward


def _run(layers: Sequence[Layer], x: Tensor, dropout: float = 0.0) -> Tensors:
    """y, then every layer's last states."""
    ends: list[Tensor] = []
    for layer in layers:
        x, states = layer(F.dropout(x, dropout) if ends and dropout else x)
        ends += states
    return (x, *ends)


def _joined(kinds: int, values: Tensors) -> Result:
    """The first as it is, then each kind of state of all layers in one tensor, as in torch.nn."""
    first, *states = values
    return (first, *(torch.stack(states[kind::kinds]) for kind in range(kinds)))


def _forward_backward(layers: Sequence[Layer], work: Workload, dropout: float) -> Candidate:
    x = work.x.detach().requires_grad_()
    leaves = (x, *(leaf for layer in layers for leaf in layer.leaves))
    dy, *end_grads = work.output_grads
    output_grads = (dy, *(grad for of_layer in zip(*end_grads, strict=True) for grad in of_layer))
    kinds, each = len(end_grads), len(layers[0].leaves)

    def call() -> tuple[Tensors, Tensors]:
        outputs = _run(layers, x, dropout)
        return outputs, torch.autograd.grad(outputs, leaves, output_grads)

    def results(returned: tuple[Tensors, Tensors]) -> Result:
        outputs, (dx, *grads) = returned
        of_layers = [one.grads(grads[i * each :][:each]) for i, one in enumerate(layers)]
        states = [grad for of_layer in of_layers for grad in of_layer[:kinds]]
        weights = [grad for of_layer in of_layers for grad in of_layer[kinds:]]
        return (*_joined(kinds, outputs), *_joined(kinds, (dx, *states)), *weights)

    return Candidate(call, torch.enable_grad, results)


def parameters(work: Workload, index: int) -> Tensors:
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return tuple(work.weights[f"{name}_l{index}"] for name in names)


def leaf(value: Tensor, *order: int) -> Tensor:
    """A copy in which the dimensions come in that order in memory, not in its shape."""
    order = order or tuple(range(value.dim()))
    back = sorted(range(len(order)), key=order.__getitem__)
    copy = value.detach().permute(order).clone(memory_format=torch.contiguous_format)
    return copy.permute(back).requires_grad_()
