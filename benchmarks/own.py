"""A layer of your own sizes on your own machine: `python -m rnn_kernels bench`.

torch.nn beside every backend that works there (with --peers also the libraries that do), forward
and forward with backward; and how the call is run. No time counts before all outputs and gradients
were found right.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import torch

from .host.device import DEVICES, default_device, set_up, usable_device
from .host.environment import environment
from .host.progress import progress
from .measuring.findings import Findings
from .measuring.memory import Probe
from .measuring.results import Row, is_official
from .measuring.timing import Effort
from .providers.table import BASELINE, PROVIDERS, offered
from .reporting.table import aligned, ratios, shape_text, times, unsteady
from .run import run_preset
from .shapes.presets import GATES, PRESETS, Preset
from .shapes.workload import Workload, make_workload

DTYPES = ("float32", "float64", "bfloat16", "float16")
EFFORTS = {
    "cpu": Effort(budget_s=2.0, min_rounds=5, patience_s=10.0),
    "cuda": Effort(budget_s=0.5, min_rounds=5, patience_s=2.0),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `python -m rnn_kernels bench` takes."""

    def size(name: str, default: int, help: str) -> None:
        parser.add_argument(
            f"--{name}", type=positive, default=default, metavar=name[0].upper(),
            help=f"{help}; {default} if not given",
        )  # fmt: skip

    parser.add_argument("--preset", choices=PRESETS, metavar="NAME", help="a named shape instead")
    parser.add_argument("--cell", choices=tuple(GATES), default="LSTM")
    size("input", 64, "input size")
    size("hidden", 128, "hidden size")
    size("layers", 1, "number of layers")
    size("batch", 32, "sequences")
    size("time", 100, "steps")
    parser.add_argument("--bidirectional", action="store_true")
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument(
        "--resets", type=share, default=0.0, metavar="SHARE",
        help="share of steps at which an episode ends, such as 0.03",
    )  # fmt: skip
    parser.add_argument("--packed", action="store_true", help="sequences of different lengths")
    parser.add_argument("--dropout", type=share, default=0.0, metavar="P", help="between layers")
    parser.add_argument("--inference", action="store_true", help="the forward only")
    parser.add_argument(
        "--device", type=usable_device, default=default_device(), metavar="|".join(DEVICES),
        help="cuda where torch finds it, else cpu",
    )  # fmt: skip
    parser.add_argument("--peers", action="store_true", help="other libraries too, if installed")
    parser.add_argument("--output", type=Path, help="a CSV file to write the rows to")


def positive(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected an integer of at least 1, got {text!r}")
    return value


def share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, got {text!r}")
    return value


def preset_of(args: argparse.Namespace) -> Preset:
    if args.preset:
        return PRESETS[args.preset]
    return Preset(
        name="own",
        cell=args.cell,
        I=args.input,
        H=args.hidden,
        L=args.layers,
        D=1 + args.bidirectional,
        B=args.batch,
        T=args.time,
        dtype=args.dtype,
        mode="infer" if args.inference else "train",
        source="",
        resets=args.resets,
        packed=args.packed,
        dropout=args.dropout,
    )


def check(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Refuses what cannot be measured, before the work is done."""
    sizes = ("cell", "input", "hidden", "layers", "batch", "time", "bidirectional", "dtype")
    others = (*sizes, "resets", "packed", "dropout", "inference")
    given = [one for one in others if getattr(args, one) != parser.get_default(one)]
    if args.preset and given:
        parser.error(f"--preset {args.preset}: has sizes of its own, leave out --{given[0]}")
    if args.packed and args.resets:
        parser.error("--packed and --resets: one of the two")
    if args.output and not args.output.parent.is_dir():
        parser.error(f"--output {args.output}: no such folder")
    if args.output and is_official(args.output):
        parser.error(f"--output {args.output}: takes whole runs only")


def working(work: Workload, peers: bool) -> tuple[list[str], list[str]]:
    """The providers that can run, and for each other why not."""
    names, reasons = [BASELINE.name], []
    for name in offered(work.device.type):
        provider = PROVIDERS[name]
        ours = provider.peer is False and name not in (BASELINE.name, "recompute")
        if ours or (peers and provider.peer):
            why = provider.missing(work, "fwd")
            names += [] if why else [name]
            reasons += [f"{name}: {why}"] if why else []
    return names, reasons


def table(rows: Sequence[Row]) -> str:
    """A line per pass and provider."""
    lines = [["pass", "provider", "us per call", "us per step", "torch.nn / this", "peak MiB"]]
    by_name = {row.provider: ratios(rows, row.provider) for row in rows}
    for row in rows:
        name = row.provider
        if row.backend_used not in ("", name):
            name = f"{name} ({row.backend_used})"
        ratio = by_name[row.provider].get((row.preset, row.pass_))
        base = next(r for r in rows if (r.pass_, r.provider) == (row.pass_, BASELINE.name))
        steady = ratio is None or not unsteady(row, base)
        lines.append(
            [
                row.pass_,
                name,
                row.status if row.median_us is None else f"{row.median_us:.1f}",
                "" if row.us_per_step is None else f"{row.us_per_step:.2f}",
                "" if ratio is None else times(ratio) + ("" if steady else "~"),
                "" if row.peak_mb is None else f"{row.peak_mb:.1f}",
            ]
        )
    return aligned(lines)


def plan(work: Workload) -> str:
    """What `explain` says of our layer."""
    import rnn_kernels

    preset = work.preset
    layer = getattr(rnn_kernels, preset.cell)(
        preset.I, preset.H, preset.L, bidirectional=preset.D == 2, dropout=preset.dropout
    ).to(work.device, work.dtype)
    layer.train(preset.mode == "train")
    said = StringIO()
    with redirect_stdout(said):
        rnn_kernels.explain(layer, work.x)
    return said.getvalue()


def main(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Exit code 1 if torch.nn or ours was wrong or ran out of memory."""
    check(args, parser)
    preset = preset_of(args)
    set_up(args.device)
    work = make_workload(preset, args.device)
    (names, reasons), how = working(work, args.peers), plan(work)
    passes = preset.passes_on(args.device)
    where = environment(args.device)
    with Probe(args.device == "cpu") as probe, progress(len(passes)) as bar:
        found = Findings(args.device, EFFORTS[args.device], where, probe)
        run_preset(found, preset, passes, names, bar)
    print(f"{shape_text(preset)} on {where.device}, torch {torch.__version__}\n")
    print(table(found.rows), found.report(), sep="\n")
    print("".join(f"not here: {reason}\n" for reason in reasons))
    print(how, end="")
    if args.output:
        return found.close(args.output, whole=False)
    return int(found.failed)
