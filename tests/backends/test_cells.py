"""A cell is a row: what kernels know of it, and what happens where they do not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from tolerance import assert_as_accurate
from torch import Tensor, nn

import rnn_kernels as rk
from rnn_kernels.backends import BACKENDS, dispatch
from rnn_kernels.core.cells import CELLS, Cell
from rnn_kernels.functional import Weights, layer
from rnn_kernels.modules.base import Recurrent

T, B, I, H = 6, 5, 3, 17
KNOWN = sorted(CELLS)


class Vanilla(Recurrent):
    """torch.nn.RNN's parameters on our tanh cell."""

    def __init__(self, *sizes: int, mode: str = "RNN_TANH", **options: Any) -> None:
        nn.RNNBase.__init__(self, mode, *sizes, **options)

    def forward(self, x: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        y, states, _ = self._run(x, None if h is None else [h], None, None, False)
        return y, states[0]


@pytest.fixture
def unheard_of(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cell]:
    """A row of the table that no kernel knows: a tanh cell that leaks."""

    def step(gx: tuple, gh: tuple, h: Tensor, c: Tensor) -> tuple:
        new = torch.tanh(gx[0] + gh[0])
        return (h + new) / 2, c, (new,)

    def backward(saved: tuple, h: Tensor, c_prev: Tensor, c: Tensor, dh: Tensor, dc: Tensor,
                 dsaved: tuple) -> tuple:  # fmt: skip
        gates = ((dh / 2 + dsaved[0]) * (1 - saved[0] * saved[0]),)
        return gates, gates, dh / 2, dc

    cell = Cell(
        "leaky", "h", 1, has_c=False, splits=False, mixes=True, step=step, step_backward=backward
    )
    monkeypatch.setitem(CELLS, cell.name, cell)
    dispatch.forget()
    yield cell
    dispatch.forget()


def weights(D: int, G: int, dtype: torch.dtype = torch.float64) -> list[Weights]:
    sizes = (G * H, I), (G * H, H), (G * H,), (G * H,)
    return [Weights(*(torch.randn(*s, dtype=dtype) / 4 for s in sizes)) for _ in range(D)]


@pytest.mark.parametrize("name", ["cpu", "reference"])
@pytest.mark.parametrize("cell", KNOWN)
def test_every_cell_has_a_kernel(cell: str, name: str) -> None:
    assert cell in BACKENDS[name].cells()


@pytest.mark.parametrize("form", ["padded", "packed", "a step"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_tanh_cell(dtype: torch.dtype, form: str, backend: str) -> None:
    """Beside torch.nn.RNN, both directions, by the one rule."""
    length = 1 if form == "a step" else T
    x = torch.randn(length, B, I, dtype=torch.float64)
    h0, start = torch.randn(2, B, H, dtype=torch.float64), nn.RNN(I, H, bidirectional=True).double()
    lengths = [T, 4, 4, 2, 1]

    def results(run: Any, values: torch.dtype) -> dict[str, Tensor]:
        module = nn.RNN(I, H, bidirectional=True, dtype=values)
        module.load_state_dict({k: p.to(dtype) for k, p in start.state_dict().items()})
        leaves = [t.to(dtype).to(values).requires_grad_() for t in (x, h0)]
        y, h_n = run(module, *leaves)
        total = (y * torch.linspace(-1, 1, y.shape[-1]).to(y)).sum() + h_n.sum()
        wanted = [*leaves, *module.parameters()]
        grads = torch.autograd.grad(total, wanted)
        return {"y": y, "h_n": h_n} | {str(k): g for k, g in enumerate(grads)}

    def packed(x: Tensor) -> nn.utils.rnn.PackedSequence:
        return nn.utils.rnn.pack_padded_sequence(x, lengths)

    def theirs(module: nn.Module, x: Tensor, h0: Tensor) -> tuple[Tensor, Tensor]:
        y, h_n = module(packed(x) if form == "packed" else x, h0)
        return (y.data if form == "packed" else y), h_n

    def ours(module: nn.Module, x: Tensor, h0: Tensor) -> tuple[Tensor, Tensor]:
        own = [
            Weights(*(getattr(module, f"{n}_l0{end}") for n in
                      ("weight_ih", "weight_hh", "bias_ih", "bias_hh")))
            for end in ("", "_reverse")
        ]  # fmt: skip
        sizes = None
        if form == "packed":
            x, sizes, *_ = packed(x)
        y, h_n, c_n, _ = layer("rnn_tanh", x, own, h0, batch_sizes=sizes)
        assert c_n is None or not c_n.numel()
        return y, h_n

    with rk.backend(backend):
        found = results(ours, dtype)
    with rk.backend("auto"):
        assert_as_accurate(found, results(theirs, dtype), results(theirs, torch.float64))


def test_the_tanh_cell_differentiates_twice() -> None:
    w = weights(1, 1)
    x = torch.randn(3, 2, I, dtype=torch.float64, requires_grad=True)
    h0 = torch.randn(1, 2, H, dtype=torch.float64, requires_grad=True)
    leaves = [t.requires_grad_() for t in w[0][:4]]

    def run(x: Tensor, h0: Tensor, *own: Tensor) -> Tensor:
        return layer("rnn_tanh", x, [Weights(*own)], h0)[0]

    assert torch.autograd.gradcheck(run, (x, h0, *leaves), fast_mode=True)
    assert torch.autograd.gradgradcheck(run, (x, h0, *leaves), fast_mode=True)


def test_a_module_runs_the_cell_of_its_mode() -> None:
    """Not the one that has as many states."""
    theirs, ours = nn.RNN(I, H, 2, bidirectional=True), Vanilla(I, H, 2, bidirectional=True)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(T, B, I)
    torch.testing.assert_close(ours(x), theirs(x))
    ours.mode = "ELMAN"
    with pytest.raises(RuntimeError, match="unknown cell 'elman', expected one of"):
        ours(x)


def test_a_cell_without_kernels_runs_on_the_reference(unheard_of: Cell) -> None:
    w, x = weights(1, 1, torch.float32), torch.randn(T, B, I)
    h = torch.zeros(1, B, H)
    y, *_ = layer("leaky", x, w, h)
    state, steps = h[0], []
    for row in x:
        gx = nn.functional.linear(row, w[0].w_ih, w[0].b_ih)
        state = (state + torch.tanh(gx + nn.functional.linear(state, w[0].w_hh, w[0].b_hh))) / 2
        steps.append(state)
    torch.testing.assert_close(y, torch.stack(steps))
    message = "backend 'cpu' cannot run this leaky: it has no kernels for the cell leaky"
    with rk.backend("cpu"), pytest.raises(RuntimeError, match=message):
        layer("leaky", x, w, h)


def test_explain_says_so(unheard_of: Cell, capsys: pytest.CaptureFixture[str]) -> None:
    module = Vanilla(I, H)
    (known,) = rk.explain(module, torch.randn(T, B, I))
    assert known.backend == "cpu" and known.passed_over == ()
    module.mode = "LEAKY"
    (found,) = rk.explain(module, torch.randn(T, B, I))
    assert found.backend == "reference"
    assert found.passed_over == (("cpu", ("it has no kernels for the cell leaky",)),)
    assert "not cpu: it has no kernels for the cell leaky" in capsys.readouterr().out
    with rk.backend("reference"):
        (asked,) = rk.explain(module, torch.randn(T, B, I))
    assert asked.passed_over == ()
