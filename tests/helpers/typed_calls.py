"""What a type checker makes of calls; `make lint` runs one over this file, nothing else does."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from typing_extensions import assert_type

import rnn_kernels as rk
from rnn_kernels.functional import Weights

State = tuple[Tensor, Tensor]


def layers(x: Tensor, packed: PackedSequence, hx: State, done: Tensor) -> None:
    lstm = rk.LSTM(3, 4, num_layers=2, batch_first=True, device="cpu", dtype=torch.float64)
    assert_type(lstm(x), tuple[Tensor, State])
    assert_type(lstm(x, hx, resets=done), tuple[Tensor, State])
    assert_type(lstm(x, lengths=[3, 0, 5]), tuple[Tensor, State])
    assert_type(lstm(x, return_cells=True), tuple[Tensor, State, tuple[Tensor, ...]])
    assert_type(lstm(packed, hx), tuple[PackedSequence, State])
    assert_type(
        lstm(packed, return_cells=True), tuple[PackedSequence, State, tuple[PackedSequence, ...]]
    )
    gru = rk.GRU(3, 4, bidirectional=True)
    assert_type(gru(x, hx[0]), tuple[Tensor, Tensor])
    assert_type(gru(packed), tuple[PackedSequence, Tensor])
    assert_type(gru.forward(x, lengths=x), tuple[Tensor, Tensor])
    assert_type(gru.hidden_size, int)


def cells(x: Tensor, hx: State) -> None:
    assert_type(rk.LSTMCell(3, 4)(x, hx), State)
    assert_type(rk.GRUCell(3, 4, bias=False)(x), Tensor)


def functions(x: Tensor, hx: State) -> None:
    weights = [[Weights(x, x)]]
    assert_type(rk.functional.gru(x, x, weights), tuple[Tensor, Tensor])
    assert_type(rk.functional.lstm_gates(x, x, x), State)
    assert_type(rk.functional.gru_gates(x, x, x), Tensor)


def models(model: nn.Module, lstm: nn.LSTM) -> None:
    assert_type(rk.convert(model, report=print), nn.Module)
    assert_type(rk.to_torch(lstm), nn.Module)
    with rk.posing_as_torch(model) as posing, rk.backend("cpu"), rk.recompute():
        assert_type(posing, nn.Module)


def wrong(x: Tensor, packed: PackedSequence) -> None:
    """Each of these has to be an error: the checker warns of an ignore that it does not need."""
    rk.LSTM(3, 4)(x, x)  # type: ignore[call-overload]
    rk.GRU(3, 4)(packed, lengths=[1])  # type: ignore[call-overload]
    rk.GRU(3, 4)(x, return_cells=True)  # type: ignore[call-overload]
    rk.LSTM("3", 4)  # type: ignore[arg-type]
    rk.GRUCell(3, 4)(x, (x, x))  # type: ignore[arg-type]
