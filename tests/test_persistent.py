"""Whole sequences in one launch: every way to cut them, against the reference, on the emulation.

A cut that the planner would not choose for so small a call is as good a test as one it would.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import emulated
import pytest
import torch
from kernel_worlds import World
from test_random_calls import assert_close
from torch import Tensor

import rnn_kernels as rk
from rnn_kernels import persistent, reference
from rnn_kernels.backends import BACKENDS
from rnn_kernels.cells import CELLS
from rnn_kernels.persistent import Plan

pytestmark = pytest.mark.emulated
HALF, BRAIN, SINGLE = torch.float16, torch.bfloat16, torch.float32
H100 = (90, 227 << 10, (132, 66, 33, 16, 8))


def cut(cell: str, like: Tensor, sizes: tuple[int, int, int], backward: bool, *by: int) -> Plan:
    """The plan of a call, but on clusters of so many blocks with so many rows each."""
    found = emulated.backend()._cuda.cut(
        CELLS[cell].gates, like.element_size(), backward, sizes, *H100, *by
    )
    return Plan(*(found[name] for name in Plan._fields))


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The emulated backend; ``backend.by`` says how calls are cut."""
    backend = emulated.backend()
    monkeypatch.setattr(backend, "by", (1, 1), raising=False)
    monkeypatch.setattr(
        backend,
        "plan",
        lambda cell, like, sizes, backward, packed: cut(cell, like, sizes, backward, *backend.by),
    )
    yield backend


def call(
    cell: str, dtype: torch.dtype, H: int, B: int, T: int, D: int, form: str = ""
) -> tuple[Any, ...]:
    """Arguments of a forward; ``form`` names what is special: packed, reset, unbiased."""
    kind, lead, batch_sizes = CELLS[cell], (T, B), None
    if "packed" in form:
        lengths = [max(T - 2 * b, 0) for b in range(B)]
        batch_sizes = torch.tensor([sum(n > t for n in lengths) for t in range(T)])
        lead = (int(batch_sizes.sum()),)

    def values(*sizes: int) -> Tensor:
        return torch.randn(*sizes, dtype=torch.float64).to(dtype)

    return (
        cell,
        values(*lead, D, kind.gates * H),
        values(D, kind.gates * H, H) / H**0.5,
        None if "unbiased" in form else values(D, kind.gates * H),
        None,
        values(D, B, H),
        values(D, B, H) if kind.has_c else None,
        batch_sizes,
        torch.rand(lead) < 0.3 if "reset" in form else None,
    )


def cotangents(outputs: list[Tensor | None]) -> list[Tensor | None]:
    return [None if t is None else torch.randn(t.shape).to(t) for t in outputs]


def check(backend: ModuleType, args: tuple[Any, ...], rounded: bool = True) -> None:
    """Forward and backward agree with the reference to its last bits, or almost."""
    cell, dtype, w_hh, h0, c0 = args[0], args[1].dtype, args[2], args[5], args[6]
    ours = backend.forward(*args, True, True)
    *theirs, saved = reference.forward(*args, True, True)
    theirs.append(saved.to(dtype))
    assert_close(ours, theirs, dtype)
    y, _, _, c, saved = theirs
    grads = cotangents(theirs[:4])
    rest = (w_hh, None, h0, c0, y, c, saved, *args[7:], True, True)
    assert_close(
        backend.backward(cell, *grads, *rest),
        reference.backward(cell, *grads, None, *rest),
        dtype,
    )


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


@pytest.mark.parametrize(("cell", "dtype", "H", "B", "T", "D", "blocks", "rows", "form"), CUTS)
def test_agrees_with_the_reference(
    cell: str, dtype: torch.dtype, H: int, B: int, T: int, D: int, blocks: int, rows: int,
    form: str, backend: ModuleType,
) -> None:  # fmt: skip
    backend.by = (blocks, rows)
    args = call(cell, dtype, H, B, T, D, form)
    if form == "forward":  # more than the backward can place
        ours, theirs = (b.forward(*args, False, False) for b in (backend, reference))
        assert_close(ours, theirs, dtype)
    else:
        check(backend, args)


@pytest.mark.parametrize("blocks", [1, 2, 4])
@pytest.mark.parametrize("form", ["", "packed reset"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_every_schedule_gives_the_same_bits(
    cell: str, form: str, blocks: int, backend: ModuleType
) -> None:
    backend.by = (blocks, 3)
    args = call(cell, BRAIN, 40, 3, 3, 1, form)
    w_hh, h0, c0 = args[2], args[5], args[6]
    grads, expected = None, None
    for seed in range(20):
        emulated.machine().seed(seed)
        y, h_n, c_n, c, saved = outputs = backend.forward(*args, True, True)
        grads = grads or cotangents([y, h_n, c_n, c])
        results = backend.backward(
            cell, *grads, w_hh, None, h0, c0, y, c, saved, *args[7:], True, True
        )
        results = [t for t in (*outputs, *results) if t is not None]
        expected = expected or results
        assert all(map(torch.equal, results, expected))


def as_tf32(t: Tensor) -> Tensor:
    """To nearest, ties away from zero."""
    bits = t.float().contiguous().view(torch.int32)
    return (bits + 0x1000 & ~0x1FFF).view(torch.float32)


@pytest.mark.parametrize(("H", "blocks"), [(20, 1), (70, 4)])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_float32_rounds_factors_to_tf32_and_nothing_else(
    cell: str, H: int, blocks: int, backend: ModuleType
) -> None:
    """A step by hand: the gates from sums of products of rounded factors, and back."""
    backend.by = (blocks, 3)
    kind = CELLS[cell]
    args = call(cell, SINGLE, H, 5, 1, 1)
    _, gx, w, b, _, h0, c0, *_ = args
    ours = backend.forward(*args, True, True)
    gh = (as_tf32(h0[0]) @ as_tf32(w[0]).T + b[0]).unflatten(1, (kind.gates, H)).unbind(1)
    c_before = h0[0] if c0 is None else c0[0]
    h, c, saved = kind.step(
        gx[0, :, 0].unflatten(1, (kind.gates, H)).unbind(1), gh, h0[0], c_before
    )
    close = {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(ours[0][0], h, **close)
    torch.testing.assert_close(ours[4][0, :, 0], torch.stack(saved, 1), **close)

    dy = torch.randn(1, 5, H)
    got = backend.backward(
        cell, dy, None, None, None, w, None, h0, c0, *ours[0:1], ours[3], ours[4], None, None,
        False, False,
    )  # fmt: skip
    zeros = torch.zeros_like(h)
    dgx, dgh, direct, _ = kind.step_backward(
        ours[4][0, :, 0].unbind(1), h0[0], c_before, c if kind.has_c else h, dy[0], zeros,
        torch.zeros_like(ours[4][0, :, 0]).unbind(1),
    )  # fmt: skip
    torch.testing.assert_close(got[0][0, :, 0], torch.cat(dgx, 1), **close)
    dh0 = as_tf32(torch.cat(dgh, 1)) @ as_tf32(w[0]) + direct
    torch.testing.assert_close(got[4][0], dh0, **close)


def test_float32_takes_the_exact_path_unless_torch_allows_tf32() -> None:
    backend = emulated.backend()
    like, sizes = torch.zeros(1), (3, 20, 1)
    assert not torch.backends.cudnn.allow_tf32
    why = backend.plan("lstm", like, sizes, False, False)
    assert why == "torch's precision settings do not allow TF32 in recurrent layers"
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=True):
        assert isinstance(backend.plan("lstm", like, sizes, False, False), Plan)


def test_sigmoid_and_tanh_of_whole_sequences() -> None:
    """Read off a GRU without inputs: within 4 ulp of 1, tanh also within 8 of itself.

    And as exact as they can be where that saturates.
    """
    span = torch.logspace(-30, 2, 200, dtype=torch.float64)
    x = torch.cat((-span, torch.tensor([-torch.inf, 0, torch.inf]), span)).float()
    n = len(x)
    gates = torch.zeros(1, n, 1, 3)
    gates[0, :, 0, 1], gates[0, :, 0, 2] = -1000, x
    w, h0, eps = torch.zeros(1, 3, 1), torch.zeros(1, n, 1), torch.finfo(torch.float32).eps
    backend = emulated.backend()
    emulated.machine().seed(0)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=True):
        y, *_, saved = backend.forward(
            "gru", gates, w, None, None, h0, None, None, None, True, False
        )
        gates[0, :, 0, 1] = x
        z = backend.forward("gru", gates, w, None, None, h0, None, None, None, True, False)[4]
    exact = x.double().tanh()
    error = (y.flatten().double() - exact).abs()
    assert (error <= 4 * eps).all() and (error <= 8 * eps * exact.abs()).all()
    z, exact = z.view(n, 4)[:, 1].double(), x.double().sigmoid()
    assert ((z - exact).abs() <= 4 * eps).all()
    assert (z[exact == 1] == 1).all() and z[x == -torch.inf].eq(0).all()
    nan = torch.full((1, 1, 1, 3), torch.nan)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=True):
        y, *_ = backend.forward(
            "gru", nan, w, None, None, h0[:, :1], None, None, None, False, False
        )
    assert y.isnan().all()


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
    *_, saved = backend.forward(*args, True, False, True)
    assert saved.data_ptr() == args[1].data_ptr()


def test_a_cut_that_the_block_has_no_threads_for_is_refused(backend: ModuleType) -> None:
    backend.by = (1, 32)
    with pytest.raises(ValueError, match="too many rows and units for its threads"):
        backend.forward(*call("lstm", HALF, 160, 32, 1, 1), False, False)


def test_a_cut_that_does_not_fit_names_the_kernel(backend: ModuleType) -> None:
    backend.by = (2, 2)
    match = r"lstm recurrence_forward \(D 1, B 2, H 400, float16, 1 groups on clusters of 2, "
    with pytest.raises(RuntimeError, match=match + r"device 0\): invalid argument"):
        backend.forward(*call("lstm", HALF, 400, 2, 1, 1), False, False)


def test_a_peer_that_never_sends_is_not_waited_for_forever() -> None:
    with pytest.raises(RuntimeError, match="__trap"):
        World("emulated").run("patience", block=32)


def test_a_row_without_steps_is_left_alone_by_infinite_weights(backend: ModuleType) -> None:
    """As the reference leaves it, where nothing is multiplied for rows that are not there."""
    backend.by = (1, 2)
    cell, gx, w, b, _, h0, c0, *_ = call("lstm", HALF, 8, 2, 2, 1)
    w[0, 0, 0] = torch.inf
    sizes, grads = torch.tensor([1, 1]), [torch.ones(2, 8).half(), torch.ones_like(h0)]
    args = (cell, gx[:, :1].flatten(0, 1), w, b, None, h0, c0, sizes, None)
    y, _, _, c, saved = backend.forward(*args, True, True)
    _, _, _, _, dh0, dc0 = backend.backward(
        cell, *grads, None, None, w, None, h0, c0, y, c, saved, sizes, None, False, False
    )
    assert torch.equal(dh0[0, 1], torch.ones(8).half()) and torch.equal(dc0[0, 1], torch.zeros(8))


def test_the_table_of_packed_rows() -> None:
    table = persistent._table(torch.tensor([3, 2, 2]), torch.device("cpu"))
    assert table.tolist() == [0, 3, 5, 7, 0, 3, 2, 2, 0]
    assert persistent._table(None, torch.device("cpu")) is None
