"""What whole sequences in one launch round: TF32 factors, and the gate functions."""

from __future__ import annotations

from types import ModuleType

import emulated
import pytest
import torch
from persistent_calls import SINGLE, call
from torch import Tensor

from rnn_kernels.cells import CELLS
from rnn_kernels.persistent import Plan

pytestmark = pytest.mark.emulated


def as_tf32(t: Tensor) -> Tensor:
    """To nearest, ties away from zero."""
    bits = t.float().contiguous().view(torch.int32)
    return (bits + 0x1000 & ~0x1FFF).view(torch.float32)


@pytest.mark.parametrize(("H", "blocks"), [(20, 1), (70, 4)])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_float32_rounds_factors_to_tf32_and_nothing_else(
    cell: str, H: int, blocks: int, cutting: ModuleType
) -> None:
    """A step by hand: the gates from sums of products of rounded factors, and back."""
    cutting.by = (blocks, 3)
    kind = CELLS[cell]
    args = call(cell, SINGLE, H, 5, 1, 1)
    _, gx, w, b, _, h0, c0, *_ = args
    ours = cutting.forward(*args, True, True)
    gh = (as_tf32(h0[0]) @ as_tf32(w[0]).T + b[0]).unflatten(1, (kind.gates, H)).unbind(1)
    c_before = h0[0] if c0 is None else c0[0]
    h, c, saved = kind.step(
        gx[0, :, 0].unflatten(1, (kind.gates, H)).unbind(1), gh, h0[0], c_before
    )
    close = {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(ours[0][0], h, **close)
    torch.testing.assert_close(ours[4][0, :, 0], torch.stack(saved, 1), **close)

    dy = torch.randn(1, 5, H)
    got = cutting.backward(
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
