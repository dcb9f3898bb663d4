"""The results file: one CSV per device, one row per preset, provider and pass."""

import csv
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TypeVar

from ..host.environment import ROOT, Environment
from ..shapes.presets import Preset
from .gate import Verdict
from .timing import Stats

RESULTS = ROOT / "benchmarks" / "results"
Line = TypeVar("Line")  # a dataclass: Row, or another with columns of its own


@dataclass(frozen=True)
class Row:
    """A line of the file, its fields in the file's order. No time unless status is ok."""

    preset: str
    cell: str
    I: int  # noqa: E741  the column's name
    H: int
    L: int
    D: int
    B: int
    T: int
    dtype: str
    mode: str
    resets: float
    packed: bool
    provider: str
    backend_used: str
    pass_: str  # the column is `pass`, which Python keeps for itself
    median_us: float | None
    p20_us: float | None
    p80_us: float | None
    us_per_step: float | None
    peak_mb: float | None  # none where the system does not count it, and in quick looks
    error_ratio: float | None
    status: str  # ok, wrong, missing or oom
    device: str
    driver: str
    torch: str
    cudnn: str
    cuda: str
    triton: str
    commit: str
    sources: str
    utc: str


PARSE = {
    str: str,
    int: int,
    float: float,
    bool: lambda text: {"1": True, "0": False}[text],
    float | None: lambda text: float(text) if text else None,
}


def columns_of(kind: type) -> tuple[str, ...]:
    return tuple(field.name.rstrip("_") for field in fields(kind))


def make_row(
    preset: Preset,
    provider: str,
    backend_used: str,
    pass_name: str,
    verdict: Verdict,
    stats: Stats | None,
    peak_mb: float | None,
    where: Environment,
) -> Row:
    columns = columns_of(Row)
    shape = {name: getattr(preset, name) for name in columns[1 : columns.index("provider")]}
    return Row(
        preset=preset.name,
        **shape,
        provider=provider,
        backend_used=backend_used,
        pass_=pass_name,
        median_us=stats and round(stats.median_us, 2),
        p20_us=stats and round(stats.p20_us, 2),
        p80_us=stats and round(stats.p80_us, 2),
        us_per_step=stats and round(stats.median_us / preset.T, 3),
        peak_mb=None if peak_mb is None else round(peak_mb, 2),
        error_ratio=None if verdict.error_ratio is None else round(verdict.error_ratio, 3),
        status=verdict.status,
        **asdict(where),
    )


def official_path(device: str, folder: str = "") -> Path:
    """The device's own file, of runs or of what the folder is for."""
    return RESULTS / folder / f"{re.sub('[^a-z0-9]+', '-', device.lower()).strip('-')}.csv"


def is_official(path: Path) -> bool:
    return path.resolve().is_relative_to(RESULTS)


def write(rows: Sequence[Line], path: Path, whole: bool) -> None:
    """Replaces the file by one row or more of one kind.

    An official one takes a whole run only: no --quick, no selection.
    """
    if is_official(path) and not whole:
        raise ValueError(f"{path} takes whole runs only, neither --quick nor a selection")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns_of(type(rows[0])))
        writer.writerows([_text(value) for value in asdict(row).values()] for row in rows)


def _text(value: str | float | None) -> str:
    if isinstance(value, bool):
        return str(int(value))
    return "" if value is None else str(value)


def read(path: Path, kind: type[Line] = Row) -> list[Line]:
    with path.open(newline="") as file:
        header, *lines = csv.reader(file)
    if tuple(header) != columns_of(kind):
        raise ValueError(f"{path}: the columns are not those of {kind.__name__}")
    parsers = [PARSE[field.type] for field in fields(kind)]
    return [
        kind(*(parse(text) for parse, text in zip(parsers, line, strict=True))) for line in lines
    ]


def sources_of(path: Path) -> set[str]:
    """The hashes of the code that a file's rows were measured on, whatever its other columns."""
    with path.open(newline="") as file:
        return {line["sources"] for line in csv.DictReader(file) if "sources" in line}
