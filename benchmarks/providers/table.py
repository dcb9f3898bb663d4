"""The providers that are modules of torch, and the table of all.

A new provider is one class and one line in PROVIDERS.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import ModuleType
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from ..shapes.presets import Preset, computed
from ..shapes.workload import Workload
from .candidate import Candidate, Result
from .cpu_peers import ONNXRuntime, OpenVINO
from .gpu_peers import GPU_PEERS
from .graph import captured
from .provider import Provider

if TYPE_CHECKING:
    from rnn_kernels.backends.gpu.sequence_kernels import AnyPlan

Layer = Callable[..., tuple[Tensor | PackedSequence, Tensor | tuple[Tensor, Tensor]]]


class ModuleProvider(Provider):
    """A module shaped like torch.nn.LSTM / GRU, differentiated by autograd."""

    def namespace(self) -> ModuleType:
        """Where the classes LSTM and GRU are."""
        return nn

    def context(self) -> AbstractContextManager:
        return nullcontext()

    @contextmanager
    def inside(self, grad: bool) -> Iterator[None]:
        with self.context(), torch.set_grad_enabled(grad):
            yield

    def layer(self, module: nn.Module, work: Workload) -> Layer:
        """`(x, hx) -> (y, state)`, with the workload's resets if it has any."""
        return module

    def build(self, work: Workload, pass_name: str, dropout: float = 0.0) -> Candidate:
        preset = work.preset
        timed, pass_name = pass_name, computed(pass_name)
        if pass_name == "cell_fwd":
            return self.build_cell(work)
        module = getattr(self.namespace(), preset.cell)(
            preset.I,
            preset.H,
            preset.L,
            dropout=dropout,
            bidirectional=preset.D == 2,
            device=work.device,
            dtype=work.dtype,
        )
        module.load_state_dict(work.weights)
        module.train(pass_name == "fwd_bwd")
        layer = self.layer(module, work)
        if pass_name == "fwd_bwd":
            parameters = tuple(module.get_parameter(name) for name in work.weights)
            call = _forward_backward(layer, work, parameters)
            return Candidate(call, lambda: self.inside(grad=True))
        forward = Candidate(_forward(layer, work), lambda: self.inside(grad=False))
        return captured(forward) if timed == "graph_fwd" else forward

    def build_cell(self, work: Workload) -> Candidate:
        """The LSTMCell or GRUCell with the first layer's weights, on the first step."""
        preset = work.preset
        cell = getattr(self.namespace(), f"{preset.cell}Cell")
        module = cell(preset.I, preset.H, device=work.device, dtype=work.dtype)
        module.load_state_dict({name: work.weights[f"{name}_l0"] for name in module.state_dict()})
        x, states = work.x[0], tuple(state[0] for state in work.states)
        if len(states) > 1:
            return Candidate(lambda: module(x, states), lambda: self.inside(grad=False))
        return Candidate(lambda: (module(x, states[0]),), lambda: self.inside(grad=False))


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
        keep = (~work.resets).to(work.dtype)[:, None, :, None]  # (T, 1, B, 1)

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

    def __init__(
        self, backend: str, devices: tuple[str, ...] = ("cpu", "cuda"), on_request: tuple = ()
    ) -> None:
        self.name = self.backend = backend
        self.devices, self.on_request = devices, on_request

    def namespace(self) -> ModuleType:
        import rnn_kernels

        return rnn_kernels

    def context(self) -> AbstractContextManager:
        return self.namespace().backend(self.backend)

    def missing(self, work: Workload, pass_name: str) -> str | None:
        try:
            self.backend_used(work)
        except (ImportError, RuntimeError) as refusal:
            return str(refusal)
        return None

    def backend_used(self, work: Workload) -> str:
        """The backend, and how it cuts a layer's forward, such as `cuda cluster 8`."""
        preset, backends = work.preset, self.namespace().backends
        with self.context():
            cell = preset.cell.lower()
            name = backends.choose(cell, work.dtype, work.device.type, projected=False)
        if name in ("cpu", "reference"):
            return name
        if preset.T == 1 and not preset.packed:
            return f"{name} step"
        call = (cell, work.states[0], (preset.B, preset.H, preset.D), False, preset.packed)
        return f"{name} {plan_name(backends.BACKENDS[name].plan(*call))}"

    def layer(self, module: nn.Module, work: Workload) -> Layer:
        if work.resets is None:
            return module
        return lambda x, hx: module(x, hx, resets=work.resets)


def plan_name(plan: "AnyPlan | str") -> str:
    """Who has the weights of a layer; `steps` where a step is a launch of its own."""
    if isinstance(plan, str):
        return "steps"
    team = plan.programs if hasattr(plan, "programs") else plan.cluster
    if team == 1:
        return "alone"
    kind = "programs" if hasattr(plan, "programs") else "grid" if plan.grid else "cluster"
    return f"{kind} {team}"


class Recompute(RnnKernels):
    """Ours, computing the gates again in the backward, for less memory."""

    def __init__(self) -> None:
        super().__init__("auto", on_request=("cpu", "cuda"))
        self.name = "recompute"

    def missing(self, work: Workload, pass_name: str) -> str | None:
        if pass_name != "fwd_bwd":
            return "recomputes in a backward only"
        return super().missing(work, pass_name)

    @contextmanager
    def context(self) -> Iterator[None]:
        with super().context(), self.namespace().recompute():
            yield


# From here on the reference, torch's own operations one by one, takes seconds for a call on a CPU,
# and those in turns beside it wait.
REFERENCE_GFLOP, REFERENCE_STEPS = 10.0, 512

BASELINE = TorchNN()
PROVIDERS: dict[str, Provider] = {
    provider.name: provider
    for provider in (
        BASELINE,
        RnnKernels("auto"),
        RnnKernels("cpu", devices=("cpu",), on_request=("cpu",)),  # what auto chooses there
        RnnKernels("cuda", devices=("cuda",)),
        RnnKernels("triton", devices=("cuda",)),
        RnnKernels("reference", on_request=("cuda",)),  # a launch per operation: minutes, no news
        Recompute(),
        ONNXRuntime(),
        OpenVINO(),
        OpenVINO("bfloat16"),
        *GPU_PEERS,
    )
}


def offered(device: str) -> list[str]:
    """The providers that can be asked for on a device."""
    return [name for name, provider in PROVIDERS.items() if device in provider.devices]


def usual(device: str) -> list[str]:
    """The providers of a run that names none."""
    return [name for name in offered(device) if device not in PROVIDERS[name].on_request]


def usual_on(device: str, preset: Preset, pass_name: str) -> list[str]:
    """Those of the usual ones that such a run has on one of its shapes."""
    steps = preset.T * preset.L * preset.D
    slow = preset.gflop(pass_name) > REFERENCE_GFLOP or steps > REFERENCE_STEPS
    left_out = {"reference"} if slow and device == "cpu" else set()
    found = {name: PROVIDERS[name] for name in usual(device) if name not in left_out}
    return [name for name, one in found.items() if preset.name in (one.presets or (preset.name,))]
