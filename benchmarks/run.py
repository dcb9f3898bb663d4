"""Runs the benchmarks: `python -m benchmarks.run`, from the root of the repository.

Checks every provider on every preset and pass, times those that are right, prints the table. A
whole run replaces the device's file under benchmarks/results; --quick and selections write to
--output only.
"""

import argparse
import sys
from collections.abc import Sequence

from .host.device import set_up
from .host.environment import environment
from .host.progress import Progress, progress
from .measuring.findings import Entrant, Findings
from .measuring.gate import Gate
from .measuring.memory import Probe
from .measuring.results import official_path
from .measuring.timing import FULL, QUICK
from .parser import Parser
from .providers.table import BASELINE, PROVIDERS, usual_on
from .reporting.table import table
from .shapes.presets import PASSES, PRESETS, QUICK_B, QUICK_T, Preset, device_set
from .shapes.workload import make_workload


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    quick = f"T <= {QUICK_T}, B <= {QUICK_B}, a minute in all"
    parser = Parser("benchmarks.run", __doc__.partition("\n\n")[2], quick)
    parser.add_argument("--preset", nargs="+", action="extend", choices=PRESETS, metavar="NAME")
    parser.add_providers()
    parser.add_argument("--pass", dest="pass_name", choices=PASSES)
    parser.add_output()
    args = parser.parse_args(argv)
    args.whole = not (args.quick or args.preset or args.provider or args.pass_name)
    parser.check_output(args.output, args.whole)
    parser.check_providers(args.provider, args.device)
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
    found: Findings,
    preset: Preset,
    passes: Sequence[str],
    names: Sequence[str],
    bar: Progress,
) -> None:
    """Checks and times one preset, with these providers or, if there are none, the usual ones."""
    bar.set_description(f"{preset.name} in float64")
    gate = Gate(make_workload(preset, found.device), passes)
    for pass_name in passes:
        bar.set_description(f"{preset.name} {pass_name}")
        others = names or usual_on(found.device, preset, pass_name)
        every = dict.fromkeys([BASELINE.name, *others])
        entrants = [Entrant(PROVIDERS[name], gate) for name in every]
        found.add(entrants, pass_name)
        bar.update()


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 1 if a provider was wrong or ran out of memory; peers may."""
    args = parse(argv)
    for preset, reason in args.left_out:
        print(f"left out on a CPU: {preset.name}, {reason}")
    if args.device == "cpu" and not args.provider:
        print("left out on a CPU: the reference, on large shapes")
    set_up(args.device)
    jobs = jobs_of(args)
    effort = (QUICK if args.quick else FULL)[args.device]
    probe = Probe(args.device == "cpu" and not args.quick)
    with probe, progress(sum(len(passes) for _, passes in jobs)) as bar:
        found = Findings(args.device, effort, environment(args.device), probe)
        with found.kept("run"):
            for preset, passes in jobs:
                run_preset(found, preset, passes, args.provider or (), bar)
    print(table(found.rows, found.busy), found.report(), sep="\n", end="")
    official = official_path(found.where.device) if args.whole else None
    return found.close(args.output or official, args.whole)


if __name__ == "__main__":
    sys.exit(main())
