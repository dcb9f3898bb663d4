"""One layer over sizes, every backend and peer: `python -m benchmarks.sweep`.

Time per step and peak memory against H, B and T, one of them at a time, forward and forward with
backward; what recomputing costs and saves; and what the smallest calls cost the host. Checks every
provider on every size, and times those that are right. A whole sweep replaces the device's file
under benchmarks/results/sweeps; --quick and selections write to --output only.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product

from .host.device import set_up
from .host.environment import environment
from .measuring.findings import Findings
from .measuring.job import Job, part_of, run_all
from .measuring.memory import Probe
from .measuring.results import Row, official_path
from .measuring.timing import QUICK, Effort
from .parser import Parser
from .providers.table import BASELINE, PROVIDERS, usual_on
from .reporting.table import aligned
from .shapes.presets import GATES, Preset
from .shapes.region import region

CELLS = tuple(sorted(GATES, reverse=True))
PASSES = ("fwd", "fwd_bwd")
AXES = ("H", "B", "T")
PARTS = (*AXES, "recompute", "overhead")

# Some two hundred cases have to fit in some minutes.
EFFORTS = {
    "cpu": Effort(budget_s=0.3, min_rounds=3, patience_s=1.5),
    "cuda": Effort(budget_s=0.1, min_rounds=3, patience_s=0.2),
}


@dataclass(frozen=True)
class Sweep:
    """Each axis runs through its sizes while the others stay at the centre; L and D are 1, but for
    recomputing, where one layer has nothing to gain: its backward needs the gates at some time."""

    dtypes: tuple[str, ...] = ("float32",)
    centre: dict[str, int] = field(default_factory=lambda: {"I": 64, "H": 128, "B": 8, "T": 32})
    H: tuple[int, ...] = (64, 128, 256, 512, 1024, 2048, 4096)
    B: tuple[int, ...] = (1, 2, 8, 32, 128, 512)
    T: tuple[int, ...] = (1, 4, 16, 64, 256, 1024, 16384)
    recompute: dict[str, int] = field(
        default_factory=lambda: {"I": 32, "H": 128, "L": 4, "B": 32, "T": 200}
    )
    smallest: int = 8  # input and hidden size of the smallest calls


WHOLE = {
    "cpu": Sweep(),
    "cuda": Sweep(
        dtypes=("float32", "float16", "bfloat16"), centre={"I": 64, "H": 256, "B": 16, "T": 256}
    ),
}
FEW = Sweep(
    centre={"I": 64, "H": 128, "B": 8, "T": 16},
    H=(64, 256),
    B=(1, 32),
    T=(4, 64),
    recompute={"I": 32, "H": 64, "B": 8, "T": 20},
)


def shape(part: str, cell: str, dtype: str, **sizes: int) -> Preset:
    name = " ".join([part, cell, dtype, *(f"{size} {value}" for size, value in sizes.items())])
    sizes = {"L": 1, "D": 1, **sizes}
    return Preset(name, cell, **sizes, dtype=dtype, mode="train", source="")


def providers_on(device: str, preset: Preset, pass_name: str) -> tuple[str, ...]:
    """All that have something to say."""
    return tuple(
        name
        for name in usual_on(device, preset, pass_name)
        if PROVIDERS[name].dtype in (None, preset.dtype)
        and (PROVIDERS[name].passes is None or pass_name in PROVIDERS[name].passes)
    )


def jobs_of(device: str, sweep: Sweep, parts: Sequence[str] = PARTS) -> list[Job]:
    """What to measure, in order."""
    jobs = []
    for axis, cell, dtype in product(AXES, CELLS, sweep.dtypes):
        for size, pass_name in product(getattr(sweep, axis), PASSES):
            preset = shape(axis, cell, dtype, **{**sweep.centre, axis: size})
            jobs.append(Job((preset,), pass_name, providers_on(device, preset, pass_name)))
    for cell in CELLS:
        preset = shape("recompute", cell, "float32", **sweep.recompute)
        jobs.append(Job((preset,), "fwd_bwd", (BASELINE.name, "auto", "recompute")))
    passes = ("fwd", "fwd_bwd", "cell_fwd")
    hosts = ("host_fwd", "host_fwd_bwd", "host_cell_fwd") if device == "cuda" else ()
    for cell, pass_name in product(CELLS, passes + hosts):
        small = sweep.smallest
        preset = shape("overhead", cell, "float32", I=small, H=small, B=1, T=1)
        jobs.append(Job((preset,), pass_name, (BASELINE.name, "auto")))
    return [job for job in jobs if job.part in parts]


def selected(jobs: Sequence[Job], providers: Sequence[str], pass_name: str | None) -> list[Job]:
    """Those of the pass, with these providers beside the baseline; none chosen means all."""
    kept = [job for job in jobs if pass_name in (None, job.pass_name)]
    if not providers:
        return kept
    names = (BASELINE.name, *(name for name in providers if name != BASELINE.name))
    return [Job(job.presets, job.pass_name, names) for job in kept]


def summary(rows: Sequence[Row]) -> str:
    """Microseconds per step over each axis, a line per case and provider; then the other parts.

    The part after `@` is the algorithm that torch asks cuDNN for, where it is not the standard one.
    """
    blocks = []
    for axis in AXES:
        chosen = [row for row in rows if part_of(row) == axis]
        sizes = sorted({getattr(row, axis) for row in chosen})
        lines: dict[tuple[str, ...], dict[int, str]] = {}
        for row in chosen:
            key = (f"{row.cell} {row.dtype}", row.pass_, row.provider)
            lines.setdefault(key, {})[getattr(row, axis)] = _time(row)
        header = ["us per step", "pass", "provider", *(f"{axis} {size}" for size in sizes)]
        body = [[*key, *(cells.get(size, "") for size in sizes)] for key, cells in lines.items()]
        blocks += [aligned([header, *body])] if chosen else []
    rest = [row for row in rows if part_of(row) not in AXES]
    if rest:
        header = ["case", "pass", "provider", "us per call", "peak MiB"]
        body = [
            [row.preset, row.pass_, row.provider, _call(row), _number(row.peak_mb)] for row in rest
        ]
        blocks.append(aligned([header, *body]))
    return "\n\n".join(blocks)


def _time(row: Row) -> str:
    if row.us_per_step is None:
        return row.status
    named = ""
    if row.provider == BASELINE.name and row.driver:  # on a GPU
        named = region(row, row.pass_)
    return f"{row.us_per_step:.2f}" + (f"@{named}" if named not in ("", "standard") else "")


def _call(row: Row) -> str:
    return row.status if row.median_us is None else f"{row.median_us:.2f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser("benchmarks.sweep", __doc__.partition("\n\n")[2], "a few sizes, half a minute")
    parser.add_argument("--part", nargs="+", action="extend", choices=PARTS, metavar="NAME")
    parser.add_providers()
    parser.add_argument("--pass", dest="pass_name", help="only this one of the passes")
    parser.add_output()
    args = parser.parse_args(argv)
    args.whole = not (args.quick or args.part or args.provider or args.pass_name)
    parser.check_output(args.output, args.whole)
    parser.check_providers(args.provider, args.device)
    sweep = FEW if args.quick else WHOLE[args.device]
    args.jobs = selected(
        jobs_of(args.device, sweep, args.part or PARTS), args.provider or (), args.pass_name
    )
    if not args.jobs:
        parser.error(f"--pass {args.pass_name}: no chosen part has it on device {args.device}")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 1 if torch.nn or ours was wrong or ran out of memory; peers may."""
    args = parse(argv)
    set_up(args.device)
    effort = QUICK[args.device] if args.quick else EFFORTS[args.device]
    with Probe(args.device == "cpu" and not args.quick) as probe:
        found = Findings(args.device, effort, environment(args.device), probe)
        run_all(args.jobs, found, "sweep")
    print(summary(found.rows), found.report(), sep="\n", end="")
    official = official_path(found.where.device, "sweeps") if args.whole else None
    return found.close(args.output or official, args.whole)


if __name__ == "__main__":
    sys.exit(main())
