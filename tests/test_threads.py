"""Threads: any number of them, from many callers at once, and after a fork."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Iterator

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

import rnn_kernels as rk
from rnn_kernels import cpu, reference
from rnn_kernels.cells import CELLS


@pytest.fixture(autouse=True)
def restore_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


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


# Both round in the same places and differ in the order of their sums: for the halves that flips the
# last bit of a state now and then. Accuracy itself is the business of test_accuracy.py.
CLOSE = {
    torch.float64: 1e-12,
    torch.float32: 1e-5,
    torch.bfloat16: 4 * torch.finfo(torch.bfloat16).eps,
    torch.float16: 4 * torch.finfo(torch.float16).eps,
}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_random_calls_agree_with_the_reference(data: st.DataObject) -> None:
    """The compiled backend against the reference, forward and backward, on anything goes."""
    draw = data.draw
    kind = CELLS[draw(st.sampled_from(sorted(CELLS)))]
    T, B, D = draw(st.integers(1, 12)), draw(st.integers(0, 20)), draw(st.integers(1, 2))
    H = draw(st.one_of(st.integers(1, 40), st.sampled_from([64, 65, 127, 128])))
    torch.set_num_threads(draw(st.integers(1, 4)))
    torch.manual_seed(draw(st.integers(0, 99)))
    batch_sizes = None
    if B and draw(st.booleans()):
        lengths = draw(st.lists(st.integers(0, T), min_size=B, max_size=B))
        lengths[0] = T
        batch_sizes = torch.tensor([sum(n > t for n in lengths) for t in range(T)])
    lead = (T, B) if batch_sizes is None else (int(batch_sizes.sum()),)
    resets = torch.rand(lead) < 0.2 if draw(st.booleans()) else None

    dtype = draw(st.sampled_from(sorted(CLOSE, key=str)))
    close = {"rtol": CLOSE[dtype], "atol": CLOSE[dtype], "equal_nan": False}

    def values(*sizes: int) -> Tensor:
        return torch.randn(*sizes, dtype=torch.float64).to(dtype)

    call = (
        kind.name,
        values(*lead, D, kind.gates * H),
        values(D, kind.gates * H, H) / H**0.5,
        values(D, kind.gates * H) if draw(st.booleans()) else None,
        None,
        values(D, B, H),
        values(D, B, H) if kind.has_c else None,
        batch_sizes,
        resets,
    )
    ours = cpu.forward(*call, True, True)
    theirs = reference.forward(*call, True, True)
    torch.testing.assert_close(ours, theirs, **close)

    y, h_n, c_n, c, saved = theirs
    grads = [
        values(*t.shape).to(t) if t is not None and draw(st.booleans()) else None
        for t in (y, h_n, c_n, c)
    ]
    w_hh, h0, c0 = call[2], call[5], call[6]
    rest = (w_hh, None, h0, c0, y, c, saved, batch_sizes, resets, True, True)
    torch.testing.assert_close(
        cpu.backward(kind.name, *grads, *rest),
        reference.backward(kind.name, *grads, None, *rest),
        **close,
    )
