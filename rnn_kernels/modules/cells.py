"""LSTMCell and GRUCell with the parameters, checks and messages of torch.nn's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.fx import Proxy

from ..core.calls import Step
from ..core.weights import Weights
from ..execution import single_step, streaming
from ..export import fx
from .tools import Toolable


class _RecurrentCell(Toolable, nn.RNNCellBase):
    def _step(self, cell: str, input: Tensor, h: Tensor, c: Tensor | None) -> tuple[Tensor, Any]:
        """The new h and c; c is None where the cell has none."""
        weights = Weights(self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        return single_step.run(Step(cell, input, weights, h, c))

    def _check(self, input: Tensor, states: list[Tensor] | None) -> None:
        """Torch's own checks of sizes, in torch's words."""
        if input.size(1) != self.input_size:
            raise RuntimeError(
                f"input has inconsistent input_size: got {input.size(1)} expected {self.input_size}"
            )
        for k, state in enumerate(states or ()):
            if state.size(0) != input.size(0):
                raise RuntimeError(
                    f"Input batch size {input.size(0)} doesn't match hidden{k} batch size "
                    f"{state.size(0)}"
                )
            if state.size(1) != self.hidden_size:
                raise RuntimeError(
                    f"hidden{k} has inconsistent hidden_size: got {state.size(1)}, "
                    f"expected {self.hidden_size}"
                )

    def _states(self, input: Tensor, states: list[Tensor] | None, count: int) -> list[Tensor]:
        self._check(input, states)
        if states is not None:
            return states
        return [input.new_zeros(input.size(0), self.hidden_size)] * count


class LSTMCell(_RecurrentCell):
    """Drop-in replacement for :class:`torch.nn.LSTMCell`.

    Inputs: input (B, I) or (I), and (h_0, c_0), (B, H) or (H) each, zero by default.
    Outputs: (h_1, c_1), shaped as h_0 and c_0.

    Raises the errors of torch.nn.LSTMCell: ValueError for a wrong number of dimensions,
    RuntimeError for sizes that do not fit.
    """

    stands_in_for = nn.LSTMCell

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        nn.RNNCellBase.__init__(self, input_size, hidden_size, bias, 4, device, dtype)

    def forward(
        self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        if type(hx) is tuple and len(hx) == 2:
            quick = streaming.cell_step("lstm", self, input, *hx)
            if quick is not None:
                return quick[0], quick[1]
        if isinstance(input, Proxy) or hx is not None and fx.symbolic(input, hx):
            return fx.leaf(self, input, hx)
        if input.dim() not in (1, 2):
            raise ValueError(f"LSTMCell: Expected input to be 1D or 2D, got {input.dim()}D instead")
        for k, state in enumerate(hx or ()):
            if state.dim() not in (1, 2):
                raise ValueError(
                    f"LSTMCell: Expected hx[{k}] to be 1D or 2D, got {state.dim()}D instead"
                )
        batched = input.dim() == 2
        if not batched:
            input = input.unsqueeze(0)
            hx = None if hx is None else (hx[0].unsqueeze(0), hx[1].unsqueeze(0))
        h, c = self._states(input, None if hx is None else [hx[0], hx[1]], 2)
        h, c = self._step("lstm", input, h, c)
        return (h, c) if batched else (h.squeeze(0), c.squeeze(0))

    if TYPE_CHECKING:
        __call__ = forward


class GRUCell(_RecurrentCell):
    """Drop-in replacement for :class:`torch.nn.GRUCell`.

    Inputs: input (B, I) or (I), and h_0, (B, H) or (H), zero by default.
    Outputs: h_1, shaped as h_0.

    Raises the errors of torch.nn.GRUCell: ValueError for a wrong number of dimensions,
    RuntimeError for sizes that do not fit.
    """

    stands_in_for = nn.GRUCell

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        nn.RNNCellBase.__init__(self, input_size, hidden_size, bias, 3, device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        quick = streaming.cell_step("gru", self, input, hx, None)
        if quick is not None:
            return quick[0]
        if isinstance(input, Proxy) or hx is not None and fx.symbolic(input, hx):
            return fx.leaf(self, input, hx)
        if input.dim() not in (1, 2):
            raise ValueError(f"GRUCell: Expected input to be 1D or 2D, got {input.dim()}D instead")
        if hx is not None and hx.dim() not in (1, 2):
            raise ValueError(f"GRUCell: Expected hidden to be 1D or 2D, got {hx.dim()}D instead")
        batched = input.dim() == 2
        if not batched:
            input = input.unsqueeze(0)
            hx = None if hx is None else hx.unsqueeze(0)
        (h,) = self._states(input, None if hx is None else [hx], 1)
        h, _ = self._step("gru", input, h, None)
        return h if batched else h.squeeze(0)

    if TYPE_CHECKING:
        __call__ = forward
