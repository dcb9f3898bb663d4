"""Runs the benchmarks: `python -m benchmarks.run`, from the root of the repository.

Checks every provider on every preset and pass, times those that are right, prints the table. A
whole run replaces the device's file under benchmarks/results; --quick and selections write to
--output only.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

from benchmarks.environment import Environment, environment
from benchmarks.gate import Gate
from benchmarks.presets import PRESETS, QUICK_B, QUICK_T, Preset, cpu_set
from benchmarks.providers import BASELINE, PROVIDERS, Provider
from benchmarks.results import Row, is_official, make_row, official_path, write
from benchmarks.table import table
from benchmarks.timing import BUSY, FULL, QUICK, Effort, measure_in_quiet
from benchmarks.workload import make_workload

PASSES = ("fwd", "fwd_bwd")


@dataclass
class Findings:
    rows: list[Row] = field(default_factory=list)
    reasons: dict[str, None] = field(default_factory=dict)  # why rows lack a time, each once
    busy: dict[tuple[str, str], float] = field(default_factory=dict)  # see timing.BUSY


class Parser(argparse.ArgumentParser):
    """A bad option costs one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(prog="python -m benchmarks.run", description=__doc__.partition("\n\n")[2])
    parser.add_argument(
        "--quick", action="store_true", help=f"T <= {QUICK_T}, B <= {QUICK_B}, a minute in all"
    )
    parser.add_argument("--preset", nargs="+", action="extend", choices=PRESETS, metavar="NAME")
    parser.add_argument("--provider", nargs="+", action="extend", choices=PROVIDERS, metavar="NAME")
    parser.add_argument("--pass", dest="pass_name", choices=PASSES)
    parser.add_argument("--output", type=Path, help="results file, in place of the device's own")
    args = parser.parse_args(argv)
    args.whole = not (args.quick or args.preset or args.provider or args.pass_name)
    if args.output and is_official(args.output) and not args.whole:
        parser.error(f"--output {args.output}: takes whole runs only")
    if args.output and not args.output.parent.is_dir():
        parser.error(f"--output {args.output}: no such folder")
    if args.preset and not any(passes_of(PRESETS[name], args.pass_name) for name in args.preset):
        parser.error(f"--pass {args.pass_name}: the chosen presets only infer")
    return args


def passes_of(preset: Preset, only: str | None) -> list[str]:
    return [name for name in preset.passes if only in (None, name)]


def presets_of(args: argparse.Namespace) -> list[Preset]:
    """A preset asked for by name runs whatever its size."""
    if args.preset:
        presets = [PRESETS[name] for name in dict.fromkeys(args.preset)]
    else:
        presets, left_out = cpu_set()
        for preset, reason in left_out:
            print(f"left out on a CPU: {preset.name}, {reason}")
    return [preset.quick() for preset in presets] if args.quick else presets


def run_preset(
    preset: Preset,
    passes: Sequence[str],
    providers: Sequence[Provider],
    effort: Effort,
    where: Environment,
    progress: tqdm,
    found: Findings,
) -> None:
    """Checks and times one preset and adds to what was found."""
    progress.set_description(f"{preset.name} reference")
    work = make_workload(preset)
    gate = Gate(work, passes)
    for pass_name in passes:
        progress.set_description(f"{preset.name} {pass_name}")
        verdicts = {provider: gate.check(provider, pass_name) for provider in providers}
        candidates = {
            provider.name: provider.build(work, pass_name, preset.dropout)
            for provider, verdict in verdicts.items()
            if verdict.status == "ok"
        }
        stats, rate = measure_in_quiet(candidates, effort)
        if rate > BUSY:
            found.busy[preset.name, pass_name] = rate
        for provider, verdict in verdicts.items():
            used = provider.backend_used(preset) if verdict.status != "missing" else ""
            timed = stats.get(provider.name)
            row = make_row(preset, provider.name, used, pass_name, verdict, timed, where)
            found.rows.append(row)
            case = "" if verdict.status == "missing" else f" on {preset.name} {pass_name}"
            if verdict.reason:
                found.reasons[f"{verdict.status}: {provider.name}{case}: {verdict.reason}"] = None
        progress.update()


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 1 if a provider was wrong or ran out of memory."""
    args = parse(argv)
    presets = {preset: passes_of(preset, args.pass_name) for preset in presets_of(args)}
    presets = {preset: passes for preset, passes in presets.items() if passes}
    names = dict.fromkeys([BASELINE.name, *(args.provider or PROVIDERS)])
    providers = [PROVIDERS[name] for name in names]
    where = environment()
    found = Findings()
    with tqdm(total=sum(map(len, presets.values()))) as progress:
        for preset, passes in presets.items():
            effort = QUICK if args.quick else FULL
            run_preset(preset, passes, providers, effort, where, progress, found)

    print(table(found.rows, found.busy), *found.reasons, sep="\n")
    if found.busy:
        worst = max(found.busy.values())
        print(
            f"busy: other programs took the cores in {len(found.busy)} of {progress.total} cases,"
            f" up to {worst:.0f} times a second and thread; they do not count in the last lines"
        )
    output = args.output or (official_path(where.device) if args.whole else None)
    if output:
        write(found.rows, output, args.whole)
        print(f"written: {output}")
    else:
        print("no file written: not a whole run, and no --output")
    return int(any(row.status in ("wrong", "oom") for row in found.rows))


if __name__ == "__main__":
    sys.exit(main())
