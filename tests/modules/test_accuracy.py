"""Layers and cells against torch.nn: outputs, final states and every gradient, on odd sizes."""

from __future__ import annotations

import itertools

import pytest
import torch
from running import KERNELS, TRITON, paired
from tolerance import ULPS, compare, run
from torch import nn

import rnn_kernels as rk

HALVES = [torch.bfloat16, torch.float16]
HIDDEN = [1, 7, 20, 100, 200, 300]


def layer_input(T: int, B: int, I: int, H: int, rows: int, cell: str) -> tuple:
    x, h, c = (
        torch.randn(*s, dtype=torch.float64) for s in ((T, B, I), (rows, B, H), (rows, B, H))
    )
    return (x, (h, c)) if cell == "LSTM" else (x, h)


BATCHES = [
    paired(backend, B)
    for backend, B in itertools.product([*KERNELS, "reference"], [1, 3, 5])
    # A program of Triton's has 16 rows, however many of them are there; the interpreter is slow.
    if backend is not TRITON or B == 3 or torch.cuda.is_available()
]


@pytest.mark.parametrize("T", [1, 2, 63])
@pytest.mark.parametrize(("backend", "B"), BATCHES, indirect=["backend"])
@pytest.mark.parametrize("H", HIDDEN)
@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_sizes(cell: str, H: int, B: int, T: int, backend: str) -> None:
    if backend == "triton" and not torch.cuda.is_available():
        T = min(T, 5 if H >= 100 else 9)  # interpreted, a step takes up to a tenth of a second
    if backend == "emulated" and H >= 100:
        T = min(T, 17 if B == 3 else 5)  # emulated, some tens of milliseconds
    modules = getattr(rk, cell)(11, H), getattr(nn, cell)(11, H)
    compare(*modules, layer_input(T, B, 11, H, 1, cell), torch.float32)


@pytest.mark.parametrize(("H", "B", "T"), [(7, 3, 9), (100, 5, 17), (33, 19, 5)])
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_halves(cell: str, dtype: torch.dtype, H: int, B: int, T: int, backend: str) -> None:
    modules = getattr(rk, cell)(11, H), getattr(nn, cell)(11, H)
    compare(*modules, layer_input(T, B, 11, H, 1, cell), dtype)


@pytest.mark.parametrize(("H", "B", "T"), [(650, 2, 4), (64, 40, 6), (65, 17, 3), (128, 16, 2)])
@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_wide_and_deep_batches(cell: str, H: int, B: int, T: int) -> None:
    """Sizes at which threads split rows, units, or read weights unpacked."""
    modules = (
        getattr(rk, cell)(30, H, bidirectional=True),
        getattr(nn, cell)(30, H, bidirectional=True),
    )
    compare(*modules, layer_input(T, B, 30, H, 2, cell), torch.float32)


@pytest.mark.parametrize("dtype", [torch.float32, *HALVES])
@pytest.mark.parametrize(("B", "H"), [(1, 1), (1, 64), (5, 33), (40, 100)])
@pytest.mark.parametrize("cell", ["LSTMCell", "GRUCell"])
def test_cells(cell: str, B: int, H: int, dtype: torch.dtype, backend: str) -> None:
    x, h, c = (torch.randn(*s, dtype=torch.float64) for s in ((B, 9), (B, H), (B, H)))
    args = (x, (h, c)) if cell == "LSTMCell" else (x, h)
    compare(getattr(rk, cell)(9, H), getattr(nn, cell)(9, H), args, dtype)


@pytest.mark.parametrize("form", ["transposed", "expanded", "strided"])
@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_layout_of_inputs_does_not_matter(cell: str, form: str, backend: str) -> None:
    T, B, I, H = 5, 3, 8, 20

    def reform(t: torch.Tensor) -> torch.Tensor:
        if form == "transposed":
            return t.transpose(0, 2).contiguous().transpose(0, 2)
        if form == "expanded":
            return t[:, :1].expand_as(t)
        return torch.stack((t, -t), -1)[..., 0]

    def adapt(args: tuple) -> tuple:
        x, hx = args
        return reform(x), tuple(map(reform, hx)) if cell == "LSTM" else reform(hx)

    x, hx = layer_input(T, B, I, H, 1, cell)
    if form == "expanded":  # the same values for torch.nn, in a layout of their own
        x = x[:, :1].expand(T, B, I).contiguous()
        hx = tuple(h[:, :1].expand(1, B, H).contiguous() for h in (hx if cell == "LSTM" else [hx]))
        hx = hx if cell == "LSTM" else hx[0]
    with torch.no_grad():
        ours, theirs = getattr(rk, cell)(I, H), getattr(nn, cell)(I, H)
        ours.load_state_dict(theirs.state_dict())
        args = tuple(a.float() if isinstance(a, torch.Tensor) else tuple(t.float() for t in a)
                     for a in (x, hx))  # fmt: skip
        y, _ = ours(*adapt(args))
        torch.testing.assert_close(y, ours(*args)[0])
        torch.testing.assert_close(y, theirs(*args)[0])


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_double_precision(cell: str, backend: str) -> None:
    """Against torch.nn in float64 itself; both round every sum of n terms √n times or so."""
    T, B, I, H = 9, 4, 6, 23
    theirs = getattr(nn, cell)(I, H, bidirectional=True).double()
    ours = getattr(rk, cell)(I, H, bidirectional=True).double()
    ours.load_state_dict(theirs.state_dict())
    args = layer_input(T, B, I, H, 2, cell)
    expected, got = run(theirs, args), run(ours, args)
    for name, value in expected.items():
        bound = ULPS * (T * B * H) ** 0.5 * torch.finfo(torch.float64).eps * value.abs().max()
        assert (got[name] - value).abs().max() <= bound, name
