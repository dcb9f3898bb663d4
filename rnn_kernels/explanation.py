"""``explain``: how a call of a module is going to be run, before or without running it for long."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from . import backends, step_graphs, wavefront
from .backends import BACKENDS
from .cells import CELLS
from .lanes import Lanes
from .modules import GRU, LSTM
from .persistent import AnyPlan
from .registration import AUTOCAST_FROM
from .wavefront import Cut


@dataclass(frozen=True)
class Pass:
    """One layer's forward or backward.

    Attributes:
        plan: how it is run in one launch, or None.
        why: the reason if there is no plan.
        measured_us: time per step of the recurrence alone, in microseconds; on a GPU.
    """

    plan: AnyPlan | None
    why: str
    measured_us: float | None

    def __str__(self) -> str:
        measured = "" if self.measured_us is None else f", measured {self.measured_us:.2f}"
        if self.plan is None:
            return f"{self.why}{measured and measured + ' µs'}"
        return f"{self.plan}{measured}"


@dataclass(frozen=True)
class Explanation:
    """One layer of one module, both its directions.

    Attributes:
        name: of the module in the one that was asked about, and the layer's number.
        backend: that runs it.
        T, B, H, D: steps, rows, hidden units, directions.
        beside: how the stack is cut where its layers run side by side, else None; the plans are
            then those of layers that share the device.
    """

    name: str
    backend: str
    dtype: torch.dtype
    T: int
    B: int
    H: int
    D: int
    forward: Pass
    backward: Pass
    beside: Cut | None = None

    def __str__(self) -> str:
        sizes = f"T {self.T}, B {self.B}, H {self.H}, D {self.D}, {self.dtype}".replace(
            "torch.", ""
        )
        lines = [f"{self.name}: backend {self.backend}, {sizes}"]
        if self.beside is not None:
            lines.append(f"  {self.beside}")
        if self.forward == self.backward:
            return "\n".join([*lines, f"  {self.forward}"])
        return "\n".join([*lines, f"  forward   {self.forward}", f"  backward  {self.backward}"])


def explain(
    module: nn.Module, input: Tensor | PackedSequence, *args: object, **kwargs: object
) -> list[Explanation]:
    """Prints how each recurrent layer in ``module`` runs a call ``module(input, ...)``.

    That is, which backend, and on those for GPUs the plan: whether all steps run in one launch,
    how the weights and rows are spread, and the predicted time per step; and whether the layers of
    a stack run side by side, in training if there is anything to train. On a GPU each recurrence is
    also timed, by itself and on random numbers. The module is called once, without gradients,
    and with what else that does: in training mode dropout draws, and batch norms move.

    Args:
        module: an LSTM or GRU of this package, or anything that contains some.
        input: what it is called with, on its device; and further arguments of the call.

    Returns:
        What was printed: one :class:`Explanation` for each layer, in the order of the calls.
    """
    found: list[Explanation] = []

    def look(name: str) -> Callable[[nn.Module, tuple, dict], None]:
        return lambda layer, args, kwargs: found.extend(
            _layers(name, layer, args[0] if args else kwargs["input"])
        )

    hooks = [
        layer.register_forward_pre_hook(look(name or type(layer).__name__), with_kwargs=True)
        for name, layer in module.named_modules()
        if isinstance(layer, LSTM | GRU)
    ]
    try:
        with torch.no_grad():
            module(input, *args, **kwargs)
    finally:
        for hook in hooks:
            hook.remove()
    for explanation in found:
        print(explanation)
    if not found:
        print("no LSTM or GRU of rnn_kernels was called")
    return found


def _layers(name: str, module: LSTM | GRU, input: Tensor | PackedSequence) -> list[Explanation]:
    batch_sizes = input.batch_sizes if isinstance(input, PackedSequence) else None
    if batch_sizes is not None:
        T, B = len(batch_sizes), int(batch_sizes[0])
    else:
        shape = input.shape if input.dim() == 3 else input.unsqueeze(1).shape
        T, B = (shape[1], shape[0]) if module.batch_first and input.dim() == 3 else shape[:2]
    weight, cell = module.weight_hh_l0, module.mode.lower()
    dtype = weight.dtype
    if torch.is_autocast_enabled(weight.device.type) and dtype in AUTOCAST_FROM:
        dtype = torch.get_autocast_dtype(weight.device.type)
    D, H = 1 + module.bidirectional, module.hidden_size
    L, projected = module.num_layers, module.proj_size > 0
    backend = backends.choose(cell, dtype, weight.device.type, projected)
    weight, beside = weight.to(dtype), None
    if L > 1 and D == 1 and not projected:
        drops = module.training and module.dropout > 0
        grads = (torch.is_grad_enabled() or drops) and any(
            p.requires_grad for p in module.parameters()
        )
        call = (cell, weight, (B, H), T, L, batch_sizes is not None, grads)
        beside = wavefront.planned(BACKENDS[backend], *call)
    passes = [
        _pass(backend, cell, weight, T, (B, H, D), batch_sizes, backward, L if beside else 1)
        for backward in (False, True)
    ]
    return [
        Explanation(f"{name}, layer {k}", backend, dtype, T, B, H, D, *passes, beside)
        for k in range(L)
    ]


def _pass(
    backend: str,
    cell: str,
    weight: Tensor,
    T: int,
    sizes: tuple[int, int, int],
    batch_sizes: Tensor | None,
    backward: bool,
    beside: int,
) -> Pass:
    own = BACKENDS[backend]
    measured = None
    if weight.is_cuda and sizes[0] and T > 1 and backend != "reference":
        # A lane has the plan of one.
        with Lanes(weight.device, beside).on(0) if beside > 1 else nullcontext():
            measured = measured_us(own, cell, weight, T, sizes, batch_sizes, backward)
    if T == 1 and batch_sizes is None and backend != "reference":
        return Pass(None, "a single step: two products and the gates", measured)
    if backend in ("cpu", "reference"):
        what = "compiled loop" if backend == "cpu" else "loop of torch operations"
        return Pass(None, f"{what} on {torch.get_num_threads()} threads", measured)
    again = ""
    if batch_sizes is None and step_graphs.expected(cell, weight.dtype, weight.device, T, sizes):
        again = "; replayed from a graph from the second call on"
    if not hasattr(own, "plan"):
        return Pass(None, f"per step: a product and a gate kernel{again}", measured)
    plan = own.plan(cell, weight, sizes, backward, batch_sizes is not None, beside)
    if isinstance(plan, str):
        why = f"per step, a product and a gate kernel, because {plan}{again}"
        return Pass(None, why, measured)
    return Pass(plan, "", measured)


def measured_us(
    backend: Any,
    cell: str,
    weight: Tensor,
    T: int,
    sizes: tuple[int, int, int],
    batch_sizes: Tensor | None,
    backward: bool,
) -> float:
    """Median microseconds per step of one recurrence on random numbers.

    Args:
        backend: a module of :data:`rnn_kernels.backends.BACKENDS`, or what has its ``forward`` and
            ``backward``.
        weight: of the dtype and on the device to measure.  sizes: B, H, D.
    """
    kind, (B, H, D) = CELLS[cell], sizes
    lead = (T, B) if batch_sizes is None else (int(batch_sizes.sum()),)
    new, generator = weight.new_empty, torch.Generator(weight.device).manual_seed(0)

    def forward(save: bool) -> tuple[Tensor | None, ...]:
        return backend.forward(cell, gx, w, b, None, h, c, batch_sizes, None, save, False)

    gx, w, h = (
        new(*shape).uniform_(-1, 1, generator=generator) / H**0.5
        for shape in ((*lead, D, kind.gates * H), (D, kind.gates * H, H), (D, B, H))
    )
    c, b = h if kind.has_c else None, new(D, kind.gates * H).zero_()
    if backward:
        y, _, _, c_all, saved = forward(True)
        rest = (w, None, h, c, y, c_all, saved, batch_sizes, None, False, False)

    def run() -> None:
        backend.backward(cell, y, None, None, None, *rest) if backward else forward(False)

    times = []
    for _ in range(7):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        step_graphs.allowing(run)
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) * 1000 / T)
    return median(times)
