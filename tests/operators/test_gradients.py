"""Hand-written derivatives against numerical ones, first and second, in float64."""

from __future__ import annotations

import itertools

import pytest
import torch
from differentiable import Sizes, problem
from torch import Tensor

CASES = [
    pytest.param(*case, id="-".join(case))
    for case in itertools.product(
        ["lstm", "gru"], ["one", "both"], ["padded", "packed"], ["carried", "reset"]
    )
] + [pytest.param("lstm projected", "both", "packed", "reset", id="projected")]
# For second derivatives, which take time with the square of the weights.
FEW = Sizes(I=3, H=2, P=1)


@pytest.mark.support("gradcheck, gradgradcheck")
@pytest.mark.parametrize(("cell", "directions", "packing", "resets"), CASES)
def test_first(cell: str, directions: str, packing: str, resets: str) -> None:
    function, inputs = problem(cell, directions, packing, resets)
    assert torch.autograd.gradcheck(function, inputs)


@pytest.mark.slow
@pytest.mark.support("gradcheck, gradgradcheck")
@pytest.mark.parametrize(("cell", "directions", "packing", "resets"), CASES)
def test_second(cell: str, directions: str, packing: str, resets: str) -> None:
    function, inputs = problem(cell, directions, packing, resets, FEW)
    assert torch.autograd.gradgradcheck(function, inputs)


@pytest.mark.parametrize(
    "kernels", ["emulated", pytest.param("cuda", marks=pytest.mark.gpu)], indirect=True
)
@pytest.mark.parametrize(("cell", "directions", "packing", "resets"), CASES[:-1])
def test_on_cuda_kernels(
    cell: str, directions: str, packing: str, resets: str, kernels: str
) -> None:
    function, inputs = problem(cell, directions, packing, resets)
    assert torch.autograd.gradcheck(function, inputs)


@pytest.mark.slow
@pytest.mark.parametrize("directions", ["one", "both"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_single_step(cell: str, directions: str) -> None:
    function, inputs = problem(cell, directions, "padded", "reset", Sizes(T=1))
    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_reference(cell: str) -> None:
    import rnn_kernels

    function, inputs = problem(cell, "both", "packed", "reset")
    with rnn_kernels.backend("reference"):
        assert torch.autograd.gradcheck(function, inputs)
        function, inputs = problem(cell, "both", "packed", "reset", FEW)
        assert torch.autograd.gradgradcheck(function, inputs)


def test_third() -> None:
    """Two steps of two units have every term that more of them have."""
    sizes = Sizes(T=2, B=1, I=1, H=2)
    function, inputs = problem("lstm", "one", "padded", "carried", sizes)

    def second(*values: Tensor) -> Tensor:
        y = function(*values)[0]
        (dx,) = torch.autograd.grad(y.square().sum(), values[0], create_graph=True)
        return dx

    assert torch.autograd.gradgradcheck(second, inputs)


@pytest.mark.support("double backward")
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_gradient_penalty(cell: str) -> None:
    """The user's way to a second derivative: a loss on a gradient."""
    function, inputs = problem(cell, "one", "padded", "carried")
    (dx,) = torch.autograd.grad(function(*inputs)[0].sum(), inputs[0], create_graph=True)
    dx.square().sum().backward()
    assert all(t.grad is not None and t.grad.isfinite().all() for t in inputs)
