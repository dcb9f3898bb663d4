"""What a backend is: what it has kernels for, why it cannot run a call, and the runs themselves."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from ..core.calls import (
    Gates,
    GatesBackward,
    GatesResults,
    InputGradients,
    Kind,
    Layer,
    Recurrence,
    RecurrenceBackward,
    Results,
    Step,
)
from ..core.dtypes import DTYPES


class Backend:
    """One way to run recurrences. A backend declares here all that others may ask of it.

    Attributes:
        name: what users call it.
        loop: how it takes the steps of a sequence, in words for ``explain``; empty where a plan
            or the host's work per step tells more.
        step_rows: up to so many rows it takes a step with its products in one call; 0: never.
        stream_rows: the same for a step without gradients, see ``stream``.
        has_layers: whether it multiplies the input of a layer by itself.
    """

    name: ClassVar[str]
    loop: ClassVar[str] = ""
    step_rows: ClassVar[int] = 0
    stream_rows: ClassVar[int] = 0
    has_layers: ClassVar[bool] = False

    # What it can do.

    def unavailable(self) -> str | None:
        """Why this backend cannot run on this machine, or None."""
        raise NotImplementedError

    def cells(self) -> tuple[str, ...]:
        """Names of the cells that it has kernels for; none where there are no kernels at all."""
        raise NotImplementedError

    def elsewhere(self, device_type: str) -> str | None:
        """Why it does not compute on tensors of such a device, or None."""
        raise NotImplementedError

    def refusals(self, kind: Kind) -> list[str]:
        """Every reason why a call of this kind cannot run on this backend."""
        reasons = [self.elsewhere(kind.device_type)]
        known = self.cells()
        if known and kind.cell not in known:
            reasons.append(f"it has no kernels for the cell {kind.cell}")
        if kind.dtype not in DTYPES:
            reasons.append(f"it has no kernels for {kind.dtype}")
        if kind.projected:
            reasons.append("it has no kernels for projections (proj_size > 0)")
        return [why for why in (*reasons, self.unavailable()) if why]

    def saved_dtype(self, dtype: torch.dtype) -> torch.dtype:
        """What the backward needs is kept in this dtype, for calls in ``dtype``."""
        raise NotImplementedError

    # What every backend runs. What does not apply is None.

    def forward(self, call: Recurrence, own_gx: bool = False) -> Results:
        """The recurrence. With ``own_gx`` nobody reads gx afterwards, and it may be overwritten."""
        raise NotImplementedError

    def backward(self, call: RecurrenceBackward) -> InputGradients:
        """Its backward; ``dsaved`` is None, but for the reference."""
        raise NotImplementedError

    def gates(self, call: Gates) -> GatesResults:
        """The gates alone."""
        raise NotImplementedError

    def gates_grad(self, call: GatesBackward) -> tuple[Tensor, Tensor | None, Tensor]:
        """Their backward: dgx, dgh where it is not dgx, and the gradient of the state."""
        raise NotImplementedError

    # What some have.

    def layer(self, call: Layer, save: bool) -> Results:
        """The input product and the recurrence in one; where ``has_layers``."""
        raise NotImplementedError

    def step(self, call: Step, save: bool) -> GatesResults:
        """A step with its products, of at most ``step_rows`` rows."""
        raise NotImplementedError

    def stream(self, cell: str, tensors: tuple[Any, ...], shapes: tuple[Any, ...],
               results: tuple[Tensor | None, ...]) -> bool:  # fmt: skip
        """A step of tensors that lie as kernels want them, or False, with nothing done.

        Args:
            tensors: w_ih, w_hh, b_ih, b_hh, h, c and x, of a dtype that kernels know; None for
                what does not apply. They are not checked yet.
            shapes: that each of them should have; x (…, B, I), states (…, B, H).
            results: to be written: h, c, h once more, c_all and saved; None where they do not
                apply or are not wanted.
        """
        return False

    def plan(self, *call: Any, **options: Any) -> Any:
        """How a sequence is run in one launch, or why it goes step by step; None: neither."""
        return None
