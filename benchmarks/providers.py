"""The provider: one implementation of the layer, made into a call that can be checked and timed.

A new provider is one class here and one line in PROVIDERS.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from benchmarks.presets import Preset
from benchmarks.workload import Workload

# What a call returns: see Workload.result_names. None stands for a gradient that did not arrive.
Result = tuple[Tensor | None, ...]
Layer = Callable[..., tuple[Tensor | PackedSequence, Tensor | tuple[Tensor, Tensor]]]


@dataclass(frozen=True)
class Candidate:
    """One provider on one workload and pass. The context is entered outside the timed part."""

    call: Callable[[], Result]
    context: Callable[[], AbstractContextManager]


class Provider(ABC):
    name: str

    def missing(self, preset: Preset, pass_name: str) -> str | None:
        """The reason why this provider cannot run here, or None."""
        return None

    def backend_used(self, preset: Preset) -> str:
        """What runs, where the provider chooses; only asked when it is not missing."""
        return self.name

    @abstractmethod
    def build(self, work: Workload, pass_name: str, dropout: float = 0.0) -> Candidate:
        """A call of the pass on the workload; it copies what it changes."""


class ModuleProvider(Provider):
    """A module shaped like torch.nn.LSTM / GRU, differentiated by autograd."""

    def namespace(self) -> ModuleType:
        """Where the classes LSTM and GRU are."""
        return nn

    def context(self) -> AbstractContextManager:
        return nullcontext()

    def layer(self, module: nn.Module, work: Workload) -> Layer:
        """`(x, hx) -> (y, state)`, with the workload's resets if it has any."""
        return module

    def build(self, work: Workload, pass_name: str, dropout: float = 0.0) -> Candidate:
        preset = work.preset
        module = getattr(self.namespace(), preset.cell)(
            preset.I,
            preset.H,
            preset.L,
            dropout=dropout,
            bidirectional=preset.D == 2,
            dtype=work.states[0].dtype,
        )
        module.load_state_dict(work.weights)
        module.train(pass_name == "fwd_bwd")
        layer = self.layer(module, work)
        if pass_name == "fwd":
            call = _forward(layer, work)
        else:
            parameters = tuple(module.get_parameter(name) for name in work.weights)
            call = _forward_backward(layer, work, parameters)

        def context() -> AbstractContextManager:
            stack = ExitStack()
            stack.enter_context(self.context())
            stack.enter_context(torch.set_grad_enabled(pass_name == "fwd_bwd"))
            return stack

        return Candidate(call, context)


def _forward(layer: Layer, work: Workload) -> Callable[[], Result]:
    hx = work.states if len(work.states) > 1 else work.states[0]
    return lambda: _flat(*layer(work.x, hx))


def _forward_backward(
    layer: Layer, work: Workload, parameters: tuple[Tensor, ...]
) -> Callable[[], Result]:
    rows = work.x.data.detach().requires_grad_()
    x = PackedSequence(rows, *work.x[1:]) if isinstance(work.x, PackedSequence) else rows
    states = tuple(state.detach().requires_grad_() for state in work.states)
    hx = states if len(states) > 1 else states[0]
    leaves = (rows, *states, *parameters)

    def call() -> Result:
        outputs = _flat(*layer(x, hx))
        grads = torch.autograd.grad(outputs, leaves, work.output_grads, allow_unused=True)
        return (*outputs, *grads)

    return call


def _flat(y: Tensor | PackedSequence, state: Tensor | tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
    rows = y.data if isinstance(y, PackedSequence) else y
    return (rows, *state) if isinstance(state, tuple) else (rows, state)


class TorchNN(ModuleProvider):
    """The baseline. torch.nn has no resets, so it does what its users do: see cleanrl."""

    name = "torch.nn"

    def layer(self, module: nn.Module, work: Workload) -> Layer:
        if work.resets is None:
            return module
        keep = (~work.resets).to(work.states[0].dtype)[:, None, :, None]  # (T, 1, B, 1)

        def step_by_step(x: Tensor, hx: Tensor | tuple[Tensor, Tensor]):
            outputs = []
            for x_t, keep_t in zip(x.split(1), keep, strict=True):
                hx = tuple(keep_t * s for s in hx) if isinstance(hx, tuple) else keep_t * hx
                y_t, hx = module(x_t, hx)
                outputs.append(y_t)
            return torch.cat(outputs), hx

        return step_by_step


class RnnKernels(ModuleProvider):
    """Ours, on one backend or on the one that `auto` chooses."""

    def __init__(self, backend: str) -> None:
        self.name = backend

    def namespace(self) -> ModuleType:
        import rnn_kernels

        return rnn_kernels

    def context(self) -> AbstractContextManager:
        return self.namespace().backend(self.name)

    def missing(self, preset: Preset, pass_name: str) -> str | None:
        try:
            self.backend_used(preset)
        except (ImportError, RuntimeError) as refusal:
            return str(refusal)
        return None

    def backend_used(self, preset: Preset) -> str:
        with self.context():
            backends = self.namespace().backends
            return backends.choose(preset.cell.lower(), preset.torch_dtype, "cpu", projected=False)

    def layer(self, module: nn.Module, work: Workload) -> Layer:
        if work.resets is None:
            return module
        return lambda x, hx: module(x, hx, resets=work.resets)


BASELINE = TorchNN()
PROVIDERS: dict[str, Provider] = {
    provider.name: provider
    for provider in (BASELINE, RnnKernels("auto"), RnnKernels("cpu"), RnnKernels("reference"))
}
