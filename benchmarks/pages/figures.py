"""The figures of a device, from its results files."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from ..host.environment import ROOT
from ..machine import best
from ..measuring.job import part_of
from ..measuring.results import Row
from ..reporting.limits import achieved_gflops, corner_gflop, limit_gflops, step_gflop
from ..reporting.table import OURS, ratios
from ..sweep import AXES
from .device_results import DeviceResults
from .figure import Bars, Figure, Panel, Series

PASS_TITLES = {
    "fwd": "inference",
    "fwd_bwd": "training",
    "graph_fwd": "inference from a CUDA graph",
    "host_fwd": "host's time of an inference",
}
AXIS_LABELS = {"H": "hidden units H", "B": "sequences B", "T": "steps T"}


def label(name: str) -> str:
    """As readers know the provider."""
    return "rnn_kernels" if name == OURS else name


def figures(device: DeviceResults) -> list[Figure]:
    """All that the files have data for."""
    found = [presets_figure(device)] if device.presets else []
    dtypes = dict.fromkeys(row.dtype for row in device.sweeps if part_of(row) in AXES)
    for dtype in dtypes:
        ending = "" if len(dtypes) == 1 else f"-{dtype}"
        for pass_name in ("fwd", "fwd_bwd"):
            found.append(steps_figure(device, dtype, pass_name, ending))
        found.append(memory_figure(device, dtype, ending))
    return found + ([limit_figure(device)] if device.machine and dtypes else [])


def source(device: DeviceResults, folder: str) -> str:
    return device.path(folder).relative_to(ROOT).as_posix()


def worst_first(rows: Sequence[Row]) -> list[str]:
    """The presets, by the worse of inference and training; first those where one has no ratio."""
    found = ratios(rows, OURS)
    cases = {(row.preset, row.pass_) for row in rows if row.provider == OURS}

    def worst(name: str) -> float:
        plain = [(name, one) for one in ("fwd", "fwd_bwd") if (name, one) in cases]
        return min((found.get(case, 0.0) for case in plain), default=0.0)

    return sorted(dict.fromkeys(row.preset for row in rows), key=worst)


def presets_figure(device: DeviceResults) -> Figure:
    found = ratios(device.presets, OURS)
    names = [name for name in worst_first(device.presets) if any(name == p for p, _ in found)]
    passes = [name for name in ("fwd", "fwd_bwd") if any(case[1] == name for case in found)]
    groups = {
        PASS_TITLES[one]: tuple(
            None if (ratio := found.get((name, one))) is None else round(ratio, 6) for name in names
        )
        for one in passes
    }
    return Figure(
        "presets",
        f"torch.nn's time over rnn_kernels' on {device.name}",
        source(device, ""),
        bars=Bars("times as fast as torch.nn; left of the line we lose", tuple(names), groups),
    )


def over_sizes(rows: Sequence[Row], column: str, y_label: str) -> tuple[Panel, ...]:
    """A row of panels for each cell, one for each axis; what has no number leaves a gap."""
    panels = []
    for cell, axis in product(dict.fromkeys(row.cell for row in rows), AXES):
        chosen = [row for row in rows if row.cell == cell and part_of(row) == axis]
        series = []
        for name in dict.fromkeys(row.provider for row in chosen):
            points = {
                getattr(row, axis): getattr(row, column) or None  # a logarithm has no 0
                for row in chosen
                if row.provider == name
            }
            if any(points.values()):
                x, y = zip(*sorted(points.items()), strict=True)
                series.append(Series(label(name), x, y))
        fixed = chosen[0]
        others = ", ".join(f"{name} {getattr(fixed, name)}" for name in AXES if name != axis)
        panels.append(Panel(f"{cell}, {others}", AXIS_LABELS[axis], y_label, tuple(series)))
    return tuple(panels)


def steps_figure(device: DeviceResults, dtype: str, pass_name: str, ending: str) -> Figure:
    rows = sweep_rows(device, dtype, pass_name)
    return Figure(
        f"steps-{PASS_TITLES[pass_name]}{ending}",
        f"Time per step, {PASS_TITLES[pass_name]}, {dtype}, I {rows[0].I}, on {device.name}",
        source(device, "sweeps"),
        panels=over_sizes(rows, "us_per_step", "µs per step"),
    )


def memory_figure(device: DeviceResults, dtype: str, ending: str) -> Figure:
    rows = sweep_rows(device, dtype, "fwd_bwd")
    return Figure(
        f"memory-training{ending}",
        f"Peak memory of a training step, {dtype}, I {rows[0].I}, on {device.name}",
        source(device, "sweeps"),
        panels=over_sizes(rows, "peak_mb", "peak MiB"),
    )


def sweep_rows(device: DeviceResults, dtype: str, pass_name: str) -> list[Row]:
    return [
        row
        for row in device.sweeps
        if (row.dtype, row.pass_) == (dtype, pass_name) and part_of(row) in AXES
    ]


def limit_x(low: float, high: float, corner: float, on_gpu: bool) -> tuple[float, ...]:
    """Where the limit's line begins, bends and ends."""
    return (low, corner, high) if on_gpu and low < corner < high else (low, high)


def limit_figure(device: DeviceResults) -> Figure:
    """GFLOP/s against the work of a step: float32 inference, every H and B of the sweeps."""
    rows = [row for row in sweep_rows(device, "float32", "fwd") if achieved_gflops(row)]
    rows = [row for row in rows if part_of(row) != "T"]  # of few steps, most is not the step
    peak = best(device.machine, "product")
    panels = []
    for cell in dict.fromkeys(row.cell for row in rows):
        series = []
        for name in dict.fromkeys(row.provider for row in rows):
            points = {
                (round(1e3 * step_gflop(row), 6), round(achieved_gflops(row), 3))
                for row in rows
                if (row.cell, row.provider) == (cell, name)
            }
            if points:
                x, y = zip(*sorted(points), strict=True)
                series.append(Series(label(name), x, y, kind="points"))
        work = {x for one in series for x in one.x}
        if peak and work:
            x = limit_x(min(work), max(work), 1e3 * corner_gflop(peak), device.on_gpu)
            y = tuple(round(limit_gflops(1e-3 * one, peak, device.on_gpu), 3) for one in x)
            series.append(Series("limit", x, y, kind="limit"))
        panels.append(Panel(cell, "MFLOP per step", "GFLOP/s", tuple(series)))
    return Figure(
        "limit",
        f"Inference in float32, and the limit, on {device.name}",
        f"{source(device, 'sweeps')}, {source(device, 'machine')}",
        panels=tuple(panels),
        columns=2,
    )
