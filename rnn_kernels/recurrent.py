"""What the LSTM and the GRU module share: reading the arguments, putting the results together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from . import functional, module_checks, sequences
from .functional import Weights
from .toolable import Toolable


class Recurrent(Toolable, nn.RNNBase):
    """A stack of layers with the parameters, checks and messages of torch.nn's."""

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

    def _run(
        self,
        input: Tensor | PackedSequence,
        states: list[Tensor] | None,
        lengths: Tensor | Sequence[int] | None,
        resets: Tensor | PackedSequence | None,
        cells: bool,
    ) -> tuple[Any, list[Tensor], tuple[Any, ...]]:
        """Output, final states and all cell states, in the form of ``input``."""
        weights = self._weights()
        s = sequences.read(input, self.batch_first, lengths, resets, states)
        packed = s.batch_sizes is not None
        module_checks.input(s.x, weights[0][0].w_ih, self.input_size, packed)
        if states is None:
            states = [s.x.new_zeros(size) for size in self._state_sizes(s.B)]
        else:
            if not s.batched:
                states = [state.unsqueeze(1) for state in states]
            module_checks.states(s.x, states, self._state_sizes(s.B))
            if s.order is not None:
                states = [state.index_select(1, s.order) for state in states]
        if not packed:
            if s.x.size(1 if self.batch_first else 0) == 0:
                raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
            module_checks.resets(s.resets, s.x)

        y, h_n, c_n, all_cells = functional.stack(
            "lstm" if len(states) == 2 else "gru",
            s.x,
            weights,
            states[0],
            states[1] if len(states) == 2 else None,
            self.dropout,
            self.training,
            self.batch_first,
            s.batch_sizes,
            s.resets,
            cells,
            s.lengths,
        )
        finals = [h_n, c_n] if len(states) == 2 else [h_n]
        if s.back is not None:
            finals = [state.index_select(1, s.back) for state in finals]
        if not s.batched:
            finals = [state.squeeze(1) for state in finals]
        return s.formed(y), finals, tuple(map(s.formed, all_cells)) if cells else ()
