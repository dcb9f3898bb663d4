"""Whole sequences in one launch of Triton's: every way to cut them, against the reference."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType

import emulated
import pytest
import torch
from agreement import check
from backend_calls import backward, forward
from persistent_calls import BRAIN, HALF, SINGLE, call
from rounding import as_tf32

from rnn_kernels.backends import BACKENDS
from rnn_kernels.backends.gpu import triton_plan
from rnn_kernels.backends.gpu.triton_plan import Facts, Plan, Tile
from rnn_kernels.backends.reference import REFERENCE

pytest.importorskip("triton", "3.5")
from interpreted import together  # noqa: E402
from triton.runtime.errors import InterpreterError  # noqa: E402

# Few processors: groups of rows have to wait for others to be done.
FEW = Facts("cuda", 90, 12, True, 227 << 10)


@pytest.fixture(params=["interpreted", pytest.param("gpu", marks=pytest.mark.gpu)])
def cutting(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[ModuleType]:
    """The backend; its ``tile`` says how sequences are cut, and ``precision`` what float32 is."""
    on_gpu = request.param == "gpu"
    if not on_gpu and torch.cuda.is_available():
        pytest.skip("kernels are compiled where there is a GPU")
    triton = BACKENDS["triton"]
    monkeypatch.setattr(triton, "tile", None, raising=False)
    monkeypatch.setattr(triton, "precision", "tf32x3", raising=False)
    if not on_gpu:
        monkeypatch.setattr(triton, "facts", lambda index: FEW)

    def plan(cell: str, like: torch.Tensor, sizes: tuple, backward: bool, *_: object) -> Plan:
        element = like.element_size()
        precision = "ieee" if element == 2 else triton.precision
        facts = triton.facts(like.device.index)
        found = triton_plan.placed(triton.tile, element, precision, backward, sizes, facts)
        assert found is not None and found.through_memory != triton.tile.alone
        return found

    monkeypatch.setattr(triton, "plan", plan)
    if on_gpu:
        with torch.device("cuda"):
            yield triton
        return
    with together(emulated.seed_of(request.node.nodeid)):
        yield triton


def alone(units: int) -> Tile:
    return Tile(16, units, units, 1, True)


def shared(block: int, chunks: int, rows: int = 16, units: int = 32) -> Tile:
    return Tile(rows, units, block, chunks, False)


# Of a real tile only the sizes may be others: small ones take less time.
CUTS = [
    ("lstm", SINGLE, 1, 1, 1, 1, alone(16), ""),
    ("gru", HALF, 7, 3, 5, 2, alone(16), "packed reset"),
    ("lstm", HALF, 20, 19, 3, 2, alone(32), "packed reset unbiased"),
    ("gru", SINGLE, 33, 17, 2, 1, alone(64), "unbiased"),
    ("gru", BRAIN, 20, 3, 2, 1, alone(32), ""),
    ("lstm", HALF, 20, 3, 4, 1, shared(16, 2, units=16), ""),
    ("gru", SINGLE, 33, 5, 3, 2, shared(16, 3, units=16), "packed reset"),
    ("lstm", SINGLE, 40, 18, 4, 2, shared(32, 2), "packed reset"),
    ("gru", HALF, 40, 17, 2, 1, shared(32, 2), "reset unbiased"),
    ("gru", SINGLE, 70, 3, 3, 1, shared(32, 0), "packed reset"),
    ("lstm", BRAIN, 70, 20, 2, 1, shared(64, 2), ""),
    ("gru", HALF, 40, 70, 3, 1, shared(64, 0, rows=64), "packed reset"),
    ("lstm", SINGLE, 17, 2, 40, 1, shared(16, 2, units=16), "reset"),
    ("lstm", HALF, 300, 2, 2, 1, shared(64, 6), ""),
    # A second group of rows that has some of the steps.
    ("gru", HALF, 20, 20, 40, 2, shared(16, 2, units=16), "packed reset"),
    ("lstm", SINGLE, 5, 20, 36, 2, alone(16), "packed reset"),
]


QUICK = 6  # of them, with programs alone and shared
SOME_SLOW = CUTS[:QUICK] + [pytest.param(*cut, marks=pytest.mark.slow) for cut in CUTS[QUICK:]]


@pytest.mark.parametrize(("cell", "dtype", "H", "B", "T", "D", "tile", "form"), SOME_SLOW)
def test_agrees_with_the_reference(
    cell: str, dtype: torch.dtype, H: int, B: int, T: int, D: int, tile: Tile, form: str,
    cutting: ModuleType,
) -> None:  # fmt: skip
    cutting.tile = tile
    check(cutting, call(cell, dtype, H, B, T, D, form))


@pytest.mark.slow
def test_groups_follow_each_other(cutting: ModuleType) -> None:
    cutting.tile = shared(32, 0, units=16)
    args = call("lstm", HALF, 40, 50, 2, 2, "packed")
    if not torch.cuda.is_available():
        assert cutting.plan("lstm", args[1], (50, 40, 2), False).waves == 2
    check(cutting, args)


@pytest.mark.slow
def test_h_is_carried_as_it_is_stored(cutting: ModuleType) -> None:
    """z near 1 keeps h for long, and all that rounding it has taken."""
    cutting.tile = alone(16)
    args = call("gru", BRAIN, 16, 2, 300, 1)
    args[1][..., 16:32] += 4
    ours, theirs = (forward(b, *args, False, False)[0] for b in (cutting, REFERENCE))
    assert (ours != theirs).float().mean() < 0.25  # unrounded, it is over 0.7


@pytest.mark.slow
def test_more_steps_than_are_counted_at_once(cutting: ModuleType) -> None:
    cutting.tile = alone(16)
    args = list(call("gru", SINGLE, 3, 1, 1, 1))
    args[1], args[7] = torch.randn(1030, 1, 9), torch.ones(1030, dtype=torch.int64, device="cpu")
    ours, theirs = (forward(b, *args, False, False) for b in (cutting, REFERENCE))
    torch.testing.assert_close(ours[:2], theirs[:2])


def test_any_nan_stays_one_in_tf32(cutting: ModuleType) -> None:
    """All bits set but the sign: what a GPU makes of 0/0. Rounded up it would be -0."""
    cutting.tile, cutting.precision = alone(16), "tf32"
    args = call("gru", SINGLE, 5, 1, 1, 1)
    args[5].view(torch.int32)[0, 0, 0] = 0x7FFFFFFF
    assert forward(cutting, *args, False, False)[0].isnan().all()


@pytest.mark.parametrize("tile", [alone(32), shared(16, 2, units=16), shared(16, 0, units=16)])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_tf32_rounds_factors_and_nothing_else(cell: str, tile: Tile, cutting: ModuleType) -> None:
    cutting.tile, cutting.precision = tile, "tf32"
    args = call(cell, SINGLE, 20, 3, 1, 1)
    _, gx, w, b, _, h0, c0, *_ = args
    ours = forward(cutting, *args, True, True)
    rounded = (cell, gx, as_tf32(w), b, None, as_tf32(h0), c0, None, None)
    theirs = forward(REFERENCE, *rounded, True, True)
    torch.testing.assert_close(ours[4][..., :2, :], theirs[4][..., :2, :], rtol=1e-6, atol=1e-6)

    y, _, _, c, saved = ours
    dy = torch.randn_like(y)
    rest = (h0, c0, y, c, saved, None, None, False, False)
    dgx, _, _, _, dh0, _ = backward(cutting, cell, dy, None, None, None, w, None, *rest)
    exact = backward(REFERENCE, cell, dy, None, None, None, w, None, *rest)
    torch.testing.assert_close(dgx, exact[0], rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        dgh = exact[0].clone()
        direct = torch.zeros_like(dy)
        if cell == "gru":
            r, z = saved[..., 0, :], saved[..., 1, :]
            dgh[..., 40:] *= r
            direct = dy * z[:, :, 0]
        expected = as_tf32(dgh[0, :, 0]) @ as_tf32(w[0]) + direct[0]
    torch.testing.assert_close(dh0[0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["", "packed reset"])
def test_twice_the_same_bits(form: str, cutting: ModuleType) -> None:
    cutting.tile = shared(16, 2, units=16)
    args = call("lstm", HALF, 20, 19, 9, 2, form)
    once, again = (forward(cutting, *args, True, True) for _ in range(2))
    for a, b in zip(once, again, strict=True):
        assert torch.equal(a, b)


def test_a_row_without_steps_is_left_alone_by_infinite_weights(cutting: ModuleType) -> None:
    cutting.tile = alone(16)
    cell, gx, w, b, _, h0, c0, *_ = call("lstm", HALF, 8, 2, 2, 1)
    w[0, 0, 0] = torch.inf
    sizes, grads = (
        torch.tensor([1, 1], device="cpu"),
        [torch.ones(2, 8).half(), torch.ones_like(h0)],
    )
    args = (cell, gx[:, :1].flatten(0, 1), w, b, None, h0, c0, sizes, None)
    y, _, _, c, saved = forward(cutting, *args, True, True)
    _, _, _, _, dh0, dc0 = backward(
        cutting, cell, *grads, None, None, w, None, h0, c0, y, c, saved, sizes, None, False, False
    )
    assert torch.equal(dh0[0, 1], torch.ones(8).half()) and torch.equal(dc0[0, 1], torch.zeros(8))


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_infinite_states_and_weights(cell: str, cutting: ModuleType) -> None:
    """What tiles are filled up with multiplies nothing that counts."""
    for tile, H in ((alone(16), 5), (shared(16, 2, units=16), 20)):
        cutting.tile = tile
        args = call(cell, SINGLE, H, 3, 1, 1)
        args[2][0, 0], args[5][0, 1, 2] = 0.0, torch.inf
        args[2][0, 1, 2], args[2][0, -1, 2] = torch.inf, 1.0
        ours, theirs = (forward(b, *args, True, True) for b in (cutting, REFERENCE))
        y, _, _, c, saved = theirs
        rest = (args[2], None, args[5], args[6], y, c, saved, None, None, False, False)
        grads = (torch.full_like(y, torch.inf), None, None, None)
        ours = *ours, *backward(cutting, cell, *grads, *rest)
        theirs = *theirs, *backward(REFERENCE, cell, *grads, *rest)
        for a, b in zip(ours, theirs, strict=True):
            if b is not None:
                torch.testing.assert_close(a, b, equal_nan=True)


@pytest.mark.parametrize("what", ["wait", "tell"])
@pytest.mark.parametrize("side", ["forward", "backward"])
def test_programs_that_do_not_meet_are_noticed(
    side: str, what: str, cutting: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    if torch.cuda.is_available():
        pytest.skip("on a GPU they would hang, or be right by luck")
    cutting.tile = shared(16, 2, units=16)
    kernel = sys.modules[f"rnn_kernels.triton_kernels.recurrence_{side}"]
    monkeypatch.setattr(kernel, what, lambda *arguments: None)
    args = call("lstm", HALF, 32, 3, 5, 1)
    if what == "tell":
        with pytest.raises(InterpreterError, match="all programs wait for each other"):
            check(cutting, args)
    else:
        with pytest.raises(AssertionError, match="apart|nan"):
            check(cutting, args)
