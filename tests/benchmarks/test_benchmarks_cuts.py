"""benchmarks.cuts on the emulated backend: what it would measure on a GPU."""

from __future__ import annotations

from pathlib import Path

import emulated
import pytest
import torch
from persistent_calls import H100

from benchmarks import cuts
from benchmarks.host.environment import environment
from benchmarks.measuring.results import read, write
from rnn_kernels.backends import BACKENDS
from rnn_kernels.execution.wavefront import Shape

pytestmark = pytest.mark.emulated


class Event:
    """A CUDA event of a device whose every call takes 3 ms."""

    def __init__(self, enable_timing: bool) -> None:
        assert enable_timing

    def record(self) -> None: ...

    def synchronize(self) -> None: ...

    def elapsed_time(self, end: Event) -> float:
        return 3.0


@pytest.fixture(autouse=True)
def backend(monkeypatch: pytest.MonkeyPatch) -> None:
    emulated.machine().seed(0)
    backend = emulated.backend()
    monkeypatch.setattr(backend, "facts", lambda index: H100)
    monkeypatch.setitem(BACKENDS, "cuda", backend)
    monkeypatch.setattr(torch.cuda, "Event", Event)


@pytest.mark.parametrize("backward", [False, True])
def test_every_cluster_that_holds_the_weights(backward: bool) -> None:
    found = cuts.cuts("lstm", torch.empty(1, 4 * 512, 512).half(), 16, backward)
    assert [chosen for _, chosen in found].count(True) == 1 and found[0][1]
    plans = [plan for plan, _ in found]
    assert len(set(plans)) == len(plans) and not any(p.exact for p in plans)
    assert {p.cluster for p in plans if not p.grid} == {8, 16}
    assert {p.cluster for p in plans if p.grid} >= {16, 32, 64}
    assert all(plan.step_ns > 0 and plan.groups * plan.rows >= 16 for plan in plans)


def test_measures_the_plan_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    for name in ("recurrence_forward", "recurrence_backward"):
        run = getattr(BACKENDS["cuda"], name)
        spy = lambda call, run=run: calls.append(call) or run(call)  # noqa: E731
        monkeypatch.setattr(BACKENDS["cuda"], name, spy)
    weight = torch.empty(1, 3 * 20, 20).half()
    plan = next(p for p, _ in cuts.cuts("gru", weight, 3, True) if p.cluster == 2 and not p.grid)
    us = cuts.measured_us(
        cuts.forced(plan), Shape("gru", weight, 4, 3, 20, 1, False), 1, None, True
    )
    assert us == 3000 / 4
    assert len(calls) == 8 and all(call.plan == plan for call in calls)


def test_a_line_for_each(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    empty = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *size, device=None, **how: empty(*size, **how))
    quick = {"cell": ("lstm",), "dtype": ("float16", "float32 exact"), "H": (9,), "B": (1,)}
    monkeypatch.setattr(cuts, "QUICK", quick)
    monkeypatch.setattr(cuts, "T", 2)
    few = (90, 227 << 10, (132, 66, 0, 0, 0), 132)
    monkeypatch.setattr(BACKENDS["cuda"], "facts", lambda index: few)
    rows = cuts.measured(True, environment())
    assert {row.pass_ for row in rows} == {"forward", "backward"}
    assert {(row.status, row.measured_us) for row in rows} == {("ok", 1500)}
    path = tmp_path / "cuts.csv"
    write(rows, path, whole=True)
    assert read(path, cuts.Row) == rows
    assert path.read_text().startswith("cell,dtype,pass,H,B,grid,cluster,rows,")
    assert {row.dtype for row in rows} == {"float16", "float32 exact"}
    printed = cuts.summary(rows)
    assert printed.count("*") == 4 and "1500.00" in printed and "grid 2" in printed
