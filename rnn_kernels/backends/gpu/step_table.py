"""The table of steps: which rows each step of a gate kernel has, and where states come from."""

from __future__ import annotations

import torch
from torch import Tensor


def steps(T: int, B: int, D: int, batch_sizes: Tensor | None) -> Tensor:
    """The table of steps that gate kernels read, (T, D, 8) int64 on the CPU.

    Entry k, d is about the step that direction d takes as its k-th:

    0. first of the step's rows, and 1. how many they are
    2. first row of the step that states come from, and 3. rows that come from there; the others
       start from the initial state
    4. rows that go on to another step; the others end here
    5. first of the reset flags between the step before and this one, 6. rows they apply to
    7. first of the reset flags of the rows that go on
    """
    counts = torch.full((T,), B, device="cpu") if batch_sizes is None else batch_sizes
    none = counts.new_zeros(1)
    first = counts.cumsum(0) - counts
    earlier, later = torch.cat((none, first[:-1])), torch.cat((first[1:], none))
    from_earlier, to_later = torch.cat((none, counts[1:])), torch.cat((counts[1:], none))
    forth = (first, counts, earlier, from_earlier, to_later, first, counts, later)
    table = [torch.stack(forth, 1)]
    if D == 2:
        back = (first, counts, later, to_later, from_earlier, later, to_later, first)
        table.append(torch.stack(back, 1).flip(0))
    return torch.stack(table, 1)
