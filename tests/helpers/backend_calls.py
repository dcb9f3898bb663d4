"""A backend's forward and backward, from arguments in a row as the operators have them."""

from __future__ import annotations

from typing import Any

from rnn_kernels.backends.base import Backend
from rnn_kernels.core.calls import (
    Gates,
    GatesBackward,
    GatesResults,
    InputGradients,
    Recurrence,
    RecurrenceBackward,
    Results,
)


def forward(backend: Backend, *args: Any) -> Results:
    """Arguments as of ``calls.Recurrence``; one more says whether gx may be overwritten."""
    return backend.forward(Recurrence(*args[:11]), *args[11:])


def backward(backend: Backend, cell: str, *args: Any) -> InputGradients:
    """Gradients dy, dh_n, dc_n and dc, then what was kept, and what is wanted."""
    return backend.backward(RecurrenceBackward.of(cell, *args[:4], None, *args[4:]))


def gates(backend: Backend, *args: Any) -> GatesResults:
    """Arguments as of ``calls.Gates``."""
    return backend.gates(Gates(*args))


def gates_grad(backend: Backend, cell: str, *args: Any) -> tuple[Any, ...]:
    """Gradients dh and dc, then what was kept."""
    return backend.gates_grad(GatesBackward.of(cell, *args[:2], None, None, *args[2:]))
