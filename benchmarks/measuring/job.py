"""The job: providers on a made-up shape or some, of one part of a grid or a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..host.progress import progress
from ..providers.table import PROVIDERS
from ..shapes.presets import Preset
from ..shapes.workload import make_workload
from .findings import Entrant, Findings
from .gate import Gate
from .results import Row


@dataclass(frozen=True)
class Job:
    """Every provider on every preset, in turns. A preset's name begins with its part's."""

    presets: tuple[Preset, ...]
    pass_name: str
    providers: tuple[str, ...]

    @property
    def part(self) -> str:
        return self.presets[0].name.split()[0]

    def run(self, found: Findings) -> None:
        gates = [
            Gate(make_workload(preset, found.device), [self.pass_name]) for preset in self.presets
        ]
        entrants = [Entrant(PROVIDERS[name], gate) for gate in gates for name in self.providers]
        found.add(entrants, self.pass_name)


def part_of(row: Row) -> str:
    """Of the job that the row comes from."""
    return row.preset.split()[0]


def run_all(jobs: Sequence[Job], found: Findings, name: str) -> None:
    """All jobs of the command of that name."""
    with progress(len(jobs)) as bar, found.kept(name):
        for job in jobs:
            bar.set_description(f"{job.presets[0].name} {job.pass_name}")
            job.run(found)
            bar.update()
