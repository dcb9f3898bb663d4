"""The project's CUDA kernels under many schedules, and their mistakes if they made any."""

from __future__ import annotations

import emulated
import pytest
import torch
from backend_calls import backward, forward
from kernel_worlds import World
from torch import Tensor

from rnn_kernels.backends.dispatch import BACKENDS
from rnn_kernels.backends.gpu.gate_kernels import Forward
from rnn_kernels.core.cells import CELLS

H, B, T = 7, 3, 5
pytestmark = pytest.mark.emulated


def call(cell: str, dtype: torch.dtype, packed: bool, H: int = H) -> tuple[object, ...]:
    """A call of the backend's forward: bidirectional, with resets and biases."""
    kind = CELLS[cell]
    sizes = torch.tensor([3, 3, 2, 1, 1]) if packed else None
    rows = (10,) if packed else (T, B)
    values = [
        torch.randn(*shape, dtype=torch.float64).to(dtype)
        for shape in [
            (*rows, 2, kind.gates * H), (2, kind.gates * H, H), (2, kind.gates * H),
            (2, B, H), (2, B, H),
        ]
    ]  # fmt: skip
    gx, w_hh, b_hh, h0, c0 = values
    return cell, gx, w_hh, b_hh, None, h0, c0 if kind.has_c else None, sizes, torch.rand(rows) < 0.2


def results(seed: int, *call: object) -> list[Tensor]:
    backend = emulated.backend()
    emulated.machine().seed(seed)
    cell, gx, w_hh, b_hh, _, h0, c0, sizes, resets = call
    y, h_n, c_n, c, saved = outputs = forward(backend, *call, True, True)
    grads = [None if t is None else torch.ones_like(t) for t in (y, h_n, c_n, c)]
    gradients = backward(
        backend, cell, *grads, w_hh, None, h0, c0, y, c, saved, sizes, resets, True, True
    )
    return [t for t in (*outputs, *gradients) if t is not None]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_every_schedule_gives_the_same_bits(cell: str, dtype: torch.dtype, packed: bool) -> None:
    made = call(cell, dtype, packed, H=8 if packed else H)
    expected = results(0, *made)
    for seed in range(1, 20):
        for got, value in zip(results(seed, *made), expected, strict=True):
            assert torch.equal(got, value)


def test_a_schedule_can_be_had_again() -> None:
    """The order in which blocks add to a list is the schedule's, and that the seed's."""
    world = World("emulated")

    def order(seed: int) -> list[int]:
        log = torch.zeros(8, dtype=torch.int32)
        world.run("log", log, grid=7, block=1, seed=seed)
        return log[1:].tolist()

    orders = {seed: order(seed) for seed in range(20)}
    assert orders[0] == list(range(7))
    assert all(order(seed) == o and sorted(o) == list(range(7)) for seed, o in orders.items())
    assert len({tuple(o) for o in orders.values()}) > 10


@pytest.mark.skipif(emulated.SANITIZED, reason="AddressSanitizer ends the process")
@pytest.mark.parametrize("name", ["gx", "gh", "b_hh", "c", "y", "c_all", "saved", "resets"])
def test_buffers_end_where_they_end(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One element less than a kernel needs is one too few."""
    backend = emulated.backend()
    right = backend.gates_forward

    def shortened(call: Forward) -> object:
        step = right(call)
        emulated.machine().remove_all_buffers()
        arrays = {k: v for k, v in call._asdict().items() if isinstance(v, Tensor)}
        emulated.may_touch(**arrays | {name: arrays[name].flatten()[:-1]})
        return step

    monkeypatch.setattr(backend, "gates_forward", shortened)
    made = call("lstm", torch.float64, False)  # which goes per step
    with pytest.raises(RuntimeError, match=rf"(?s)out of bounds: .* of {name}, .*thread \(.*block"):
        results(1, *made)


def test_nothing_is_left_behind_by_a_fault() -> None:
    world, x = World("emulated"), torch.zeros(64, dtype=torch.int32)
    if not emulated.SANITIZED:
        for _ in range(3):
            with pytest.raises(RuntimeError, match="out of bounds"):
                world.run("indices", x[:60], grid=2, block=32)
    made = call("lstm", torch.float32, False)
    for got, value in zip(results(3, *made), results(4, *made), strict=True):
        assert torch.equal(got, value)


def test_a_launch_it_has_no_room_for_is_refused() -> None:
    a, b = torch.zeros(2, 130 * 256, dtype=torch.int32)
    with pytest.raises(RuntimeError, match="more threads at once than the emulation has room for"):
        World("emulated").run("rounds", a, b, numbers=[1], grid=130, block=256, cooperative=True)


def test_is_no_backend_of_the_package() -> None:
    assert "emulated" not in BACKENDS
