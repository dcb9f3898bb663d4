"""The workload: a preset's weights, inputs and output gradients, the same for every provider."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from .presets import Preset, computed


@dataclass(frozen=True)
class Workload:
    """N is T·B, or for packed sequences the sum of their lengths."""

    preset: Preset
    weights: dict[str, Tensor]  # a state_dict of torch.nn
    x: Tensor | PackedSequence  # (T, B, I), or (N, I) rows
    states: tuple[Tensor, ...]  # h0 and, for an LSTM, c0: (L·D, B, H)
    resets: Tensor | None  # (T, B) bool
    output_grads: tuple[Tensor, ...]  # dy (T, B, D·H) or (N, D·H); dh_n and dc_n like `states`

    @property
    def dtype(self) -> torch.dtype:
        return self.states[0].dtype

    @property
    def device(self) -> torch.device:
        return self.states[0].device

    @property
    def output_names(self) -> tuple[str, ...]:
        return ("y", "h_n", "c_n")[: 1 + len(self.states)]

    def result_names(self, pass_name: str) -> tuple[str, ...]:
        """What a provider's call returns, in this order.

        The pass cell_fwd is one step of the cell module, which has no y and no dimension for
        layers."""
        pass_name = computed(pass_name)
        if pass_name == "cell_fwd":
            return self.output_names[1:]
        if pass_name != "fwd_bwd":
            return self.output_names
        inputs = ("x", "h_0", "c_0")[: 1 + len(self.states)]
        return (*self.output_names, *(f"grad {name}" for name in (*inputs, *self.weights)))

    def to(self, dtype: torch.dtype | None = None, device: str | None = None) -> "Workload":
        """The same values elsewhere or in another dtype, where the float64 reference sees the
        rounded inputs. Batch sizes stay on the CPU, as torch wants them."""
        target = {"dtype": dtype, "device": device}
        return replace(
            self,
            weights={name: weight.to(**target) for name, weight in self.weights.items()},
            x=self.x.to(**target),
            states=tuple(state.to(**target) for state in self.states),
            resets=None if self.resets is None else self.resets.to(device=device),
            output_grads=tuple(grad.to(**target) for grad in self.output_grads),
        )


def make_workload(preset: Preset, device: str = "cpu", seed: int = 0) -> Workload:
    """Weights as torch.nn initialises them, h0 in (-1, 1) as a layer leaves it, the rest normal.

    Drawn on the CPU, so that a seed gives the same numbers on every device.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    layer = getattr(torch.nn, preset.cell)(
        preset.I, preset.H, preset.L, bidirectional=preset.D == 2, device="meta"
    )
    bound = preset.H**-0.5
    weights = {
        name: torch.empty(weight.shape).uniform_(-bound, bound, generator=generator)
        for name, weight in layer.named_parameters()
    }
    x: Tensor | PackedSequence = normal(preset.T, preset.B, preset.I)
    if preset.packed:
        lengths = torch.randint(1, preset.T + 1, (preset.B,), generator=generator)
        lengths[0] = preset.T
        lengths = lengths.sort(descending=True).values
        x = pack_padded_sequence(x, lengths, enforce_sorted=False)
    rows = x.data.shape[:-1]
    states = [normal(preset.L * preset.D, preset.B, preset.H).tanh()]
    if preset.cell == "LSTM":
        states.append(normal(*states[0].shape))
    resets = None
    if preset.resets:
        resets = torch.rand(preset.T, preset.B, generator=generator) < preset.resets
    output_grads = (normal(*rows, preset.D * preset.H), *(normal(*s.shape) for s in states))
    work = Workload(preset, weights, x, tuple(states), resets, output_grads)
    return work.to(preset.torch_dtype, device)
