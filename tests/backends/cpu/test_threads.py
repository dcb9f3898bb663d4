"""Threads: any number of them, from many callers at once, and after a fork."""

from __future__ import annotations

import multiprocessing
import threading

import pytest
import torch
from torch import Tensor

import rnn_kernels as rk


def results(layer: torch.nn.Module, x: Tensor) -> list[Tensor]:
    y, _ = layer(x)
    return [y.detach(), *torch.autograd.grad(y.square().sum(), list(layer.parameters()))]


@pytest.mark.parametrize(("B", "H"), [(1, 1), (3, 100), (70, 20), (40, 64)])
@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_any_number_of_threads(cell: str, B: int, H: int) -> None:
    layer = getattr(rk, cell)(5, H, bidirectional=True).double()
    x = torch.randn(9, B, 5, dtype=torch.float64)
    torch.set_num_threads(1)
    alone = results(layer, x)
    for threads in (2, 3, 7):
        torch.set_num_threads(threads)
        torch.testing.assert_close(results(layer, x), alone)


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_bitwise_the_same_every_time(cell: str) -> None:
    torch.set_num_threads(3)
    layer, x = getattr(rk, cell)(5, 70, bidirectional=True), torch.randn(20, 6, 5)
    first = results(layer, x)
    for _ in range(50):
        assert all(map(torch.equal, results(layer, x), first))


def test_many_callers_at_once() -> None:
    torch.set_num_threads(2)
    layers = [rk.LSTM(5, 8 + k) for k in range(6)]
    x = torch.randn(30, 4, 5)
    expected, got = [results(layer, x) for layer in layers], [[] for _ in layers]

    def work(k: int) -> None:
        for _ in range(10):
            got[k] = results(layers[k], x)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(len(layers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b)


def _in_child(layer: torch.nn.Module, x: Tensor, answers) -> None:
    torch.set_num_threads(1)  # as torch's DataLoader does in its workers
    answers.put(layer(x)[0].detach().numpy())


def test_after_a_fork() -> None:
    layer, x = rk.GRU(5, 40), torch.randn(12, 4, 5)
    expected = layer(x)[0].detach()
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    child = context.Process(target=_in_child, args=(layer, x, answers))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    torch.testing.assert_close(torch.from_numpy(answers.get()), expected)
