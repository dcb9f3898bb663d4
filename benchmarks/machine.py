"""What the machine can do at best: `python -m benchmarks.machine`.

Its matrix products, by the library that layers choose for theirs, and how fast it reads a matrix,
on a CPU also in cache. A limit to hold times against. A whole run replaces the device's file under
benchmarks/results/machine.
"""

import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass

import torch

from rnn_kernels.execution.products import linear

from .host.device import set_up
from .host.environment import Environment, environment
from .host.progress import progress
from .measuring.results import official_path, write
from .measuring.timing import BUSY, Effort, measure_on
from .parser import Parser
from .providers.candidate import Candidate
from .reporting.table import aligned

EFFORT = Effort(budget_s=0.6, min_rounds=5, patience_s=5.0)
QUICK = Effort(budget_s=0.05, min_rounds=2, patience_s=0.1)

DTYPES = {"cpu": ("float32", "bfloat16"), "cuda": ("float32", "float16", "bfloat16")}

# A square product of this size has work enough for all cores; on a CPU smaller ones come out
# better where its caches hold them. The best of them is the peak.
PRODUCTS = {"cpu": (512, 1024, 2048), "cuda": (4096, 8192)}

# Squares of float32 that the caches of the smallest machine hold, and that none holds.
CACHED, UNCACHED = 1024, 8192


@dataclass(frozen=True)
class Fact:
    """What was measured."""

    what: str  # product, or read: in cache or from memory
    dtype: str
    size: int  # rows and columns
    median_us: float
    p20_us: float
    p80_us: float
    rate: float
    unit: str  # GFLOP/s or GB/s


@dataclass(frozen=True)
class Row(Environment, Fact):
    """A line of the file: the fact's fields, then the environment's."""


def tried(device: str, quick: bool) -> list[tuple[str, str, int, Callable[[], object]]]:
    """What, dtype, size, and the call."""
    found: list[tuple[str, str, int, Callable[[], object]]] = []

    def square(size: int, dtype: str) -> torch.Tensor:
        return torch.rand(size, size, device=device).to(getattr(torch, dtype))

    for dtype in DTYPES[device]:
        for size in PRODUCTS[device][: 1 if quick else None]:
            a, b = square(size, dtype), square(size, dtype)
            found.append(("product", dtype, size, lambda a=a, b=b: linear(a, b, None)))
    cached = [("read in cache", CACHED)] if device == "cpu" else []  # a launch takes longer
    for what, size in (*cached, ("read from memory", UNCACHED)):
        a, x = square(size, "float32"), torch.rand(size, device=device)
        out = torch.empty_like(x)
        found.append((what, "float32", size, lambda a=a, x=x, out=out: torch.mv(a, x, out=out)))
    return found


def measured(device: str, quick: bool, where: Environment) -> tuple[list[Row], float]:
    """The rows, and how often other programs took a core at worst, see timing.BUSY."""
    rows, cases, busiest = [], tried(device, quick), 0.0
    with progress(len(cases)) as bar, torch.no_grad():
        for what, dtype, size, call in cases:
            bar.set_description(f"{what} {dtype} {size}")
            effort = QUICK if quick else EFFORT
            stats, rate = measure_on(device, {"": Candidate(call, nullcontext)}, effort, "fwd")
            found, busiest = stats[""], max(busiest, rate)
            work, unit = (
                (2e-3 * size**3, "GFLOP/s") if what == "product" else (4e-3 * size**2, "GB/s")
            )
            rows.append(
                Row(
                    what=what,
                    dtype=dtype,
                    size=size,
                    median_us=round(found.median_us, 2),
                    p20_us=round(found.p20_us, 2),
                    p80_us=round(found.p80_us, 2),
                    rate=round(work / found.median_us, 1),
                    unit=unit,
                    **asdict(where),
                )
            )
            bar.update()
    return rows, busiest


def best(rows: Sequence[Row], what: str, dtype: str = "float32") -> float | None:
    """The highest rate of its kind."""
    return max((row.rate for row in rows if (row.what, row.dtype) == (what, dtype)), default=None)


def summary(rows: Sequence[Row]) -> str:
    lines = [["what", "dtype", "size", "rate", ""]]
    lines += [[r.what, r.dtype, str(r.size), f"{r.rate:.0f}", r.unit] for r in rows]
    return aligned(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser("benchmarks.machine", __doc__.partition("\n\n")[2], "a second, no file")
    args = parser.parse_args(argv)
    parser.check_output(None, whole=not args.quick)
    set_up(args.device)
    where = environment(args.device)
    rows, busiest = measured(args.device, args.quick, where)
    print(summary(rows))
    if busiest > BUSY and not args.quick:
        print("not written: other programs took the cores, and a peak has to be one")
        return 1
    if not args.quick:
        path = official_path(where.device, "machine")
        write(rows, path, whole=True)
        print(f"written: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
