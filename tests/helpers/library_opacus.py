"""Models for Opacus, and what private training of them should be, for test_libraries.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import rnn_kernels as rk

Data = tuple[Tensor, Tensor]


class OfOutput(nn.Module):
    """Reads a layer that gives its output alone."""

    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.rnn = kind(4, 5, num_layers=2, batch_first=True, bidirectional=True)
        self.out = nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.rnn(x).mean(1))


class OfStates(OfOutput):
    """Reads a layer's output and the final states of its last two directions."""

    def forward(self, x: Tensor) -> Tensor:
        y, state = self.rnn(x)
        h_n = state[0] if isinstance(state, tuple) else state
        return self.out(y.mean(1) + h_n[-2:].transpose(0, 1).flatten(1))


class OutputLSTM(rk.LSTM):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[0]


class OutputGRU(rk.GRU):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[0]


def private(model: nn.Module, data: Data, **options: Any) -> tuple[nn.Module, Any]:
    """The model and an optimizer, private without noise and with nothing to clip."""
    from opacus import PrivacyEngine

    wrapped, optimizer, _ = PrivacyEngine().make_private(
        module=model,
        optimizer=torch.optim.SGD(model.parameters(), 0.5),
        data_loader=DataLoader(TensorDataset(*data), batch_size=len(data[0])),
        noise_multiplier=0.0,
        max_grad_norm=1e6,
        poisson_sampling=False,
        **options,
    )
    return wrapped, optimizer


def learns_like(
    plain: nn.Module, model: nn.Module, optimizer: Any, backward: Callable[[], None], data: Data
) -> None:
    """Private steps of ``model`` are SGD's of ``plain``, whose samples are taken one by one."""
    parameters = list(plain.parameters())
    for _ in range(3):
        each = [
            torch.autograd.grad(F.cross_entropy(plain(x[None]), target[None]), parameters)
            for x, target in zip(*data, strict=True)
        ]
        optimizer.zero_grad()
        backward()
        for p, own, *expected in zip(parameters, model.parameters(), *each, strict=True):
            torch.testing.assert_close(own.grad_sample, torch.stack(expected))
            assert own.grad_sample.abs().max() > 1e-3
            p.data -= 0.5 * torch.stack(expected).mean(0)
        optimizer.step()
