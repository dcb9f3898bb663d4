"""LSTM and GRU layers with the parameters, checks and messages of torch.nn's.

They derive from ``nn.RNNBase``, not from ``nn.LSTM`` or ``nn.GRU``: torch.compile breaks its graph
at every instance of those two.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from . import functional, streaming
from .functional import Weights


class _Recurrent(nn.RNNBase):
    """What LSTM and GRU share: reading the arguments, and putting the results back together."""

    def flatten_parameters(self) -> None:
        """Does nothing; there is no flat buffer that parameters would have to live in."""

    def _weights(self) -> list[list[Weights]]:
        """Per layer and direction. Read anew at every call, so that whatever has replaced a
        parameter (functional_call, a parametrization, a pruning hook) is seen."""
        own = self._parameters
        flat = [own[n] if n in own else getattr(self, n) for n in self._flat_weights_names]
        directions = 2 if self.bidirectional else 1
        each = len(flat) // (directions * self.num_layers)
        sets = [flat[i : i + each] for i in range(0, len(flat), each)]
        if self.proj_size and not self.bias:
            sets = [[w_ih, w_hh, None, None, w_hr] for w_ih, w_hh, w_hr in sets]
        weights = [Weights(*s) for s in sets]
        return [weights[i : i + directions] for i in range(0, len(weights), directions)]

    def _state_sizes(self, B: int) -> list[tuple[int, int, int]]:
        """Sizes of the initial states: h, and c for the LSTM."""
        rows = 2 * self.num_layers if self.bidirectional else self.num_layers
        sizes = [(rows, B, self.proj_size or self.hidden_size)]
        return [*sizes, (rows, B, self.hidden_size)] if self.mode == "LSTM" else sizes

    def _check_input(self, input: Tensor, weight: Tensor, packed: bool) -> None:
        if input.dtype != weight.dtype and not torch.is_autocast_enabled(input.device.type):
            raise ValueError(
                f"RNN input dtype ({input.dtype}) does not match weight dtype ({weight.dtype}). "
                f"Convert input: input.to({weight.dtype}), or convert model: "
                f"model.to({input.dtype})"
            )
        expected = 2 if packed else 3
        if input.dim() != expected:
            raise RuntimeError(f"input must have {expected} dimensions, got {input.dim()}")
        if input.size(-1) != self.input_size:
            raise RuntimeError(
                "input.size(-1) must be equal to input_size. "
                f"Expected {self.input_size}, got {input.size(-1)}"
            )
        if input.device != weight.device:
            raise RuntimeError(
                "Input and parameter tensors are not at the same device, found input tensor at "
                f"{input.device} and parameter tensor at {weight.device}"
            )

    def _check_states(self, input: Tensor, states: list[Tensor], B: int) -> None:
        names = ["hidden[0]", "hidden[1]"] if len(states) == 2 else ["hidden"]
        for name, state, size in zip(names, states, self._state_sizes(B), strict=True):
            if state.shape != size:
                raise RuntimeError(f"Expected {name} size {size}, got {list(state.shape)}")
            if state.device != input.device:
                raise RuntimeError(
                    "Input and hidden tensors are not at the same device, found input tensor at "
                    f"{input.device} and hidden tensor at {state.device}"
                )
            if state.dtype != input.dtype and not torch.is_autocast_enabled(input.device.type):
                raise RuntimeError(
                    "Input and hidden tensors are not the same dtype, found input tensor with "
                    f"{input.dtype} and hidden tensor with {state.dtype}"
                )

    def _run(
        self,
        input: Tensor | PackedSequence,
        states: list[Tensor] | None,
        resets: Tensor | PackedSequence | None,
        cells: bool,
    ) -> tuple[Any, list[Tensor], tuple[Any, ...]]:
        """Output, final states and all cell states, in the form of ``input``."""
        weights = self._weights()
        packed = isinstance(input, PackedSequence)
        if packed:
            x, batch_sizes, order, back = input
            B, batched, batch_dim = int(batch_sizes[0]), True, 1
            resets = self._packed_resets(input, resets)
        else:
            x, batch_sizes, order, back = input, None, None, None
            batched, batch_dim = x.dim() == 3, 0 if self.batch_first else 1
            if not batched:
                x = x.unsqueeze(batch_dim)
                states = None if states is None else [s.unsqueeze(1) for s in states]
                resets = None if resets is None else resets.unsqueeze(batch_dim)
            B = x.size(batch_dim)
        self._check_input(x, weights[0][0].w_ih, packed)
        if states is None:
            states = [x.new_zeros(size) for size in self._state_sizes(B)]
        else:
            self._check_states(x, states, B)
            if order is not None:
                states = [s.index_select(1, order) for s in states]
        if not packed:
            if x.size(1 - batch_dim) == 0:
                raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
            self._check_resets(resets, x)

        y, h_n, c_n, all_cells = functional.stack(
            "lstm" if len(states) == 2 else "gru",
            x,
            weights,
            states[0],
            states[1] if len(states) == 2 else None,
            self.dropout,
            self.training,
            self.batch_first,
            batch_sizes,
            resets,
            cells,
        )
        finals = [h_n, c_n] if len(states) == 2 else [h_n]

        def formed(values: Tensor) -> Tensor | PackedSequence:
            if packed:
                return PackedSequence(values, batch_sizes, order, back)
            return values if batched else values.squeeze(batch_dim)

        if back is not None:
            finals = [s.index_select(1, back) for s in finals]
        if not batched:
            finals = [s.squeeze(1) for s in finals]
        return formed(y), finals, tuple(map(formed, all_cells)) if cells else ()

    def _check_resets(self, resets: Tensor | None, x: Tensor) -> None:
        if resets is None:
            return
        if isinstance(resets, PackedSequence):
            raise TypeError("resets should be a tensor, since input is a tensor")
        if resets.dtype != torch.bool:
            raise TypeError(f"resets should be of dtype torch.bool, got {resets.dtype}")
        if resets.shape != x.shape[:2]:
            raise RuntimeError(
                f"Expected resets size {tuple(x.shape[:2])}, got {list(resets.shape)}"
            )

    @staticmethod
    def _packed_resets(input: PackedSequence, resets: Any) -> Tensor | None:
        if resets is None:
            return None

        def same(a: Tensor | None, b: Tensor | None) -> bool:
            if a is None or b is None or a is b:  # a GPU is not asked what it need not be
                return a is b
            return torch.equal(a, b)

        if (
            not isinstance(resets, PackedSequence)
            or not same(resets.batch_sizes, input.batch_sizes)
            or not same(resets.sorted_indices, input.sorted_indices)
        ):
            raise TypeError(
                "resets should be a PackedSequence of the same lengths as input, in the same order"
            )
        if resets.data.dtype != torch.bool:
            raise TypeError(f"resets should be of dtype torch.bool, got {resets.data.dtype}")
        return resets.data


class LSTM(_Recurrent):
    """Drop-in replacement for :class:`torch.nn.LSTM`: same arguments, parameters and results.

    Inputs: input, (h_0, c_0)
        - input (T, B, I), (B, T, I) with ``batch_first``, (T, I) unbatched, or a PackedSequence
        - h_0 (L·D, B, P), c_0 (L·D, B, H), or without B if unbatched; zero by default
        - resets, keyword only: bool, (T, B), (B, T), (T,) or a PackedSequence, as ``input``;
          where true the state is replaced by zero before the step
        - return_cells, keyword only: also return all cell states

    Outputs: output, (h_n, c_n), and with ``return_cells`` a tuple with the cell states of each
    layer, in the form of ``output`` with D·H features.

    Raises the errors of torch.nn.LSTM: ValueError for a wrong number of dimensions or dtype,
    RuntimeError for sizes that do not fit; TypeError for resets that are not bool.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("LSTM", *args, **kwargs)

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: tuple[Tensor, Tensor] | None = None,
        *,
        resets: Tensor | PackedSequence | None = None,
        return_cells: bool = False,
    ) -> tuple[Any, ...]:
        if type(hx) is tuple and len(hx) == 2 and resets is None and not return_cells:
            quick = streaming.layer_step("lstm", self, input, *hx)
            if quick is not None:
                return quick[0], quick[1:]
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
            input, None if hx is None else [hx[0], hx[1]], resets, return_cells
        )
        state = (states[0], states[1])
        return (output, state, cells) if return_cells else (output, state)


class GRU(_Recurrent):
    """Drop-in replacement for :class:`torch.nn.GRU`: same arguments, parameters and results.

    Inputs: input, h_0
        - input (T, B, I), (B, T, I) with ``batch_first``, (T, I) unbatched, or a PackedSequence
        - h_0 (L·D, B, H), or (L·D, H) if unbatched; zero by default
        - resets, keyword only: bool, (T, B), (B, T), (T,) or a PackedSequence, as ``input``;
          where true the state is replaced by zero before the step

    Outputs: output, h_n.

    Raises the errors of torch.nn.GRU: ValueError for a wrong number of dimensions or dtype,
    RuntimeError for sizes that do not fit; TypeError for resets that are not bool.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "proj_size" in kwargs:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        super().__init__("GRU", *args, **kwargs)

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: Tensor | None = None,
        *,
        resets: Tensor | PackedSequence | None = None,
    ) -> tuple[Any, Tensor]:
        if resets is None:
            quick = streaming.layer_step("gru", self, input, hx, None)
            if quick is not None:
                return quick[:2]
        if not isinstance(input, PackedSequence):
            if input.dim() not in (2, 3):
                raise ValueError(f"GRU: Expected input to be 2D or 3D, got {input.dim()}D instead")
            if hx is not None and hx.dim() != input.dim():
                form = "batched 3-D" if input.dim() == 3 else "unbatched 2-D"
                raise RuntimeError(
                    f"For {form} input, hx should also be {input.dim()}-D "
                    f"but got {hx.dim()}-D tensor"
                )
        output, states, _ = self._run(input, None if hx is None else [hx], resets, False)
        return output, states[0]
