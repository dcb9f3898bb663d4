"""Sequences of different lengths: padded with ``lengths``, and as nested tensors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from layers import LAYERS, H, I, flat, gradients, layer
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import rnn_kernels as rk
from rnn_kernels import functional
from rnn_kernels.execution import padded

T, LENGTHS = 5, [2, 0, 5, 1, 5, 3]  # in no order, and one of none
B = len(LENGTHS)


def problem(kind: str, both: bool, hx: bool, resets: bool) -> tuple[nn.Module, Tensor, Any, Any]:
    module = layer(kind, num_layers=2, bidirectional=both, dtype=torch.float64)
    x = torch.randn(T, B, I, dtype=torch.float64)
    h, c = torch.randn(2, 4 if both else 2, B, H, dtype=torch.float64)
    state = None if not hx else (h, c) if kind == "LSTM" else h
    return module, x, state, torch.rand(T, B) < 0.3 if resets else None


def one_by_one(module: nn.Module, x: Tensor, state: Any, resets: Any) -> list[Tensor]:
    """y, zero beyond the ends, and final states; initial ones of a sequence without steps."""
    rows = module.num_layers * (2 if module.bidirectional else 1)
    zero = torch.zeros(rows, B, H, dtype=x.dtype)
    first = [zero] * len(flat(module(x)[1])) if state is None else flat(state)
    y, finals = torch.zeros_like(module(x)[0]), [s.clone() for s in first]
    for b, n in enumerate(LENGTHS):
        if n:
            own = [s[:, b : b + 1] for s in first]
            done = {} if resets is None else {"resets": resets[:n, b : b + 1]}
            hx = tuple(own) if module.mode == "LSTM" else own[0]
            out, last = module(x[:n, b : b + 1], hx, **done)
            y[:n, b : b + 1] = out
            for final, value in zip(finals, flat(last), strict=True):
                final[:, b : b + 1] = value
    return [y, *finals]


@pytest.mark.support("lengths=: padded input, any order, lengths of 0")
@pytest.mark.parametrize("resets", [False, True])
@pytest.mark.parametrize("hx", [False, True])
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("kind", LAYERS)
def test_as_one_by_one(kind: str, both: bool, hx: bool, resets: bool, monkeypatch: Any) -> None:
    """Packed, as where lengths are at hand, and padded, as where they are not."""
    module, x, state, done = problem(kind, both, hx, resets)
    expected = one_by_one(module, x, state, done)
    wanted = torch.autograd.grad(sum(t.square().sum() for t in expected), module.parameters())
    x = x.clone()
    for b, n in enumerate(LENGTHS):
        x[n:, b] = torch.nan  # nobody reads these

    def found(lengths: Any) -> tuple[list[Tensor], list[Tensor]]:
        results = flat(module(x, state, lengths=lengths, resets=done))
        return results, gradients(module, x, state, lengths=lengths, resets=done)

    for lengths in (LENGTHS, torch.tensor(LENGTHS), torch.tensor(LENGTHS, dtype=torch.int32)):
        results, grads = found(lengths)
        torch.testing.assert_close(results, expected)
        torch.testing.assert_close(grads, list(wanted))
    given: list[Tensor] = []

    def seen(call: Any, lengths: Tensor) -> Any:
        given.append(lengths)
        return original(call, lengths)

    original = padded.run
    monkeypatch.setattr(padded, "run", seen)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    results, grads = found(torch.tensor(LENGTHS))
    assert len(given) == 4
    torch.testing.assert_close(results, expected)
    torch.testing.assert_close(grads, list(wanted))


@pytest.mark.parametrize("kind", LAYERS)
def test_as_packed_by_torch(kind: str) -> None:
    module, lengths = layer(kind, bidirectional=True, batch_first=True), [4, 1, 3]
    x = torch.randn(3, 6, I)
    y, state = module(x, lengths=lengths)
    rows = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    expected, final = module(rows)
    expected, _ = pad_packed_sequence(expected, batch_first=True, total_length=6)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(flat(state), flat(final))


def test_all_cell_states() -> None:
    module = layer("LSTM", num_layers=2, batch_first=True)
    x = torch.randn(B, T, I)
    y, _, cells = module(x, lengths=LENGTHS, return_cells=True)
    for b, n in enumerate(LENGTHS):
        assert not any(c[b, n:].any() for c in (y, *cells))
        if n:
            expected = module(x[b : b + 1, :n], return_cells=True)[2]
            torch.testing.assert_close([c[b : b + 1, :n] for c in cells], list(expected))


@pytest.mark.parametrize("kind", LAYERS)
def test_functional(kind: str) -> None:
    module, x, state, done = problem(kind, True, True, True)
    run, weights = getattr(functional, kind.lower()), module._weights()
    found = run(x, state, weights, lengths=torch.tensor(LENGTHS), resets=done)
    torch.testing.assert_close(list(found), one_by_one(module, x, state, done))
    beyond = run(x, state, weights, lengths=torch.tensor([9, -4] + LENGTHS[2:]), resets=done)
    clamped = run(x, state, weights, lengths=torch.tensor([5, 0] + LENGTHS[2:]), resets=done)
    torch.testing.assert_close(beyond, clamped)


@pytest.mark.parametrize("kind", LAYERS)
def test_a_state_without_steps_touches_nothing(kind: str) -> None:
    module = layer(kind)
    h = torch.randn(1, 3, H)
    h[:, 1] = torch.nan
    weights, x = module._weights(), torch.randn(T, 3, I)
    run = getattr(functional, kind.lower())
    _, *finals = run(x, (h, h) if kind == "LSTM" else h, weights, lengths=torch.tensor([2, 0, 5]))
    assert all(f[:, 1].isnan().all() and f[:, ::2].isfinite().all() for f in finals)
    sum(f[:, ::2].sum() for f in finals).backward()
    assert all(p.grad.isfinite().all() for p in module.parameters())
    with pytest.raises(RuntimeError, match=r"Expected lengths size \(3,\), got \[1\]"):
        run(x, (h, h) if kind == "LSTM" else h, weights, lengths=torch.tensor([2]))


@pytest.mark.parametrize("kind", LAYERS)
def test_transforms_over_lengths(kind: str) -> None:
    module, x, lengths = layer(kind), torch.randn(2, T, 3, I), torch.tensor([[5, 1, 0], [2, 2, 4]])
    found = torch.vmap(lambda x, n: module(x, lengths=n)[0])(x, lengths)
    expected = [module(*a, lengths=n)[0] for *a, n in zip(x, lengths, strict=True)]
    torch.testing.assert_close(found, torch.stack(expected))
    with FakeTensorMode(allow_non_fake_inputs=True):
        assert module(x[0], lengths=lengths[0])[0].shape == (T, 3, H)


@pytest.mark.parametrize("kind", LAYERS)
def test_no_steps_and_no_sequences(kind: str) -> None:
    module, x = layer(kind), torch.randn(T, 2, I)
    y, state = module(x, lengths=[0, 0])
    assert y.shape == (T, 2, H) and not y.any() and not any(s.any() for s in flat(state))
    y, state = module(x[:, :0], lengths=[])
    assert y.shape == (T, 0, H) and flat(state)[0].shape == (1, 0, H)
    with pytest.raises(RuntimeError, match="Expected sequence length to be larger than 0 in RNN"):
        module(x[:0], lengths=[0, 0])


@pytest.mark.support("lengths beyond T are refused")
@pytest.mark.parametrize("kind", LAYERS)
def test_bad_lengths(kind: str) -> None:
    module, x = layer(kind), torch.randn(T, 2, I)
    rows = pack_padded_sequence(x, [T, 2])
    for lengths, error, message in [
        ([T + 1, 2], RuntimeError, "Expected lengths from 0 to the 5 steps of input, got 6"),
        ([3, -1], RuntimeError, "Expected lengths from 0 to the 5 steps of input, got -1"),
        ([3], RuntimeError, r"`len\(lengths\)` to be equal to batch_size, but got \[1\]"),
        ([1.0, 2.0], TypeError, "lengths should be whole numbers, got torch.float32"),
        (torch.ones(2, dtype=torch.bool), TypeError, "whole numbers, got torch.bool"),
    ]:
        with pytest.raises(error, match=message):
            module(x, lengths=lengths)
    with pytest.raises(TypeError, match="packed and nested input have their own"):
        module(rows, lengths=[1, 2])
    with pytest.raises(RuntimeError, match="lengths are for a batch, 3-D input; got 2-D input"):
        module(x[:, 0], lengths=[1])


@pytest.mark.gpu
@pytest.mark.support("lengths= on a GPU, never waited for")
@pytest.mark.parametrize("kind", LAYERS)
def test_lengths_on_a_gpu(kind: str) -> None:
    module, x, state, done = problem(kind, True, True, True)
    expected = one_by_one(module, x, state, done)
    module, x, done = module.cuda(), x.cuda(), done.cuda()
    state = tuple(s.cuda() for s in state) if kind == "LSTM" else state.cuda()
    lengths = torch.tensor(LENGTHS).cuda()
    module(x, state, lengths=lengths, resets=done)
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = flat(module(x, state, lengths=lengths, resets=done))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close([t.cpu() for t in found], expected)


def jagged(*lengths: int, features: int = I) -> tuple[list[Tensor], Tensor]:
    parts = [torch.randn(n, features) for n in lengths]
    return parts, torch.nested.nested_tensor(parts, layout=torch.jagged, requires_grad=True)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype")
@pytest.mark.support("NestedTensor (B, jagged, I)")
@pytest.mark.parametrize("kind", LAYERS)
def test_nested(kind: str) -> None:
    module = layer(kind, num_layers=2, bidirectional=True, batch_first=True)
    parts, x = jagged(3, 5, 1, 4)
    flags = [torch.rand(len(p)) < 0.4 for p in parts]
    done = torch.nested.nested_tensor(flags, layout=torch.jagged)
    y, state = module(x, resets=done)
    assert y.is_nested and y.shape[0] == 4
    assert (y + torch.nested.nested_tensor_from_jagged(torch.zeros(13, 2 * H), x.offsets())).shape
    for b, (part, own) in enumerate(zip(parts, y.unbind(), strict=True)):
        expected, final = module(part[None], resets=flags[b][None])
        torch.testing.assert_close(own, expected[0])
        torch.testing.assert_close([s[:, b] for s in flat(state)], [s[:, 0] for s in flat(final)])
    y.values().square().sum().backward()
    assert x.grad.values().abs().sum(1).all()


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype")
def test_nested_tensors_that_do_not_fit() -> None:
    module = layer("GRU", batch_first=True)
    parts, x = jagged(3, 5)
    with pytest.raises(RuntimeError, match="which needs batch_first=True"):
        layer("GRU")(x)
    with pytest.raises(NotImplementedError, match="should have layout torch.jagged"):
        module(torch.nested.nested_tensor(parts))
    with pytest.raises(NotImplementedError, match="should be contiguous"):
        module(x.transpose(1, 2))
    with pytest.raises(TypeError, match="resets should be a nested tensor"):
        module(x, resets=torch.zeros(2, 5, dtype=torch.bool))
    flags = [torch.zeros(n, dtype=torch.bool) for n in (5, 3)]
    with pytest.raises(TypeError, match="resets should be a nested tensor"):
        module(x, resets=torch.nested.nested_tensor(flags, layout=torch.jagged))
    later = torch.nested.nested_tensor_from_jagged(torch.randn(9, I), torch.tensor([1, 4, 9]))
    with pytest.raises(NotImplementedError, match="should hold no other values"):
        module(later)
    with pytest.raises(RuntimeError, match=r"input.size\(-1\) must be equal to input_size"):
        module(jagged(3, 5, features=2)[1])


def test_a_packed_sequence_with_sequences_of_no_steps() -> None:
    """Torch makes none, but a permutation of more sequences than the first step has says so."""
    module = rk.GRU(I, H)
    x = pack_padded_sequence(torch.randn(4, 2, I), [4, 2])
    order = torch.tensor([1, 0, 2])
    rows = x._replace(sorted_indices=order, unsorted_indices=order)
    h = torch.randn(1, 3, H)
    _, final = module(rows, h)
    assert torch.equal(final[:, 2], h[:, 2]) and final.shape == (1, 3, H)
    torch.testing.assert_close(final[:, [1, 0]], module(x, h[:, [1, 0]])[1])
