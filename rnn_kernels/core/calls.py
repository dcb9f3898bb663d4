"""A call as a value: what layers, operators and backends hand on to each other.

Sizes: T time, B batch, I input, H hidden, P projected (H without a projection), L layers, D
directions, G gates, K saved values per unit, N rows in all. Leading dimensions (T, B) become (N,)
for packed rows. S is the storage dtype, A the one computed in: float64 for float64 and float32 for
all others. None where something does not apply or was not asked for.

The fields of what an operator takes stand in the order of its arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .weights import Weights


class Kind(NamedTuple):
    """What decides which backend can run a call."""

    cell: str  # a name of rnn_kernels.core.cells
    dtype: torch.dtype
    device_type: str
    projected: bool


class Stack(NamedTuple):
    """Layers of one cell on top of each other."""

    cell: str
    x: Tensor  # (T, B, I), (B, T, I) with batch_first, or (N, I)
    weights: Sequence[Sequence[Weights]]  # of each layer, of each direction
    h0: Tensor  # (L·D, B, P)
    c0: Tensor | None  # (L·D, B, H)
    batch_sizes: Tensor | None = None  # (T,) int64 on the CPU: rows of each step, never increasing
    resets: Tensor | None = None  # bool, shaped as x without I: the state is zero before the step
    cells: bool = False  # whether all cell states are wanted
    lengths: Tensor | None = None  # (B,) int64 on x's device, of padded sequences
    dropout: float = 0.0  # between layers
    batch_first: bool = False


class StackResults(NamedTuple):
    y: Tensor  # as x, with D·P features
    h_n: Tensor  # (L·D, B, P)
    c_n: Tensor | None  # (L·D, B, H)
    cells: tuple[Tensor, ...]  # of each layer, as x, with D·H features


class Layer(NamedTuple):
    """One layer, one or both directions: the input product, then the recurrence."""

    cell: str
    x: Tensor  # (T, B, I) or (N, I)
    weights: Sequence[Weights]  # of each direction
    h0: Tensor  # (D, B, P)
    c0: Tensor | None  # (D, B, H)
    batch_sizes: Tensor | None = None  # (T,) int64 on the CPU
    resets: Tensor | None = None  # (T, B) or (N,) bool
    cells: bool = False  # whether all cell states are wanted


class LayerResults(NamedTuple):
    y: Tensor  # (T, B, D·P) or (N, D·P)
    h_n: Tensor  # (D, B, P)
    c_n: Tensor | None  # (D, B, H)
    c: Tensor | None  # (T, B, D·H) or (N, D·H)


class Recurrence(NamedTuple):
    """All steps of one layer, from the input half of its gates: the forward operator's call."""

    cell: str
    gx: Tensor  # (T, B, D, G·H) S: W_ih·x plus any bias that belongs to it
    w_hh: Tensor  # (D, G·H, P) S
    b_hh: Tensor | None  # (D, G·H) S
    w_hr: Tensor | None  # (D, P, H) S
    h0: Tensor  # (D, B, P) S
    c0: Tensor | None  # (D, B, H) S
    batch_sizes: Tensor | None  # (T,) int64 on the CPU
    resets: Tensor | None  # (T, B) bool
    save: bool  # keep what the backward needs
    cells: bool  # keep all cell states

    @property
    def T(self) -> int:
        return (self.gx if self.batch_sizes is None else self.batch_sizes).shape[0]


class Results(NamedTuple):
    """What the forward operator returns."""

    y: Tensor  # (T, B, D·P) S
    h_n: Tensor  # (D, B, P) S
    c_n: Tensor | None  # (D, B, H) S
    c: Tensor | None  # (T, B, D, H) A
    saved: Tensor | None  # (T, B, D, K, H) A or S, as the backend keeps it


class Gradients(NamedTuple):
    """Of a scalar with respect to :class:`Results`; None is zero."""

    dy: Tensor | None
    dh_n: Tensor | None
    dc_n: Tensor | None
    dc: Tensor | None
    dsaved: Tensor | None = None  # second derivatives only


class Kept(NamedTuple):
    """What the backward reads of the forward's call and results."""

    w_hh: Tensor
    w_hr: Tensor | None
    h0: Tensor
    c0: Tensor | None
    y: Tensor
    c: Tensor | None
    saved: Tensor
    batch_sizes: Tensor | None
    resets: Tensor | None

    @property
    def T(self) -> int:
        return (self.y if self.batch_sizes is None else self.batch_sizes).shape[0]


class RecurrenceBackward(NamedTuple):
    """The backward operator's call."""

    cell: str
    grads: Gradients
    kept: Kept
    weights: bool  # whether dw_hh is wanted
    bias: bool  # whether db_hh is

    @classmethod
    def of(cls, cell: str, *args: Any) -> RecurrenceBackward:
        """From the operator's arguments, which are flat."""
        return cls(cell, Gradients(*args[:5]), Kept(*args[5:-2]), *args[-2:])

    def flat(self) -> tuple[Any, ...]:
        """The operator's arguments."""
        return (self.cell, *self.grads, *self.kept, self.weights, self.bias)


class InputGradients(NamedTuple):
    """What the backward operator returns, each in the shape of what it is the gradient of."""

    dgx: Tensor
    dw_hh: Tensor | None
    db_hh: Tensor | None
    dw_hr: Tensor | None
    dh0: Tensor
    dc0: Tensor | None


class Step(NamedTuple):
    """One step of one direction, with its products: a cell's, or that of a layer with T = 1, where
    x and the states have a 1 before B."""

    cell: str
    x: Tensor  # (B, I)
    weights: Weights
    h: Tensor  # (B, H)
    c: Tensor | None  # (B, H)


class StepResults(NamedTuple):
    """What a step returns, and what its backward needs."""

    h: Tensor  # (B, H) S
    c: Tensor | None  # (B, H) S
    c_all: Tensor | None  # (B, H) A, as :class:`GatesResults` has it, also for a layer
    saved: Tensor | None  # (B, K, H), the same
    y: Tensor | None  # h once more, for a layer


class Gates(NamedTuple):
    """The gates of one step alone, without its products: the gate operator's call."""

    cell: str
    gx: Tensor  # (R, G·H) S: input half
    gh: Tensor  # (R, G·H) S: recurrent half
    state: Tensor  # (R, H) S: c for a cell that has one, else h
    save: bool  # keep what the backward needs


class GatesResults(NamedTuple):
    """What the gate operator returns."""

    h: Tensor  # (R, H) S
    c: Tensor | None  # (R, H) S
    c_all: Tensor | None  # (R, H) A: c unrounded, where S is not A and the backward needs it
    saved: Tensor | None  # (R, K, H) A or S, as the backend keeps it


class GatesGradients(NamedTuple):
    """Of a scalar with respect to :class:`GatesResults`; None is zero."""

    dh: Tensor | None
    dc: Tensor | None
    dc_all: Tensor | None = None  # second derivatives only, as is dsaved
    dsaved: Tensor | None = None


class GatesKept(NamedTuple):
    """What the gates' backward reads."""

    state: Tensor
    c_all: Tensor | None
    saved: Tensor


class GatesBackward(NamedTuple):
    """The gate operator's backward call."""

    cell: str
    grads: GatesGradients
    kept: GatesKept

    @classmethod
    def of(cls, cell: str, *args: Any) -> GatesBackward:
        """From the operator's arguments, which are flat."""
        return cls(cell, GatesGradients(*args[:4]), GatesKept(*args[4:]))

    def flat(self) -> tuple[Any, ...]:
        """The operator's arguments."""
        return (self.cell, *self.grads, *self.kept)
