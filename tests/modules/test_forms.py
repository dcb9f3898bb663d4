"""Every form of a call: packed or not, states or not, bias, directions, layers, batch_first."""

from __future__ import annotations

import itertools

import pytest
import torch
from tolerance import compare
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import rnn_kernels as rk

T, B, I, H = 6, 4, 5, 13
FORMS = [
    pytest.param(*form, id="-".join(map(str, form)))
    for form in itertools.product(
        ["LSTM", "GRU"],
        ["padded", "sorted", "unsorted"],
        [False, True],  # hx
        [False, True],  # bias
        [False, True],  # bidirectional
        [1, 3],  # layers
        [False, True],  # batch_first
        [0, 3],  # proj_size
    )
    if not (form[0] == "GRU" and form[7])
]


@pytest.mark.support("PackedSequence, unbatched, batch_first, proj_size as torch.nn")
@pytest.mark.parametrize(
    ("cell", "packing", "hx", "bias", "bidirectional", "layers", "batch_first", "proj"), FORMS
)
def test_form(
    cell: str,
    packing: str,
    hx: bool,
    bias: bool,
    bidirectional: bool,
    layers: int,
    batch_first: bool,
    proj: int,
) -> None:
    options = {
        "num_layers": layers,
        "bias": bias,
        "bidirectional": bidirectional,
        "batch_first": batch_first,
    }
    if proj:
        options["proj_size"] = proj
    rows = layers * (1 + bidirectional)
    x = torch.randn(*((B, T) if batch_first else (T, B)), I, dtype=torch.float64)
    h = torch.randn(rows, B, proj or H, dtype=torch.float64)
    c = torch.randn(rows, B, H, dtype=torch.float64)
    if packing != "padded":
        lengths = [6, 4, 3, 1] if packing == "sorted" else [2, 6, 1, 6]
        x = pack_padded_sequence(x, lengths, batch_first, enforce_sorted=packing == "sorted")
    state = (h, c) if cell == "LSTM" else h
    compare(
        getattr(rk, cell)(I, H, **options),
        getattr(nn, cell)(I, H, **options),
        (x, state) if hx else (x,),
        torch.float32,
    )


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("hx", [False, True])
@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_unbatched(cell: str, hx: bool, batch_first: bool) -> None:
    options = {"num_layers": 2, "bidirectional": True, "batch_first": batch_first}
    x, h, c = (torch.randn(*s, dtype=torch.float64) for s in ((T, I), (4, H), (4, H)))
    args = (x, (h, c) if cell == "LSTM" else h) if hx else (x,)
    compare(
        getattr(rk, cell)(I, H, **options), getattr(nn, cell)(I, H, **options), args, torch.float32
    )


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_packed_results_keep_their_indices(cell: str) -> None:
    x = pack_padded_sequence(torch.randn(T, B, I), [2, 6, 1, 6], enforce_sorted=False)
    y, _ = getattr(rk, cell)(I, H)(x)
    for ours, theirs in zip(y[1:], x[1:], strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.support("B = 0")
@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_empty_batch(cell: str, backend: str) -> None:
    layer = getattr(rk, cell)(I, H, num_layers=2, bidirectional=True)
    x = torch.randn(T, 0, I, requires_grad=True)
    y, state = layer(x)
    assert y.shape == (T, 0, 2 * H)
    assert all(s.shape == (4, 0, H) for s in (state if cell == "LSTM" else [state]))
    y.sum().backward()
    assert x.grad.shape == x.shape
    assert all((p.grad == 0).all() for p in layer.parameters())
