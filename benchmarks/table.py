"""The table: every provider's speed as a ratio to torch.nn, losses as visible as wins."""

import statistics
from collections.abc import Collection, Sequence

from benchmarks.providers import BASELINE
from benchmarks.results import Row

# p80 / p20 from which a time is too unsteady to judge by.
NOISY = 1.3


def ratios(rows: Sequence[Row], provider: str) -> dict[tuple[str, str], float]:
    """(preset, pass) -> torch.nn's median over the provider's, where both have a time."""
    times = {(row.provider, row.preset, row.pass_): row.median_us for row in rows}
    pairs = {
        (preset, pass_name): (times.get((BASELINE.name, preset, pass_name)), time)
        for (name, preset, pass_name), time in times.items()
        if name == provider
    }
    return {case: base / time for case, (base, time) in pairs.items() if base and time}


def table(rows: Sequence[Row], busy: Collection[tuple[str, str]] = ()) -> str:
    """One line per preset and pass, then geometric mean, worst and number of losses.

    A `~` marks a ratio of unsteady times, or of a (preset, pass) timed on a busy machine; the
    latter do not count in the last lines.
    """
    others = [name for name in dict.fromkeys(row.provider for row in rows) if name != BASELINE.name]
    by_name = {name: ratios(rows, name) for name in others}
    row_of = {(row.provider, row.preset, row.pass_): row for row in rows}
    lines = [["preset", "pass", f"{BASELINE.name} us", *others]]
    for row in rows:
        if row.provider != BASELINE.name:
            continue
        case = (row.preset, row.pass_)
        base = row.status if row.median_us is None else f"{row.median_us:.1f}"
        cells = [
            _cell(by_name[name].get(case), row_of[(name, *case)], row, case in busy)
            for name in others
        ]
        lines.append([*case, base, *cells])

    if not others:
        return aligned(lines)
    cases = [(row.preset, row.pass_) for row in rows if row.provider == BASELINE.name]
    quiet = [case for case in cases if case not in busy]
    found = [[by_name[name][case] for case in quiet if case in by_name[name]] for name in others]
    lines.append(["geometric mean", "", "", *(_mean(values) for values in found)])
    lines.append(["worst", "", "", *(_times(min(values)) if values else "-" for values in found)])
    losses = (f"{sum(value < 1 for value in values)}/{len(values)}" for values in found)
    lines.append(["slower", "", "", *losses])
    lines.append(["counted", "", "", *(f"{len(values)}/{len(cases)}" for values in found)])
    return aligned(lines)


def _cell(ratio: float | None, row: Row, base: Row, busy: bool) -> str:
    if ratio is None:
        return row.status
    noisy = busy or any(one.p80_us > NOISY * one.p20_us for one in (row, base))
    return _times(ratio) + ("~" if noisy else " ")


def _times(ratio: float) -> str:
    """Two decimals, rounded away from a draw: a loss never reads 1.00x."""
    return f"{min(ratio, 0.99):.2f}x" if ratio < 1 else f"{ratio:.2f}x"


def _mean(values: list[float]) -> str:
    return _times(statistics.geometric_mean(values)) if values else "-"


def aligned(lines: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if index < 2 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
