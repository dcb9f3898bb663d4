"""Layers side by side: only where it is predicted to pay, and planned with their share."""

from __future__ import annotations

import emulated
import pytest
import torch
from persistent_calls import H100
from torch import Tensor

import rnn_kernels as rk
from rnn_kernels.backends.dispatch import BACKENDS
from rnn_kernels.backends.gpu import lanes
from rnn_kernels.backends.gpu.speeds import SPEEDS
from rnn_kernels.core.calls import Stack
from rnn_kernels.core.weights import Weights
from rnn_kernels.execution import wavefront


def predicted(
    monkeypatch: pytest.MonkeyPatch, T: int, L: int, B: int, H: int, backward: bool = False
) -> wavefront.Cut | None:
    kernels = emulated.backend()
    monkeypatch.setattr(kernels, "facts", lambda index: H100)
    like = torch.empty(0, dtype=torch.float16)
    shape = wavefront.Shape("lstm", like, T, B, H, L, False)
    return wavefront.planned(kernels, shape, backward)


@pytest.mark.emulated
def test_on_where_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    for T, L, B, H, backward in [
        (1000, 3, 16, 256, False),
        (1000, 3, 16, 256, True),
        (500, 2, 16, 64, False),
        (4000, 4, 16, 512, True),
    ]:
        found = predicted(monkeypatch, T, L, B, H, backward)
        assert found and sum(found.lengths) == T and found.backward == backward
        assert max(found.lengths) - min(found.lengths) <= 1 and len(found.lengths) > 1
        assert found.ns * wavefront.WORTH_IT <= found.sequential_ns
    for T, L, B, H in [
        (8, 3, 16, 256),  # too short for chunks
        (100, 2, 16, 64),  # issuing them takes longer
        (1000, 3, 256, 256),  # one layer alone keeps the device busy
        (1000, 3, 16, 2000),  # goes per step
    ]:
        assert predicted(monkeypatch, T, L, B, H) is None


def test_the_prediction() -> None:
    """As the definition of the time has it, for every length that may be taken."""
    alone, shared, T, L = 500.0, 600.0, 1000, 3
    found = wavefront.cut(T, L, ((alone, shared),), True)
    K = len(found.lengths)
    chunk = found.lengths[0] * shared + SPEEDS.chunk_ns
    assert found.ns == (K + L - 1) * chunk < found.sequential_ns
    assert found.sequential_ns == L * (T * alone + SPEEDS.chunk_ns)
    eager = wavefront.cut(T, L, ((alone, shared),), False)
    assert len(eager.lengths) < K and eager.ns >= found.ns
    assert eager.ns >= len(eager.lengths) * L * SPEEDS.host_chunk_ns[0]
    assert wavefront.cut(T, L, ((alone, 3 * alone),), True) is None
    assert wavefront.cut(32, L, ((alone, alone),), True) is None


@pytest.mark.emulated
def test_lanes_are_planned_with_their_share(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = emulated.backend()
    monkeypatch.setattr(kernels, "facts", lambda index: H100)
    like = torch.empty(0, dtype=torch.float16)
    sizes = (16, 512, 1)
    alone, half = (kernels.plan("lstm", like, sizes, False, False, n) for n in (1, 2))
    assert alone.groups * alone.cluster == 128 and half.groups * half.cluster == 64
    assert kernels.plan("lstm", like, sizes, False, False) == alone
    monkeypatch.setitem(lanes._beside, (0, 0), 2)  # the stream that is current
    assert kernels.plan("lstm", like, sizes, False, False) == half
    none = kernels.plan("lstm", like, (16, 768, 1), False, False, 9)  # not one cluster of 16 each
    assert isinstance(none, str)


@pytest.mark.emulated
def test_explain(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    kernels = emulated.backend()
    monkeypatch.setattr(kernels, "facts", lambda index: H100)
    monkeypatch.setitem(BACKENDS, "emulated", kernels)
    with rk.backend("emulated"):
        layer, x = rk.GRU(3, 64, 2).half().requires_grad_(False), torch.randn(700, 1, 3).half()
        monkeypatch.setattr(layer, "forward", lambda input: None)  # a run would take long
        first, second = rk.explain(layer, x)
        (alone, _) = rk.explain(layer, x[:20])
    assert first.beside == second.beside and sum(first.beside.lengths) == 700
    assert f"in chunks of {first.beside.lengths[0]} steps, layers side by side" in str(second)
    assert " ms predicted, " in capsys.readouterr().out
    assert alone.beside is None and "side by side" not in str(alone)


class Stream:
    """What is asked of a stream; it writes down what it is told."""

    def __init__(self, device: object) -> None:
        self.cuda_stream, self.told = id(self), []

    def record_event(self) -> object:
        self.told.append("record")
        return self

    def wait_event(self, event: object) -> None:
        self.told.append(event)

    def record_stream(self, stream: Stream) -> None:  # a tensor's
        stream.told.append(self)


def test_lanes_are_streams_of_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    caller, device, current = Stream(0), torch.device("cuda", 0), []
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: caller)
    monkeypatch.setattr(torch.cuda, "stream", current.append)
    monkeypatch.setattr(lanes, "_beside", {})
    ours, tensor = lanes.Lanes(device, 3), Stream(0)
    again = lanes.Lanes(device, 3)
    for lane in (0, 1, 2, lanes.CALLER):
        ours.on(lane), again.on(lane)
        assert current[-1] is current[-2]
        assert lanes.beside(0, current[-1].cuda_stream) == (1 if lane == lanes.CALLER else 3)
    assert current[-1] is caller and len(set(current)) == 4
    ours.wait(2, ours.event(1))
    ours.uses(2, tensor, None)
    assert current[2].told == ["record"] and current[4].told == [current[2], tensor]
    lanes.Lanes(device, 2).on(0)
    assert current[-1] not in current[:-1]  # a stack of two shares with one
    lanes.Lanes(device, 2)
    monkeypatch.setattr(lanes, "_POOL", 5)
    monkeypatch.setattr(torch.cuda, "Stream", lambda index: caller)
    assert lanes.Lanes.exist(device, 3) and not lanes.Lanes.exist(device, 4)
    lanes._streams.cache_clear()


class OnCuda:
    """What is asked of a tensor on a CUDA device."""

    is_cuda, requires_grad, dtype, device = True, False, torch.float16, torch.device("cuda")

    def __init__(self, *shape: int) -> None:
        self.shape = shape

    def __len__(self) -> int:
        return self.shape[0]

    def dim(self) -> int:
        return len(self.shape)

    def new_empty(self, *size: int, dtype: torch.dtype) -> Tensor:
        return torch.empty(*size, dtype=dtype)


def test_off_where_it_is_not_meant_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def lengths(
        x: object,
        D: int = 1,
        L: int = 2,
        h0: OnCuda | None = None,
        w_hr: OnCuda | None = None,
        dropout: float = 0,
    ) -> tuple[int, ...] | None:
        weights = [[Weights(OnCuda(20, 3), OnCuda(20, 5), w_hr=w_hr)] * D] * L
        h0 = h0 or OnCuda(L * D, 1, 5)
        return wavefront.lengths(Stack("gru", x, weights, h0, None, dropout=dropout))

    found = wavefront.Cut((250, 250), 0, 0, False)
    backward: list[bool] = []
    monkeypatch.setattr(wavefront, "planned", lambda *call: backward.append(call[-1]) or found)
    monkeypatch.setattr(wavefront.Lanes, "exist", lambda device, count: count == 2)
    x = OnCuda(500, 1, 3)
    assert lengths(x) is None  # no tensor of torch's own
    monkeypatch.setattr(wavefront, "unwatched", lambda *tensors: None not in tensors[:2])
    assert lengths(x) == (250, 250)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t):
        assert lengths(x) is None  # as in a checkpoint
    assert lengths(x, L=3) is None  # no lanes are left
    backward.clear()
    with torch.no_grad():
        lengths(x), lengths(x, dropout=0.5)
    assert backward == [False, False]  # nothing here needs gradients
    with monkeypatch.context() as patch, torch.no_grad():
        patch.setattr(OnCuda, "requires_grad", True)
        lengths(x), lengths(x, dropout=0.5)
    assert backward == [False] * 3 + [True]  # a checkpoint's first run has to draw as its second
    assert lengths(torch.randn(500, 1, 3)) is None  # on the CPU
    assert lengths(OnCuda(32, 1, 3)) is None
    assert lengths(x, D=2) is None
    assert lengths(x, w_hr=OnCuda(2, 5)) is None
    assert lengths(x, h0=OnCuda(2, 5)) is None
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert lengths(x) is None


def test_a_backend_without_plans() -> None:
    like = torch.empty(0)
    for name in ("cpu", "reference"):
        shape = wavefront.Shape("gru", like, 1000, 1, 5, 2, False)
        assert wavefront.planned(BACKENDS[name], shape, False) is None
