"""What whole sequences in one launch round: factors of float32, and the gate functions."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import emulated
import pytest
import torch
from backend_calls import backward, forward
from persistent_calls import SINGLE, call
from rounding import as_tf32

from rnn_kernels.core.cells import CELLS

pytestmark = pytest.mark.emulated


@pytest.fixture
def tf32() -> Iterator[None]:
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=True):
        yield


@pytest.mark.parametrize(("H", "by"), [(20, (1, 3)), (70, (4, 3)), (40, (3, 5, True))])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_float32_rounds_factors_to_tf32_and_nothing_else(
    cell: str, H: int, by: tuple, cutting: ModuleType, tf32: None
) -> None:
    """A step by hand: the gates from sums of products of rounded factors, and back."""
    cutting.by = by
    kind = CELLS[cell]
    args = call(cell, SINGLE, H, 5, 1, 1)
    _, gx, w, b, _, h0, c0, *_ = args
    ours = forward(cutting, *args, True, True)
    gh = (as_tf32(h0[0]) @ as_tf32(w[0]).T + b[0]).unflatten(1, (kind.gates, H)).unbind(1)
    c_before = h0[0] if c0 is None else c0[0]
    h, c, saved = kind.step(
        gx[0, :, 0].unflatten(1, (kind.gates, H)).unbind(1), gh, h0[0], c_before
    )
    close = {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(ours[0][0], h, **close)
    torch.testing.assert_close(ours[4][0, :, 0], torch.stack(saved, 1), **close)

    dy = torch.randn(1, 5, H)
    kept = (w, None, h0, c0, ours[0], ours[3], ours[4], None, None)
    got = backward(cutting, cell, dy, None, None, None, *kept, False, False)
    zeros = torch.zeros_like(h)
    dgx, dgh, direct, _ = kind.step_backward(
        ours[4][0, :, 0].unbind(1), h0[0], c_before, c if kind.has_c else h, dy[0], zeros,
        torch.zeros_like(ours[4][0, :, 0]).unbind(1),
    )  # fmt: skip
    torch.testing.assert_close(got[0][0, :, 0], torch.cat(dgx, 1), **close)
    dh0 = as_tf32(torch.cat(dgh, 1)) @ as_tf32(w[0]) + direct
    torch.testing.assert_close(got[4][0], dh0, **close)


def test_float32_is_rounded_only_where_torch_allows_tf32() -> None:
    backend = emulated.backend()
    like, sizes = torch.zeros(1), (3, 20, 1)
    assert not torch.backends.cudnn.allow_tf32
    assert backend.plan("lstm", like, sizes, False, False).exact
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=True):
        assert not backend.plan("lstm", like, sizes, False, False).exact


@pytest.mark.parametrize("by", [(1, 3), (4, 3), (5, 3, True)], ids=["one", "cluster", "grid"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_float32_is_as_exact_as_torch(cell: str, by: tuple, cutting: ModuleType) -> None:
    """Sums of H products, of which those of TF32 would be off by a thousand times as much."""
    cutting.by = by
    H = 100 if by[0] == 1 else 200
    args = call(cell, SINGLE, H, 3, 1, 1)
    _, gx, w, b, _, h0, c0, *_ = args
    gx.zero_(), w.mul_(0.3), b.zero_()  # where sigmoid and tanh do not saturate
    gates = forward(cutting, *args, True, False)[4][0, :, 0]
    sums = (h0[0].double() @ w[0].double().T).unflatten(1, (-1, H))
    theirs = (h0[0] @ w[0].T).unflatten(1, (-1, H))
    for k in range(2):  # i and f, or r and z
        exact = sums[:, k].sigmoid()
        error = (gates[:, k].double() - exact).abs().max()
        assert error <= 2 * (theirs[:, k].sigmoid().double() - exact).abs().max() + 2**-23


def test_an_infinite_factor_of_float32(cutting: ModuleType) -> None:
    """Split in two, its small part would be NaN."""
    cutting.by = (1, 3)
    args = call("gru", SINGLE, 20, 3, 1, 1)
    w, h0 = args[2], args[5]
    w[0, 0, 0], w[0, 1, 3], w[0, 2, 5] = torch.inf, -torch.inf, 3e38
    h0[0, :, (0, 3, 5)] = torch.tensor([1.0, -1.0, 1.5])[:, None]
    r = forward(cutting, *args, True, False)[4][0, :, 0, 0]
    expected = (h0[0] @ w[0, :3].T).sigmoid()
    assert r[:, :3].isfinite().all() and torch.equal(r[:, :2], expected[:, :2])


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
        y, *_, saved = forward(
            backend, "gru", gates, w, None, None, h0, None, None, None, True, False
        )
        gates[0, :, 0, 1] = x
        z = forward(backend, "gru", gates, w, None, None, h0, None, None, None, True, False)[4]
    exact = x.double().tanh()
    error = (y.flatten().double() - exact).abs()
    assert (error <= 4 * eps).all() and (error <= 8 * eps * exact.abs()).all()
    z, exact = z.view(n, 4)[:, 1].double(), x.double().sigmoid()
    assert ((z - exact).abs() <= 4 * eps).all()
    assert (z[exact == 1] == 1).all() and z[x == -torch.inf].eq(0).all()
    nan = torch.full((1, 1, 1, 3), torch.nan)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=True):
        y, *_ = forward(
            backend, "gru", nan, w, None, None, h0[:, :1], None, None, None, False, False
        )
    assert y.isnan().all()
