"""What the planner predicts, and what is measured, for every way to cut a recurrence on a GPU:
`python -m benchmarks.cuts --device cuda`.

One recurrence by itself, no input product: microseconds per step on each size of cluster, and of
team of a grid, that can hold the weights. A whole run replaces the device's file under
benchmarks/results/cuts; constants in csrc/cuda/plan/plan.h come from there.
"""

import sys
from collections.abc import Sequence
from copy import copy
from dataclasses import asdict, dataclass
from itertools import product

import torch
from torch import Tensor
from tqdm import tqdm

from rnn_kernels.backends import BACKENDS
from rnn_kernels.backends.base import Backend
from rnn_kernels.backends.gpu.cuda_plan import Plan
from rnn_kernels.backends.gpu.precision import tf32_allowed
from rnn_kernels.core.cells import CELLS
from rnn_kernels.execution.wavefront import Shape
from rnn_kernels.explanation import measured_us

from .host.device import set_up
from .host.environment import Environment, environment
from .measuring.gate import first_line
from .measuring.results import official_path, write
from .parser import Parser
from .reporting.table import aligned

T = 512
GRID = {
    "cell": tuple(CELLS),
    "dtype": ("float16", "float32", "float32 exact"),
    "H": (64, 128, 192, 256, 384, 512, 768, 1024, 2048),
    "B": (1, 16, 64, 256),
}
QUICK = {"cell": ("lstm",), "dtype": ("float16",), "H": (64, 512, 1024), "B": (16,)}

# Storage type, and whether torch allows TF32.
DTYPES = {
    "float16": (torch.float16, True),
    "float32": (torch.float32, True),
    "float32 exact": (torch.float32, False),
}


@dataclass(frozen=True)
class Cut:
    """One way to cut one recurrence."""

    cell: str
    dtype: str
    pass_: str
    H: int
    B: int
    grid: bool
    cluster: int
    rows: int
    waves: int
    shared: int  # bytes
    chosen: bool  # by the planner
    predicted_us: float  # per step
    measured_us: float | None
    status: str  # ok, or the error


@dataclass(frozen=True)
class Row(Environment, Cut):
    """A line of the file: the cut's fields, then the environment's."""


def forced(plan: Plan) -> Backend:
    """The CUDA backend once more, with this plan for every call."""
    backend = copy(BACKENDS["cuda"])
    backend.plan = lambda *call, **options: plan
    return backend


def cuts(cell: str, weight: Tensor, B: int, backward: bool) -> list[tuple[Plan, bool]]:
    """Every size of team with as few rows as all that run at once need; the planner's first."""
    cuda = BACKENDS["cuda"]
    H, facts = weight.shape[2], cuda.facts(weight.device.index)
    sizes, resident = (B, H, 1), facts[2]
    exact = weight.dtype == torch.float32 and not tf32_allowed()
    problem = (CELLS[cell].gates, weight.element_size(), exact, backward, sizes, *facts)
    chosen = cuda.plan(cell, weight, sizes, backward, False)
    found = [] if isinstance(chosen, str) else [(chosen, True)]
    clusters = [
        (False, 1 << i, rows)
        for i, at_once in enumerate(resident)
        if at_once
        for rows in sorted({-(-B // at_once), -(-B // (2 * at_once)), min(B, 8)})
    ]
    grids = [
        (True, blocks, -(-B // min(B, resident[0] // blocks)))
        for blocks in (-(-H // units) for units in (8, 16, 24, 32, 48, 64))
        if 1 < blocks <= resident[0]
    ]
    for by in clusters + grids:
        try:
            cut = cuda.kernels.cut(*problem, by)
        except ValueError:  # too many rows and units for the threads of a block
            continue
        plan = Plan(*(cut[name] for name in Plan._fields))
        if cut["fits"] and all(plan != other for other, _ in found):
            found.append((plan, False))
    return found


def measured(quick: bool, where: Environment) -> list[Row]:
    rows = []
    grid = QUICK if quick else GRID
    for values in tqdm(list(product(*grid.values(), (False, True))), desc="cuts"):
        cell, dtype, H, B, backward = values
        storage, tf32 = DTYPES[dtype]
        weight = torch.empty(1, CELLS[cell].gates * H, H, device="cuda", dtype=storage)
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=tf32):
            found = cuts(cell, weight, B, backward)
        for plan, chosen in found:
            us, status = None, "ok"
            try:
                shape = Shape(cell, weight, T, B, H, 1, False)
                us = measured_us(forced(plan), shape, 1, None, backward)
            except RuntimeError as error:
                status = first_line(error)
            rows.append(
                Row(
                    cell=cell,
                    dtype=dtype,
                    pass_="backward" if backward else "forward",
                    H=H,
                    B=B,
                    grid=plan.grid,
                    cluster=plan.cluster,
                    rows=plan.rows,
                    waves=plan.waves,
                    shared=plan.shared,
                    chosen=chosen,
                    predicted_us=round(plan.step_ns / 1000, 3),
                    measured_us=us and round(us, 3),
                    status=status,
                    **asdict(where),
                )
            )
    return rows


def summary(rows: Sequence[Row]) -> str:
    """Predicted and measured microseconds per step; a star where the planner chose."""
    lines = [["cell", "dtype", "pass", "H", "B", "blocks", "rows", "predicted", "measured"]]
    for r in rows:
        blocks = f"{'grid ' if r.grid else ''}{r.cluster}{'*' if r.chosen else ''}"
        got = r.status if r.measured_us is None else f"{r.measured_us:.2f}"
        lines.append(
            [r.cell, r.dtype, r.pass_, str(r.H), str(r.B), blocks, str(r.rows),
             f"{r.predicted_us:.2f}", got]
        )  # fmt: skip
    return aligned(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser("benchmarks.cuts", __doc__.partition("\n\n")[2], "a few sizes, no file")
    args = parser.parse_args(argv)
    why = "it needs --device cuda" if args.device != "cuda" else BACKENDS["cuda"].unavailable()
    if why:
        print(f"nothing to measure: {why}")
        return 1
    set_up(args.device)
    where = environment(args.device)
    rows = measured(args.quick, where)
    print(summary(rows))
    if not args.quick:
        path = official_path(where.device, "cuts")
        write(rows, path, whole=True)
        print(f"written: {path}")
    return int(any(row.status != "ok" for row in rows))


if __name__ == "__main__":
    sys.exit(main())
