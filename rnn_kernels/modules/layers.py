"""LSTM and GRU layers with the parameters, checks and messages of torch.nn's.

They derive from ``nn.RNNBase``, not from ``nn.LSTM`` or ``nn.GRU``: torch.compile breaks its graph
at every instance of those two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

import torch
from torch import Tensor, nn
from torch.fx import Proxy
from torch.nn.utils.rnn import PackedSequence

from ..execution import streaming
from ..export import fx
from .base import Recurrent

_State = tuple[Tensor, Tensor]
_Lengths = Tensor | Sequence[int] | None


class LSTM(Recurrent):
    """Drop-in replacement for :class:`torch.nn.LSTM`: same arguments, parameters and results.

    Inputs: input, (h_0, c_0)
        - input (T, B, I), (B, T, I) with ``batch_first``, (T, I) unbatched, a PackedSequence, or
          with ``batch_first`` a nested tensor (B, jagged, I)
        - h_0 (L·D, B, P), c_0 (L·D, B, H), or without B if unbatched; zero by default
        - lengths, keyword only: (B,) whole numbers from 0 to T in any order, for padded input: the
          output is zero from a sequence's end on, final states are those of its last step (the
          initial ones where it has none). A reversed direction starts at each sequence's own end.
          Lengths on a GPU, or under torch.compile, are clamped to [0, T] and never waited for; all
          T steps are taken then.
        - resets, keyword only: bool, (T, B), (B, T), (T,), a PackedSequence or nested, as
          ``input``; where true the state is replaced by zero before the step
        - return_cells, keyword only: also return all cell states

    Outputs: output, (h_n, c_n), and with ``return_cells`` a tuple with the cell states of each
    layer, in the form of ``output`` with D·H features.

    Raises the errors of torch.nn.LSTM: ValueError for a wrong number of dimensions or dtype,
    RuntimeError for sizes that do not fit; TypeError for resets that are not bool;
    NotImplementedError for nested tensors of other layouts, and for ONNX files of what ONNX lacks.
    """

    stands_in_for = nn.LSTM

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        # By name: a subclass of torch's layer that was converted has torch's class in between.
        nn.RNNBase.__init__(
            self, "LSTM", input_size, hidden_size, num_layers, bias, batch_first, dropout,
            bidirectional, proj_size, device, dtype,
        )  # fmt: skip

    @overload
    def forward(
        self,
        input: Tensor,
        hx: _State | None = ...,
        *,
        lengths: _Lengths = ...,
        resets: Tensor | None = ...,
        return_cells: Literal[False] = ...,
    ) -> tuple[Tensor, _State]: ...
    @overload
    def forward(
        self,
        input: Tensor,
        hx: _State | None = ...,
        *,
        lengths: _Lengths = ...,
        resets: Tensor | None = ...,
        return_cells: Literal[True],
    ) -> tuple[Tensor, _State, tuple[Tensor, ...]]: ...
    @overload
    def forward(
        self,
        input: PackedSequence,
        hx: _State | None = ...,
        *,
        resets: PackedSequence | None = ...,
        return_cells: Literal[False] = ...,
    ) -> tuple[PackedSequence, _State]: ...
    @overload
    def forward(
        self,
        input: PackedSequence,
        hx: _State | None = ...,
        *,
        resets: PackedSequence | None = ...,
        return_cells: Literal[True],
    ) -> tuple[PackedSequence, _State, tuple[PackedSequence, ...]]: ...
    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: _State | None = None,
        *,
        lengths: _Lengths = None,
        resets: Tensor | PackedSequence | None = None,
        return_cells: bool = False,
    ) -> tuple[Any, ...]:
        if type(hx) is tuple and len(hx) == 2 and resets is lengths is None and not return_cells:
            quick = streaming.layer_step("lstm", self, input, *hx)
            if quick is not None:
                return quick[0], quick[1:]
        if isinstance(input, Proxy) or hx is not None and fx.symbolic(input, hx):
            extras = {"lengths": lengths, "resets": resets, "return_cells": return_cells}
            return fx.leaf(self, input, hx, **extras)
        if not isinstance(input, PackedSequence):
            if input.dim() not in (2, 3):
                raise ValueError(f"LSTM: Expected input to be 2D or 3D, got {input.dim()}D instead")
            if hx is not None and (hx[0].dim() != input.dim() or hx[1].dim() != input.dim()):
                form = "batched 3-D" if input.dim() == 3 else "unbatched 2-D"
                raise RuntimeError(
                    f"For {form} input, hx and cx should also be {input.dim()}-D "
                    f"but got ({hx[0].dim()}-D, {hx[1].dim()}-D) tensors"
                )
        output, states, cells = self._run(
            input, None if hx is None else [hx[0], hx[1]], lengths, resets, return_cells
        )
        state = (states[0], states[1])
        return (output, state, cells) if return_cells else (output, state)

    if TYPE_CHECKING:
        __call__ = forward


class GRU(Recurrent):
    """Drop-in replacement for :class:`torch.nn.GRU`: same arguments, parameters and results.

    Inputs: input, h_0
        - input, lengths and resets as for :class:`LSTM`
        - h_0 (L·D, B, H), or (L·D, H) if unbatched; zero by default

    Outputs: output, h_n.

    Raises the errors of torch.nn.GRU, and those of :class:`LSTM`.
    """

    stands_in_for = nn.GRU

    if TYPE_CHECKING:

        def __init__(
            self,
            input_size: int,
            hidden_size: int,
            num_layers: int = 1,
            bias: bool = True,
            batch_first: bool = False,
            dropout: float = 0.0,
            bidirectional: bool = False,
            *,
            device: torch.device | str | int | None = None,
            dtype: torch.dtype | None = None,
        ) -> None: ...

    else:  # by position as in torch, where another argument comes before device

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            if "proj_size" in kwargs:
                raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
            nn.RNNBase.__init__(self, "GRU", *args, **kwargs)

    @overload
    def forward(
        self,
        input: Tensor,
        hx: Tensor | None = ...,
        *,
        lengths: _Lengths = ...,
        resets: Tensor | None = ...,
    ) -> tuple[Tensor, Tensor]: ...
    @overload
    def forward(
        self,
        input: PackedSequence,
        hx: Tensor | None = ...,
        *,
        resets: PackedSequence | None = ...,
    ) -> tuple[PackedSequence, Tensor]: ...
    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: Tensor | None = None,
        *,
        lengths: _Lengths = None,
        resets: Tensor | PackedSequence | None = None,
    ) -> tuple[Any, Tensor]:
        if resets is lengths is None:
            quick = streaming.layer_step("gru", self, input, hx, None)
            if quick is not None:
                return quick[:2]
        if isinstance(input, Proxy) or hx is not None and fx.symbolic(input, hx):
            return fx.leaf(self, input, hx, lengths=lengths, resets=resets)
        if not isinstance(input, PackedSequence):
            if input.dim() not in (2, 3):
                raise ValueError(f"GRU: Expected input to be 2D or 3D, got {input.dim()}D instead")
            if hx is not None and hx.dim() != input.dim():
                form = "batched 3-D" if input.dim() == 3 else "unbatched 2-D"
                raise RuntimeError(
                    f"For {form} input, hx should also be {input.dim()}-D "
                    f"but got {hx.dim()}-D tensor"
                )
        output, states, _ = self._run(input, None if hx is None else [hx], lengths, resets, False)
        return output, states[0]

    if TYPE_CHECKING:
        __call__ = forward
