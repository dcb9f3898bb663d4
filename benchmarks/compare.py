"""Another commit's build beside this one: `python -m benchmarks.compare <commit>`.

Builds that commit under build/compare, checks both on the presets, and lets them take turns, each
in a process of its own, both measured by the benchmarks of this checkout.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from .host.environment import ROOT, Environment, environment, first_line_of
from .host.progress import progress
from .measuring.results import Row, make_row, write
from .measuring.timing import FULL, QUICK, RUN_IN_S, Effort, measure
from .measuring.worker import Worker
from .parser import Parser
from .providers.candidate import Candidate
from .reporting.table import table
from .run import jobs_of, presets_of
from .shapes.presets import PASSES, PRESETS, Preset

BASE, THIS = "base", "this"


def resolved(ref: str) -> str:
    """The commit, 12 digits; empty if git knows none of that name."""
    return first_line_of(
        "git",
        "-C",
        str(ROOT),
        "rev-parse",
        "--verify",
        "--quiet",
        "--short=12",
        f"{ref}^{{commit}}",
    )


def built(commit: str, device: str) -> Path:
    """A folder with that commit's package, built there before or now."""
    python = sys.implementation.cache_tag
    site = ROOT / "build" / "compare" / f"{commit}-{device}-{python}"
    if site.exists():
        return site
    offline = ["--no-build-isolation", "--no-index"] if find_spec("scikit_build_core") else []
    site.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=site.parent) as folder:  # beside it, so that moving it is one step
        source, target = Path(folder, "source"), Path(folder, "site")
        source.mkdir()
        files = subprocess.run(
            ["git", "-C", str(ROOT), "archive", commit], check=True, capture_output=True
        )
        subprocess.run(["tar", "-x", "-C", str(source)], input=files.stdout, check=True)
        print(f"building {commit}, some minutes", file=sys.stderr)
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
             "--no-deps", *offline, "--target", str(target), str(source)],
            env={**os.environ, "RNN_KERNELS_CUDA": str(int(device == "cuda"))}, check=True,
        )  # fmt: skip
        target.rename(site)
    return site


def compared(
    workers: Mapping[Worker, Environment], preset: Preset, pass_name: str, effort: Effort
) -> list[Row]:
    """A row for each build, timed if all are right."""
    prepared = {worker: worker.prepare(preset, pass_name) for worker in workers}
    stats = {}
    if all(verdict.status == "ok" for verdict, _ in prepared.values()):
        turns = {worker.name: Candidate(worker.turn, nullcontext) for worker in workers}
        stats = measure(turns, replace(effort, run_in_s=RUN_IN_S), turn_of)
    rows = []
    for worker, (verdict, used) in prepared.items():
        if verdict.reason:
            print(f"{worker.name} on {preset.name} {pass_name}: {verdict.reason}")
        timed, where = stats.get(worker.name), workers[worker]
        rows.append(make_row(preset, worker.name, used, pass_name, verdict, timed, None, where))
    return rows


def turn_of(call: Callable[[int], float], number: int) -> float:
    """A timer for candidates that time themselves."""
    return call(number)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser("benchmarks.compare", __doc__.partition("\n\n")[2], "small T and B, few rounds")
    parser.add_argument("base", help="the other commit, in any words that git knows")
    parser.add_argument("--preset", nargs="+", action="extend", choices=PRESETS, metavar="NAME")
    parser.add_argument("--pass", dest="pass_name", choices=PASSES)
    parser.add_output()
    args = parser.parse_args(argv)
    parser.check_output(args.output, whole=False)
    args.commit = resolved(args.base)
    if not args.commit:
        parser.error(f"{args.base!r} is no commit here")
    args.presets, _ = presets_of(args)
    if not jobs_of(args):
        parser.error(f"--pass {args.pass_name}: no chosen preset has it on device {args.device}")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 1 if a build was wrong."""
    args = parse(argv)
    site, where = built(args.commit, args.device), environment(args.device)
    workers = {
        Worker(BASE, (site, ROOT), args.device): replace(where, commit=args.commit, sources=""),
        Worker(THIS, (ROOT,), args.device): where,
    }
    effort = (QUICK if args.quick else FULL)[args.device]
    cases = [(preset, name) for preset, names in jobs_of(args) for name in names]
    rows: list[Row] = []
    with progress(len(cases)) as bar:
        for preset, pass_name in cases:
            bar.set_description(f"{preset.name} {pass_name}")
            rows += compared(workers, preset, pass_name, effort)
            bar.update()
    for worker in workers:
        print(f"{worker.name}: {worker.package}")
        worker.close()
    print(f"time of {BASE} ({args.commit}) over time of {THIS}; under 1 this is slower\n")
    print(table(rows, base=BASE))
    if args.output:
        write(rows, args.output, whole=False)
        print(f"written: {args.output}")
    return int(any(row.status != "ok" for row in rows))


if __name__ == "__main__":
    sys.exit(main())
