"""The two operators: torch's own checks of a registration, and bad arguments."""

from __future__ import annotations

import pytest
import torch
from layers import laid_out
from torch import Tensor

FORWARD = torch.ops.rnn_kernels.recurrence
BACKWARD = torch.ops.rnn_kernels.recurrence_backward
GATES = {"lstm": 4, "gru": 3}


def arguments(cell: str, form: str, dtype: torch.dtype = torch.float32, packed: bool = False):
    T, B, D, H = 4, 3, 2, 5
    G = GATES[cell]
    lead = (9,) if packed else (T, B)

    def leaf(*sizes: int) -> Tensor:
        if form == "transposed":
            t = torch.randn(*reversed(sizes), dtype=dtype).permute(*range(len(sizes))[::-1])
        elif form == "expanded":
            t = torch.randn(*(1 for _ in sizes[:-1]), sizes[-1], dtype=dtype).expand(*sizes)
        else:
            t = torch.randn(*sizes, dtype=dtype)
        return t.requires_grad_()

    return (
        cell,
        leaf(*lead, D, G * H),
        leaf(D, G * H, H),
        leaf(D, G * H) if cell == "gru" else None,
        None,
        leaf(D, B, H),
        leaf(D, B, H) if cell == "lstm" else None,
        torch.tensor([3, 3, 2, 1]) if packed else None,
        torch.rand(lead) < 0.3,
        True,
        True,
        "cpu",
    )


@pytest.mark.slow
@pytest.mark.support("torch.library.opcheck of every operator")
@pytest.mark.parametrize("form", ["contiguous", "transposed", "expanded"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_opcheck_forward(cell: str, form: str) -> None:
    torch.library.opcheck(FORWARD.default, arguments(cell, form))


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_opcheck_forward_packed(cell: str) -> None:
    torch.library.opcheck(FORWARD.default, arguments(cell, "contiguous", packed=True))


@pytest.mark.support("torch.library.opcheck of every operator")
@pytest.mark.parametrize("form", ["contiguous", "transposed", "expanded"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_opcheck_backward(cell: str, form: str) -> None:
    args = arguments(cell, form)
    y, h_n, c_n, c, saved = (t.detach() for t in FORWARD(*args))
    has_c = cell == "lstm"
    torch.library.opcheck(
        BACKWARD.default,
        (
            cell,
            *(laid_out(torch.randn_like(t), form) for t in (y, h_n)),
            *(laid_out(torch.randn_like(t), form) if has_c else None for t in (c_n, c)),
            None,
            args[2].detach(),
            None,
            args[5].detach(),
            args[6].detach() if has_c else None,
            laid_out(y, form),
            laid_out(c, form) if has_c else None,
            laid_out(saved, form),
            None,
            args[8],
            True,
            True,
            "cpu",
        ),
    )


def test_layouts_give_the_same_numbers() -> None:
    for cell in GATES:
        args = arguments(cell, "transposed")
        plain = [a.contiguous() if isinstance(a, Tensor) else a for a in args]
        for ours, theirs in zip(FORWARD(*args), FORWARD(*plain), strict=True):
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (0, "rnn", "unknown cell 'rnn'"),
        (1, torch.zeros(4, 3, 2, 19), r"Expected gx size \(4, 3, 2, 20\), got \[4, 3, 2, 19\]"),
        (1, torch.zeros(4, 2, 20), "of 4, 3 and 3 dimensions, got 3, 3 and 3"),
        (2, torch.zeros(2, 20, 6), "do not fit|Expected w_hh"),
        (3, torch.zeros(2, 19), "Expected b_hh size"),
        (5, torch.zeros(2, 3, 5).double(), "Expected h0 to have dtype torch.float32"),
        (6, None, "lstm needs c0"),
        (6, torch.zeros(2, 4, 5), "Expected c0 size"),
        (8, torch.zeros(4, 3), "Expected resets to have dtype torch.bool"),
        (8, torch.zeros(3, 4).bool(), "Expected resets size"),
        (11, "gpu", "unknown backend 'gpu'"),
        (11, "cuda", "backend 'cuda' cannot run this lstm"),
    ],
)
def test_bad_arguments(position: int, value: object, message: str) -> None:
    args = list(arguments("lstm", "contiguous"))
    args[position] = value
    with pytest.raises((RuntimeError, ValueError), match=message):
        FORWARD(*args)


@pytest.mark.parametrize(
    ("batch_sizes", "message"),
    [
        ([3, 3, 3], "9 rows|add up"),
        ([3, 3, 2, 2], "add up to 10, but there are 9 rows"),
        ([4, 3, 2], "decrease from at most 3"),
        ([2, 3, 3, 1], "decrease from at most 3"),
        ([], "sequence length to be larger than 0"),
    ],
)
def test_bad_batch_sizes(batch_sizes: list[int], message: str) -> None:
    args = list(arguments("gru", "contiguous", packed=True))
    args[7] = torch.tensor(batch_sizes, dtype=torch.int64)
    if batch_sizes == [3, 3, 3]:  # this one is right
        FORWARD(*args)
        return
    with pytest.raises(RuntimeError, match=message):
        FORWARD(*args)


def test_a_call_that_saved_nothing_cannot_be_differentiated() -> None:
    args = list(arguments("gru", "contiguous"))
    args[9] = False
    y = FORWARD(*args)[0]
    with pytest.raises(RuntimeError, match="save=False"):
        y.sum().backward()


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (6, torch.zeros(2, 20, 4), "Expected w_hh size"),
        (8, torch.zeros(2, 50, 5), "Expected y size"),
        (10, torch.zeros(12, 10), "of 3, 3 and 3 dimensions, got 2, 3 and 3"),
        (11, None, "lstm needs c"),
        (12, torch.zeros(4, 3, 2, 4, 5).bfloat16(), "Expected saved to have dtype torch.float32"),
        (1, torch.zeros(4, 3, 9), "Expected dy size"),
        (14, torch.zeros(3, 4).bool(), "Expected resets size"),
    ],
)
def test_bad_arguments_of_the_backward(position: int, value: object, message: str) -> None:
    call = arguments("lstm", "contiguous")
    y, _, _, c, saved = (t.detach() for t in FORWARD(*call))
    args = ["lstm", y, None, None, None, None, call[2], None, call[5], call[6], y, c, saved,
            None, call[8], True, True, "cpu"]  # fmt: skip
    BACKWARD(*args)
    args[position] = value
    with pytest.raises(RuntimeError, match=message):
        BACKWARD(*args)
