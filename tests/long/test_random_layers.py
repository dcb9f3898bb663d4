"""Layers of random sizes and options against float64, thousands of them on a GPU."""

from __future__ import annotations

import math

import pytest
import torch
from random_layers import RandomLayer, failures

GPU = torch.cuda.is_available()
# How many on each backend, so many in a test, and of up to so many hidden units.
COUNTS = {"cpu": 60, "triton": 500, "cuda": 10_000}
EACH, WIDEST = 100 if GPU else 30, {"cpu": 70, "triton": 1200, "cuda": 1200}


def chunks() -> list:
    return [
        pytest.param(name, first, marks=[] if name == "cpu" else pytest.mark.gpu)
        for name, count in COUNTS.items()
        for first in range(0, count if GPU or name == "cpu" else 1, EACH)
    ]


@pytest.mark.parametrize(("kernels", "first"), chunks(), indirect=["kernels"])
def test_as_accurate_as_torch(kernels: str, first: int) -> None:
    numbers = range(first, min(first + EACH, COUNTS[kernels]))
    wrong = failures(numbers, WIDEST[kernels])
    assert not wrong, f"{len(wrong)} of {len(numbers)}:\n" + "\n".join(wrong)


def test_a_number_is_a_layer() -> None:
    layers = [RandomLayer.of(number, 100) for number in range(200)]
    assert layers == [RandomLayer.of(number, 100) for number in range(200)]
    assert {layer.cell for layer in layers} == {"LSTM", "GRU"}
    assert {1, 2} < {layer.H for layer in layers} and max(layer.H for layer in layers) > 80


@pytest.mark.parametrize("factor", [1.5, math.nan])
def test_a_wrong_layer_is_told(factor: float, monkeypatch: pytest.MonkeyPatch) -> None:
    results = RandomLayer.reference

    def reference(*call: object) -> dict[str, torch.Tensor]:
        return {name: factor * t for name, t in results(*call).items()}

    monkeypatch.setattr(RandomLayer, "reference", reference)
    assert len(failures(range(5), 10)) == 5


@pytest.mark.parametrize(("off", "wrong"), [([2, 0, 0, 2, 0], 0), ([2, 0, 2, 2, 0], 1), ([5], 1)])
def test_a_few_unlucky_numbers_are_none(
    off: list[float], wrong: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RandomLayer, "off", lambda layer, draw: (off[draw], "output"))
    assert len(failures(range(1), 10)) == wrong
