"""docs/performance.md: for every device what its files say, losses first."""

from __future__ import annotations

from collections.abc import Sequence

from ..machine import best
from ..measuring.job import part_of
from ..measuring.results import Row
from ..providers.table import BASELINE, PROVIDERS
from ..reporting.limits import achieved_gflops, limit_gflops, step_gflop
from ..reporting.table import OURS, markdown, ratio_text, ratios, shape_text, step_text, summary
from ..sweep import AXES
from .device_results import DeviceResults, provenance
from .figures import AXIS_LABELS, PASS_TITLES, figures, label, sweep_rows, worst_first

HEAD = """\
# Performance

Every number and picture here is made from the files under `benchmarks/results` by
`python -m benchmarks.pages`; none is written by hand. [How to read them](benchmarks.md) says what
was measured and how, what was left out, and why we lose where we lose. Bold is a loss, `~` marks
unsteady times.
"""


def page(devices: Sequence[DeviceResults]) -> str:
    return "\n".join([HEAD, *(section(one) for one in devices)])


def section(device: DeviceResults) -> str:
    blocks = [f"## {device.name}\n"]
    pictures = {one.name: one for one in figures(device)}

    def picture(name: str) -> list[str]:
        return [image(device, name, pictures[name].title)] if name in pictures else []

    if device.presets:
        blocks += ["### Shapes of real projects\n", *picture("presets")]
        blocks += [f"{provenance(device.presets[0])}.\n", presets_table(device)]
        blocks += ["Ours against each, over all presets:\n", summary_table(device.presets)]
    if any(part_of(row) in AXES for row in device.sweeps):
        blocks += ["### Over sizes\n", f"{provenance(device.sweeps[0])}.\n"]
        names = [name for name in pictures if name.split("-")[0] in ("steps", "memory")]
        blocks += [text for name in names for text in picture(name)]
        blocks += [text for axis in AXES for text in axis_tables(device, axis)]
        blocks += ["Ours against each, over all of these sizes:\n"]
        blocks += [summary_table([row for row in device.sweeps if part_of(row) in AXES])]
    for part, title in (
        ("recompute", "### Less memory in training\n"),
        ("overhead", "### What the smallest calls cost\n"),
    ):
        rows = [row for row in device.sweeps if part_of(row) == part]
        blocks += [title, calls_table(rows)] if rows else []
    if device.machine:
        blocks += ["### Against what the machine can do\n", *picture("limit")]
        blocks += [f"{provenance(device.machine[0])}.\n", machine_table(device)]
        blocks += [limit_table(device)] if device.presets else []
    if device.grid:
        blocks += [
            f"{provenance(device.grid[0])}: [the CPU, size by size](cpu.md) has its tables.\n"
        ]
    return "\n".join(blocks)


def image(device: DeviceResults, name: str, title: str, folder: str = "pictures") -> str:
    return f"![{title}]({folder}/{device.slug}/{name}.svg)\n"


def presets_table(device: DeviceResults) -> str:
    """Worst first: for each pass ours over torch.nn, the times, the peak memory of both."""
    rows = device.presets
    by_place = {(row.preset, row.pass_, row.provider): row for row in rows}
    passes = [one for one in PASS_TITLES if any(row.pass_ == one for row in rows)]
    found = ratios(rows, OURS)
    header = ["preset", "shape"]
    for one in passes:
        header += [PASS_TITLES[one], "torch.nn µs", "ours µs"]
    header += ["training peak MiB, torch.nn", "ours"]
    lines = [header]
    for name in worst_first(rows):
        line = [name, shape_text(next(row for row in rows if row.preset == name))]
        for one in passes:
            pair = [by_place.get((name, one, provider)) for provider in (BASELINE.name, OURS)]
            if None in pair:
                line += ["", "", ""]
                continue
            line.append(ratio_text(found.get((name, one)), *pair))
            line += [
                row.status if row.median_us is None else f"{row.median_us:.0f}" for row in pair
            ]
        for provider in (BASELINE.name, OURS):
            row = by_place.get((name, "fwd_bwd", provider))
            line.append("" if row is None or row.peak_mb is None else f"{row.peak_mb:.0f}")
        lines.append(line)
    return markdown(lines)


def summary_table(rows: Sequence[Row]) -> str:
    """Ours against every other provider: geometric mean, worst and losses of each pass."""
    passes = [one for one in PASS_TITLES if any(row.pass_ == one for row in rows)]
    lines = [
        [
            "ours against",
            *(f"{PASS_TITLES[p]}: {c}" for p in passes for c in ("mean", "worst", "losses")),
        ]
    ]
    for name in dict.fromkeys(row.provider for row in rows):
        if name == OURS or (name in PROVIDERS and not compared(name)):
            continue
        found = ratios(rows, OURS, name)
        values = [[ratio for (_, p), ratio in found.items() if p == one] for one in passes]
        if any(values):
            lines.append([name, *(text for one in values for text in summary(one))])
    return markdown(lines)


def compared(name: str) -> bool:
    """Others than ours, but for the reference."""
    return name in (BASELINE.name, "reference") or PROVIDERS[name].peer


def axis_tables(device: DeviceResults, axis: str) -> list[str]:
    """Microseconds per step, a line for each provider; what is faster than ours is bold."""
    blocks = []
    for dtype in dict.fromkeys(row.dtype for row in device.sweeps if part_of(row) == axis):
        rows = [
            row
            for one in ("fwd", "fwd_bwd")
            for row in sweep_rows(device, dtype, one)
            if part_of(row) == axis
        ]
        sizes = sorted({getattr(row, axis) for row in rows})
        place = {(row.cell, row.pass_, row.provider, getattr(row, axis)): row for row in rows}
        lines = [["µs per step", "pass", *(f"{axis} {size}" for size in sizes)]]
        for cell, one, name in dict.fromkeys(key[:3] for key in place):
            cells = [
                step_text(place.get((cell, one, name, s)), place.get((cell, one, OURS, s)))
                for s in sizes
            ]
            lines.append([f"{cell} {label(name)}", PASS_TITLES[one], *cells])
        fixed = ", ".join(f"{n} {getattr(rows[0], n)}" for n in ("I", *AXES) if n != axis)
        blocks += [f"Against {AXIS_LABELS[axis]}, {dtype}; {fixed}:\n", markdown(lines)]
    return blocks


def calls_table(rows: Sequence[Row]) -> str:
    """Microseconds per call, peak memory, and both as ratios to torch.nn's."""
    base = {(row.preset, row.pass_): row for row in rows if row.provider == BASELINE.name}
    titles = {**PASS_TITLES, "cell_fwd": "inference, the cell"}
    lines = [["layer", "pass", "provider", "µs per call", "torch.nn's time over it", "peak MiB"]]
    for row in rows:
        other = base[row.preset, row.pass_]
        ratio = row.median_us and other.median_us and other.median_us / row.median_us
        layer = row.preset.partition(" ")[2]
        lines.append(
            [
                layer,
                titles.get(row.pass_, row.pass_.replace("_", " ")),
                label(row.provider),
                row.status if row.median_us is None else f"{row.median_us:.1f}",
                "" if row is other else ratio_text(ratio, row, other),
                "" if row.peak_mb is None else f"{row.peak_mb:.1f}",
            ]
        )
    return markdown(lines)


def machine_table(device: DeviceResults) -> str:
    lines = [["torch's own", "dtype", "size", "rate"]]
    lines += [[r.what, r.dtype, str(r.size), f"{r.rate:.0f} {r.unit}"] for r in device.machine]
    return markdown(lines)


def peak_of(device: DeviceResults, dtype: str) -> float | None:
    """GFLOP/s of products: on a CPU those of float32 where the dtype has no instructions."""
    dtypes = {dtype} if device.on_gpu else {dtype, "float32"}
    found = [best(device.machine, "product", one) for one in dtypes]
    return max((one for one in found if one), default=None)


def limit_table(device: DeviceResults) -> str:
    """Ours on the presets as a share of what products of their dtype reach, worst first."""
    lines = [["preset", "pass", "GFLOP/s", "share of the limit", "torch.nn's share"]]
    base = {(r.preset, r.pass_): r for r in device.presets if r.provider == BASELINE.name}
    shares = []
    for row in device.presets:
        peak, rate = peak_of(device, row.dtype), achieved_gflops(row)
        if row.provider != OURS or row.pass_ not in ("fwd", "fwd_bwd") or not (peak and rate):
            continue
        if row.packed:
            continue  # lengths are not in the file, so the work is not known
        limit = limit_gflops(step_gflop(row), peak, device.on_gpu)
        other = achieved_gflops(base[row.preset, row.pass_])
        shares.append((rate / limit, row, rate, other and other / limit))
    for share, row, rate, other in sorted(shares, key=lambda one: one[0]):
        theirs = "" if other is None else f"{other:.0%}"
        lines.append([row.preset, PASS_TITLES[row.pass_], f"{rate:.1f}", f"{share:.0%}", theirs])
    return markdown(lines)
