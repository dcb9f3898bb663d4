"""What ``python -m rnn_kernels info`` prints."""

from __future__ import annotations

import platform
from importlib import metadata

import torch

from .backends.dispatch import BACKENDS
from .core.compiled import core


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _gpus() -> list[str]:
    try:
        return [
            f"{d['name']}: sm_{d['capability']}, {d['multiprocessors']} multiprocessors, "
            f"{d['shared_memory'] // 1024} KiB shared memory per block, {d['l2'] >> 20} MiB L2, "
            + ("kernels run" if d["runs"] else "kernels of this build do not run on it")
            for d in BACKENDS["cuda"].devices()
        ]
    except RuntimeError as error:
        return [f"none ({error})"]


def lines() -> list[str]:
    """Versions, how the package was built, and each backend; if it is off, why."""
    text = [
        f"rnn_kernels  {_version('rnn_kernels')}",
        f"torch        {torch.__version__} ({torch.get_num_threads()} threads)",
        f"triton       {_version('triton')}",
        f"python       {platform.python_version()} on {platform.system()} {platform.machine()}",
        f"core         {f'{core.compiler}, {core.isa()}' if core else 'not built'}",
        f"cuda build   {BACKENDS['cuda'].built() or 'none'}",
        *(f"gpu          {gpu}" for gpu in _gpus()),
        "backends",
    ]
    for name, backend in BACKENDS.items():
        why = backend.unavailable()
        text.append(f"  {name:<10} {'on' if why is None else f'off: {why}'}")
    return text
