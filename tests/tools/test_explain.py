"""explain(): what it says of a call, and that it leaves the module alone."""

from __future__ import annotations

from collections.abc import Iterator

import emulated
import pytest
import torch
from persistent_calls import H100
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import rnn_kernels as rk
from rnn_kernels.backends.dispatch import BACKENDS


@pytest.fixture
def on_cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The emulated CUDA backend."""
    monkeypatch.setitem(BACKENDS, "emulated", emulated.backend())
    emulated.machine().seed(0)
    with rk.backend("emulated"):
        yield


@pytest.mark.emulated
def test_names_the_plan_of_each_layer(on_cuda: None, capsys: pytest.CaptureFixture[str]) -> None:
    model = nn.ModuleDict({"body": rk.LSTM(3, 40, num_layers=2, bidirectional=True)}).half()
    model.forward = lambda x: model["body"](x)[0]
    first, second = rk.explain(model, torch.randn(2, 3, 3).half())
    assert (first.name, second.name) == ("body, layer 0", "body, layer 1")
    assert (first.T, first.B, first.H, first.D) == (2, 3, 40, 2)
    assert first.forward.plan is not None and first.backward.plan is not None
    assert first.forward.plan.rows * first.forward.plan.groups >= 3
    printed = capsys.readouterr().out
    assert printed == f"{first}\n{second}\n"
    assert "one launch: one block has all weights, 40 units each" in printed
    assert "µs per step predicted" in printed and "measured" not in printed
    assert not model["body"]._forward_pre_hooks


@pytest.mark.emulated
def test_names_a_grid(on_cuda: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emulated.backend(), "facts", lambda index: H100)
    monkeypatch.setattr(emulated.backend(), "recurrence_forward", lambda call: None)
    (found,) = rk.explain(rk.LSTM(3, 1024).half(), torch.randn(2, 16, 3).half())
    assert found.forward.plan.grid and found.backward.plan.grid
    assert "one launch: the whole grid in teams of 64 blocks, 16 units each" in str(found)


@pytest.mark.emulated
def test_says_why_a_call_goes_per_step(on_cuda: None) -> None:
    (large,) = rk.explain(rk.GRU(3, 1500).half(), torch.randn(2, 1, 3).half())
    assert "the weights do not fit on the chip" in str(large)
    (double,) = rk.explain(rk.GRU(3, 8).double(), torch.randn(2, 1, 3).double())
    assert "float64" in str(double)


def test_every_form_of_input() -> None:
    for layer, x, T, B in [
        (rk.LSTM(3, 5), torch.randn(4, 2, 3), 4, 2),
        (rk.LSTM(3, 5, batch_first=True), torch.randn(2, 4, 3), 4, 2),
        (rk.GRU(3, 5), torch.randn(4, 3), 4, 1),
        (rk.GRU(3, 5), pack_padded_sequence(torch.randn(4, 2, 3), [4, 3]), 4, 2),
        (rk.LSTM(3, 5, proj_size=2), torch.randn(1, 2, 3), 1, 2),
    ]:
        (found,) = rk.explain(layer, x)
        assert (found.T, found.B, found.H) == (T, B, 5)
    assert found.backend == "reference" and "a single step" not in str(found)


def test_the_cpu_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    (found,) = rk.explain(rk.GRU(3, 5), torch.randn(4, 2, 3))
    assert found.backend == "cpu" and "compiled loop" in found.forward.why
    rk.explain(nn.Linear(3, 4), torch.randn(2, 3))
    assert "no LSTM or GRU of rnn_kernels was called" in capsys.readouterr().out


@pytest.mark.emulated
def test_tells_what_autocast_does(on_cuda: None) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        (single,) = rk.explain(rk.GRU(3, 8), torch.randn(2, 3, 3))
        (double,) = rk.explain(rk.GRU(3, 8).double(), torch.randn(2, 3, 3).double())
    assert single.dtype == torch.bfloat16 and single.forward.plan
    assert double.dtype == torch.float64 and double.forward.plan is None


def test_a_layer_that_is_called_by_keyword() -> None:
    model = nn.ModuleList([rk.GRU(3, 5)])
    model.forward = lambda x: model[0](input=x)[0]
    (found,) = rk.explain(model, torch.randn(4, 2, 3))
    assert (found.name, found.T, found.B) == ("0, layer 0", 4, 2)


@pytest.mark.gpu
def test_measures_on_a_gpu() -> None:
    layer = rk.LSTM(8, 128).half().cuda()
    (found,) = rk.explain(layer, torch.randn(50, 4, 8, device="cuda").half())
    assert found.forward.measured_us and found.backward.measured_us
    assert f"measured {found.forward.measured_us:.2f}" in str(found)
    layer = rk.LSTM(8, 128, proj_size=64).half().cuda()
    (found,) = rk.explain(layer, torch.randn(5, 4, 8, device="cuda").half())
    assert found.backend == "reference" and found.forward.measured_us is None
