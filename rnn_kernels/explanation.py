"""``explain``: how a call of a module is going to be run, before or without running it for long."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from .backends import BACKENDS, choose, refusals, requested
from .backends.base import Backend
from .backends.dispatch import order
from .backends.gpu import step_graphs
from .backends.gpu.lanes import Lanes
from .backends.gpu.sequence_kernels import AnyPlan
from .core.calls import Gradients, Kept, Kind, Recurrence, RecurrenceBackward
from .core.cells import CELLS
from .core.dtypes import product_dtype
from .execution import wavefront
from .execution.wavefront import Cut, Shape
from .modules.base import Recurrent, cell_of


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
        passed_over: backends that ``auto`` would have preferred, and why each cannot run the call.
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
    passed_over: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def __str__(self) -> str:
        sizes = f"T {self.T}, B {self.B}, H {self.H}, D {self.D}, {self.dtype}".replace(
            "torch.", ""
        )
        lines = [f"{self.name}: backend {self.backend}, {sizes}"]
        lines += [f"  not {name}: {'; '.join(why)}" for name, why in self.passed_over]
        if self.beside is not None:
            lines.append(f"  {self.beside}")
        if self.forward == self.backward:
            return "\n".join([*lines, f"  {self.forward}"])
        return "\n".join([*lines, f"  forward   {self.forward}", f"  backward  {self.backward}"])


def explain(
    module: nn.Module, input: Tensor | PackedSequence, *args: object, **kwargs: object
) -> list[Explanation]:
    """Prints how each recurrent layer in ``module`` runs a call ``module(input, ...)``.

    That is, which backend, and why not those that come before it; and on backends for GPUs the
    plan: whether all steps run in one launch, how the weights and rows are spread, and the
    predicted time per step; and whether the layers of a stack run side by side, in training if
    there is anything to train. On a GPU each recurrence is also timed, by itself and on random
    numbers. The module is called once, without gradients, and with what else that does: in training
    mode dropout draws, and batch norms move.

    Args:
        module: a recurrent layer of this package, or anything that contains some.
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
        if isinstance(layer, Recurrent)
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


def _layers(name: str, module: Recurrent, input: Tensor | PackedSequence) -> list[Explanation]:
    batch_sizes = input.batch_sizes if isinstance(input, PackedSequence) else None
    if batch_sizes is not None:
        T, B = len(batch_sizes), int(batch_sizes[0])
    else:
        shape = input.shape if input.dim() == 3 else input.unsqueeze(1).shape
        T, B = (shape[1], shape[0]) if module.batch_first and input.dim() == 3 else shape[:2]
    weight, cell = module.weight_hh_l0, cell_of(module).name
    D, H, L, projected = 1 + module.bidirectional, *_sizes(module)
    kind = Kind(cell, product_dtype(weight), weight.device.type, projected)
    backend = BACKENDS[choose(*kind)]
    shape = Shape(cell, weight.to(kind.dtype), T, B, H, L, batch_sizes is not None)
    beside = _beside(backend, module, shape) if L > 1 and D == 1 and not projected else None
    lanes = L if beside else 1
    passes = [_pass(backend, shape, D, batch_sizes, back, lanes) for back in (False, True)]
    rest = (backend.name, kind.dtype, T, B, H, D, *passes, beside, _passed_over(kind, backend))
    return [Explanation(f"{name}, layer {k}", *rest) for k in range(L)]


def _sizes(module: Recurrent) -> tuple[int, int, bool]:
    return module.hidden_size, module.num_layers, module.proj_size > 0


def _passed_over(kind: Kind, chosen: Backend) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The backends before the chosen one, each with every reason; none where one was asked for."""
    if requested() != "auto":
        return ()
    names = order(kind.device_type)
    return tuple((name, refusals(name, kind)) for name in names[: names.index(chosen.name)])


def _beside(backend: Backend, module: Recurrent, shape: Shape) -> Cut | None:
    drops = module.training and module.dropout > 0
    grads = (torch.is_grad_enabled() or drops) and any(p.requires_grad for p in module.parameters())
    return wavefront.planned(backend, shape, grads)


def _pass(
    backend: Backend,
    shape: Shape,
    D: int,
    batch_sizes: Tensor | None,
    backward: bool,
    beside: int,
) -> Pass:
    measured, T = None, shape.T
    sizes, like = (shape.B, shape.H, D), shape.like
    if like.is_cuda and shape.B and T > 1 and backend.name != "reference":
        # A lane has the plan of one.
        with Lanes(like.device, beside).on(0) if beside > 1 else nullcontext():
            measured = measured_us(backend, shape, D, batch_sizes, backward)
    if T == 1 and batch_sizes is None and backend.name != "reference":
        return Pass(None, "a single step: two products and the gates", measured)
    if backend.loop:
        return Pass(None, f"{backend.loop} on {torch.get_num_threads()} threads", measured)
    again = ""
    expected = step_graphs.expected(shape.cell, like.dtype, like.device, T, sizes)
    if batch_sizes is None and expected:
        again = "; replayed from a graph from the second call on"
    plan = backend.plan(shape.cell, like, sizes, backward, batch_sizes is not None, beside)
    if isinstance(plan, str):
        why = f"per step, a product and a gate kernel, because {plan}{again}"
        return Pass(None, why, measured)
    return Pass(plan, "", measured)


def measured_us(
    backend: Backend, shape: Shape, D: int, batch_sizes: Tensor | None, backward: bool
) -> float:
    """Median microseconds per step of one recurrence on random numbers.

    Args:
        shape: ``like`` is of the dtype and on the device to measure.  D: directions.
    """
    kind, T, B, H, like = CELLS[shape.cell], shape.T, shape.B, shape.H, shape.like
    lead = (T, B) if batch_sizes is None else (int(batch_sizes.sum()),)
    new, generator = like.new_empty, torch.Generator(like.device).manual_seed(0)
    gx, w, h = (
        new(*sizes).uniform_(-1, 1, generator=generator) / H**0.5
        for sizes in ((*lead, D, kind.gates * H), (D, kind.gates * H, H), (D, B, H))
    )
    c, b = h if kind.has_c else None, new(D, kind.gates * H).zero_()
    call = Recurrence(kind.name, gx, w, b, None, h, c, batch_sizes, None, backward, False)
    if backward:
        y, _, _, c_all, saved = backend.forward(call)
        kept = Kept(w, None, h, c, y, c_all, saved, batch_sizes, None)
        back = RecurrenceBackward(kind.name, Gradients(y, None, None, None), kept, False, False)

    def run() -> None:
        backend.backward(back) if backward else backend.forward(call)

    times = []
    for _ in range(7):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        step_graphs.allowing(run)
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) * 1000 / T)
    return median(times)
