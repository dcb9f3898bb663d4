"""The tables of README.md and docs/cpu.md, from results files alone: `python -m benchmarks.readme`
writes anew those whose file is there."""

import statistics
from collections.abc import Callable
from pathlib import Path

from . import grid_tables, results, table
from .environment import ROOT
from .results import Row

README, CPU = ROOT / "README.md", ROOT / "docs" / "cpu.md"
START, END = "<!-- table: make bench writes it -->\n", "<!-- end of table -->\n"


def markdown(rows: list[Row]) -> str:
    """Ratios of `auto` to torch.nn, inference and training, worst first."""
    found = table.ratios(rows, "auto")
    first = next(row for row in rows if row.provider == "auto")
    shapes = {row.preset: row for row in rows}

    def cell(preset: str, pass_name: str) -> str:
        ratio = found.get((preset, pass_name))
        return "" if ratio is None else f"{ratio:.2f}×"

    order = sorted(shapes, key=lambda name: min(r for (p, _), r in found.items() if p == name))
    title = f"torch.nn's time over ours on {first.device}, torch {first.torch}; under 1 we lose.\n"
    lines = [["preset", "shape", "inference", "training"]]
    for name in order:
        s = shapes[name]
        extras = [s.dtype] * (s.dtype != "float32") + ["resets"] * bool(s.resets)
        extras += ["packed"] * s.packed
        shape = f"{s.cell} I {s.I}, H {s.H}, L {s.L}, D {s.D}, B {s.B}, T {s.T}"
        both = (cell(name, "fwd"), cell(name, "fwd_bwd"))
        lines.append([name, ", ".join([shape, *extras]), *both])
    means = [
        f"{statistics.geometric_mean(r for (_, p), r in found.items() if p == pass_name):.2f}×"
        for pass_name in ("fwd", "fwd_bwd")
    ]
    lines.append(["geometric mean", "", *means])
    return f"{title}\n{table.markdown(lines)}"


# The page, the folder of its results files, and what makes its table of one.
PAGES: tuple[tuple[Path, str, Callable[[list[Row]], str]], ...] = (
    (README, "", markdown),
    (CPU, "grid", grid_tables.page),
)


def with_table(text: str, table: str) -> str:
    """The page's text with the table between its markers replaced."""
    before, rest = text.split(START)
    return before + START + table + END + rest.split(END)[1]


def newest(folder: str = "") -> Path | None:
    """The results file written last, by its own clock."""
    files = sorted((results.RESULTS / folder).glob("*.csv"))
    return max(files, key=lambda path: results.read(path)[0].utc, default=None)


def tables() -> dict[Path, str]:
    """By page, where there is a results file."""
    files = [(page, newest(folder), write) for page, folder, write in PAGES]
    return {page: write(results.read(path)) for page, path, write in files if path}


def main() -> None:
    for page, text in tables().items():
        page.write_text(with_table(page.read_text(), text))


if __name__ == "__main__":
    main()
