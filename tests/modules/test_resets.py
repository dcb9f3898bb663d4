"""Resets inside a sequence, and all cell states: what torch.nn cannot do."""

from __future__ import annotations

import pytest
import torch
from tolerance import run, tensors
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

import rnn_kernels as rk

T, I, H = 9, 4, 11


def pieces(done: list[bool]) -> list[slice]:
    """Runs of steps between resets."""
    starts = [0, *[t for t in range(1, len(done)) if done[t]], len(done)]
    return [slice(a, b) for a, b in zip(starts, starts[1:], strict=False)]


def piecewise(layer: nn.Module, x: Tensor, state: Tensor, done: list[bool]) -> Tensor:
    """One row (T, I), each run of steps through torch.nn on its own; state (D, H)."""
    runs, D = pieces(done), state.shape[0]
    outputs = []
    for k, run_of_steps in enumerate(runs):
        h = torch.zeros_like(state)
        if k == 0 and not done[0]:
            h[0] = state[0]
        if D == 2 and k == len(runs) - 1:  # the reverse direction enters at the end
            h[1] = state[1]
        hx = (h, h) if isinstance(layer, nn.LSTM) else h
        outputs.append(layer(x[run_of_steps], hx)[0])
    return torch.cat(outputs)


@pytest.mark.support("resets= inside a sequence")
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_a_reset_separates_episodes(cell: str, bidirectional: bool, backend: str) -> None:
    D, B = 1 + bidirectional, 3
    theirs = getattr(nn, cell)(I, H, bidirectional=bidirectional).double()
    ours = getattr(rk, cell)(I, H, bidirectional=bidirectional).double()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(T, B, I, dtype=torch.float64, requires_grad=True)
    h = torch.randn(D, B, H, dtype=torch.float64, requires_grad=True)
    done = torch.rand(T, B) < 0.3
    done[0, 0], done[:, 1], done[3, 2] = True, False, True

    y, _ = ours(x, (h, h) if cell == "LSTM" else h, resets=done)
    expected = torch.stack(
        [piecewise(theirs, x[:, b], h[:, b], done[:, b].tolist()) for b in range(B)], 1
    )
    torch.testing.assert_close(y, expected)
    weight = torch.randn_like(y)
    for a, b in zip(
        torch.autograd.grad((y * weight).sum(), [x, h, *ours.parameters()]),
        torch.autograd.grad((expected * weight).sum(), [x, h, *theirs.parameters()]),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


@pytest.mark.support("resets= inside a sequence")
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_packed_rows(cell: str, bidirectional: bool, backend: str) -> None:
    """Each packed row gives what it gives alone."""
    lengths = [4, 9, 1]
    layer = getattr(rk, cell)(I, H, bidirectional=bidirectional).double()
    x = torch.randn(T, 3, I, dtype=torch.float64)
    done = torch.rand(T, 3) < 0.4
    packed, resets = (pack_padded_sequence(t, lengths, enforce_sorted=False) for t in (x, done))
    y, _ = nn.utils.rnn.pad_packed_sequence(layer(packed, resets=resets)[0])
    for b, n in enumerate(lengths):
        alone, _ = layer(x[:n, b], resets=done[:n, b])
        torch.testing.assert_close(y[:n, b], alone)


def test_resets_everywhere_forget_everything(backend: str) -> None:
    layer, x = rk.GRU(I, H), torch.randn(T, 2, I)
    y, h = layer(x, torch.full((1, 2, H), torch.nan), resets=torch.ones(T, 2, dtype=torch.bool))
    torch.testing.assert_close(y, layer(x.reshape(1, -1, I))[0].view(T, 2, H))
    assert torch.equal(h[0], y[-1])


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_a_single_step_cuts_what_comes_from_before(cell: str, backend: str) -> None:
    """Nothing comes from after, so the other direction keeps its initial state."""
    theirs = getattr(nn, cell)(I, H, bidirectional=True).double()
    ours = getattr(rk, cell)(I, H, bidirectional=True).double()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(1, 3, I, dtype=torch.float64)
    done = torch.tensor([[True, False, True]])
    states = [torch.randn(2, 3, H, dtype=torch.float64) for _ in range(2)]
    cut = [torch.stack((s[0].masked_fill(done[0, :, None], 0), s[1])) for s in states]
    form = (lambda s: tuple(s)) if cell == "LSTM" else (lambda s: s[0])
    y, finals = ours(x, form(states), resets=done)
    expected, expected_finals = theirs(x, form(cut))
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(finals, expected_finals)


def test_layouts_of_resets() -> None:
    x, done = torch.randn(T, 3, I), torch.rand(T, 3) < 0.3
    layer = rk.LSTM(I, H)
    y, _ = layer(x, resets=done)
    layer.batch_first = True
    torch.testing.assert_close(layer(x.transpose(0, 1), resets=done.T)[0].transpose(0, 1), y)
    torch.testing.assert_close(layer(x[:, 1], resets=done[:, 1])[0], y[:, 1])


@pytest.mark.parametrize(
    ("resets", "error", "message"),
    [
        (torch.zeros(T, 3), TypeError, "resets should be of dtype torch.bool, got torch.float32"),
        (torch.zeros(3, T).bool(), RuntimeError, r"Expected resets size \(9, 3\), got \[3, 9\]"),
        (
            pack_padded_sequence(torch.zeros(T, 3).bool(), [9, 9, 9]),
            TypeError,
            "resets should be a tensor, since input is a tensor",
        ),
    ],
)
def test_bad_resets(resets: Tensor | PackedSequence, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        rk.LSTM(I, H)(torch.randn(T, 3, I), resets=resets)


@pytest.mark.parametrize("resets", [torch.zeros(T, 2).bool(), torch.zeros(18).bool()])
def test_packed_input_needs_packed_resets(resets: Tensor) -> None:
    x = pack_padded_sequence(torch.randn(T, 2, I), [9, 9])
    with pytest.raises(TypeError, match="PackedSequence of the same lengths"):
        rk.LSTM(I, H)(x, resets=resets)


def test_packed_resets_in_another_order() -> None:
    x = pack_padded_sequence(torch.randn(6, 3, I), [2, 6, 4], enforce_sorted=False)
    done = pack_padded_sequence(torch.zeros(6, 3).bool(), [4, 6, 2], enforce_sorted=False)
    with pytest.raises(TypeError, match="in the same order"):
        rk.GRU(I, H)(x, resets=done)


def test_resets_on_another_device() -> None:
    with pytest.raises(RuntimeError, match="Expected resets on cpu, got meta"):
        rk.GRU(I, H)(torch.randn(T, 2, I), resets=torch.ones(T, 2, device="meta").bool())


@pytest.mark.support("cell states of all steps (return_cells=)", "LSTM")
@pytest.mark.parametrize("batch_first", [False, True])
def test_all_cell_states(batch_first: bool, backend: str) -> None:
    """Against a loop over nn.LSTMCell, with gradients through the cell states."""
    layer = rk.LSTM(I, H, num_layers=2, batch_first=batch_first).double()
    cells = []
    for k in range(2):
        cell = nn.LSTMCell(I if k == 0 else H, H).double()
        cell.load_state_dict(
            {n[: -len(f"_l{k}")]: p for n, p in layer.state_dict().items() if n.endswith(f"_l{k}")}
        )
        cells.append(cell)
    x = torch.randn(T, 3, I, dtype=torch.float64, requires_grad=True)
    _, (_, c_n), states = layer(x.transpose(0, 1) if batch_first else x, return_cells=True)
    assert len(states) == 2
    values, expected = list(x), []
    for cell in cells:
        h = c = torch.zeros(3, H, dtype=torch.float64)
        outputs, memory = [], []
        for value in values:
            h, c = cell(value, (h, c))
            outputs.append(h)
            memory.append(c)
        values = outputs
        expected.append(torch.stack(memory))
    for k in range(2):
        ours = states[k].transpose(0, 1) if batch_first else states[k]
        torch.testing.assert_close(ours, expected[k])
        torch.testing.assert_close(c_n[k], expected[k][-1])
    (ours,) = torch.autograd.grad(sum(s.square().sum() for s in states), x)
    (theirs,) = torch.autograd.grad(sum(e.square().sum() for e in expected), x)
    torch.testing.assert_close(ours, theirs)


def test_cell_states_keep_the_form_of_the_input() -> None:
    layer = rk.LSTM(I, H, bidirectional=True).bfloat16()
    x = pack_padded_sequence(torch.randn(T, 2, I).bfloat16(), [9, 4])
    _, _, (cells,) = layer(x, return_cells=True)
    assert isinstance(cells, PackedSequence) and cells.data.shape == (13, 2 * H)
    assert cells.data.dtype == torch.bfloat16
    _, _, (cells,) = layer(torch.randn(T, I).bfloat16(), return_cells=True)
    assert cells.shape == (T, 2 * H)


def test_resets_reach_every_layer(backend: str) -> None:
    layer = rk.LSTM(I, H, num_layers=3, bidirectional=True)
    x, done = torch.randn(T, 2, I), torch.zeros(T, 2, dtype=torch.bool)
    done[5] = True
    y, _ = layer(x, resets=done)
    torch.testing.assert_close(y[:5], layer(x[:5])[0])
    torch.testing.assert_close(y[5:], layer(x[5:])[0])
    results = run(layer, (x.requires_grad_(),), resets=done)
    assert all(t.isfinite().all() for t in tensors(tuple(results.values())).values())
