"""Fixtures for all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

# Threads that wait sleep instead of spinning, so that tests keep their pace on a busy machine.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import pytest  # noqa: E402
import torch  # noqa: E402

import rnn_kernels  # noqa: E402


@pytest.fixture(autouse=True)
def nan_in_empty_memory() -> Iterator[None]:
    """torch.empty is filled with NaN, so that an element no kernel writes fails a comparison."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    assert torch.empty(3).isnan().all() and torch.zeros(2).new_empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(before)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(params=["cpu", "reference"])
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each backend that runs on this machine."""
    with rnn_kernels.backend(request.param):
        yield request.param
