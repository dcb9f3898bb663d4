"""What the layers share: reading the arguments, putting the results together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from ..core.calls import Stack
from ..core.cells import CELLS, Cell, cell_named
from ..core.weights import Weights
from ..execution import stack
from . import checks, inputs
from .tools import Toolable


def cell_of(module: nn.RNNBase) -> Cell:
    """The cell that a layer runs.

    Raises:
        RuntimeError: there is none of that name.
    """
    return cell_named(module.mode.lower())


class Recurrent(Toolable, nn.RNNBase):
    """A stack of layers with the parameters, checks and messages of torch.nn's.

    Which cell it runs is what ``mode`` says, torch.nn.RNNBase's first argument: "LSTM", "GRU".
    """

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

    def _run(
        self,
        input: Tensor | PackedSequence,
        states: list[Tensor] | None,
        lengths: Tensor | Sequence[int] | None,
        resets: Tensor | PackedSequence | None,
        cells: bool,
    ) -> tuple[Any, list[Tensor], tuple[Any, ...]]:
        """Output, final states and all cell states, in the form of ``input``."""
        kind, weights = CELLS.get(self.mode.lower()) or cell_of(self), self._weights()
        given = states is not None
        s = inputs.read(input, self.batch_first, lengths, resets, states)
        checks.input(s.x, weights[0][0].w_ih, self.input_size, s.batch_sizes is not None)
        if states is not None and not s.batched:
            states = [state.unsqueeze(1) for state in states]
        states = checks.states(self, s.x, s.B, states)
        if s.order is not None and given:
            states = [state.index_select(1, s.order) for state in states]
        if s.batch_sizes is None:
            checks.steps(s.x, self.batch_first, s.resets)
        h0, c0 = states[0], states[1] if kind.has_c else None
        dropout = self.dropout if self.training else 0.0
        rows = s.batch_sizes, s.resets
        form = s.lengths, dropout, self.batch_first
        y, h_n, c_n, all_cells = stack.run(
            Stack(kind.name, s.x, weights, h0, c0, *rows, cells, *form)
        )
        finals = [h_n, c_n] if kind.has_c else [h_n]
        if s.back is not None:
            finals = [state.index_select(1, s.back) for state in finals]
        if not s.batched:
            finals = [state.squeeze(1) for state in finals]
        if s.formed is not None:
            y, all_cells = s.formed(y), tuple(map(s.formed, all_cells))
        return y, finals, all_cells
