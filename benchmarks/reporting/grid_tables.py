"""The grid's tables, for the terminal and for docs/cpu.md: times per step, ratios, losses bold."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ..measuring.job import part_of
from ..measuring.results import Row
from ..providers.table import BASELINE
from .table import OURS, aligned, markdown, ratio_text, ratios, step_text, summary, unsteady

TITLES = {  # by part and pass
    ("inference", "fwd"): "Inference, float32",
    ("training", "fwd_bwd"): "Training, float32",
    ("bfloat16", "fwd"): "Inference, bfloat16",
    ("streaming", "fwd"): "One step of the layer, float32",
    ("streaming", "cell_fwd"): "One step of the cell, float32",
}
RESETS = "Resets, float32"


@dataclass(frozen=True)
class Table:
    """The lines of a table and of the one that sums it up, each with its header first."""

    title: str
    lines: list[list[str]]
    sums: list[list[str]]


def tables(rows: Sequence[Row], busy: Collection[tuple[str, str]] = ()) -> list[Table]:
    """A table per part. What was timed on a busy machine does not count in the sums."""
    found = []
    for (part, pass_name), title in TITLES.items():
        chosen = [row for row in rows if (part_of(row), row.pass_) == (part, pass_name)]
        if chosen:
            found.append(comparison(f"{title}, T {chosen[0].T}", chosen, busy))
    cut = [row for row in rows if part_of(row) == "resets"]
    return [*found, resets_table(cut)] if cut else found


def comparison(title: str, rows: Sequence[Row], busy: Collection[tuple[str, str]]) -> Table:
    """torch.nn, ours and the peers: a line for each H and B, columns for each cell."""
    by_place = {(row.H, row.B, row.cell, row.provider): row for row in rows}
    names = list(dict.fromkeys(row.provider for row in rows))
    cells = list(dict.fromkeys(row.cell for row in rows))
    cell_of = {row.preset: row.cell for row in rows}
    wins = ratios(rows, OURS)
    header = [f"{cell} {label(name)}" for cell in cells for name in (*names, "ratio")]
    lines = [["H", "B", *header]]
    for H, B in dict.fromkeys((row.H, row.B) for row in rows):
        line = [str(H), str(B)]
        for cell in cells:
            base, ours, *peers = (by_place[H, B, cell, name] for name in names)
            case = (ours.preset, ours.pass_)
            line += [step_text(base), step_text(ours), *(step_text(peer, ours) for peer in peers)]
            line.append(ratio_text(wins.get(case), base, ours, busy=case in busy) or "-")
        lines.append(line)

    counts = ("mean", "worst", "losses")
    sums = [["ours against", *(f"{cell} {count}" for cell in cells for count in counts)]]
    for name in names:
        if name != OURS:
            found = [(case, r) for case, r in ratios(rows, OURS, name).items() if case not in busy]
            values = [[r for (preset, _), r in found if cell_of[preset] == c] for c in cells]
            sums.append([name, *(text for one in values for text in summary(one))])
    return Table(title, lines, sums)


def label(name: str) -> str:
    return "ours" if name == OURS else name


def resets_table(rows: Sequence[Row]) -> Table:
    """Ours with resets and without; the cost is the ratio of the two."""
    by_place = {(row.pass_, row.cell, bool(row.resets)): row for row in rows}
    cells = list(dict.fromkeys(row.cell for row in rows))
    columns = ("without", "with", "cost")
    lines = [["pass", *(f"{cell} {column}" for cell in cells for column in columns)]]
    for pass_name in dict.fromkeys(row.pass_ for row in rows):
        line = [{"fwd": "inference", "fwd_bwd": "training"}[pass_name]]
        for cell in cells:
            plain, cut = (by_place[pass_name, cell, resets] for resets in (False, True))
            both = plain.median_us and cut.median_us
            cost = f"{cut.median_us / plain.median_us:.2f}x" if both else "-"
            line += [
                step_text(plain),
                step_text(cut),
                cost + "~" * bool(both and unsteady(plain, cut)),
            ]
        lines.append(line)
    first = rows[0]
    share = max(row.resets for row in rows)
    return Table(f"{RESETS}, H {first.H}, B {first.B}, T {first.T}, {share:.0%} set", lines, [])


def printed(rows: Sequence[Row], busy: Collection[tuple[str, str]] = ()) -> str:
    """For the terminal."""
    blocks = []
    for table in tables(rows, busy):
        blocks += [f"{table.title}: us per step\n{aligned(table.lines)}\n"]
        if table.sums:
            blocks.append(f"{aligned(table.sums)}\n")
    return "\n".join(blocks)


def page(rows: Sequence[Row]) -> str:
    """For docs/cpu.md."""
    first = rows[0]
    peers = {row.backend_used for row in rows if row.provider not in (BASELINE.name, OURS)}
    libraries = [f"torch {first.torch}", *sorted(peers - {""})]
    commit = f", commit {first.commit}" if first.commit else ""
    blocks = [f"Measured on {first.device}; {', '.join(libraries)}{commit}; {first.utc[:10]}.\n"]
    for table in tables(rows):
        blocks += [f"### {table.title}\n", markdown(table.lines)]
        if table.sums:
            blocks.append(markdown(table.sums))
    return "\n".join(blocks)
