"""The blocks that results files fill in pages written by hand: README.md's and docs/cpu.md's."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from .. import grid_tables
from ..table import markdown, ratios
from .device_results import DeviceResults
from .figures import OURS, worst_first
from .performance import image, shape_text

START, END = "<!-- results: make bench writes them -->\n", "<!-- end of results -->\n"


def with_block(text: str, block: str) -> str:
    """The page's text with what stands between its markers replaced."""
    before, rest = text.split(START)
    return before + START + block + END + rest.split(END)[1]


def readme(device: DeviceResults) -> str:
    """The picture, and ratios of `auto` to torch.nn, inference and training, worst first."""
    rows = device.presets
    title = f"torch.nn's time over ours on {device.name}, torch {rows[0].torch}; under 1 we lose"
    found = ratios(rows, OURS)

    def cell(preset: str, pass_name: str) -> str:
        ratio = found.get((preset, pass_name))
        return "" if ratio is None else f"{ratio:.2f}×"

    lines = [["preset", "shape", "inference", "training"]]
    shapes = {row.preset: shape_text(row) for row in rows}
    for name in worst_first(rows):
        lines.append([name, shapes[name], cell(name, "fwd"), cell(name, "fwd_bwd")])
    lines.append(["geometric mean", "", *(mean(found, one) for one in ("fwd", "fwd_bwd"))])
    return f"{title}.\n\n{image(device, 'presets', title, 'docs/pictures')}\n{markdown(lines)}"


def mean(found: dict[tuple[str, str], float], pass_name: str) -> str:
    values = [ratio for (_, one), ratio in found.items() if one == pass_name]
    return f"{statistics.geometric_mean(values):.2f}×" if values else ""


def cpu(devices: Sequence[DeviceResults]) -> str:
    """The tables of each device's grid."""
    return "\n".join(f"## {one.name}\n\n{grid_tables.page(one.grid)}" for one in devices)
