"""The findings: what a run checked and timed, and what that means for its exit code and file."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..host.environment import ROOT, Environment
from ..providers.candidate import Candidate
from ..providers.provider import Provider
from ..providers.table import PROVIDERS
from ..shapes.presets import computed
from .gate import Gate
from .memory import Probe, allocated_mb
from .results import Row, make_row, write
from .timing import BUSY, RUN_IN_S, Effort, measure_on


@dataclass(frozen=True)
class Entrant:
    """A provider on the workload of a gate."""

    provider: Provider
    gate: Gate


@dataclass
class Findings:
    """The first four fields hold for the whole run. Peers may be wrong, it has not failed then."""

    device: str
    effort: Effort
    where: Environment
    probe: Probe | None = None  # of memory, on a CPU; without one its peaks are left out
    rows: list[Row] = field(default_factory=list)
    reasons: dict[str, None] = field(default_factory=dict)  # why rows lack a time, each once
    busy: dict[tuple[str, str], float] = field(default_factory=dict)  # see timing.BUSY
    failed: bool = False

    def add(self, entrants: Sequence[Entrant], pass_name: str) -> None:
        """Checks each, and lets those that are right take turns."""
        verdicts = [one.gate.check(one.provider, pass_name) for one in entrants]
        candidates = {
            str(index): one.provider.build(one.gate.work, pass_name, one.gate.work.preset.dropout)
            for index, (one, verdict) in enumerate(zip(entrants, verdicts, strict=True))
            if verdict.status == "ok"
        }
        beside_peers = any(entrants[int(index)].provider.peer for index in candidates)
        run_in_s = RUN_IN_S if beside_peers and self.device == "cpu" else 0.0
        effort = replace(self.effort, run_in_s=run_in_s)
        stats, rate = measure_on(self.device, candidates, effort, pass_name)
        peaks = {
            index: self.peak_mb(entrants[int(index)], pass_name, candidate)
            for index, candidate in candidates.items()
            if computed(pass_name) == pass_name  # a graph got its memory when it was captured
        }
        for index, (one, verdict) in enumerate(zip(entrants, verdicts, strict=True)):
            provider, work, missing = one.provider, one.gate.work, verdict.status == "missing"
            name, used = provider.name, "" if missing else provider.backend_used(work)
            timed, peak = stats.get(str(index)), peaks.get(str(index))
            self.rows.append(
                make_row(work.preset, name, used, pass_name, verdict, timed, peak, self.where)
            )
            if rate > BUSY:
                self.busy[work.preset.name, pass_name] = rate
            failed = verdict.status in ("wrong", "oom")
            self.failed |= failed and not provider.peer
            if verdict.reason:
                case = "" if missing else f" on {work.preset.name} {pass_name}"
                excuse = "; a peer's, so no failure" if failed and provider.peer else ""
                reason = f"{verdict.status}: {name}{case}: {verdict.reason}{excuse}"
                self.reasons[reason] = None

    def peak_mb(self, one: Entrant, pass_name: str, candidate: Candidate) -> float | None:
        if self.device == "cuda":
            return allocated_mb(candidate)
        known = PROVIDERS.get(one.provider.name) is one.provider  # the probe knows by name
        if self.probe is None or not known or one.provider.peer:  # they keep their arrays
            return None
        return self.probe.peak_mb(one.gate.work.preset, pass_name, one.provider.name)

    def report(self) -> str:
        """What to know beside the tables; each line ends."""
        lines = list(self.reasons)
        if self.busy:
            cases = {(row.preset, row.pass_) for row in self.rows}
            lines.append(
                f"busy: other programs took the cores in {len(self.busy)} of {len(cases)} cases,"
                f" up to {max(self.busy.values()):.0f} times a second and thread; they do not count"
                " in the last lines"
            )
        return "".join(f"{line}\n" for line in lines)

    @contextmanager
    def kept(self, name: str) -> Iterator[None]:
        """What was found is not lost if the run ends before its time."""
        try:
            yield
        except BaseException:
            if self.rows:
                path = ROOT / "build" / f"unfinished-{name}.csv"
                write(self.rows, path, whole=False)
                print(f"unfinished, written so far: {path}", file=sys.stderr)
            raise

    def close(self, output: Path | None, whole: bool) -> int:
        """Writes the file, if there is one; returns the exit code."""
        if output:
            write(self.rows, output, whole)
            print(f"written: {output}")
        else:
            print("no file written: not a whole run, and no --output")
        return int(self.failed)
