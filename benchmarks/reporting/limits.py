"""The limit: how fast a step can be at best on a machine whose peaks were measured."""

from ..measuring.results import Row
from ..shapes.presets import matrix_gflop

# What a step costs a GPU however small it is: h has to reach the other blocks through L2. Derived,
# 263 clocks at 1.755 GHz (an H100's), not measured.
TRIP_US = 0.15


def corner_gflop(peak: float) -> float:
    """From which work of a step on a GPU's products are the limit, not the trip."""
    return peak * 1e-6 * TRIP_US


def limit_gflops(step_gflop: float, peak: float, on_gpu: bool) -> float:
    """GFLOP/s that a step of so much work can reach, where matrix products reach `peak`."""
    return min(peak, step_gflop / (1e-6 * TRIP_US)) if on_gpu else peak


def step_gflop(row: Row) -> float:
    """Matrix work of one step in 1e9 operations, all layers and directions, input products too."""
    return matrix_gflop(row, row.pass_) / row.T


def achieved_gflops(row: Row) -> float | None:
    """Where the row has a time."""
    return row.median_us and 1e6 * matrix_gflop(row, row.pass_) / row.median_us
