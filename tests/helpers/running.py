"""The backends that tests run on, and how each is had on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import emulated
import pytest
import torch

import rnn_kernels
from rnn_kernels.backends.dispatch import BACKENDS
from rnn_kernels.backends.gpu.triton_plan import Facts

# What Triton's interpreter plays in these tests: weights fit, which is faster there as well.
SPACIOUS = Facts("cuda", 90, 132, True, 1 << 20)

# Backends with kernels of their own. "emulated" is the CUDA backend on the CPU; it stands in for
# "cuda" where there is no GPU. Triton's interpreter takes seconds for what a CPU does at once;
# tests of `make test` that run on it ask for it by name.
TRITON = pytest.param("triton", marks=[] if torch.cuda.is_available() else pytest.mark.slow)
KERNELS = ["cpu", "emulated", TRITON, pytest.param("cuda", marks=pytest.mark.gpu)]


def paired(backend: Any, value: object) -> Any:
    """One of them beside another parameter, with its marks."""
    if isinstance(backend, str):
        return backend, value
    return pytest.param(*backend.values, value, marks=backend.marks)


@contextmanager
def running(name: str, test: str) -> Iterator[str]:
    """On that backend; new tensors lie on its device. Skips the test where it cannot run."""
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        if name == "emulated":
            patch.setitem(BACKENDS, name, emulated.backend())
            emulated.machine().seed(emulated.seed_of(test))
        if name == "triton" and not torch.cuda.is_available():
            from interpreted import together

            if BACKENDS[name].facts(None).target == "interpreted":
                patch.setattr(BACKENDS[name], "facts", lambda index: SPACIOUS)
                stack.enter_context(together(emulated.seed_of(test)))
        why = BACKENDS[name].unavailable()
        on_gpu = name in ("cuda", "triton") and torch.cuda.is_available()
        if why:
            # A backend that is off where it should be on is no reason to skip.
            (pytest.fail if on_gpu else pytest.skip)(f"{name}: {why}")
        with rnn_kernels.backend(name), torch.device("cuda" if on_gpu else "cpu"):
            yield name
