"""The peers: libraries that run ONNX graphs on a CPU, forward only."""

from abc import abstractmethod
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from ..host.environment import version_of
from ..shapes.workload import Workload
from .candidate import Candidate, Result
from .provider import Provider


@dataclass(frozen=True)
class Buffers:
    """By name: the memory that a session reads, and that it fills at every run."""

    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    dtype: torch.dtype

    def results(self, _: object) -> Result:
        """In torch's shapes; overwritten by the next run, unless the dtype is another."""
        y, *states = self.outputs.values()
        rows = y.squeeze(1) if y.dim() == 4 else y
        return tuple(value.to(self.dtype) for value in (rows, *states))


class Peer(Provider):
    """A session that stays, on as many threads as torch has, on memory shared with torch."""

    devices = ("cpu",)
    passes = ("fwd",)
    peer = True
    dtype = "float32"

    def missing(self, work: Workload, pass_name: str) -> str | None:
        packages = ("onnx", self.package)
        if not all(map(find_spec, packages)):
            return f"needs {' and '.join(packages)}: pip install 'rnn_kernels[peers]'"
        if pass_name != "fwd":
            return "has the forward pass only"
        if work.resets is not None or isinstance(work.x, PackedSequence):
            return "an ONNX graph has neither resets nor packed input"
        if work.preset.dtype != self.dtype:
            return f"runs beside {self.dtype} only"
        return None

    @property
    def package(self) -> str:
        return self.name

    def backend_used(self, work: Workload) -> str:
        return f"{self.package} {version_of(self.package)}"

    def build(self, work: Workload, pass_name: str, dropout: float = 0.0) -> Candidate:
        from .onnx_graph import inputs, onnx_graph, output_shapes  # which need a recent rnn_kernels

        single = work.to(torch.float32)
        buffers = Buffers(
            {name: value.contiguous() for name, value in inputs(single).items()},
            {name: torch.empty(shape) for name, shape in output_shapes(single).items()},
            work.dtype,
        )
        run = self.session(onnx_graph(single), buffers)
        return Candidate(run, nullcontext, buffers.results)

    @abstractmethod
    def session(self, graph: bytes, buffers: Buffers) -> Callable[[], object]:
        """A call that fills the outputs."""


class ONNXRuntime(Peer):
    name = "onnxruntime"

    def session(self, graph: bytes, buffers: Buffers) -> Callable[[], object]:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(graph, options, ["CPUExecutionProvider"])
        binding = session.io_binding()
        for bind, tensors in (
            (binding.bind_input, buffers.inputs),
            (binding.bind_output, buffers.outputs),
        ):
            for name, value in tensors.items():
                bind(name, "cpu", 0, "float32", list(value.shape), value.data_ptr())
        return lambda: session.run_with_iobinding(binding)


@cache
def core() -> Any:
    """OpenVINO's, which takes a while to make."""
    import openvino

    return openvino.Core()


class OpenVINO(Peer):
    """In float32, or computing in bfloat16 on float32 copies of a bfloat16 workload."""

    package = "openvino"

    def __init__(self, dtype: str = "float32") -> None:
        self.dtype = dtype
        self.hint = {"float32": "f32", "bfloat16": "bf16"}[dtype]
        self.name = self.package if dtype == "float32" else f"{self.package}-{self.hint}"

    def missing(self, work: Workload, pass_name: str) -> str | None:
        reason = super().missing(work, pass_name)
        if reason or self.dtype == "float32":
            return reason
        can = core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        return None if "BF16" in can else "this processor has no bfloat16 instructions"

    def session(self, graph: bytes, buffers: Buffers) -> Callable[[], object]:
        import openvino

        options = {
            "INFERENCE_PRECISION_HINT": self.hint,
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        }
        compiled = core().compile_model(core().read_model(graph), "CPU", options)
        request = compiled.create_infer_request()
        for name, value in {**buffers.inputs, **buffers.outputs}.items():
            request.set_tensor(name, openvino.Tensor(value.numpy(), shared_memory=True))
        return lambda: request.infer(share_outputs=True)
