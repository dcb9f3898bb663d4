"""The results of a device: what its files hold, whichever of them are there."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from .. import machine
from ..host.environment import Environment
from ..measuring import results
from ..measuring.results import Row


@dataclass(frozen=True)
class DeviceResults:
    """One device's files, by the name that all of them have."""

    slug: str

    def path(self, folder: str) -> Path:
        return results.RESULTS / folder / f"{self.slug}.csv"

    def _rows(self, folder: str) -> list[Row]:
        path = self.path(folder)
        return results.read(path) if path.exists() else []

    @cached_property
    def presets(self) -> list[Row]:
        return self._rows("")

    @cached_property
    def grid(self) -> list[Row]:
        return self._rows("grid")

    @cached_property
    def sweeps(self) -> list[Row]:
        return self._rows("sweeps")

    @cached_property
    def machine(self) -> list[machine.Row]:
        path = self.path("machine")
        return results.read(path, machine.Row) if path.exists() else []

    @property
    def all_rows(self) -> list[list[Row] | list[machine.Row]]:
        """Those of each file that is there."""
        return [rows for rows in (self.presets, self.grid, self.sweeps, self.machine) if rows]

    @property
    def name(self) -> str:
        return self.all_rows[0][0].device

    @property
    def on_gpu(self) -> bool:
        return bool(self.all_rows[0][0].driver)

    @property
    def utc(self) -> str:
        return max(rows[0].utc for rows in self.all_rows)


def devices() -> list[DeviceResults]:
    """All that have a file, the one measured last first."""
    folders = ("", "grid", "sweeps", "machine")
    files = [path for name in folders for path in (results.RESULTS / name).glob("*.csv")]
    found = [DeviceResults(slug) for slug in {path.stem for path in files}]
    return sorted(found, key=lambda one: (one.utc, one.slug), reverse=True)


def provenance(row: Environment) -> str:
    """Where, with what and on which code a file was measured."""
    libraries = [f"torch {row.torch}"]
    libraries += [f"CUDA {row.cuda}, cuDNN {row.cudnn}, driver {row.driver}"] * bool(row.driver)
    libraries += [f"triton {row.triton}"] * bool(row.driver and row.triton)
    commit = f"commit {row.commit}, " if row.commit else ""
    return f"{row.device}; {', '.join(libraries)}; {commit}sources {row.sources}; {row.utc[:10]}"
