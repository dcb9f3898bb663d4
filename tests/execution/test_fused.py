"""Layers whose backend multiplies the input itself: which calls they are, and that weights are read
anew at every one of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.rnn import pack_padded_sequence

import rnn_kernels as rk
from rnn_kernels import functional
from rnn_kernels.backends import BACKENDS

CELLS = ("LSTM", "GRU")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The cells of the layers that the CPU backend multiplied the input of."""
    seen, layer = [], BACKENDS["cpu"].layer
    monkeypatch.setattr(
        BACKENDS["cpu"], "layer", lambda call, save: seen.append(call.cell) or layer(call, save)
    )
    return seen


def both(cell: str, *sizes: int, **options: object) -> tuple[nn.Module, nn.Module]:
    """Torch's module and ours, float64, of the same weights."""
    theirs = getattr(nn, cell)(*sizes, **options).double()
    ours = getattr(rk, cell)(*sizes, **options).double()
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def outcome(module: nn.Module, x: Tensor) -> list[Tensor]:
    """Outputs, and the gradients of whatever has one."""
    y, state = module(x)
    rows = y.data if isinstance(y, nn.utils.rnn.PackedSequence) else y
    states = state if isinstance(state, tuple) else (state,)
    leaves = [p for p in module.parameters() if p.requires_grad]
    if isinstance(x, Tensor) and x.requires_grad:
        leaves.append(x)
    total = rows.square().sum() + sum(s.sin().sum() for s in states)
    return [rows, *states, *(torch.autograd.grad(total, leaves) if leaves else ())]


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize(
    ("T", "B", "I", "H"),
    [(2, 1, 1, 1), (5, 3, 7, 5), (31, 1, 3, 33), (9, 8, 65, 17), (40, 37, 5, 24), (3, 50, 600, 8)],
)
@pytest.mark.parametrize("cell", CELLS)
def test_agrees_with_torch(
    cell: str, T: int, B: int, I: int, H: int, batch_first: bool, bidirectional: bool,
    calls: list[str],
) -> None:  # fmt: skip
    options = {"batch_first": batch_first, "bidirectional": bidirectional, "num_layers": 2}
    theirs, ours = both(cell, I, H, **options)
    x = torch.randn(*((B, T) if batch_first else (T, B)), I, dtype=torch.float64)
    x.requires_grad_()
    torch.testing.assert_close(outcome(ours, x), outcome(theirs, x))
    assert calls == [cell.lower()] * 2


@pytest.mark.parametrize("cell", CELLS)
def test_packed_rows(cell: str, calls: list[str]) -> None:
    theirs, ours = both(cell, 5, 19, bidirectional=True)
    x = torch.randn(11, 6, 5, dtype=torch.float64)
    packed = pack_padded_sequence(x, [11, 9, 9, 4, 1, 1])
    torch.testing.assert_close(outcome(ours, packed), outcome(theirs, packed))
    assert calls == [cell.lower()]


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_resets_are_those_of_the_operator(cell: str, bidirectional: bool) -> None:
    layer = getattr(rk, cell)(5, 20, bidirectional=bidirectional).double()
    x, done = torch.randn(30, 4, 5, dtype=torch.float64), torch.rand(30, 4) < 0.2
    y, _ = layer(x, resets=done)
    with rk.backend("reference"):
        expected, _ = layer(x, resets=done)
    torch.testing.assert_close(y, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("cell", CELLS)
def test_inputs_of_any_layout(cell: str, dtype: torch.dtype, calls: list[str]) -> None:
    """Rows may lie anywhere; where their values do not lie together they are copied."""
    layer = getattr(rk, cell)(7, 9).to(dtype)
    base = torch.randn(20, 6, 14).to(dtype)
    views = [
        base[..., :7],
        base[..., ::2],
        base[:, :, :7].transpose(0, 1),
        base[:1, :, :7].expand(20, 6, 7),
        base[:, :1, :7].expand(20, 6, 7),
        base.view(20, 14, 6).transpose(1, 2)[..., 3:10],
        torch._neg_view(base[..., 7:]),
    ]
    for x in views:
        y, _ = layer(x)
        expected, _ = layer(x.contiguous().clone())
        assert torch.equal(y, expected)
    assert len(calls) == 2 * len(views)


def test_weights_of_any_layout() -> None:
    theirs, ours = both("LSTM", 6, 6)
    for module in (theirs, ours):
        module.weight_hh_l0 = nn.Parameter(module.weight_hh_l0.detach().T.contiguous().T)
        assert not module.weight_hh_l0.is_contiguous()
    x = torch.randn(9, 4, 6, dtype=torch.float64)
    torch.testing.assert_close(outcome(ours, x), outcome(theirs, x))


def step_of_an_optimizer(m: nn.Module) -> None:
    for p in m.parameters():
        p.grad = torch.full_like(p, 0.1)
    torch.optim.Adam(m.parameters(), lr=0.1).step()


def soften(m: nn.Module) -> None:
    parametrize.register_parametrization(m, "weight_ih_l0", nn.Softsign())


CHANGES: dict[str, Callable[[nn.Module], object]] = {
    "in place": lambda m: [p.detach().mul_(0.7) for p in m.parameters()],
    "in place, through .data": lambda m: [p.data.mul_(0.7) for p in m.parameters()],
    "one value through numpy": lambda m: m.weight_ih_l0.detach().numpy().__setitem__((0, 0), 3.0),
    "new .data": lambda m: [setattr(p, "data", p.data * 0.7) for p in m.parameters()],
    "load_state_dict": lambda m: m.load_state_dict({k: 0.7 * v for k, v in m.state_dict().items()}),
    "assigned state": lambda m: m.load_state_dict(
        {k: 0.7 * v for k, v in m.state_dict().items()}, assign=True
    ),
    "new parameter": lambda m: setattr(
        m, "weight_ih_l0", nn.Parameter(m.weight_ih_l0.detach() * 0.7)
    ),
    "optimizer": step_of_an_optimizer,
    "parametrization": soften,
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(("T", "B"), [(1, 1), (2, 3), (50, 4)])
@pytest.mark.parametrize("cell", CELLS)
def test_every_change_of_the_weights_is_seen(cell: str, T: int, B: int, change: str) -> None:
    theirs, ours = both(cell, 5, 33)
    x = torch.randn(T, B, 5, dtype=torch.float64)
    with torch.no_grad():
        before = [m(x)[0] for m in (theirs, ours)]
    for module in (theirs, ours):
        CHANGES[change](module)
    with torch.no_grad():
        after = [m(x)[0] for m in (theirs, ours)]
    torch.testing.assert_close(after[1], after[0])
    assert not torch.allclose(before[1], after[1])


@pytest.mark.parametrize("cell", CELLS)
def test_functional_call_and_vmap_over_weights(cell: str) -> None:
    theirs, ours = both(cell, 5, 12)
    x = torch.randn(7, 3, 5, dtype=torch.float64)
    sets = [{k: v * s for k, v in ours.state_dict().items()} for s in (0.5, 1.5)]
    expected = [torch.func.functional_call(theirs, s, (x,))[0] for s in sets]
    for s, one in zip(sets, expected, strict=True):
        torch.testing.assert_close(torch.func.functional_call(ours, s, (x,))[0], one)
    stacked = {k: torch.stack([s[k] for s in sets]) for k in sets[0]}
    together = torch.vmap(lambda s: torch.func.functional_call(ours, s, (x,))[0])(stacked)
    torch.testing.assert_close(together, torch.stack(expected))


@pytest.mark.parametrize(
    "wanted", [("x",), ("weight_ih_l0",), ("bias_ih_l0", "bias_hh_l0_reverse")]
)
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_of_some(cell: str, wanted: tuple[str, ...]) -> None:
    theirs, ours = both(cell, 5, 7, bidirectional=True)
    x = torch.randn(6, 3, 5, dtype=torch.float64, requires_grad="x" in wanted)
    for module in (theirs, ours):
        for name, p in module.named_parameters():
            p.requires_grad_(name in wanted)
    found = outcome(ours, x)
    assert len(found) == len(outcome(theirs, x)) > 2
    torch.testing.assert_close(found, outcome(theirs, x))


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
def test_second_derivatives(cell: str, calls: list[str]) -> None:
    layer = getattr(rk, cell)(3, 4, bidirectional=True).double()
    names = [name for name, _ in layer.named_parameters()]

    def run(x: Tensor, *weights: Tensor) -> Tensor:
        parameters = dict(zip(names, weights, strict=True))
        return torch.func.functional_call(layer, parameters, (x,))[0]

    inputs = (torch.randn(4, 2, 3, dtype=torch.float64), *(p.detach() for p in layer.parameters()))
    inputs = tuple(t.clone().requires_grad_() for t in inputs)
    assert torch.autograd.gradcheck(run, inputs)
    assert torch.autograd.gradgradcheck(run, inputs)
    assert calls


def test_where_something_else_has_to_see_the_product(calls: list[str]) -> None:
    layer, x = rk.GRU(5, 4), torch.randn(3, 2, 5)
    layer(x)
    assert calls == ["gru"]
    with rk.backend("reference"):
        layer(x)
    with torch.autocast("cpu"):
        layer(x)

    class Mine(Tensor):
        pass

    layer(x.as_subclass(Mine))
    assert calls == ["gru"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.randn(4, 2, 6)}, r"input.size\(-1\) must be equal to input_size. Expected 5"),
        ({"x": torch.randn(4, 3, 5)}, r"Expected input size \(4, 2, 5\), got \[4, 3, 5\]"),
        ({"x": torch.randn(0, 2, 5)}, "sequence length to be larger than 0"),
        ({"x": torch.randn(4, 2, 5).double()}, "Expected w_ih to have dtype torch.float64"),
        ({"h": torch.zeros(1, 2, 8)}, "do not fit"),
        ({"h": torch.zeros(2, 2, 7)}, "do not fit"),
        ({"b": torch.zeros(20)}, r"Expected b_ih size \(21,\)"),
        ({"w": torch.zeros(20, 5)}, r"Expected w_ih size \(21, 5\)"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Tensor], message: str) -> None:
    """Kernels are handed bare addresses."""
    fine = {"x": torch.randn(4, 2, 5), "h": torch.zeros(1, 2, 7), "w": torch.zeros(21, 5)}
    given = fine | {"b": torch.zeros(21)} | change
    weights = functional.Weights(given["w"], torch.zeros(21, 7), given["b"], torch.zeros(21))
    with pytest.raises(RuntimeError, match=message):
        functional.layer("gru", given["x"], [weights], given["h"])


@pytest.mark.parametrize("T", [1, 4])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_share_no_memory(cell: str, bidirectional: bool, T: int) -> None:
    """Or whoever scales them in place, as clipping does, would scale some twice."""
    layer = getattr(rk, cell)(3, 4, bidirectional=bidirectional)
    x = torch.randn(T, 2, 3, requires_grad=True)
    once = torch.autograd.grad(layer(x)[0].sum(), list(layer.parameters()))
    for _ in range(2):
        layer(x)[0].sum().backward()
    spans = []
    for p, g in zip(layer.parameters(), once, strict=True):
        torch.testing.assert_close(p.grad, 2 * g)
        spans.append((p.grad.data_ptr(), p.grad.data_ptr() + p.grad.nbytes))
    spans.sort()
    assert all(end <= start for (_, end), (start, _) in zip(spans, spans[1:], strict=False))


@pytest.mark.parametrize("frozen", ["weight_hh_l0", "bias_hh_l0", "bias_ih_l0", "weight_ih_l0", ""])
@pytest.mark.parametrize("cell", CELLS)
def test_second_derivatives_of_some(cell: str, frozen: str) -> None:
    """A penalty on the gradients of a network that is partly frozen, or has no biases."""
    found = []
    for module in both(cell, 3, 4, bias=bool(frozen)):
        torch.manual_seed(2)
        x = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
        for name, p in module.named_parameters():
            p.requires_grad_(name != frozen)
        leaves = [x, *(p for p in module.parameters() if p.requires_grad)]
        grads = torch.autograd.grad(module(x)[0].sin().sum(), leaves, create_graph=True)
        found.append([*grads, *torch.autograd.grad(sum(g.square().sum() for g in grads), leaves)])
    torch.testing.assert_close(found[1], found[0])


def test_no_input_features() -> None:
    weights = functional.Weights(torch.zeros(12, 0), torch.randn(12, 4, requires_grad=True))
    y, *_ = functional.layer("gru", torch.zeros(5, 2, 0), [weights], torch.randn(1, 2, 4))
    (grad,) = torch.autograd.grad(y.sum(), [weights.w_hh])
    assert grad.abs().sum() > 0


@pytest.mark.parametrize("T", [1, 5])
def test_memory_that_was_given_back(T: int) -> None:
    """As sharding and offloading leave a tensor behind: an error, and no read of nowhere."""
    for name in ("weight_hh_l0", "weight_ih_l0"):
        layer, x = rk.GRU(3, 4), torch.randn(T, 2, 3)
        getattr(layer, name).untyped_storage().resize_(0)
        with torch.no_grad(), pytest.raises(RuntimeError):
            layer(x, torch.zeros(1, 2, 4))
    x = torch.randn(T, 2, 3)
    x.untyped_storage().resize_(0)
    with torch.no_grad(), pytest.raises(RuntimeError):
        rk.GRU(3, 4)(x, torch.zeros(1, 2, 4))
