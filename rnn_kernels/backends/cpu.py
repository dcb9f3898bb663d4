"""The CPU backend: allocates with torch, computes in the compiled core.

Per step and row the backward needs, in the dtype computed in (float32, or float64 for float64):
LSTM 4·H gates and H cell states, GRU 4·H; besides y, which the caller has anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from ..core import allocation
from ..core.calls import (
    Gates,
    GatesBackward,
    GatesResults,
    InputGradients,
    Layer,
    Recurrence,
    RecurrenceBackward,
    Results,
    Step,
)
from ..core.cells import CELLS
from ..core.compiled import core, missing
from ..core.dtypes import COMPUTED, DTYPES, compute_dtype
from ..core.memory import contiguous
from .base import Backend


class CPU(Backend):
    name = "cpu"
    loop = "compiled loop"
    step_rows = stream_rows = 48  # weights are read where they are; with more, packing pays
    has_layers = True

    def unavailable(self) -> str | None:
        return None if core else f"the compiled core did not load: {missing}"

    def cells(self) -> tuple[str, ...]:
        return core.cells if core else ()

    def elsewhere(self, device_type: str) -> str | None:
        if device_type == "cpu":
            return None
        return f"it computes on the CPU, the tensors are on {device_type}"

    def saved_dtype(self, dtype: torch.dtype) -> torch.dtype:
        return compute_dtype(dtype)

    def forward(self, call: Recurrence, own_gx: bool = False) -> Results:
        gx, w_hh, b_hh, *rows = contiguous(
            call.gx, call.w_hh, call.b_hh, call.batch_sizes, call.resets, call.h0, call.c0
        )
        written = allocation.recurrence(call._replace(gx=gx), own_gx, COMPUTED[gx.dtype])
        given = {"gx": gx, "w_hh": _each(w_hh), "b_hh": _each(b_hh)}
        return _forward(call.cell, given, rows, written)

    def layer(self, call: Layer, save: bool) -> Results:
        """The rows of x may lie anywhere, and the weights are read where they are."""
        x, packed = call.x, call.batch_sizes is not None
        if x.stride(-1) != 1 or x.is_neg():
            (x,) = contiguous(x)
        flat = [t for w in call.weights for t in w[:4]]
        *weights, batch_sizes, resets, h0, c0 = contiguous(
            *flat, call.batch_sizes, call.resets, call.h0, call.c0
        )
        given = {
            "I": x.shape[-1],
            "x": x,
            "x_step": 0 if packed else x.stride(0),
            "x_row": x.stride(0 if packed else 1),
            "w_ih": tuple(weights[0::4]),
            "w_hh": tuple(weights[1::4]),
            "b_ih": tuple(weights[2::4]),
            "b_hh": tuple(weights[3::4]),
        }
        written = allocation.layer(call, save, COMPUTED[x.dtype])
        return _forward(call.cell, given, (batch_sizes, resets, h0, c0), written)

    def backward(self, call: RecurrenceBackward) -> InputGradients:
        kept, grads = call.kept, call.grads
        w_hh, h0, c0, y, c, saved, batch_sizes, resets, dy, dh_n, dc_n, dc = contiguous(
            kept.w_hh, *kept[2:], *grads[:4]
        )
        kind, (D, B, H), leading = CELLS[call.cell], h0.shape, y.shape[:-1]
        dgx = y.new_empty(*leading, D, kind.gates * H)
        dgh = y.new_empty(*leading, D, H) if kind.splits else None
        dw_hh = y.new_empty(*w_hh.shape) if call.weights else None
        db_hh = y.new_empty(*w_hh.shape[:2]) if call.bias else None
        _fresh(dgx, dgh, dw_hh)
        dh0 = torch.empty_like(h0)
        dc0 = torch.empty_like(h0) if kind.has_c else None
        arrays: dict[str, Any] = dict(
            w_hh=w_hh, h0=h0, c0=c0, y=y, c=c, saved=saved, batch_sizes=batch_sizes, resets=resets,
            dy=dy, dh_n=dh_n, dc_n=dc_n, dc=dc,
            dgx=dgx, dgh=dgh, dh0=dh0, dc0=dc0, dw_hh=dw_hh, db_hh=db_hh,
        )  # fmt: skip
        core.backward(*_how(call.cell, y), (kept.T, B, D, H), arrays)
        return InputGradients(dgx, dw_hh, db_hh, None, dh0, dc0)

    def step(self, call: Step, save: bool) -> GatesResults:
        x = call.x
        if x.stride(1) != 1 or x.is_neg():
            (x,) = contiguous(x)
        w_ih, w_hh, b_ih, b_hh, h, c = contiguous(*call.weights[:4], call.h, call.c)
        results = allocation.gates(call.cell, h, save, COMPUTED[x.dtype])
        arrays: dict[str, Any] = dict(
            x=x, w_ih=w_ih, b_ih=b_ih, w_hh=w_hh, b_hh=b_hh, h0=h, c0=c, **results._asdict()
        )
        B, I = x.shape
        arrays |= {"B": B, "I": I, "H": h.shape[1], "x_row": x.stride(0)}
        core.step(*_how(call.cell, x), arrays)
        return results

    def stream(self, cell: str, tensors: tuple[Any, ...], shapes: tuple[Any, ...],
               results: tuple[Tensor | None, ...]) -> bool:  # fmt: skip
        dtype = tensors[-1].dtype
        kinds = (Tensor, Parameter, dtype)
        threads = torch.get_num_threads()
        return core.stream(cell, DTYPES[dtype], threads, kinds, tensors, shapes, results)

    def gates(self, call: Gates) -> GatesResults:
        gx, gh, state = contiguous(call.gx, call.gh, call.state)
        results = allocation.gates(call.cell, state, call.save, COMPUTED[gx.dtype])
        rows, H = state.shape
        arrays: dict[str, Any] = dict(gx=gx, gh=gh, state=state, **results._asdict())
        arrays |= {"rows": rows, "H": H}
        core.gates_forward(*_how(call.cell, gx), arrays)
        return results

    def gates_grad(self, call: GatesBackward) -> tuple[Tensor, Tensor | None, Tensor]:
        dh, dc, state, c_all, saved = contiguous(*call.grads[:2], *call.kept)
        dgx, dgh, dstate = results = allocation.gates_backward(call.cell, state)
        rows, H = state.shape
        arrays: dict[str, Any] = dict(
            dh=dh, dc=dc, state=state, c_all=c_all, saved=saved, dgx=dgx, dgh=dgh, dstate=dstate
        )
        arrays |= {"rows": rows, "H": H}
        core.gates_backward(*_how(call.cell, state), arrays)
        return results


def _how(cell: str, like: Tensor) -> tuple[str, str, int]:
    """What every kernel of the core is told first."""
    return cell, DTYPES[like.dtype], torch.get_num_threads()


def _each(values: Tensor | None) -> tuple[Tensor | None, ...]:
    """Each direction's part of a contiguous (D, …)."""
    return (None,) if values is None else values.unbind(0)


def _fresh(*arrays: Tensor | None) -> None:
    """Asks for large pages under arrays that nobody has written yet; see csrc/cpu/pages.h."""
    for t in arrays:
        if t is not None and t.nbytes >= core.large:
            core.prefer_large_pages(t.data_ptr(), t.nbytes)


def _forward(
    cell: str, given: dict[str, Any], rows: Sequence[Tensor | None], written: allocation.Written
) -> Results:
    """The compiled forward, from gx or from x as ``given``.

    Args:
        rows: batch_sizes, resets, h0 and c0, contiguous.  written: y, c and saved.
    """
    (batch_sizes, resets, h0, c0), (y, c, saved) = rows, written
    D, B, H = h0.shape
    _fresh(*written)
    h_n = torch.empty_like(h0)
    c_n = torch.empty_like(h_n) if c0 is not None else None
    arrays = given | dict(
        batch_sizes=batch_sizes, resets=resets, h0=h0, c0=c0,
        y=y, h_n=h_n, c_n=c_n, c=c, saved=saved,
    )  # fmt: skip
    T = y.shape[0] if batch_sizes is None else batch_sizes.shape[0]
    how = cell, DTYPES[y.dtype], torch.get_num_threads()
    core.forward(*how, (T, B, D, H), arrays)
    return Results(y, h_n, c_n, c, saved)
