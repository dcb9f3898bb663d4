"""Fits what the CUDA planner reckons with to what was measured:
`python -m benchmarks.speeds benchmarks/results/cuts/<device>.csv`, on any machine.

Prints each constant of `Speeds` in csrc/cuda/plan/plan.h as it is and as it fits best, how far off
predictions are with either, and how much longer the cuts take that are predicted to be the fastest
than those that are. Nothing is written: the constants belong into plan.h, once they convince.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import ModuleType

from rnn_kernels.backends import BACKENDS
from rnn_kernels.core.cells import CELLS

from .cuts import DTYPES, Row
from .measuring.results import read
from .reporting.table import aligned

Speeds = dict[str, float]
# A clock would only scale all others, and is the GPU's own.
FIXED = ("clock_ghz",)
STEPS = (2.0, 1.5, 1.2, 1.1, 1.05, 1.02, 1.01)
# A GPU on which anything runs at once: how often a cut has to come again, its row says.
ENDLESS = (90, 1 << 20, (1 << 20,) * 5, 1 << 20)


class Measured:
    """The rows of a file that were measured, and what the planner makes of them."""

    def __init__(self, rows: Sequence[Row], kernels: ModuleType) -> None:
        self.rows = [row for row in rows if row.measured_us]
        if not self.rows:
            raise ValueError("no cut was measured")
        self._cut = kernels.cut

    def _predicted_us(self, row: Row, speeds: Speeds) -> float:
        dtype, tf32 = DTYPES[row.dtype]
        exact = dtype.itemsize == 4 and not tf32
        problem = (CELLS[row.cell].gates, dtype.itemsize, exact, row.pass_ == "backward")
        by = (row.grid, row.cluster, row.rows)
        step = self._cut(*problem, (row.B, row.H, 1), *ENDLESS, by, speeds=speeds)["step_ns"]
        return row.waves * step / 1000

    def errors(self, speeds: Speeds) -> list[float]:
        """Logarithms of predicted over measured."""
        return [math.log(self._predicted_us(row, speeds) / row.measured_us) for row in self.rows]

    def off(self, speeds: Speeds) -> float:
        """How far off predictions are, as a factor: the mean one."""
        errors = self.errors(speeds)
        return math.exp(sum(map(abs, errors)) / len(errors))

    def lost(self, speeds: Speeds) -> float:
        """How much longer the cuts take that are predicted to be the fastest than those that are,
        as a factor: the geometric mean over all recurrences."""
        calls: dict[tuple, list[tuple[float, float]]] = {}
        for row in self.rows:
            call = row.cell, row.dtype, row.pass_, row.H, row.B
            times = self._predicted_us(row, speeds), row.measured_us
            calls.setdefault(call, []).append(times)
        chosen = [math.log(min(cuts)[1] / min(us for _, us in cuts)) for cuts in calls.values()]
        return math.exp(sum(chosen) / len(chosen))


def fitted(measured: Measured, start: Speeds) -> Speeds:
    """The speeds with which predictions are least off: one after the other a step up or down, for
    as long as that helps, in ever smaller steps. What nothing depends on stays as it is."""
    best, free = dict(start), [name for name in start if name not in FIXED]
    off = cache(lambda key: measured.off(dict(key)))
    for factor in STEPS:
        improved = True
        while improved:
            improved = False
            for name in free:
                for by in (factor, 1 / factor):
                    tried = best | {name: best[name] * by}
                    if off(_key(tried)) < off(_key(best)) * (1 - 1e-6):
                        best, improved = tried, True
    return best


def _key(speeds: Speeds) -> tuple[tuple[str, float], ...]:
    return tuple(sorted(speeds.items()))


def report(measured: Measured, start: Speeds, best: Speeds) -> str:
    lines = [["", "now", "fitted"]]
    lines += [[name, f"{start[name]:.4g}", f"{best[name]:.4g}"] for name in start]
    factors = {"predictions off by": measured.off, "the fastest predicted loses": measured.lost}
    for what, factor in factors.items():
        lines.append([what, f"{factor(start):.3f}x", f"{factor(best):.3f}x"])
    return aligned(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.speeds", description=__doc__)
    parser.add_argument("file", type=Path, help="what benchmarks.cuts has written")
    args = parser.parse_args(argv)
    cuda = BACKENDS["cuda"]
    if cuda.built() is None:
        print("the planner is in the CUDA part, which this build lacks: it needs nvcc")
        return 1
    measured, start = Measured(read(args.file, Row), cuda.kernels), cuda.kernels.speeds()
    print(report(measured, start, fitted(measured, start)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
