"""Whole sequences in one launch: every way to cut them, against the reference, on the emulation.

A cut that the planner would not choose for so small a call is as good a test as one it would.
"""

from __future__ import annotations

from types import ModuleType

import emulated
import pytest
import torch
from agreement import assert_close, check
from backend_calls import backward, forward
from kernel_worlds import World
from persistent_calls import BRAIN, HALF, SINGLE, call, cotangents
from torch import Tensor

import rnn_kernels as rk
from rnn_kernels.backends.dispatch import BACKENDS
from rnn_kernels.backends.gpu import persistent
from rnn_kernels.backends.reference import REFERENCE

pytestmark = pytest.mark.emulated


# cell, dtype, H, B, T, D, blocks, rows, form
CUTS = [
    # One block: a unit alone, odd sizes, rows that fill tiles or do not, weights beyond registers.
    ("lstm", HALF, 1, 1, 1, 1, 1, 1, ""),
    ("gru", BRAIN, 1, 2, 3, 2, 1, 2, "packed reset"),
    ("lstm", BRAIN, 20, 3, 2, 1, 1, 3, "unbiased"),
    ("gru", HALF, 7, 5, 5, 2, 1, 2, "packed reset"),
    ("lstm", HALF, 33, 19, 2, 1, 1, 13, "packed"),
    ("gru", HALF, 65, 9, 3, 2, 1, 9, "reset"),
    ("lstm", BRAIN, 160, 6, 2, 1, 1, 6, ""),
    ("gru", BRAIN, 190, 4, 2, 1, 1, 4, "unbiased"),
    ("lstm", HALF, 64, 2, 2, 2, 1, 1, "packed reset unbiased"),
    ("gru", BRAIN, 3, 1, 90, 1, 1, 1, ""),
    # Rows and columns of operands that nobody else has written before.
    ("gru", HALF, 300, 24, 2, 1, 8, 24, ""),
    ("lstm", HALF, 60, 32, 2, 1, 2, 32, ""),
    # Clusters, with blocks that have fewer units than others, or none.
    ("lstm", HALF, 20, 3, 3, 1, 2, 3, ""),
    ("gru", BRAIN, 33, 3, 4, 2, 2, 2, "packed reset"),
    ("lstm", BRAIN, 40, 9, 4, 2, 2, 4, "packed reset"),
    ("gru", HALF, 40, 17, 2, 1, 4, 17, "unbiased"),
    ("lstm", HALF, 100, 5, 3, 1, 4, 5, "reset"),
    ("lstm", HALF, 9, 2, 3, 1, 8, 1, "packed"),
    ("lstm", HALF, 9, 1, 70, 1, 2, 1, "reset"),
    ("gru", BRAIN, 130, 3, 3, 1, 16, 3, ""),
    ("lstm", HALF, 300, 17, 2, 1, 8, 12, "reset"),
    ("lstm", BRAIN, 768, 2, 2, 1, 16, 2, ""),
    ("gru", HALF, 896, 1, 2, 1, 16, 1, "forward"),
]

# Blocks of a grid: odd sizes, whose rows are posted beside y; one that has few units or just the
# padding; several eights of rows; warps without columns, or with more than they take in at once.
GRIDS = [
    ("lstm", HALF, 9, 1, 1, 1, 2, 1, ""),
    ("gru", BRAIN, 20, 3, 4, 2, 3, 2, "packed reset"),
    ("lstm", BRAIN, 33, 5, 5, 2, 5, 3, "packed reset unbiased"),
    ("lstm", HALF, 40, 19, 3, 1, 5, 10, "reset"),
    ("gru", HALF, 40, 9, 3, 2, 2, 9, "packed"),
    ("gru", BRAIN, 64, 17, 2, 1, 4, 17, "unbiased"),
    ("lstm", HALF, 16, 2, 40, 1, 2, 2, "reset"),
    ("lstm", HALF, 40, 100, 2, 1, 4, 50, ""),
    ("gru", HALF, 200, 3, 2, 1, 5, 3, ""),
    # Two elements of a thread among the same eight rows; an eight whose rows have all ended.
    ("lstm", HALF, 40, 8, 2, 1, 1, 8, ""),
    ("gru", BRAIN, 40, 8, 2, 1, 1, 8, "reset"),
    ("lstm", HALF, 9, 9, 18, 2, 2, 9, "packed"),
    ("lstm", SINGLE, 20, 3, 3, 2, 3, 3, "packed reset"),
    ("gru", SINGLE, 33, 17, 2, 1, 3, 9, ""),
    ("lstm", SINGLE, 36, 9, 3, 1, 3, 9, "reset"),
    ("gru", SINGLE, 352, 9, 2, 1, 11, 9, ""),
]


@pytest.mark.parametrize(("cell", "dtype", "H", "B", "T", "D", "blocks", "rows", "form"), GRIDS)
def test_a_grid_agrees_with_the_reference(
    cell: str, dtype: torch.dtype, H: int, B: int, T: int, D: int, blocks: int, rows: int,
    form: str, cutting: ModuleType,
) -> None:  # fmt: skip
    cutting.by = (blocks, rows, True)
    check(cutting, call(cell, dtype, H, B, T, D, form))


@pytest.mark.parametrize(("cell", "dtype", "H", "B", "T", "D", "blocks", "rows", "form"), CUTS)
def test_agrees_with_the_reference(
    cell: str, dtype: torch.dtype, H: int, B: int, T: int, D: int, blocks: int, rows: int,
    form: str, cutting: ModuleType,
) -> None:  # fmt: skip
    cutting.by = (blocks, rows)
    args = call(cell, dtype, H, B, T, D, form)
    if form == "forward":  # more than the backward can place
        ours, theirs = (forward(b, *args, False, False) for b in (cutting, REFERENCE))
        assert_close(ours, theirs, dtype)
    else:
        check(cutting, args)


@pytest.mark.parametrize("blocks", [1, 2, 4, "grid of 3"])
@pytest.mark.parametrize("form", ["", "packed reset"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_every_schedule_gives_the_same_bits(
    cell: str, form: str, blocks: int | str, cutting: ModuleType
) -> None:
    cutting.by = (3, 3, True) if blocks == "grid of 3" else (blocks, 3)
    args = call(cell, BRAIN, 40, 3, 3, 1, form)
    w_hh, h0, c0 = args[2], args[5], args[6]
    grads, expected = None, None
    for seed in range(8):
        emulated.machine().seed(seed)
        y, h_n, c_n, c, saved = outputs = forward(cutting, *args, True, True)
        grads = grads or cotangents([y, h_n, c_n, c])
        results = backward(
            cutting, cell, *grads, w_hh, None, h0, c0, y, c, saved, *args[7:], True, True
        )
        results = [t for t in (*outputs, *results) if t is not None]
        expected = expected or results
        assert all(map(torch.equal, results, expected))


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_what_the_backward_keeps(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Per row and unit: y, the gates in the storage dtype, and for the LSTM c in float32."""
    T, B, H = 3, 2, 16
    emulated.machine().seed(0)
    layer = getattr(rk, cell)(1, H).bfloat16()
    kept: dict[int, int] = {}

    def pack(t: Tensor) -> Tensor:
        kept[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    monkeypatch.setitem(BACKENDS, "emulated", emulated.backend())
    with rk.backend("emulated"):
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            y, _ = layer(torch.randn(T, B, 1).bfloat16())
        weights = {p.untyped_storage().data_ptr() for p in layer.parameters()}
        kept = {at: size for at, size in kept.items() if at not in weights}
        gates, c, states = 4 * 2, 4 if cell == "LSTM" else 0, B * H * 2
        assert max(kept.values()) == T * B * H * gates
        of_steps = sum(size for size in kept.values() if size > states)
        assert of_steps == T * B * H * (2 + gates + c)
        y.float().sum().backward()


def test_the_gates_take_the_place_of_gx() -> None:
    backend = emulated.backend()
    args = call("lstm", HALF, 20, 3, 2, 1)
    *_, saved = forward(backend, *args, True, False, True)
    assert saved.data_ptr() == args[1].data_ptr()


def test_a_cut_that_the_block_has_no_threads_for_is_refused(cutting: ModuleType) -> None:
    cutting.by = (1, 32)
    with pytest.raises(ValueError, match="too many rows and units for its threads"):
        forward(cutting, *call("lstm", HALF, 160, 32, 1, 1), False, False)


def test_a_cut_that_does_not_fit_names_the_kernel(cutting: ModuleType) -> None:
    cutting.by = (2, 2)
    match = r"lstm recurrence_forward \(D 1, B 2, H 400, float16, 1 groups on clusters of 2, "
    with pytest.raises(RuntimeError, match=match + r"device 0\): invalid argument"):
        forward(cutting, *call("lstm", HALF, 400, 2, 1, 1), False, False)


@pytest.mark.parametrize("dtype", [HALF, BRAIN, SINGLE])
def test_a_grid_waits_for_no_nan(dtype: torch.dtype, cutting: ModuleType) -> None:
    """Not even for those that mean that nothing has come yet: they are numbers like any other."""
    cutting.by = (2, 2, True)
    cell, gx, *rest = call("gru", dtype, 16, 2, 3, 1)
    w, b, w_hr, h0 = rest[:4]
    h0.view(torch.int32).fill_(-1)
    gx[..., 16:32] = torch.inf  # z is 1: h stays what it is
    y, h_n, *_, saved = forward(cutting, cell, gx, *rest, True, False)
    assert y.isnan().all() and h_n.isnan().all()
    dy = torch.empty_like(y)
    dy.view(torch.int32).fill_(-1)
    grads = backward(
        cutting,
        cell,
        dy,
        None,
        None,
        None,
        w,
        w_hr,
        h0,
        None,
        y,
        None,
        saved,
        None,
        None,
        True,
        True,
    )
    assert grads[0].isnan().all() and grads[4].isnan().all()


def test_a_grid_that_would_not_run_at_once_is_refused(cutting: ModuleType) -> None:
    cutting.by = (140, 1, True)
    with pytest.raises(RuntimeError, match=r"on grids of 140, device 0\): too many blocks"):
        forward(cutting, *call("lstm", HALF, 1120, 1, 1, 1), False, False)


def test_a_peer_that_never_sends_is_not_waited_for_forever() -> None:
    with pytest.raises(RuntimeError, match="__trap"):
        World("emulated").run("patience", block=32)


def test_a_row_without_steps_is_left_alone_by_infinite_weights(cutting: ModuleType) -> None:
    """As the reference leaves it, where nothing is multiplied for rows that are not there."""
    cutting.by = (1, 2)
    cell, gx, w, b, _, h0, c0, *_ = call("lstm", HALF, 8, 2, 2, 1)
    w[0, 0, 0] = torch.inf
    sizes, grads = torch.tensor([1, 1]), [torch.ones(2, 8).half(), torch.ones_like(h0)]
    args = (cell, gx[:, :1].flatten(0, 1), w, b, None, h0, c0, sizes, None)
    y, _, _, c, saved = forward(cutting, *args, True, True)
    _, _, _, _, dh0, dc0 = backward(
        cutting, cell, *grads, None, None, w, None, h0, c0, y, c, saved, sizes, None, False, False
    )
    assert torch.equal(dh0[0, 1], torch.ones(8).half()) and torch.equal(dc0[0, 1], torch.zeros(8))


def test_the_table_of_packed_rows() -> None:
    table = persistent._table(torch.tensor([3, 2, 2]), torch.device("cpu"))
    assert table.tolist() == [0, 3, 5, 7, 0, 3, 2, 2, 0]
    assert persistent._table(None, torch.device("cpu")) is None
