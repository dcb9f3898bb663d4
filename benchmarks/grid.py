"""The CPU backend over a grid of sizes, beside other libraries: `python -m benchmarks.grid`.

Checks torch.nn, ours and the peers on every size, and times those that are right. A whole grid
replaces the device's file under benchmarks/results/grid; --quick and selections write to --output
only.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from .host.environment import environment
from .measuring.findings import Findings
from .measuring.job import Job, run_all
from .measuring.results import official_path
from .measuring.timing import QUICK, Effort
from .parser import Parser
from .providers.table import BASELINE
from .reporting.grid_tables import printed
from .shapes.presets import GATES, Preset

CELLS = tuple(GATES)
I, RESETS = 16, 0.03  # noqa: E741  input size, and share of the flags

# The whole grid has to fit in some minutes.
EFFORT = Effort(budget_s=0.3, min_rounds=5, patience_s=2.0)

PAIR = (BASELINE.name, "auto")
QUARTET = (*PAIR, "onnxruntime", "openvino")
LAYERS = {  # part: dtype, pass, providers
    "inference": ("float32", "fwd", QUARTET),
    "training": ("float32", "fwd_bwd", PAIR),
    "bfloat16": ("bfloat16", "fwd", (*PAIR, "openvino-bf16")),
}
STEPS = {"fwd": QUARTET, "cell_fwd": PAIR}  # pass: providers
PARTS = (*LAYERS, "streaming", "resets")


@dataclass(frozen=True)
class Sizes:
    """Every combination of H and B, on T steps."""

    H: tuple[int, ...]
    B: tuple[int, ...]
    T: int
    streaming_H: tuple[int, ...]  # the input size too; B and T are 1
    resets: tuple[int, int, int] = (256, 8, 128)  # H, B, T


WHOLE = Sizes(H=(64, 128, 256, 512, 1024), B=(1, 8, 32, 64), T=100, streaming_H=(64, 128, 256))
FEW = Sizes(H=(64, 256), B=(8,), T=100, streaming_H=(64, 256))


def shape(
    part: str, cell: str, sizes: tuple[int, int, int], dtype: str = "float32", **more
) -> Preset:
    H, B, T = sizes
    name = f"{part} {cell} H {H} B {B}"
    mode = "train" if part in ("training", "resets") else "infer"
    fields = {"name": name, "I": I, **more}
    return Preset(cell=cell, H=H, L=1, D=1, B=B, T=T, dtype=dtype, mode=mode, source="", **fields)


def jobs_of(sizes: Sizes, parts: Sequence[str] = PARTS) -> list[Job]:
    """What to measure, in order."""
    jobs = [
        Job((shape(part, cell, (H, B, sizes.T), dtype),), pass_name, providers)
        for part, (dtype, pass_name, providers) in LAYERS.items()
        for cell, H, B in product(CELLS, sizes.H, sizes.B)
    ]
    jobs += [
        Job((shape("streaming", cell, (H, 1, 1), I=H),), pass_name, providers)
        for pass_name, providers in STEPS.items()
        for cell, H in product(CELLS, sizes.streaming_H)
    ]
    for cell, pass_name in product(CELLS, ("fwd", "fwd_bwd")):
        plain = shape("resets", cell, sizes.resets)
        cut = shape("resets", cell, sizes.resets, name=f"{plain.name} cut", resets=RESETS)
        jobs.append(Job((plain, cut), pass_name, ("auto",)))
    return [job for job in jobs if job.part in parts]


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser("benchmarks.grid", __doc__.partition("\n\n")[2], "a few sizes, under a minute")
    parser.set_defaults(device="cpu")
    parser.add_argument("--part", nargs="+", action="extend", choices=PARTS, metavar="NAME")
    parser.add_output()
    args = parser.parse_args(argv)
    if args.device != "cpu":
        parser.error(f"--device {args.device}: this is the grid of the CPU backend")
    args.whole = not (args.quick or args.part)
    parser.check_output(args.output, args.whole)
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 1 if torch.nn or ours was wrong or ran out of memory; peers may."""
    args = parse(argv)
    effort = QUICK[args.device] if args.quick else EFFORT
    found = Findings(args.device, effort, environment(args.device))
    run_all(jobs_of(FEW if args.quick else WHOLE, args.part or PARTS), found, "grid")
    print(printed(found.rows, found.busy), found.report(), sep="\n", end="")
    official = official_path(found.where.device, "grid") if args.whole else None
    return found.close(args.output or official, args.whole)


if __name__ == "__main__":
    sys.exit(main())
