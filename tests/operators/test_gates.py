"""The gates alone: lstm_gates and gru_gates, for cells with products of their own."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from layers import laid_out
from tolerance import assert_as_accurate
from torch import Tensor

import rnn_kernels as rk
from rnn_kernels.functional import Weights, gru_gates, layer, lstm_gates

FORWARD = torch.ops.rnn_kernels.gates.default
BACKWARD = torch.ops.rnn_kernels.gates_backward.default
G = {"lstm": 4, "gru": 3}
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


def ours(cell: str, gx: Tensor, gh: Tensor, state: Tensor) -> tuple[Tensor, ...]:
    return lstm_gates(gx, gh, state) if cell == "lstm" else (gru_gates(gx, gh, state),)


def plain(cell: str, gx: Tensor, gh: Tensor, state: Tensor) -> tuple[Tensor, ...]:
    """The equations of torch.nn, in plain torch."""
    if cell == "lstm":
        i, f, g, o = (gx + gh).chunk(4, -1)
        c = f.sigmoid() * state + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c
    (rx, zx, nx), (rh, zh, nh) = gx.chunk(3, -1), gh.chunk(3, -1)
    z, n = (zx + zh).sigmoid(), (nx + (rx + rh).sigmoid() * nh).tanh()
    return ((1 - z) * n + z * state,)


def inputs(cell: str, *lead: int, H: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    sizes = (G[cell] * H, G[cell] * H, H)
    # Drawn on the CPU, so that every device sees the same numbers.
    drawn = [torch.randn(*lead, n, dtype=torch.float64, device="cpu") for n in sizes]
    return [t.to(torch.get_default_device(), dtype).requires_grad_() for t in drawn]


def results(function, cell: str, values: list[Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    leaves = [v.detach().to(dtype).requires_grad_() for v in values]
    outputs = function(cell, *leaves)
    loss = sum((o * torch.linspace(-1, 1, o.numel()).to(o).view_as(o)).sum() for o in outputs)
    grads = torch.autograd.grad(loss, leaves)
    named = {f"output {k}": o.detach() for k, o in enumerate(outputs)}
    return named | {f"gradient {k}": g for k, g in enumerate(grads)}


@pytest.mark.parametrize(("R", "H"), [(1, 1), (3, 7), (5, 64), (2, 300), (129, 20), (0, 8)])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_as_accurate_as_plain_torch(
    cell: str, dtype: torch.dtype, R: int, H: int, backend: str
) -> None:
    values = inputs(cell, R, H=H, dtype=dtype)
    assert_as_accurate(
        results(ours, cell, values, dtype),
        results(plain, cell, values, dtype),
        results(plain, cell, values, torch.float64),
    )


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_any_leading_dimensions_and_layout(cell: str, backend: str) -> None:
    for lead in ((), (2, 3), (4, 1, 2)):
        values = inputs(cell, *lead, H=5)
        for got, expected in zip(ours(cell, *values), plain(cell, *values), strict=True):
            assert got.shape == (*lead, 5)
            torch.testing.assert_close(got, expected)
    values = [v.detach().T.contiguous().T.requires_grad_() for v in inputs(cell, 6, H=9)]
    for got, expected in zip(ours(cell, *values), plain(cell, *values), strict=True):
        torch.testing.assert_close(got, expected)
        dy = torch.randn_like(expected).T.contiguous().T
        torch.testing.assert_close(
            torch.autograd.grad(got, values, dy, retain_graph=True),
            torch.autograd.grad(expected, values, dy, retain_graph=True),
        )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_any_address(cell: str, dtype: torch.dtype, backend: str) -> None:
    """H would let accesses be 16 bytes wide, where the arrays begin does not."""
    aligned = [v.detach() for v in inputs(cell, 3, H=16, dtype=dtype)]
    moved = [torch.cat((v.new_zeros(1), v.flatten()))[1:].view_as(v) for v in aligned]
    assert all(v.is_contiguous() and v.data_ptr() % 16 for v in moved)
    for got, expected in zip(ours(cell, *moved), ours(cell, *aligned), strict=True):
        assert torch.equal(got, expected)
    for v in (*aligned, *moved):
        v.requires_grad_()
    dh = torch.randn_like(aligned[2])
    torch.testing.assert_close(
        torch.autograd.grad(ours(cell, *moved)[0], moved, dh),
        torch.autograd.grad(ours(cell, *aligned)[0], aligned, dh),
        rtol=0,
        atol=0,
    )


def test_gradients_of_one_output_alone(backend: str) -> None:
    values = inputs("lstm", 3, H=5)
    for k in range(2):
        got, expected = (f("lstm", *values)[k].square().sum() for f in (ours, plain))
        torch.testing.assert_close(
            torch.autograd.grad(got, values),
            torch.autograd.grad(expected, values, allow_unused=True, materialize_grads=True),
        )


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_derivatives(cell: str, backend: str) -> None:
    # Interpreted, a step takes some milliseconds, and each number many of them.
    R, H = (1, 2) if backend == "triton" and not torch.cuda.is_available() else (2, 3)
    values = inputs(cell, R, H=H)
    assert torch.autograd.gradcheck(lambda *v: ours(cell, *v), values)
    assert torch.autograd.gradgradcheck(lambda *v: ours(cell, *v), values)


def test_third_derivative() -> None:
    def second(*values: Tensor) -> Tensor:
        h, c = lstm_gates(*values)
        loss = h.square().sum() + c.sum()
        return torch.autograd.grad(loss, values[0], create_graph=True)[0]

    assert torch.autograd.gradgradcheck(second, inputs("lstm", 1, H=2))


@pytest.mark.slow
@pytest.mark.support("torch.library.opcheck of every operator")
@pytest.mark.parametrize("form", ["contiguous", "transposed", "expanded"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_opcheck(cell: str, dtype: torch.dtype, form: str) -> None:
    values = [laid_out(t, form).requires_grad_() for t in inputs(cell, 4, H=5, dtype=dtype)]
    torch.library.opcheck(FORWARD, (cell, *values, True, "cpu"))
    h, c, c_all, saved = (t.detach() for t in FORWARD(cell, *values, True, "cpu"))
    kept = (c_all if dtype == torch.bfloat16 else c) if cell == "lstm" else None
    grads = (torch.randn_like(h), torch.randn_like(c) if cell == "lstm" else None, None, None)
    given = (*grads, values[2].detach(), kept, saved)
    given = tuple(t if t is None else laid_out(t, form) for t in given)
    torch.library.opcheck(BACKWARD, (cell, *given, "cpu"))


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_compiles_without_a_break(cell: str) -> None:
    values = inputs(cell, 4, H=5, dtype=torch.float32)
    compiled = torch.compile(lambda *v: ours(cell, *v), fullgraph=True, backend="aot_eager")
    got, expected = compiled(*values), ours(cell, *values)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(
        torch.autograd.grad(got[0].sum(), values), torch.autograd.grad(expected[0].sum(), values)
    )


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_function_transforms(cell: str) -> None:
    values = [v.detach() for v in inputs(cell, 4, H=5)]
    tangents = tuple(map(torch.randn_like, values))
    for f in (torch.vmap, lambda g: lambda *v: torch.func.jvp(g, v, tangents)):
        got, expected = (f(lambda *v, g=g: g(cell, *v))(*values) for g in (ours, plain))
        torch.testing.assert_close(got, expected)


def test_autocast_takes_everything_to_its_dtype() -> None:
    values = inputs("lstm", 4, H=5, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        h, c = lstm_gates(*values)
    assert h.dtype == c.dtype == torch.bfloat16
    assert all(g.dtype == torch.float32 for g in torch.autograd.grad(h.sum() + c.sum(), values))


def test_a_cell_of_ones_own(backend: str) -> None:
    """Layer-normalised LSTM: products and norms are the user's, the gates ours."""
    B, I, H = 3, 4, 6
    w_ih, w_hh = torch.randn(4 * H, I).double(), torch.randn(4 * H, H).double()
    x = torch.randn(5, B, I, dtype=torch.float64, requires_grad=True)

    def run(gates) -> Tensor:
        h = c = x.new_zeros(B, H)
        for step in x:
            gx, gh = (F.layer_norm(v @ w.T, (4 * H,)) for v, w in ((step, w_ih), (h, w_hh)))
            h, c = gates("lstm", gx, gh, c)
        return h

    got, expected = run(ours), run(plain)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(
        torch.autograd.grad(got.sum(), x), torch.autograd.grad(expected.sum(), x)
    )


def test_bad_arguments() -> None:
    gx, gh, c = (v.detach() for v in inputs("lstm", 4, H=5))
    for call, message in [
        (lambda: lstm_gates(gx, gh[:3], c), r"one size \(R, 4·H\), got \[4, 20\] and \[3, 20\]"),
        (lambda: lstm_gates(gx, gh, c[:, :4]), r"expected c of size \(4, 5\), got \[4, 4\]"),
        (lambda: lstm_gates(gx[:, :19], gh[:, :19], c), r"one size \(R, 4·H\)"),
        (lambda: gru_gates(gx[:, :15], gh[:, :15], c[:3]), r"expected h of size \(4, 5\)"),
        (lambda: lstm_gates(gx, gh.float(), c), "expected gh as torch.float64 on cpu like gx"),
        (lambda: lstm_gates(gx, gh, c.to("meta")), "expected c as torch.float64 on cpu"),
        (lambda: lstm_gates(gx[0], gh, c), r"\(…, 4·H\) and a state \(…, H\), got \[20\]"),
        (lambda: lstm_gates(gx[:, :0], gh[:, :0], c[:, :0]), r"one size \(R, 4·H\)"),
        (lambda: gru_gates(*(t.long()[:, :15] for t in (gx, gh)), c.long()), "a floating-point"),
        (lambda: FORWARD("rnn", gx, gh, c, False, "cpu"), "unknown cell 'rnn'"),
        (lambda: FORWARD("lstm", gx, gh, c, False, "gpu"), "unknown backend 'gpu'"),
    ]:
        with pytest.raises((RuntimeError, ValueError), match=message):
            call()


def test_bad_arguments_of_the_backward() -> None:
    """The operator may be called by itself, and kernels are handed bare addresses."""
    dh, dc, state, c = torch.randn(4, 3, 5)
    saved = torch.randn(3, 4, 5)
    right = {"dh": dh, "dc": dc, "state": state, "c_all": c, "saved": saved}
    for name, value, message in [
        ("dh", dh[:2], r"Expected dh size \(3, 5\), got \[2, 5\]"),
        ("dc", dc.double(), "Expected dc to have dtype torch.float32, got torch.float64"),
        ("state", state[0], "expected state of 2 dimensions, got 1"),
        ("c_all", None, "lstm needs c_all"),
        ("c_all", c[:, :4], r"Expected c_all size \(3, 5\), got \[3, 4\]"),
        ("saved", saved[:, :3], r"Expected saved size \(3, 4, 5\), got \[3, 3, 5\]"),
    ]:
        call = right | {name: value}
        with pytest.raises(RuntimeError, match=message):
            BACKWARD("lstm", call.pop("dh"), call.pop("dc"), None, None, *call.values(), "cpu")
    with pytest.raises(RuntimeError, match="unknown cell 'rnn'"):
        BACKWARD("rnn", dh, dc, None, None, state, c, saved, "cpu")


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_results_of_a_single_step_share_no_memory(cell: str, bidirectional: bool) -> None:
    module, x = getattr(rk, cell)(3, 4, bidirectional=bidirectional), torch.randn(1, 2, 3)
    options = {"return_cells": True} if cell == "LSTM" else {}
    y, state, *cells = module(x, **options)
    tensors = [y, *(state if cell == "LSTM" else [state]), *(cells[0] if cells else [])]
    before = [t.detach().clone() for t in tensors]
    for k, t in enumerate(tensors):
        t.detach().fill_(7)
        for other, was in zip(tensors[k + 1 :], before[k + 1 :], strict=True):
            assert torch.equal(other, was)


@pytest.mark.parametrize(
    ("cell", "h0", "c0", "resets", "message"),
    [
        ("lstm", (1, 2, 4), None, None, "lstm needs c0"),
        ("gru", (1, 2, 4), (1, 2, 4), None, "gru has no c0"),
        ("gru", (3, 2, 4), None, None, r"Expected h0 size \(1, 2, 4\), got \[3, 2, 4\]"),
        ("lstm", (1, 2, 4), (1, 2, 3), None, r"Expected c0 size \(1, 2, 4\), got \[1, 2, 3\]"),
        ("gru", (1, 2, 4), None, (1, 1), r"Expected resets size \(1, 2\), got \[1, 1\]"),
        ("gru", (1, 2, 4), None, (3, 2), r"Expected resets size \(1, 2\), got \[3, 2\]"),
    ],
)
def test_a_single_step_checks_its_states(
    cell: str, h0: tuple, c0: tuple | None, resets: tuple | None, message: str
) -> None:
    weights = [Weights(torch.zeros(G[cell] * 4, 3), torch.zeros(G[cell] * 4, 4))]
    c0 = None if c0 is None else torch.zeros(c0)
    resets = None if resets is None else torch.zeros(resets, dtype=torch.bool)
    for T in (1, 2):  # more steps refuse it too
        x = torch.zeros(T, 2, 3)
        with pytest.raises(RuntimeError, match=message if T == 1 else None):
            layer(cell, x, weights, torch.zeros(h0), c0, resets=resets)


def test_at_most_two_directions() -> None:
    weights = [Weights(torch.zeros(12, 3), torch.zeros(12, 4))] * 3
    with pytest.raises(RuntimeError, match="weights of 1 or 2 directions, got 3"):
        layer("gru", torch.zeros(1, 2, 3), weights, torch.zeros(3, 2, 4))
