"""The peers on a GPU: FlashRNN, TorchRL's Triton kernels, and haste."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from ..shapes.presets import GATES, computed
from ..shapes.workload import Workload
from .gpu_peer import FLOATS, GPUPeer, Layer, Tensors, leaf, parameters
from .provider import Provider


class FlashRNNLayer(Layer):
    """An LSTM has torch.nn's gates; a GRU's are n, r, z in the recurrent weights, and in the bias
    these and the input's n. All lie as the library permutes them, or each call would copy them."""

    def __init__(self, backend: str, work: Workload, index: int, _: bool) -> None:
        from flashrnn import FlashRNNConfig

        preset, gates = work.preset, GATES[work.preset.cell]
        self.gru, self.interleaved = preset.cell == "GRU", backend == "cuda_fused"
        self.units = (preset.H, gates) if self.interleaved else (gates, preset.H)
        kind = {"function": preset.cell.lower(), "backend": backend, "dtype": preset.dtype}
        sizes = {"hidden_dim": preset.H, "num_heads": 1, "batch_size": preset.B}
        self.config = FlashRNNConfig(**kind, **sizes, input_shape="TBGHD", output_shape="STBHD")
        w_ih, w_hh, b_ih, b_hh = (w.unflatten(0, (gates, -1)) for w in parameters(work, index))
        bias = b_ih + b_hh
        if self.gru:
            w_hh = w_hh.roll(1, 0)
            bias = torch.stack((b_hh[2], bias[0], bias[1], b_ih[2]))
        w_ih = w_ih.transpose(0, 1) if self.interleaved else w_ih
        states = torch.stack([state[index] for state in work.states])
        self.leaves = (
            leaf(states[:, None, :, None]),
            leaf(w_ih.flatten(0, 1)),
            leaf(w_hh[:, None], *((1, 2, 0, 3) if self.interleaved else (1, 3, 0, 2))),
            leaf(bias[:, None], *((1, 2, 0) if self.interleaved else (1, 0, 2))),
        )

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensors]:
        from flashrnn import flashrnn

        states, input_weight, recurrent, bias = self.leaves
        gates = F.linear(x, input_weight).unflatten(-1, self.units)
        gates = gates.transpose(-1, -2) if self.interleaved else gates
        gates = gates.unsqueeze(-2)
        steps, ends = flashrnn(gates, recurrent, bias, states=states, config=self.config)
        return steps[0].squeeze(-2), ends[:, 0, :, 0].unbind()

    def grads(self, grads: Tensors) -> Tensors:
        states, w_ih, w_hh, bias = grads
        w_hh, b_ih = w_hh.squeeze(1), bias.squeeze(1)
        if self.interleaved:
            w_ih = w_ih.unflatten(0, self.units).transpose(0, 1).flatten(0, 1)
        b_hh = b_ih[[1, 2, 0]] if self.gru else b_ih
        if self.gru:
            w_hh, b_ih = w_hh.roll(-1, 0), b_ih[1:]
        weights = (w_ih, w_hh.flatten(0, 1), b_ih.flatten(), b_hh.flatten())
        return (*states[:, 0, :, 0].unbind(), *weights)


class FlashRNN(GPUPeer):
    """Compiles its kernels for each hidden and batch size, which takes minutes, so a run has it on
    its own figure's shape. The fused ones run all steps in one launch, the alternating ones are
    launched between cuBLAS's products."""

    packages = ("flashrnn",)
    presets = ("flashrnn-figure",)

    def __init__(self, name: str, backend: str) -> None:
        self.name, self.used = name, ("flashrnn", backend)
        self.layer = partial(FlashRNNLayer, backend)
        self.fused = backend == "cuda_fused"
        self.waits = not self.fused
        self.dtypes = dict.fromkeys(("LSTM",) if self.fused else ("LSTM", "GRU"), FLOATS)

    def missing(self, work: Workload, pass_name: str) -> str | None:
        if reason := super().missing(work, pass_name):
            return reason
        # A warp's tile is wider in 16 bits where the batch, filled up to 8, fills no two eights.
        narrow = work.preset.dtype == "float32" or -(-work.preset.B // 8) % 2 == 0
        if self.fused and work.preset.H % (units := 16 if narrow else 32):
            return f"needs a hidden size that is a multiple of {units} here"
        from torch.utils.cpp_extension import CUDA_HOME

        return None if CUDA_HOME else "needs a CUDA toolkit with nvcc, to compile its kernels"


# A program of TorchRL's backward has all units, in tiles as wide; compiling that gets slow.
WIDEST_BACKWARD = 512


class TorchRLLayer(Layer):
    """Batch-first, with torch.nn's weights. A state is given for every step and counts where an
    episode starts; the first step's always counts, so a reset there has to be in it."""

    def __init__(self, work: Workload, index: int, _: bool) -> None:
        from torchrl.modules.tensordict_module import _rnn_triton

        T, B = work.x.shape[:2]
        self.run = getattr(_rnn_triton, f"{work.preset.cell.lower()}_triton")
        self.precision = "tf32" if torch.backends.cudnn.allow_tf32 else "ieee"  # as torch.nn's
        self.resets, self.kinds = work.resets, len(work.states)
        self.never = torch.zeros(B, T, dtype=torch.bool, device=work.device)
        self.kept = 1 if work.resets is None else (~work.resets[0]).to(work.dtype)[:, None]
        later = work.x.new_zeros(B, T - 1, work.preset.H)
        firsts = ((state[index] * self.kept)[:, None] for state in work.states)
        states = (torch.cat((first, later), dim=1) for first in firsts)
        self.leaves = tuple(map(leaf, (*states, *parameters(work, index))))

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensors]:
        rows = x.transpose(0, 1).contiguous()  # a copy that the library would make twice
        starts = self.never if self.resets is None else self.resets.t().contiguous()
        y, *ends = self.run(rows, *self.leaves, starts, input_precision=self.precision)
        return y.transpose(0, 1), tuple(ends[-self.kinds :])

    def grads(self, grads: Tensors) -> Tensors:
        states = (grad[:, 0] * self.kept for grad in grads[: self.kinds])
        return (*states, *grads[self.kinds :])


class TorchRL(GPUPeer):
    """The kernels behind LSTMModule and GRUModule with recurrent_backend="triton"."""

    name = "torchrl-triton"
    packages = ("torchrl", "triton")
    used = ("torchrl", "triton")
    dtype = "float32"
    dtypes = {"LSTM": ("float32",), "GRU": ("float32",)}
    resets = True
    layer = TorchRLLayer

    def missing(self, work: Workload, pass_name: str) -> str | None:
        if reason := super().missing(work, pass_name):
            return reason
        if computed(pass_name) == "fwd_bwd" and work.preset.H > WIDEST_BACKWARD:
            return f"has no tiles in its backward, which we try up to H {WIDEST_BACKWARD} only"
        return None


class HasteLayer(Layer):
    """Weights are transposed; an LSTM's gates come as i, g, f, o and a GRU's as z, r, n."""

    def __init__(self, work: Workload, index: int, training: bool) -> None:
        import haste_pytorch

        preset, lstm = work.preset, work.preset.cell == "LSTM"
        self.order = [0, 2, 1, 3] if lstm else [1, 0, 2]  # either undoes itself
        w_ih, w_hh, b_ih, b_hh = map(self.swapped, parameters(work, index))
        biases = {"bias": b_ih + b_hh} if lstm else {"bias": b_ih, "recurrent_bias": b_hh}
        weights = {"kernel": w_ih.t(), "recurrent_kernel": w_hh.t(), **biases}
        module = getattr(haste_pytorch, preset.cell)(w_ih.shape[1], preset.H)
        self.module = module.to(work.device, work.dtype).train(training)
        self.module.load_state_dict(weights)
        self.states = tuple(leaf(state[index : index + 1]) for state in work.states)
        self.leaves = (*self.states, *map(self.module.get_parameter, weights))

    def swapped(self, value: Tensor) -> Tensor:
        return value.unflatten(0, (len(self.order), -1))[self.order].flatten(0, 1)

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensors]:
        y, ends = self.module(x, self.states if len(self.states) > 1 else self.states[0])
        return y, tuple(end[0] for end in (ends if isinstance(ends, tuple) else (ends,)))

    def grads(self, grads: Tensors) -> Tensors:
        kinds = len(self.states)
        w_ih, w_hh, b_ih, *b_hh = grads[kinds:]
        weights = map(self.swapped, (w_ih.t(), w_hh.t(), b_ih, *(b_hh or [b_ih])))
        return (*(grad[0] for grad in grads[:kinds]), *weights)


class Haste(GPUPeer):
    name = "haste"
    packages = ("haste_pytorch",)
    install = "pip install haste-pytorch, which has to compile"
    used = ("haste-pytorch",)
    dtypes = {"LSTM": ("float32",), "GRU": ("float32", "float16")}
    waits = True
    layer = HasteLayer


GPU_PEERS: tuple[Provider, ...] = (
    FlashRNN("flashrnn", "cuda_fused"),
    FlashRNN("flashrnn-alternating", "cuda"),
    TorchRL(),
    Haste(),
)
