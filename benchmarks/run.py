"""Runs the benchmarks: `python -m benchmarks.run`, from the root of the repository.

Checks every provider on every preset and pass, times those that are right, prints the table. A
whole run replaces the device's file under benchmarks/results; --quick and selections write to
--output only.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from benchmarks.device import set_up
from benchmarks.environment import Environment, environment
from benchmarks.gate import Gate
from benchmarks.memory import peak_mb
from benchmarks.parser import Parser
from benchmarks.presets import PASSES, PRESETS, QUICK_B, QUICK_T, Preset, device_set
from benchmarks.providers import BASELINE, PROVIDERS, Provider, offered, usual
from benchmarks.results import Row, is_official, make_row, official_path, write
from benchmarks.table import table
from benchmarks.timing import BUSY, FULL, QUICK, Effort, measure_on
from benchmarks.workload import make_workload


@dataclass(frozen=True)
class Plan:
    """What holds for the whole run."""

    device: str
    providers: Sequence[Provider]
    effort: Effort
    where: Environment


@dataclass
class Findings:
    rows: list[Row] = field(default_factory=list)
    reasons: dict[str, None] = field(default_factory=dict)  # why rows lack a time, each once
    busy: dict[tuple[str, str], float] = field(default_factory=dict)  # see timing.BUSY


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    quick = f"T <= {QUICK_T}, B <= {QUICK_B}, a minute in all"
    parser = Parser("benchmarks.run", __doc__.partition("\n\n")[2], quick)
    parser.add_argument("--preset", nargs="+", action="extend", choices=PRESETS, metavar="NAME")
    parser.add_argument("--provider", nargs="+", action="extend", choices=PROVIDERS, metavar="NAME")
    parser.add_argument("--pass", dest="pass_name", choices=PASSES)
    parser.add_argument("--output", type=Path, help="results file, in place of the device's own")
    args = parser.parse_args(argv)
    args.whole = not (args.quick or args.preset or args.provider or args.pass_name)
    if args.whole and not args.output and "OMP_WAIT_POLICY" in os.environ:
        parser.error(
            "OMP_WAIT_POLICY is set, by which torch.nn's threads gain or lose more than ours; "
            "unset it, or name an --output"
        )
    if args.output and is_official(args.output) and not args.whole:
        parser.error(f"--output {args.output}: takes whole runs only")
    if args.output and not args.output.parent.is_dir():
        parser.error(f"--output {args.output}: no such folder")
    for name in args.provider or ():
        if name not in offered(args.device):
            choices = ", ".join(offered(args.device))
            parser.error(f"--provider {name}: not for device {args.device}, which has {choices}")
    args.presets, args.left_out = presets_of(args)
    if not jobs_of(args):
        parser.error(f"--pass {args.pass_name}: no chosen preset has it on device {args.device}")
    return args


def presets_of(args: argparse.Namespace) -> tuple[list[Preset], list[tuple[Preset, str]]]:
    """The presets to run, and those left out with the reasons. One asked for by name runs whatever
    its size."""
    if args.preset:
        presets, left_out = [PRESETS[name] for name in dict.fromkeys(args.preset)], []
    else:
        presets, left_out = device_set(args.device)
    return [preset.quick() if args.quick else preset for preset in presets], left_out


def jobs_of(args: argparse.Namespace) -> list[tuple[Preset, list[str]]]:
    """What to measure, in order. Graphs come last: after a capture that failed, torch's allocator
    and random numbers may go on as if it still were under way."""
    jobs = []
    for graphs in (False, True):
        for preset in args.presets:
            passes = [
                name
                for name in preset.passes_on(args.device)
                if args.pass_name in (None, name) and (name == "graph_fwd") == graphs
            ]
            if passes:
                jobs.append((preset, passes))
    return jobs


def run_preset(
    plan: Plan, preset: Preset, passes: Sequence[str], progress: tqdm, found: Findings
) -> None:
    """Checks and times one preset and adds to what was found."""
    progress.set_description(f"{preset.name} reference")
    work = make_workload(preset, plan.device)
    gate = Gate(work, passes)
    for pass_name in passes:
        progress.set_description(f"{preset.name} {pass_name}")
        verdicts = {provider: gate.check(provider, pass_name) for provider in plan.providers}
        candidates = {
            provider.name: provider.build(work, pass_name, preset.dropout)
            for provider, verdict in verdicts.items()
            if verdict.status == "ok"
        }
        stats, rate = measure_on(plan.device, candidates, plan.effort)
        if rate > BUSY:
            found.busy[preset.name, pass_name] = rate
        # A graph got its memory when it was captured.
        counted = plan.device == "cuda" and pass_name != "graph_fwd"
        peaks = {name: peak_mb(candidate) for name, candidate in candidates.items() if counted}
        for provider, verdict in verdicts.items():
            used = provider.backend_used(work) if verdict.status != "missing" else ""
            timed, peak = stats.get(provider.name), peaks.get(provider.name)
            row = make_row(preset, provider.name, used, pass_name, verdict, timed, peak, plan.where)
            found.rows.append(row)
            case = "" if verdict.status == "missing" else f" on {preset.name} {pass_name}"
            if verdict.reason:
                found.reasons[f"{verdict.status}: {provider.name}{case}: {verdict.reason}"] = None
        progress.update()


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 1 if a provider was wrong or ran out of memory."""
    args = parse(argv)
    for preset, reason in args.left_out:
        print(f"left out on a CPU: {preset.name}, {reason}")
    set_up(args.device)
    jobs = jobs_of(args)
    names = dict.fromkeys([BASELINE.name, *(args.provider or usual(args.device))])
    effort = (QUICK if args.quick else FULL)[args.device]
    providers = [PROVIDERS[name] for name in names]
    plan = Plan(args.device, providers, effort, environment(args.device))
    found = Findings()
    with tqdm(total=sum(len(passes) for _, passes in jobs)) as progress:
        for preset, passes in jobs:
            run_preset(plan, preset, passes, progress, found)

    print(table(found.rows, found.busy), *found.reasons, sep="\n")
    if found.busy:
        worst = max(found.busy.values())
        print(
            f"busy: other programs took the cores in {len(found.busy)} of {progress.total} cases,"
            f" up to {worst:.0f} times a second and thread; they do not count in the last lines"
        )
    output = args.output or (official_path(plan.where.device) if args.whole else None)
    if output:
        write(found.rows, output, args.whole)
        print(f"written: {output}")
    else:
        print("no file written: not a whole run, and no --output")
    return int(any(row.status in ("wrong", "oom") for row in found.rows))


if __name__ == "__main__":
    sys.exit(main())
