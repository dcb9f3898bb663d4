"""Where the kernels of tests/kernels run: emulated on the CPU, or on a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import emulated
import torch
from built import build, load
from torch import Tensor

Size = int | tuple[int, int, int]


class World(NamedTuple):
    """``run`` runs one kernel to its end."""

    name: str

    @property
    def device(self) -> str:
        """Where its arrays lie."""
        return "cuda" if self.name == "cuda" else "cpu"

    def run(
        self,
        kernel: str,
        *arrays: Tensor,
        numbers: Sequence[int] = (),
        grid: Size = 1,
        block: Size = 32,
        cluster: Size = 1,
        shared: int = 0,
        cooperative: bool = False,
        seed: int = 0,
    ) -> None:
        """RuntimeError from CUDA, or from the emulation if the kernel does what it may not.

        Args:
            kernel: its name in tests/kernels.
            arrays: at most 6, contiguous, on :attr:`device`.
            numbers: at most 4.
            grid: blocks; ``block``: threads of each; ``cluster``: blocks of each.
            shared: bytes of dynamic shared memory of a block.
            seed: of the emulation's schedule; 0 is in order.
        """
        addresses = [t.data_ptr() for t in arrays] + [0] * (6 - len(arrays))
        sizes = [(n, 1, 1) if isinstance(n, int) else n for n in (grid, block, cluster)]
        numbers = [*numbers, *[0] * (4 - len(numbers))]
        call = (kernel, *sizes, shared, cooperative, 0, addresses, numbers)
        if self.name == "cuda":
            # The legacy stream, 0, waits for torch's, and torch's for it.
            load(build("kernels", "kernels"), "_kernels").launch(*call)
            torch.cuda.synchronize()
            return
        emulated.machine().seed(seed)
        emulated.may_touch(**{f"array {i}": t for i, t in enumerate(arrays)})
        try:
            emulated.kernels().launch(*call)
        finally:
            emulated.machine().remove_all_buffers()
