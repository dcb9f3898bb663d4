"""The table: every provider's speed as a ratio to torch.nn, losses as visible as wins."""

import statistics
from collections.abc import Collection, Sequence

from ..measuring.results import Row
from ..providers.table import BASELINE
from ..shapes.presets import Preset

# p80 / p20 from which a time is too unsteady to judge by.
NOISY = 1.3


OURS = "auto"


def ratios(
    rows: Sequence[Row], provider: str, base: str = BASELINE.name
) -> dict[tuple[str, str], float]:
    """(preset, pass) -> the base's median over the provider's, where both have a time."""
    found = {(row.provider, row.preset, row.pass_): row.median_us for row in rows}
    pairs = {
        (preset, pass_name): (found.get((base, preset, pass_name)), time)
        for (name, preset, pass_name), time in found.items()
        if name == provider
    }
    return {case: base / time for case, (base, time) in pairs.items() if base and time}


def table(
    rows: Sequence[Row], busy: Collection[tuple[str, str]] = (), base: str = BASELINE.name
) -> str:
    """One line per preset and pass, then geometric mean, worst and number of losses.

    A `~` marks a ratio of unsteady times, or of a (preset, pass) timed on a busy machine; the
    latter do not count in the last lines.
    """
    others = [name for name in dict.fromkeys(row.provider for row in rows) if name != base]
    by_name = {name: ratios(rows, name, base) for name in others}
    row_of = {(row.provider, row.preset, row.pass_): row for row in rows}
    lines = [["preset", "pass", f"{base} us", *others]]
    for row in rows:
        if row.provider != base:
            continue
        case = (row.preset, row.pass_)
        text = row.status if row.median_us is None else f"{row.median_us:.1f}"
        cells = [
            _cell(by_name[name].get(case), row_of.get((name, *case)), row, case in busy)
            for name in others
        ]
        lines.append([*case, text, *cells])

    if not others:
        return aligned(lines)
    cases = [(row.preset, row.pass_) for row in rows if row.provider == base]
    quiet = [case for case in cases if case not in busy]
    found = [[by_name[name][case] for case in quiet if case in by_name[name]] for name in others]
    sums = [summary(values) for values in found]
    for index, title in enumerate(("geometric mean", "worst", "slower")):
        lines.append([title, "", "", *(one[index] for one in sums)])
    lines.append(["counted", "", "", *(f"{len(values)}/{len(cases)}" for values in found)])
    return aligned(lines)


def summary(values: Collection[float]) -> tuple[str, str, str]:
    """Of ratios: the geometric mean, the worst, and how many are losses."""
    if not values:
        return "-", "-", "0/0"
    losses = sum(value < 1 for value in values)
    mean = statistics.geometric_mean(values)
    return times(mean), times(min(values)), f"{losses}/{len(values)}"


def _cell(ratio: float | None, row: Row | None, base: Row, busy: bool) -> str:
    """Empty where the provider was left out."""
    if row is None or ratio is None:
        return row.status if row else ""
    return times(ratio) + ("~" if busy or unsteady(row, base) else " ")


def shape_text(shape: Preset | Row) -> str:
    """Cell and sizes, and what is not usual."""
    extras = [shape.dtype] * (shape.dtype != "float32") + ["resets"] * bool(shape.resets)
    extras += ["packed"] * shape.packed
    sizes = ", ".join(f"{name} {getattr(shape, name)}" for name in "IHLDBT")
    return ", ".join([f"{shape.cell} {sizes}", *extras])


def unsteady(*rows: Row) -> bool:
    return any(row.p80_us > NOISY * row.p20_us for row in rows)


def times(ratio: float) -> str:
    """Two decimals, rounded away from a draw: a loss never reads 1.00x."""
    return f"{min(ratio, 0.99):.2f}x" if ratio < 1 else f"{ratio:.2f}x"


def ratio_text(ratio: float | None, *rows: Row, busy: bool = False) -> str:
    """Bold where it is a loss, `~` where the rows' times are unsteady."""
    if ratio is None:
        return ""
    text = times(ratio) + "~" * (busy or unsteady(*rows))
    return f"**{text}**" if ratio < 1 else text


def step_text(row: Row | None, against: Row | None = None) -> str:
    """Microseconds per step, or why there are none; bold where it beats the other."""
    if row is None or row.median_us is None:
        return row.status if row else ""
    text = f"{row.us_per_step:.2f}" + "~" * unsteady(row)
    lost = against is not None and against.median_us and row.median_us < against.median_us
    return f"**{text}**" if lost else text


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """The first line is the header."""
    header, *rest = ("| " + " | ".join(line) + " |" for line in lines)
    return "\n".join([header, "|" + "---|" * len(lines[0]), *rest]) + "\n"


def aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if index < 2 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
