"""Steps of cells and of layers with T = 1, with gradients: what callers may do with the results."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import rnn_kernels as rk


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@pytest.mark.parametrize("x", ["contiguous", "slice"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_any_result_with_gradients_may_be_changed_in_place(
    kind: str, x: str, dtype: torch.dtype
) -> None:
    """As torch.nn's: none of them is a view, nor what the backward reads."""
    layer = getattr(rk, kind)(3, 4, batch_first=True).to(dtype)
    given = torch.randn(2, 5, 3, dtype=dtype)[:, 2:3]
    given = given.clone() if x == "contiguous" else given
    number = 3 if kind == "LSTM" else 2
    for changed in range(number):
        y, state = layer(given)
        results = [y, *(state if kind == "LSTM" else [state])]
        results[changed].mul_(2)
        sum(t.sum() for t in results).backward()
        y, state = layer(given)
        results = [y, *(state if kind == "LSTM" else [state])]
        if changed:  # y has B first, as a view
            results[changed].detach_()
        sum(t.sum() for t in results).backward()


@pytest.mark.parametrize("cell", [rk.functional.lstm_cell, rk.functional.gru_cell])
@pytest.mark.parametrize("shape", [(3, 5), (1, 5), (2, 3, 5)])
@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_cell_of_more_dimensions_is_an_error(
    cell: Any, shape: tuple[int, ...], grad: bool, stride: int
) -> None:
    gates = 4 if cell is rk.functional.lstm_cell else 3
    x, h = torch.randn(*shape, 3 * stride)[..., ::stride], torch.randn(*shape, 4)
    weights = [torch.randn(gates * 4, n, requires_grad=grad) for n in (3, 4)]
    with pytest.raises(RuntimeError, match="expected input and hidden of 2 dimensions"):
        cell(x, (h, h.clone()) if gates == 4 else h, *weights)
