"""Where the rows of a sequence lie, and which row came before which."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .memory import sent


@dataclass(frozen=True)
class Rows:
    """The N rows of a sequence, in time order: T steps of B rows, or of ``batch_sizes[t]``.

    Attributes:
        counts: rows of each step, T numbers that never increase.
        B: rows of the state.
        resets: (N,) bool or None; true at t cuts the state between t - 1 and t.
    """

    counts: list[int]
    B: int
    resets: Tensor | None

    @staticmethod
    def of(h0: Tensor, T: int, batch_sizes: Tensor | None, resets: Tensor | None) -> Rows:
        """Rows of a call whose initial state is ``h0`` (D, B, H)."""
        B = h0.shape[1]
        counts = [B] * T if batch_sizes is None else batch_sizes.tolist()
        return Rows(counts, B, None if resets is None else resets.reshape(-1))

    @property
    def T(self) -> int:
        return len(self.counts)

    def offsets(self) -> list[int]:
        """The first row of each step."""
        offsets = [0]
        for count in self.counts[:-1]:
            offsets.append(offsets[-1] + count)
        return offsets

    def times(self, d: int) -> range:
        """Steps in the order in which direction ``d`` takes them."""
        return range(self.T) if d == 0 else range(self.T - 1, -1, -1)

    def kept(self, d: int, t: int, offsets: list[int]) -> Tensor | None:
        """(counts[t], 1) bool: which rows of step t keep the state they are handed.

        None when all do. A reset at t cuts between t - 1 and t, whichever way the direction
        crosses that boundary.
        """
        if self.resets is None:
            return None
        n = self.counts[t]
        if d == 0:
            return ~self.resets[offsets[t] : offsets[t] + n, None]
        if t + 1 == self.T:
            return None
        later = self.counts[t + 1]
        kept = ~self.resets[offsets[t + 1] : offsets[t + 1] + later]
        return torch.cat((kept, kept.new_ones(n - later)))[:, None]

    def before(self, values: Tensor, initial: Tensor, d: int) -> Tensor:
        """For every row, the state that direction ``d`` carries into it.

        Args:
            values: (N, H) states of all rows.
            initial: (B, H) states before the first step.

        Returns:
            (N, H) in the order of the rows; zero where a reset cut.
        """
        N = values.shape[0]
        if self.counts[-1] == self.B:  # whole steps: no index
            last = N - self.B
            states = torch.cat((initial, values[:last]) if d == 0 else (values[self.B :], initial))
            if self.resets is None:
                return states
            cut = self.resets
            if d == 1:
                cut = torch.cat((cut[self.B :], cut.new_zeros(self.B)))
            return states.masked_fill(cut[:, None], 0)
        counts = torch.tensor(self.counts, device="cpu")
        offsets = torch.tensor(self.offsets(), device="cpu")
        t = torch.repeat_interleave(counts)
        b = torch.arange(N, device="cpu") - offsets[t]
        other = t - 1 if d == 0 else t + 1
        there = other.clamp(0, self.T - 1)
        inside = (other == there) & (b < counts[there])
        index = sent(torch.where(inside, offsets[there] + b, N + b), values.device)
        states = torch.cat((values, initial)).index_select(0, index)
        if self.resets is None:
            return states
        if d == 0:
            return states.masked_fill(self.resets[:, None], 0)
        cut = torch.cat((self.resets, self.resets.new_zeros(self.B)))[index]
        return states.masked_fill(cut[:, None], 0)
