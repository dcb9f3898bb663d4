"""The blocks that results files fill in pages written by hand: README.md's and docs/cpu.md's."""

from __future__ import annotations

from collections.abc import Sequence

from ..providers.table import BASELINE
from ..reporting import grid_tables
from ..reporting.table import OURS, markdown, ratio_text, ratios, shape_text, summary
from .device_results import DeviceResults
from .figures import PASS_TITLES, worst_first
from .performance import image

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

    base = {(row.preset, row.pass_): row for row in rows if row.provider == BASELINE.name}
    ours = {(row.preset, row.pass_): row for row in rows if row.provider == OURS}

    def cell(*case: str) -> str:
        """The ratio, or what became of ours."""
        if case not in ours:
            return ""
        return ratio_text(found.get(case), base[case], ours[case]) or ours[case].status

    passes = ("fwd", "fwd_bwd")
    lines = [["preset", "shape", *(PASS_TITLES[one] for one in passes)]]
    shapes = {row.preset: shape_text(row) for row in rows}
    for name in worst_first(rows):
        lines.append([name, shapes[name], *(cell(name, one) for one in passes)])
    sums = [summary([ratio for (_, p), ratio in found.items() if p == one]) for one in passes]
    lines.append(["geometric mean", "", *(mean for mean, _, _ in sums)])
    lines.append(["losses", "", *(losses for _, _, losses in sums)])
    said = "`~` marks unsteady times."
    return (
        f"{title}. {said}\n\n{image(device, 'presets', title, 'docs/pictures')}\n{markdown(lines)}"
    )


def cpu(devices: Sequence[DeviceResults]) -> str:
    """The tables of each device's grid."""
    return "\n".join(f"## {one.name}\n\n{grid_tables.page(one.grid)}" for one in devices)
