"""How the CUDA backend cuts a whole sequence into blocks; csrc/cuda/plan/plan.h has the words."""

from __future__ import annotations

from typing import NamedTuple


class Plan(NamedTuple):
    """How a call is cut."""

    exact: bool  # float32 is not rounded to TF32
    grid: bool  # the blocks that share the weights are no cluster, but of a grid
    cluster: int  # blocks that share the weights; 1: one block has them all
    units: int  # hidden units of a block
    rows: int  # batch rows that they have
    elements: int  # of the state, per thread, at most
    strips: int  # of 32 rows of the weights, and (16 in a grid)
    chunks: int  # of 64 bytes along them, that a block keeps (128 in a grid)
    fragments: int  # of these, per warp
    held: int  # of those, in registers
    slots: int  # partial sums
    mail_units: int  # of a row that blocks of a grid read of each other, for each gate
    shared: int  # bytes of shared memory of a block
    groups: int  # of rows
    waves: int  # of groups that run at once
    step_ns: float  # predicted time of a step

    @property
    def cut(self) -> tuple[bool, int, int]:
        """What the others follow from."""
        return self.grid, self.cluster, self.rows

    @property
    def through_memory(self) -> bool:
        """See :class:`rnn_kernels.backends.gpu.sequence_kernels.AnyPlan`."""
        return self.grid

    def __str__(self) -> str:
        team = "the whole grid in teams" if self.grid else "clusters"
        has = (
            "one block has all weights" if self.cluster == 1 else f"{team} of {self.cluster} blocks"
        )
        waves = "" if self.waves == 1 else f", {self.waves} after each other"
        return (
            f"one launch: {has}, {self.units} units each, {self.groups} groups of {self.rows} rows"
            f"{waves}; {self.held} of {self.fragments} weight fragments per warp in registers, "
            f"{self.shared / 1024:.0f} KiB of shared memory; "
            f"{self.step_ns / 1000:.2f} µs per step predicted"
        )
