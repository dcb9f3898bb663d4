"""The processes that torchrun starts to train one model together, each on its share of a batch."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn

import torch
import torch.distributed as dist
from torch import Tensor, nn

CPU = torch.device("cpu")


def told(name: str, default: int) -> int:
    """Return a number that torchrun puts into the environment, such as RANK."""
    return int(os.environ.get(name, default))


@dataclass(frozen=True)
class Ranks:
    """This process among those that train the same model: alone by default."""

    mode: str | None = None  # "ddp" or "fsdp"
    number: int = 0
    count: int = 1
    device: torch.device = CPU

    def share(self, streams: Tensor) -> Tensor:
        """Return this rank's part of (time, batch) streams."""
        return streams.chunk(self.count, 1)[self.number].contiguous().to(self.device)

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return a model whose gradients are averages over ranks; FSDP shards it in place."""
        if self.mode == "ddp":
            return nn.parallel.DistributedDataParallel(model)
        if self.mode == "fsdp":
            # Imported here, as it takes half a second.
            from torch.distributed.fsdp import fully_shard

            # Without a mesh, a process group on the CPU gets one of GPUs where there are any.
            mesh = dist.init_device_mesh(self.device.type, (self.count,))
            for part in (model.recurrent, model):
                fully_shard(part, mesh=mesh)
        return model

    def mean(self, value: Tensor) -> float:
        """Return the mean over ranks of a scalar."""
        if self.mode is None:
            return value.item()
        total = value.detach().clone()
        dist.all_reduce(total)
        return total.item() / self.count

    def weights(self, model: nn.Module) -> dict[str, Tensor]:
        """Return all weights of a model that `wrap` got. Every rank has to ask."""
        weights = model.state_dict()
        if self.mode == "fsdp":
            return {name: shard.full_tensor() for name, shard in weights.items()}
        return weights


@contextmanager
def together(mode: str | None) -> Iterator[Ranks]:
    """Join the ranks that torchrun started; be the only one where it started none."""
    if mode is None:
        yield Ranks()
        return
    number, count, local = told("RANK", 0), told("WORLD_SIZE", 1), told("LOCAL_RANK", 0)
    device = torch.device("cuda", local) if _on_gpus() else CPU
    if device != CPU:
        torch.cuda.set_device(device)
    dist.init_process_group(
        "gloo" if device == CPU else "nccl",
        store=None if "RANK" in os.environ else dist.HashStore(),  # None: as torchrun says
        rank=number,
        world_size=count,
        device_id=None if device == CPU else device,
    )
    try:
        yield Ranks(mode, number, count, device)
    finally:
        dist.destroy_process_group()


def leave(status: int) -> NoReturn:
    """End the process without the end of Python, in which a process group's threads may still drop
    tensors, and abort: https://github.com/pytorch/pytorch/issues/190489."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def can_shard() -> bool:
    """Return whether FSDP runs here: the first torch that has it, 2.6, knows GPUs alone."""
    return _on_gpus() or hasattr(torch.cpu.Stream, "record_event")


def _on_gpus() -> bool:
    """Return whether there is a GPU for each of this machine's ranks."""
    return dist.is_nccl_available() and torch.cuda.device_count() >= told("LOCAL_WORLD_SIZE", 1)
