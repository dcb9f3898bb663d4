"""What each of torchrun's ranks computes for test_distributed, into FOLDER/RANK.pt.

torchrun … tests/helpers/distributed_ranks.py FOLDER layers example
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from types import ModuleType
from typing import Any

import torch
import torch.distributed as dist
from paths import EXAMPLES
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import rnn_kernels as rk

sys.path.insert(0, str(EXAMPLES))  # torchrun runs this file as a program
import char_lm  # noqa: E402
import language_model  # noqa: E402
from ranks import can_shard, leave, together  # noqa: E402

RANKS = 2
KINDS = ("LSTM", "GRU", "LSTMCell", "GRUCell")
STRATEGIES = {
    "DistributedDataParallel": (
        *("ddp", "ddp static_graph", "ddp find_unused_parameters", "ddp gradient_as_bucket_view"),
    ),
    "FSDP1": ("fsdp1 use_orig_params", "fsdp1 flat_parameters"),
    "FSDP2 (fully_shard)": (
        *("fsdp2 model", "fsdp2 layer in a model", "fsdp2 layer alone", "fsdp2 bfloat16"),
    ),
}
FEATURES = {one: feature for feature, several in STRATEGIES.items() for one in several}
CASES = [(kind, one) for kind in KINDS for one in FEATURES if can_shard() or "fsdp2" not in one]

# No size is even but that of the batch, which is shared out.
T, B, I, E, H = 5, 6, 3, 7, 5
STEPS = 4

RUNS = [
    (mode, implementation, cell)
    for mode in ("ddp", "fsdp")
    for implementation in ("rnn_kernels", "torch.nn")
    for cell in ("lstm", "gru")
    if can_shard() or mode != "fsdp"
]
SMALL = [
    *("--corpus-size", "20000", "--batch", "6", "--length", "15", "--steps", "6", "--lr", "0.05"),
    *("--hidden", "25", "--embedding", "13", "--layers", "2", "--sample", "0"),
]
CLIP = 0.7  # so that gradients of some of these steps are clipped, and those of others not


class Model(nn.Module):
    """A layer, or a cell in a loop, between linear layers, called twice with its state."""

    def __init__(self, library: ModuleType, kind: str) -> None:
        super().__init__()
        layers = {} if kind.endswith("Cell") else {"num_layers": 2, "bidirectional": True}
        self.first = nn.Linear(I, E)
        self.layer = getattr(library, kind)(E, H, **layers)
        self.last = nn.Linear(H * (2 if layers else 1), I)
        self.cell = not layers

    def forward(self, x: Tensor, skip: bool = False) -> Tensor:
        """(N, I) of (T, B, I); `skip` leaves all parameters but the last layer's unused."""
        if skip:
            return self.last(x.new_ones(x.shape[:2].numel(), self.last.in_features))
        x, state, found = self.first(x), None, []
        if self.cell:
            for part in x:
                state = self.layer(part, state)
                found.append(state[0] if isinstance(state, tuple) else state)
        else:
            self.layer.flatten_parameters()  # as models do for DataParallel
            for part in x.split(3):
                y, state = self.layer(part, state)
                found.append(y.flatten(0, 1))
        return self.last(torch.cat(found))


def wrapped(model: Model, strategy: str) -> nn.Module:
    """The model, distributed that way."""
    family, _, how = strategy.partition(" ")
    if family == "ddp":
        return DistributedDataParallel(model, **{how: True} if how else {})
    if family == "fsdp1":
        from torch.distributed.fsdp import FullyShardedDataParallel

        # Without a device it wants an accelerator.
        return FullyShardedDataParallel(
            model, use_orig_params=how == "use_orig_params", device_id=torch.device("cpu")
        )
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    settings: dict[str, Any] = {"mesh": dist.init_device_mesh("cpu", (RANKS,))}
    if how == "bfloat16":
        settings["mp_policy"] = MixedPrecisionPolicy(torch.bfloat16, reduce_dtype=torch.float32)
    if how != "model":
        fully_shard(model.layer, **settings)
    return model if how == "layer alone" else fully_shard(model, **settings)


def trained(
    library: ModuleType,
    kind: str,
    strategy: str,
    wrap: Callable[[Model], nn.Module] = lambda model: model,
    rank: int | None = None,
) -> nn.Module:
    """That kind's model after some steps, on the whole batch or on one rank's share."""
    dtype = torch.float32 if rank is not None and "bfloat16" in strategy else torch.float64
    torch.manual_seed(1)
    model = Model(library, kind).double()
    x, target = torch.randn(2, STEPS, T, B, I, dtype=torch.float64).to(dtype)
    if rank is not None:
        x, target = (values.chunk(RANKS, 2)[rank] for values in (x, target))
    if "alone" in strategy:  # what is not sharded is not averaged either
        model.requires_grad_(False).layer.requires_grad_(True)
    model = wrap(model.to(dtype))
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=0.3, momentum=0.9)
    for step in range(STEPS):
        optimizer.zero_grad()
        skip = "unused" in strategy and step % 2 == 0
        found = model(x[step], skip=skip).to(dtype)
        (found - target[step].flatten(0, 1)).square().mean().backward()
        optimizer.step()
    return model


def layers() -> dict[tuple[str, ...], Any]:
    """Parameters and warnings of each of the cases, from this rank's share of the batch."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    results = {}
    for kind, strategy in CASES:
        wrap = partial(wrapped, strategy=strategy)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model = trained(rk, kind, strategy, wrap, dist.get_rank())
        whole = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True))
        results[kind, strategy] = whole, [str(warning.message) for warning in caught]
    return results


def losses(*options: str) -> tuple[list[float], list[float], int]:
    """What char_lm records in training and in validation, and how many streams it reads."""
    (trainer,) = char_lm.run([*SMALL, *options]).values()
    streams = trainer._state[0].shape[-2]  # of (h, c), or of h
    return trainer.losses, [bits for _, bits in trainer.validation], streams


def run_options(implementation: str, cell: str) -> list[str]:
    """The command line of one of the runs, but for its mode."""
    return ["--implementation", implementation, "--cell", cell]


def example() -> dict[tuple[str, ...], Any]:
    """Losses of each of the runs."""
    language_model.CLIP = CLIP
    return {run: losses(*run_options(*run[1:]), f"--{run[0]}") for run in RUNS}


def main(folder: str, *parts: str) -> None:
    """Write the results of some parts. All share a process group: where one is made again, ranks
    may meet the addresses of the last."""
    torch.backends.cudnn.allow_tf32 = False  # as in the process that compares
    with together("ddp") as joined:
        char_lm.together = lambda mode: nullcontext(replace(joined, mode=mode))
        computed = {part: {"layers": layers, "example": example}[part]() for part in parts}
    torch.save(computed, f"{folder}/{joined.number}.pt")


if __name__ == "__main__":
    main(*sys.argv[1:])
    leave(0)
