"""The peak memory of a call on a CPU."""

import os
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from functools import partial

import pytest
from benchmark_cases import COUNTS, LSTM, WHERE, Broken

from benchmarks.measuring import memory
from benchmarks.measuring.findings import Entrant, Findings
from benchmarks.measuring.gate import Gate
from benchmarks.measuring.memory import Probe
from benchmarks.measuring.timing import Effort
from benchmarks.providers.table import BASELINE, PROVIDERS
from benchmarks.shapes.presets import Preset
from benchmarks.shapes.workload import make_workload

needs_counts = pytest.mark.skipif(not COUNTS, reason="the system does not count")

# y takes T·B·H·4 bytes, 16 MiB; what else a forward has at a time is small beside it.
LARGE = replace(LSTM, I=1, H=64, L=1, D=1, B=64, T=1024, mode="infer")


@pytest.fixture(scope="module")
def probe() -> Iterator[Probe]:
    with Probe() as one:
        yield one


@pytest.mark.slow
@needs_counts
def test_an_output_is_counted_whole(probe: Probe) -> None:
    peak = probe.peak_mb(LARGE, "fwd", "auto")
    assert peak is not None and 15.5 < peak < 24
    assert peak < probe.peak_mb(LARGE, "fwd_bwd", "auto")


@pytest.mark.slow
@needs_counts
@pytest.mark.parametrize("provider", ["torch.nn", "auto"])
def test_gates_and_states_of_a_training_step_are_counted(probe: Probe, provider: str) -> None:
    peak = probe.peak_mb(LARGE, "fwd_bwd", provider)
    assert peak is not None and peak > 6 * 16  # MiB, of which y is one


@pytest.mark.slow
@needs_counts
def test_recomputing_takes_less_where_there_are_layers(probe: Probe) -> None:
    stack = replace(LARGE, L=3)
    recomputed, kept = (probe.peak_mb(stack, "fwd_bwd", name) for name in ("recompute", "auto"))
    assert recomputed + 2 * 4 * 16 - 16 < kept  # the gates of the two layers that wait


@pytest.mark.slow
@needs_counts
def test_a_call_that_fails_or_may_not_be_counted_costs_one_number(monkeypatch, capsys) -> None:
    with pytest.raises(ValueError, match="inside"):
        memory.resident_mb(partial(int, "inside"))
    with Probe() as probe:
        refused = Future()
        refused.set_exception(PermissionError("clear_refs"))
        monkeypatch.setattr(probe._process, "submit", lambda *_: refused)
        assert probe.peak_mb(LARGE, "fwd", "auto") is None
    assert "PermissionError" in capsys.readouterr().out


@pytest.mark.slow
@needs_counts
def test_a_process_that_ends_costs_one_number(capsys) -> None:
    with Probe() as probe:
        probe._process.submit(os._exit, 1).exception()
        assert probe.peak_mb(replace(LARGE, T=1), "fwd", "auto") is None
        assert "no peak memory of auto on small fwd" in capsys.readouterr().out
        assert probe.peak_mb(replace(LARGE, T=1), "fwd", "auto") is not None


def test_without_a_count_there_is_no_number(monkeypatch, tmp_path) -> None:
    with Probe(wanted=False) as probe:
        assert probe.peak_mb(LARGE, "fwd", "auto") is None
    monkeypatch.setattr(memory, "RESET", tmp_path / "nothing")
    with Probe() as probe:
        assert probe.peak_mb(LARGE, "fwd", "auto") is None


def test_rows_have_the_peak_of_what_was_timed(monkeypatch) -> None:
    class Fake(Probe):
        def peak_mb(self, preset: Preset, pass_name: str, provider: str) -> float:
            return {"torch.nn": 1.5, "auto": 2.5}[provider]

    effort = Effort(budget_s=0, min_rounds=2, patience_s=0)
    gate = Gate(make_workload(LSTM), ["fwd"])
    unknown, absent = Broken(lambda results: results), PROVIDERS["openvino-bf16"]
    found = Findings("cpu", effort, WHERE, Fake())
    everyone = (BASELINE, PROVIDERS["auto"], unknown, absent)
    found.add([Entrant(one, gate) for one in everyone], "fwd")
    assert [one.peak_mb for one in found.rows] == [1.5, 2.5, None, None]
