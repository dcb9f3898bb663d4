"""benchmarks.speeds: what the planner reckons with, from what was measured."""

from __future__ import annotations

from dataclasses import asdict
from itertools import product
from pathlib import Path
from types import ModuleType

import emulated
import pytest
from persistent_calls import H100

from benchmarks import speeds
from benchmarks.cuts import DTYPES, Row
from benchmarks.host.environment import environment
from benchmarks.measuring.results import write
from rnn_kernels.backends import BACKENDS
from rnn_kernels.core.cells import CELLS

pytestmark = pytest.mark.emulated
WAYS = [(False, n, rows) for n in (1, 2, 4, 8, 16) for rows in (1, 3, 16)] + [
    (True, n, 16) for n in (16, 32, 64)
]


@pytest.fixture
def kernels() -> ModuleType:
    return emulated.backend().kernels


def measured(kernels: ModuleType, truth: speeds.Speeds) -> list[Row]:
    """What a device of these speeds would have taken."""
    rows, where = [], asdict(environment())
    for cell, dtype, H, B, backward in product(
        CELLS, DTYPES, (100, 256, 700, 1024), (16, 50), (False, True)
    ):
        storage, tf32 = DTYPES[dtype]
        exact = storage.itemsize == 4 and not tf32
        problem = (CELLS[cell].gates, storage.itemsize, exact, backward, (B, H, 1), *H100)
        for by in WAYS:
            try:
                cut = kernels.cut(*problem, by, speeds=truth)
            except ValueError:  # too many rows and units for the threads of a block
                continue
            if cut["fits"]:
                us, pass_ = cut["step_ns"] / 1000, "backward" if backward else "forward"
                found = (*by, cut["waves"], 0, False, us, us, "ok")
                rows.append(Row(cell, dtype, pass_, H, B, *found, **where))
    return rows


def test_true_speeds_are_approached(kernels: ModuleType) -> None:
    start = kernels.speeds()
    truth = start | {"cell": 400.0, "mail": 600.0, "fragment": 40.0, "peer_bytes": 6.0}
    found = speeds.Measured(measured(kernels, truth), kernels)
    assert found.off(start) > 1.1 and found.lost(start) > 1.005
    assert found.off(truth) < 1 + 1e-9 and found.lost(truth) == 1
    best = speeds.fitted(found, start)
    # Not quite: a barrier more and a cell's latency less look alike.
    assert found.off(best) < 1.03 and found.lost(best) < 1.005
    assert best["clock_ghz"] == start["clock_ghz"]


def test_nothing_changes_where_predictions_hold(kernels: ModuleType) -> None:
    start = kernels.speeds()
    assert speeds.fitted(speeds.Measured(measured(kernels, start), kernels), start) == start


def test_speeds_are_those_of_plans(kernels: ModuleType) -> None:
    """By default the same, and each of them matters."""
    start = kernels.speeds()
    rows = measured(kernels, start)
    found = speeds.Measured(rows, kernels)
    assert found.off({}) == pytest.approx(1)
    for name in start:
        assert found.off({name: 2 * start[name]}) > 1.001, name
    with pytest.raises(ValueError, match="no speeds of such names"):
        found.off({"cells": 1.0})


def test_prints_what_it_finds(
    kernels: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    path = tmp_path / "cuts.csv"
    write(measured(kernels, {"cell": 300.0})[:40], path, whole=True)
    monkeypatch.setitem(BACKENDS, "cuda", emulated.backend())
    assert speeds.main([str(path)]) == 0
    printed = capsys.readouterr().out
    assert "exact_fragment" in printed and "predictions off by" in printed
    monkeypatch.setattr(BACKENDS["cuda"], "built", lambda: None)
    assert speeds.main([str(path)]) == 1


def test_a_file_in_which_nothing_was_measured(kernels: ModuleType) -> None:
    with pytest.raises(ValueError, match="no cut was measured"):
        speeds.Measured([], kernels)
