"""How the Triton backend runs a whole sequence in one launch, or why it does not.

A program has some hidden units of some rows, and the weights for them: kept on the chip for all
steps, or read again at each. A program with all units of its rows needs nobody; others wait, at
every step, for the programs that share their rows, so all of these have to run at the same time.
"""

from __future__ import annotations

from typing import NamedTuple

from ...core.cells import CELLS
from .speeds import SPEEDS, per_step_ns


class Facts(NamedTuple):
    """What the planner asks of a GPU."""

    target: str  # as Triton calls it: cuda, hip; interpreted; old, for a Triton that is too old
    capability: int  # cuda: 10 · major + minor; others 0
    processors: int  # each runs a program at the same time as the others
    meet: bool  # a launch can be refused where not all of its programs would run at the same time
    shared: int  # bytes of shared memory that a program may have


class Plan(NamedTuple):
    """How the Triton backend cuts a call."""

    precision: str  # of products of float32: tf32, tf32x3 (as exact as float32), ieee
    rows: int  # of a program's tile
    units: int  # of it
    block: int  # factors of a product that are taken in at once
    chunks: int  # of so many factors, that weights are kept of; 0: read again at each step
    warps: int  # of a program
    stages: int  # chunks that are under way, where weights are not kept
    programs: int  # that share rows; 1: one has all units
    groups: int  # of rows
    slots: int  # groups that are launched, of each direction; each program has every slots-th
    waves: int  # of groups that run one after the other
    shared: int  # bytes of shared memory of a program, at most
    step_ns: float  # predicted time of a step

    # Blocks of a CUDA grid have mail; these programs read y and the gates' gradients as they are.
    mail_units = 0

    @property
    def through_memory(self) -> bool:
        """See :class:`rnn_kernels.backends.gpu.sequence_kernels.AnyPlan`."""
        return self.programs > 1

    def __str__(self) -> str:
        who = "one program has" if self.programs == 1 else f"{self.programs} programs share"
        waves = "" if self.waves == 1 else f", {self.waves} after each other"
        where = "kept in shared memory" if self.chunks else "read again at each step"
        return (
            f"one launch: {who} all units of {self.rows} rows, {self.units} units each, "
            f"{self.groups} groups{waves}; weights {where}; "
            f"{self.step_ns / 1000:.2f} µs per step predicted"
        )


WIDEST = 1 << 14  # offsets into the weights have 32 bits


class Tile(NamedTuple):
    """One of the few shapes that kernels are compiled for."""

    rows: int
    units: int
    block: int
    chunks: int
    alone: bool


def tiles(element: int, backward: bool) -> list[Tile]:
    """All of them, for elements of so many bytes: few, for each is a kernel to compile.

    A program alone has as many factors as units, a power of two. Those that share take in chunks of
    factors, one after the other: the fewer the better, but larger ones would spill more, those of
    all gates in the backward first.
    """
    sizes = (16, 32, 64, 128)
    kept = {
        (2, False): ((64, 3), (256, 1), (128, 3), (256, 2), (256, 3)),
        (2, True): ((64, 3), (128, 2), (128, 3), (128, 4), (128, 6)),
        (4, False): ((64, 2), (64, 3), (128, 2)),
        (4, True): ((64, 2), (64, 3), (64, 4)),
    }
    again = {
        (2, False): ((16, 64), (64, 64)),
        (2, True): ((16, 64),),
        (4, False): ((16, 32),),
        (4, True): ((16, 16),),
    }
    return [
        *(Tile(16, n, n, 1, True) for n in sizes),
        *(Tile(16, 32, block, chunks, False) for block, chunks in kept[element, backward]),
        *(Tile(rows, 32, block, 0, False) for rows, block in again[element, backward]),
    ]


def warps(tile: Tile) -> int:
    """Of a program: each has 8 units, the width of a matrix product, for 16 or 32 rows."""
    return tile.units // 8 * (2 if tile.rows > 32 else 1)


def stages(element: int, facts: Facts) -> int:
    """How many chunks of weights that are not kept are under way, the one in use included."""
    return 3 if element == 2 and facts.shared > 99 << 10 else 2  # more of float32 would spill


def shared_memory(tile: Tile, element: int, precision: str, backward: bool, under_way: int) -> int:
    """Bytes that a program takes at most: its weights, and what passes from thread to thread.

    For four gates, whatever the cell has: tiles have powers of two.
    """
    weights = 4 * tile.units * tile.block * element
    factors = tile.rows * tile.block * element * (4 if backward else 1)
    if not tile.chunks:
        return under_way * (weights + factors) + (8 << 10)
    if precision == "tf32x3":  # both parts of each
        weights, factors = 2 * weights, 2 * factors
    results = tile.rows * tile.units * (element * (16 if backward else 6) if tile.alone else 32)
    return weights * tile.chunks + max(factors, results) + 64


# Times on an H100, in nanoseconds. Derived, none is measured yet.
STEP_NS = 500  # gates, changes of layout, stores, of 16 rows
MEETING_NS = 1500  # a fence, an atomic, a poll, a first load
KEPT_BYTES_PER_NS = 200  # weights from shared memory, by one program
AGAIN_BYTES_PER_NS = 70  # weights from L2, by one program


def _step_ns(tile: Tile, element: int, precision: str, H: int, programs: int) -> float:
    """Of as many rows as run at once, on ``programs`` programs in all."""
    factors = tile.block * tile.chunks or H
    weights = 4 * tile.units * factors * element * (2 if precision == "tf32x3" else 1)
    if tile.chunks:
        reads = weights / KEPT_BYTES_PER_NS
    else:
        reads = max(weights / AGAIN_BYTES_PER_NS, weights * programs / SPEEDS.l2)
    states = tile.rows * H * element / (KEPT_BYTES_PER_NS if tile.alone else AGAIN_BYTES_PER_NS)
    return STEP_NS * (tile.rows + 48) / 64 + reads + states + (0 if tile.alone else MEETING_NS)


def placed(
    tile: Tile,
    element: int,
    precision: str,
    backward: bool,
    sizes: tuple[int, int, int],
    facts: Facts,
) -> Plan | None:
    """A call cut into such tiles, if it can be."""
    (B, H, D), programs = sizes, 1 if tile.alone else -(-sizes[1] // tile.units)
    under_way = stages(element, facts)
    shared = shared_memory(tile, element, precision, backward, under_way)
    if shared > facts.shared or (tile.chunks and tile.block * tile.chunks < H):
        return None
    groups = max(1, -(-B // tile.rows))
    if tile.alone:
        slots, waves = groups, -(-groups * D // facts.processors)
    else:
        slots = min(groups, facts.processors // (programs * D)) if facts.meet else 0
        if not slots:
            return None
        waves = -(-groups // slots)
    step_ns = waves * _step_ns(tile, element, precision, H, programs * slots * D)
    cut = (*tile[:4], warps(tile), under_way, programs, groups, slots, waves)
    return Plan(precision, *cut, shared, step_ns)


def plan(
    cell: str,
    element: int,
    exact: bool,
    backward: bool,
    sizes: tuple[int, int, int],
    facts: Facts,
) -> Plan | str:
    """How a call is run in one launch, or why it goes per step.

    Args:
        element: bytes of an element.  exact: float32 is not to be rounded to TF32.
        sizes: B, H, D.
    """
    if element == 8:
        return "a library's products of float64 are faster"
    if facts.target == "old":
        return "it needs Triton 3.5"
    if facts.target == "interpreted":
        return (
            "Triton's interpreter runs one program after the other, and multiplies bfloat16 as bits"
        )
    if facts.target == "cuda" and facts.capability < 80:
        return "it needs the matrix instructions of sm_80"
    rounded = "tf32x3" if exact else "tf32"
    precision = rounded if element == 4 and facts.target == "cuda" else "ieee"
    if sizes[1] > WIDEST:
        return f"H is over {WIDEST}"
    call = (element, precision, backward, sizes, facts)
    found = [placed(tile, *call) for tile in tiles(element, backward)]
    best = min((p for p in found if p is not None), key=lambda p: p.step_ns, default=None)
    if best is None and not facts.meet:
        return "programs that wait for each other might not run at the same time"
    if best is None:
        return "more programs would have to wait for each other than run at the same time"
    kind = "half" if element == 2 else "tf32" if precision == "tf32" else "float32"
    if best.step_ns > per_step_ns(CELLS[cell].gates, element, sizes, kind):
        return "that is predicted to be faster"
    return best
