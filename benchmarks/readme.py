"""The README's table, from a results file alone: `python -m benchmarks.readme` writes it anew."""

import statistics
from pathlib import Path

from benchmarks import results
from benchmarks.environment import ROOT
from benchmarks.results import Row
from benchmarks.table import ratios

README = ROOT / "README.md"
START, END = "<!-- table: make bench writes it -->\n", "<!-- end of table -->\n"


def markdown(rows: list[Row]) -> str:
    """Ratios of `auto` to torch.nn, inference and training, worst first."""
    found = ratios(rows, "auto")
    first = next(row for row in rows if row.provider == "auto")
    shapes = {row.preset: row for row in rows}

    def cell(preset: str, pass_name: str) -> str:
        ratio = found.get((preset, pass_name))
        return "" if ratio is None else f"{ratio:.2f}×"

    order = sorted(shapes, key=lambda name: min(r for (p, _), r in found.items() if p == name))
    lines = [
        f"torch.nn's time over ours on {first.device}, torch {first.torch}; under 1 we lose.",
        "",
        "| preset | shape | inference | training |",
        "|---|---|---|---|",
    ]
    for name in order:
        s = shapes[name]
        extras = [s.dtype] * (s.dtype != "float32") + ["resets"] * bool(s.resets)
        extras += ["packed"] * s.packed
        shape = f"{s.cell} I {s.I}, H {s.H}, L {s.L}, D {s.D}, B {s.B}, T {s.T}"
        lines.append(
            f"| {name} | {', '.join([shape, *extras])} | {cell(name, 'fwd')} "
            f"| {cell(name, 'fwd_bwd')} |"
        )
    means = [
        f"{statistics.geometric_mean(r for (_, p), r in found.items() if p == pass_name):.2f}×"
        for pass_name in ("fwd", "fwd_bwd")
    ]
    lines.append(f"| geometric mean | | {means[0]} | {means[1]} |")
    return "\n".join(lines) + "\n"


def with_table(text: str, table: str) -> str:
    """The README's text with the table between its markers replaced."""
    before, rest = text.split(START)
    return before + START + table + END + rest.split(END)[1]


def newest() -> Path:
    """The results file written last, by its own clock."""
    files = sorted(results.RESULTS.glob("*.csv"))
    return max(files, key=lambda path: results.read(path)[0].utc)


def main() -> None:
    table = markdown(results.read(newest()))
    README.write_text(with_table(README.read_text(), table))


if __name__ == "__main__":
    main()
